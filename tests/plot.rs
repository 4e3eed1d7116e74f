//! Pictures: what is drawn, in both formats, and what `run parts scheduler --plot` makes of an
//! experiment.

mod support;

use arcrun::plot::{Band, LineChart, Mark, Series, Style, TopAxis};
use arcrun::scheduler::{Horizon, chart};
use support::{Tiny, column};

/// Everything that a chart can hold.
fn everything() -> LineChart {
    let wave = |phase: f64| -> Vec<(f64, f64)> {
        (0..1000).map(|n| (f64::from(n), 1.5 + (f64::from(n) / 90.0 + phase).sin())).collect()
    };
    let mut broken = wave(1.0);
    broken[500].1 = f64::NAN;
    LineChart {
        title:
            "<Verlust> & \"Größe\" of a title that is long enough to need more than one line of \
                the paper that it is drawn on"
                .into(),
        subtitle: vec!["second".into()],
        x_label: "step".into(),
        y_label: "loss".into(),
        top: Some(TopAxis { label: "epoch".into(), every: 100.0 }),
        series: vec![
            Series::line("α solid", wave(0.0)),
            Series::line("dashed", broken).style(Style::Dashed),
            Series::line("filled", wave(2.0)).style(Style::Filled),
            Series::line("faint", wave(3.0)).style(Style::Faint).colour(0),
            Series::line("dots", wave(4.0)[..20].to_vec()).style(Style::Dots),
            Series::line("", wave(5.0)),
        ],
        bands: vec![Band { from: 0.0, to: 100.0, name: "warm-up".into() }],
        x_marks: vec![Mark { at: 500.0, name: "half".into() }],
        y_marks: vec![Mark { at: 1.5, name: "mean".into() }],
        ..LineChart::default()
    }
}

/// Panics unless `text` is well-formed XML of elements, attributes, text and the five entities;
/// returns the text of its elements.
fn xml_texts(text: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut texts = Vec::new();
    let mut rest = text.trim();
    let mut elements = 0;
    while let Some(tag) = rest.strip_prefix('<') {
        let (tag, after) = tag.split_once('>').expect("an open tag");
        assert!(!tag.contains('<'), "< in {tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed");
        } else {
            elements += 1;
            assert!(elements == 1 || !open.is_empty(), "a second root");
            let empty = tag.ends_with('/');
            let (name, mut attributes) = tag.trim_end_matches('/').split_once(' ').unwrap();
            let mut seen = Vec::new();
            while !attributes.trim().is_empty() {
                let (key, value) = attributes.trim_start().split_once("=\"").expect("a value");
                let (value, more) = value.split_once('"').expect("a closing quote");
                assert!(!seen.contains(&key), "{key} twice in {tag}");
                seen.push(key);
                decoded(value);
                attributes = more;
            }
            if !empty {
                open.push(name);
            }
        }
        let next = after.find('<').unwrap_or(after.len());
        let between = after[..next].trim();
        if !between.is_empty() {
            assert!(!open.is_empty(), "text outside of the root: {between}");
            texts.push(decoded(between));
        }
        rest = &after[next..];
    }
    assert!(rest.is_empty() && open.is_empty() && elements > 0, "{rest:?} {open:?}");
    texts
}

fn decoded(text: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'")];
    let plain = entities.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to));
    assert_eq!(plain.matches('&').count(), plain.matches("&amp;").count(), "{text}");
    plain.replace("&amp;", "&")
}

#[test]
fn a_png_has_its_size_and_its_colours() {
    let chart = everything();
    let png = chart.png(700, 420).unwrap();
    assert_eq!(png, everything().png(700, 420).unwrap(), "drawn twice");
    let picture = image::load_from_memory(&png).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (1400, 840));
    let count = |colour: [u8; 3]| picture.pixels().filter(|pixel| pixel.0 == colour).count();
    assert!(count([255; 3]) > 1400 * 840 / 2, "white paper");
    for series in [[0x00, 0x72, 0xb2], [0xd5, 0x5e, 0x00], [0x00, 0x8a, 0x66]] {
        assert!(count(series) > 500, "{series:?}: {} pixels", count(series));
    }
    // Dark letters, and an empty edge all around: nothing is cut.
    assert!(count([0x26; 3]) > 200);
    let (width, height) = picture.dimensions();
    for (x, y, pixel) in picture.enumerate_pixels() {
        let edge = x < 8 || y < 8 || x >= width - 8 || y >= height - 8;
        assert!(!edge || pixel.0 == [255; 3], "ink at {x}, {y}");
    }
}

#[test]
fn an_svg_is_well_formed_and_holds_the_labels() {
    let svg = everything().svg(700, 420).unwrap();
    assert_eq!(svg, everything().svg(700, 420).unwrap(), "drawn twice");
    assert!(
        svg.starts_with("<svg width=\"700\" height=\"420\" viewBox=\"0 0 2800 1680\""),
        "{svg}"
    );
    let texts = xml_texts(&svg);
    assert!(texts[0].starts_with("<Verlust> & \"Größe\" of a title"), "{}", texts[0]);
    for label in [
        "second", "step", "loss", "epoch", "α solid", "dashed", "filled", "warm-up", "half", "mean",
    ] {
        assert!(texts.iter().any(|text| text == label), "{label} in {texts:?}");
    }
    assert!(texts[1].ends_with("drawn on"), "the title's second line: {}", texts[1]);
}

#[test]
fn odd_values_are_drawn_too() {
    let series = |points: &[(f64, f64)]| LineChart {
        series: vec![Series::line("", points.to_vec())],
        log_y: true,
        ..LineChart::default()
    };
    for chart in [
        LineChart::default(),
        series(&[]),
        series(&[(0.0, 0.0), (1.0, -1.0)]),
        series(&[(f64::NAN, f64::NAN), (f64::INFINITY, f64::INFINITY)]),
        LineChart { log_x: true, ..series(&[(1e-4, 1e-300), (1.0, 1e300)]) },
        LineChart { log_y: false, ..series(&[(3.0, 3.0)]) },
        LineChart { y_range: Some((1.0, 1.0)), log_y: false, ..series(&[(0.0, 1.0)]) },
        LineChart { title: "x".repeat(300), ..LineChart::default() },
    ] {
        xml_texts(&chart.svg(640, 400).unwrap());
        image::load_from_memory(&chart.png(64, 40).unwrap()).unwrap();
    }
}

/// The drawn line is the schedule: every rate at its step, as the training asks for it.
#[test]
fn the_line_is_the_schedule() {
    let tiny = Tiny::new();
    let mut all = Vec::new();
    for (kind, keys) in [
        ("constant", ""),
        ("cosine", ""),
        ("cosine_restarts", "period = 2"),
        ("exponential", "unit = \"step\""),
        ("linear", "start_factor = 0.5"),
        ("multi_step", "milestones = [1, 3]"),
        ("one_cycle", "three_phase = true"),
        ("polynomial", "power = 2"),
        ("reduce_on_plateau", "patience = 0"),
        ("step", "every = 2"),
    ] {
        let text = format!(
            "base = \"tiny.toml\"\n[scheduler]\nkind = \"{kind}\"\n{keys}\nwarmup = {{ steps = 3 }}\n"
        );
        let file = tiny.write(&format!("{kind}.toml"), &text);
        let loaded: arcrun::config::Loaded =
            arcrun::config::load(&arcrun::config::Request::new(&file)).unwrap();
        let config = loaded.experiment.scheduler;
        assert_eq!(config.kind(), kind);
        let horizon = Horizon::new(7, 6, 0);
        let chart = chart::chart("name", &config, 0.1, horizon);
        let mut scheduler = config.build(0.1, horizon);
        for step in 0..42 {
            if step > 0 && step % 7 == 0 {
                scheduler.observe(1.0);
            }
            let middle = step as f64 + 0.5;
            let drawn =
                chart.series[0].points.windows(2).find(|p| p[0].0 <= middle && p[1].0 > middle);
            assert_eq!(drawn.unwrap()[0].1, scheduler.lr(step), "{kind} at {step}");
        }
        let texts = xml_texts(&chart.svg(800, 440).unwrap());
        for label in ["optimizer.lr 0.1", "42 steps: 6 epochs of 7", "warm-up", "epoch"] {
            assert!(texts.iter().any(|text| text == label), "{kind}: {label} in {texts:?}");
        }
        assert_eq!(texts[0], format!("name: {kind} schedule"));
        let worst = texts.iter().any(|text| text.starts_with("Worst case"));
        assert_eq!(worst, kind == "reduce_on_plateau");
        assert_eq!(texts.iter().any(|t| t.starts_with("lowest")), kind != "constant", "{kind}");
        all.push(chart.x_marks.len());
    }
    // Epochs 2 to 6 of the plateau (the first loss counts as better); three restarts in 39 steps.
    assert_eq!(all, [0, 0, 2, 0, 0, 2, 1, 0, 4, 2]);
}

#[test]
fn the_command_counts_the_steps_as_the_training_does() {
    let tiny = Tiny::new();
    // 63 images: of 2, the last batch of one image is left out.
    for (batch, steps) in [("8", 8), ("2", 31), ("62", 1)] {
        let args = ["parts", "scheduler", "tiny.toml", "--plot", "lr.svg", "-q"];
        let batch = format!("train.batch_size={batch}");
        let said = tiny.succeed(&[&args[..], &["--set", &batch, "--epochs", "2"]].concat());
        let expected = format!("tiny: cosine schedule, {} steps: 2 epochs of {steps}", 2 * steps);
        assert!(said.contains(&expected), "{expected:?} in {said}");
    }
    let run = tiny.train("run", &["--set", "train.batch_size=2", "--epochs", "1"]);
    assert_eq!(column(&run.join("steps.csv"), "loss").len(), 31);
    let texts = xml_texts(&std::fs::read_to_string(tiny.path("lr.svg")).unwrap());
    assert!(texts.iter().any(|text| text == "tiny: cosine schedule"), "{texts:?}");
}

#[test]
fn the_command_without_the_data() {
    let tiny = Tiny::new();
    let plot = ["parts", "scheduler", "tiny.toml", "--plot", "lr.png"];
    let absent = ["--set", "data.kind=image_folder", "--set", "data.root=nowhere"];
    let command = [&plot[..], &absent].concat();
    tiny.run(&command).exits(2).says(&["no data folder `nowhere`", "state --steps-per-epoch N"]);
    assert!(!tiny.path("lr.png").exists());
    let stated = [&command[..], &["--steps-per-epoch", "50", "--set", "scheduler.kind=one_cycle"]];
    let said = tiny.succeed(&stated.concat());
    assert_eq!(said, "lr.png: tiny: one_cycle schedule, 150 steps: 3 epochs of 50\n");
    let picture = image::open(tiny.path("lr.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (1600, 880));
    let first = std::fs::read(tiny.path("lr.png")).unwrap();
    tiny.succeed(&stated.concat());
    assert!(first == std::fs::read(tiny.path("lr.png")).unwrap(), "drawn twice");
}

#[test]
fn the_command_with_wrong_input() {
    let tiny = Tiny::new();
    fn plot<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["parts", "scheduler", "tiny.toml", "--plot"], more].concat()
    }
    for (command, says) in [
        (plot(&["lr.gif"]), &["cannot draw lr.gif", "in .png or .svg"][..]),
        (plot(&["lr"]), &["in .png or .svg"]),
        (
            plot(&["none/lr.png", "--steps-per-epoch", "5"]),
            &["there is no folder none", "create it first"],
        ),
        (plot(&["lr.png", "--steps-per-epoch", "0"]), &["--steps-per-epoch"]),
        (plot(&["lr.png", "--set", "scheduler.knd=step"]), &["scheduler"]),
        (vec!["parts", "scheduler", "tiny.toml"], &["--plot"]),
        (vec!["parts", "scheduler", "--plot", "lr.png"], &["EXPERIMENT"]),
        (vec!["parts", "loss", "tiny.toml", "--plot", "lr.png"], &["a loss can't be drawn"]),
        (vec!["parts", "loss", "--set", "lr=1"], &["--set needs an experiment"]),
    ] {
        tiny.run(&command).exits(2).says(says);
    }
    assert!(tiny.is_untouched());
}
