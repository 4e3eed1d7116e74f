//! `--profile`: the trace and the shares of a step.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::Tiny;

/// One event of the trace, microseconds.
#[derive(Clone, Debug)]
struct Span {
    name: String,
    begin: f64,
    end: f64,
    args: serde_json::Value,
}

/// The spans of each thread by its name, in the order of their beginnings, outer ones first.
fn threads(path: &std::path::Path) -> BTreeMap<String, Vec<Span>> {
    let text = std::fs::read_to_string(path).unwrap();
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let thread = |event: &serde_json::Value| event["tid"].as_u64().unwrap();
    let mut names = BTreeMap::new();
    let mut spans: BTreeMap<u64, Vec<Span>> = BTreeMap::new();
    for event in &events {
        match event["ph"].as_str().unwrap() {
            "M" => {
                assert_eq!(event["name"], "thread_name");
                names.insert(thread(event), event["args"]["name"].as_str().unwrap().to_owned());
            }
            "X" => {
                let (begin, took) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
                spans.entry(thread(event)).or_default().push(Span {
                    name: event["name"].as_str().unwrap().to_owned(),
                    begin,
                    end: begin + took,
                    args: event["args"].clone(),
                });
            }
            other => panic!("{other}: {event}"),
        }
    }
    let mut named: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for (thread, mut spans) in spans {
        spans.sort_by(|a, b| a.begin.total_cmp(&b.begin).then(b.end.total_cmp(&a.end)));
        nested(&spans);
        // Every epoch has loader threads of its own.
        named.entry(names[&thread].clone()).or_default().extend(spans);
    }
    named
}

/// A span that begins inside of another ends inside of it.
fn nested(spans: &[Span]) {
    // What a double of microseconds rounds.
    const SLACK: f64 = 0.01;
    let mut open: Vec<&Span> = Vec::new();
    for span in spans {
        open.retain(|outer| outer.end > span.begin + SLACK);
        if let Some(outer) = open.last() {
            assert!(span.end <= outer.end + SLACK, "{span:?} reaches out of {outer:?}");
        }
        open.push(span);
    }
}

fn of<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn inside<'a>(spans: &'a [Span], outer: &Span) -> BTreeSet<&'a str> {
    let within = |span: &&Span| span.begin >= outer.begin && span.end <= outer.end;
    let others = spans.iter().filter(within).map(|span| span.name.as_str());
    others.filter(|name| *name != outer.name).collect()
}

#[test]
fn a_profile_shows_where_the_time_goes() {
    let tiny = Tiny::new();
    let args = ["tiny.toml", "--run-dir", "run", "--profile", "--profile-steps", "10"];
    let ended = tiny.run(&[&args[..], &["--set", "record.plots=true"]].concat()).exits(0);
    let threads = threads(&tiny.path("run/profile.json"));
    let main = &threads["main"];

    // Three warm up, ten are recorded, whatever follows.
    let steps = of(main, "step");
    let numbers: Vec<u64> = steps.iter().map(|step| step.args["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (4..14).collect::<Vec<_>>());
    for step in &steps {
        let parts = inside(main, step);
        for part in ["wait", "copy", "forward", "backward", "numbers", "optimizer", "CsvSink"] {
            assert!(parts.contains(part), "{part} is not in {parts:?}");
        }
    }
    // What comes seldom is kept from the whole run of three epochs.
    let checkpoints = of(main, "checkpoint");
    assert_eq!(checkpoints.len(), 3);
    for name in ["snapshot", "write"] {
        assert!(threads.values().any(|spans| of(spans, name).len() == 3), "{name}");
    }
    assert_eq!(of(main, "validation").len(), 3);
    let evaluated: Vec<&str> = of(main, "evaluation")
        .iter()
        .map(|span| span.args["checkpoint"].as_str().unwrap())
        .collect();
    assert!(evaluated.contains(&"untrained") && evaluated.contains(&"min-loss"), "{evaluated:?}");
    for sink in ["LogFile", "Console", "Plots", "WandbSink"] {
        assert!(!of(main, sink).is_empty(), "{sink}");
    }
    assert!(!of(&threads["plots"], "pictures").is_empty());

    let loader = &threads["loader-1"];
    let batches = of(loader, "batch");
    assert!(!batches.is_empty());
    // A batch that was begun in the window has all of its parts.
    let parts = inside(loader, batches[0]);
    assert_eq!(parts, BTreeSet::from(["augment", "collate", "decode", "read"]));
    assert_eq!(of(loader, "decode").len(), of(loader, "read").len());

    // The table says what the trace holds.
    let text = ended.stderr + &ended.stdout;
    let line = |name: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    };
    assert!(line("profile of 10 steps").ends_with("by part:"));
    let whole: f64 = steps.iter().map(|step| step.end - step.begin).sum();
    for part in ["wait", "forward", "backward", "optimizer"] {
        let inside =
            |span: &&&Span| steps.iter().any(|s| s.begin <= span.begin && span.end <= s.end);
        let spans = of(main, part);
        let sum: f64 = spans.iter().filter(inside).map(|span| span.end - span.begin).sum();
        let share: f64 = line(part).split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((share - 100.0 * sum / whole).abs() < 0.02, "{part}: {share} of {text}");
    }
    assert!(line("loader's threads").contains("decode"));
    assert!(line("profile: ").contains("run/profile.json"), "{text}");
    let log = std::fs::read_to_string(tiny.path("run/log.txt")).unwrap();
    assert!(log.contains("profile of 10 steps"), "{log}");
}

/// A step has a dozen spans of its own and three for each image: at this bound, and without
/// optimisation, some 0.1 ms of a step of 32 images.
#[test]
fn a_span_that_nobody_listens_to_costs_next_to_nothing() {
    let begun = std::time::Instant::now();
    let count = 100_000;
    for number in 0..count as u64 {
        let span = tracing::debug_span!("step", number);
        arcrun::profile::timed(span, tch::Device::Cpu, || std::hint::black_box(number));
    }
    let nanoseconds = begun.elapsed().as_nanos() / count;
    println!("{nanoseconds} ns");
    assert!(nanoseconds < 1000, "{nanoseconds} ns");
}

#[test]
fn a_profile_changes_nothing_and_goes_where_it_is_told() {
    let tiny = Tiny::new();
    let plain = tiny.train("plain", &[]);
    let profiled = tiny.train("profiled", &["--profile=trace.json"]);
    let weights = |run: &std::path::Path| {
        std::fs::read(run.join("checkpoints/latest/model.safetensors")).unwrap()
    };
    assert!(weights(&plain) == weights(&profiled));
    assert!(!profiled.join("profile.json").exists());
    // All 24 steps but the three that warm up: fewer than the 50 asked for.
    assert_eq!(of(&threads(&tiny.path("trace.json"))["main"], "step").len(), 21);
}

#[test]
fn a_full_disk_costs_the_profile_alone() {
    let tiny = Tiny::new();
    let args = ["tiny.toml", "-q", "--run-dir", "run", "--profile=/dev/full"];
    let ended = tiny.run(&args).exits(0);
    ended.says(&["warning: the profile /dev/full is not whole: No space left"]);
    assert_eq!(support::status(&tiny.path("run")), "finished");
}

#[test]
fn profiles_that_cannot_be_are_refused_before_anything_is_written() {
    let tiny = Tiny::new();
    tiny.write("more.toml", "base = \"tiny.toml\"\n");
    for (args, says) in [
        (&["tiny.toml", "--profile=no/such/folder.json"][..], "cannot write the profile no/such"),
        (&["tiny.toml", "more.toml", "--profile"], "--profile is of one run"),
        (&["tiny.toml", "--profile", "--dry-run"], "cannot be used with"),
        (&["tiny.toml", "--profile", "--profile-steps", "0"], "0 is not in 1.."),
    ] {
        tiny.run(args).exits(2).says(&[says]);
        assert!(!tiny.path("results").exists(), "{args:?}");
    }
}
