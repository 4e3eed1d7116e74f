//! What the training loop does besides stepping: accumulation, averages of the weights, limits, what
//! is not finite, signals, metrics that decide.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use arcrun::checkpoint::{Name, find, read, read_group, read_state};
use support::{Ended, Tiny, column, csv, run_json, signal, status, untimed, wait_until};

/// `--set` before each.
fn sets(settings: &[&str]) -> Vec<String> {
    settings.iter().flat_map(|set| ["--set".to_string(), set.to_string()]).collect()
}

fn train(tiny: &Tiny, run: &str, settings: &[&str]) -> std::path::PathBuf {
    let sets = sets(settings);
    tiny.train(run, &sets.iter().map(String::as_str).collect::<Vec<_>>())
}

fn ended(tiny: &Tiny, args: &[&str], settings: &[&str]) -> Ended {
    let sets = sets(settings);
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    tiny.run(&[&["tiny.toml"], args, &sets].concat())
}

fn numbers(run: &Path, file: &str, name: &str) -> Vec<f64> {
    column(&run.join(file), name).iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect()
}

/// Without batch norm's statistics, dropout and augmentation, so that a batch is the sum of its parts.
const ADDITIVE: [&str; 7] = [
    "backbone.kind=vit",
    "backbone.image_size=32",
    "head.dropout=0",
    "augmentation.rotation=0",
    "augmentation.horizontal_flip=0",
    "train.epochs=2",
    "evaluate.every_epochs=0",
];

#[test]
fn accumulated_batches_equal_the_large_one() {
    let tiny = Tiny::new();
    // 64 images: 5 batches of 12 and one of 4 make 3 windows, the last of 16.
    let whole = train(&tiny, "whole", &[&ADDITIVE[..], &["train.batch_size=24"]].concat());
    let parts = ["train.batch_size=12", "train.accumulate=2"];
    let parts = train(&tiny, "parts", &[&ADDITIVE[..], &parts].concat());
    for name in ["loss", "grad_norm", "embedding_norm", "accuracy"] {
        let [ours, theirs] = [&parts, &whole].map(|run| numbers(run, "steps.csv", name));
        assert_eq!((ours.len(), theirs.len()), (6, 6), "{name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            // float32 sums in another order, over 6 steps.
            assert!(
                (ours - theirs).abs() <= 2e-4 * theirs.abs().max(1.0),
                "{name}: {ours} {theirs}"
            );
        }
    }
    // The schedule counts steps: both have the same.
    assert_eq!(column(&parts.join("steps.csv"), "lr"), column(&whole.join("steps.csv"), "lr"));
    let weights = |run: &Path| read_group(&find(run, Name::Latest).unwrap(), "model").unwrap().0;
    let (ours, theirs) = (weights(&parts), weights(&whole));
    for (name, theirs) in &theirs {
        let difference = (&ours[name] - theirs).abs().max().double_value(&[]);
        let scale = theirs.abs().max().double_value(&[]).max(1e-2);
        assert!(difference <= 1e-3 * scale, "{name}: {difference} of {scale}");
    }
}

/// Whatever counts steps before the training counts them as it does.
#[test]
fn a_dry_run_and_a_schedule_count_the_same_steps() {
    let tiny = Tiny::new();
    for (set, steps) in [("train.accumulate=3", 3), ("train.overfit_batches=2", 2)] {
        let said = tiny.succeed(&["check", "tiny.toml", "--set", set]);
        assert!(said.contains(&format!("3 epochs of {steps}")), "{said}");
        let args = ["parts", "scheduler", "tiny.toml", "--plot", "lr.png", "--set", set];
        let said = tiny.succeed(&args);
        assert!(said.contains(&format!("{} steps", 3 * steps)), "{said}");
        let run = train(&tiny, set, &[set]);
        assert_eq!(column(&run.join("steps.csv"), "step").len(), 3 * steps);
    }
}

#[test]
fn accumulation_goes_on_after_a_stop_as_if_there_was_none() {
    let tiny = Tiny::new();
    let settings = [
        "train.batch_size=3",
        "train.accumulate=4",
        "checkpoint.every_steps=1",
        "scheduler.kind=constant",
    ];
    let whole = train(&tiny, "whole", &settings);
    // 22 batches make 6 steps, the last of 2 batches; 8 steps end in mid-epoch.
    let cut = train(&tiny, "cut", &[&settings[..], &["train.max_steps=8"]].concat());
    assert_eq!(column(&cut.join("steps.csv"), "step").len(), 8);
    continued_equals(&tiny, "cut", &settings, &whole);
}

/// Goes on with the run as if it had never been limited.
#[track_caller]
fn continued_equals(tiny: &Tiny, run: &str, settings: &[&str], whole: &Path) {
    let run_dir = tiny.path(run);
    ended(tiny, &["-q", "--run-dir", run, "--continue-train", "latest"], settings).exits(0);
    let hash =
        |run: &Path| read_state(&find(run, Name::Latest).unwrap()).unwrap().checkpoint_hash();
    for file in ["steps.csv", "epochs.csv", "eval.csv"] {
        assert_eq!(untimed(&run_dir.join(file)), untimed(&whole.join(file)), "{file}");
    }
    assert_eq!(hash(&run_dir), hash(whole));
    let least = |run: &Path| read_state(&find(run, Name::MinLoss).unwrap()).unwrap().step;
    assert_eq!(least(&run_dir), least(whole));
    assert_eq!(status(&run_dir), "finished");
}

#[test]
fn a_limit_in_mid_epoch_leaves_no_trace_when_it_is_raised() {
    let tiny = Tiny::new();
    let same = ["scheduler.kind=constant", "scheduler.warmup.steps=4"];
    let whole = train(&tiny, "whole", &same);
    let cut = train(&tiny, "cut", &[&same[..], &["train.max_steps=13"]].concat());
    // The epoch is closed for whoever looks at the run now.
    assert_eq!(column(&cut.join("epochs.csv"), "epoch"), ["1", "2"]);
    assert_eq!(status(&cut), "finished");
    // The same limit again: nothing to do.
    let again = ["train.max_steps=13"];
    let args = ["--run-dir", "cut", "--continue-train", "latest"];
    ended(&tiny, &args, &[&same[..], &again].concat()).exits(0);
    assert_eq!(column(&cut.join("steps.csv"), "step").len(), 13);
    continued_equals(&tiny, "cut", &same, &whole);
}

#[test]
fn a_time_limit_ends_the_training_well() {
    let tiny = Tiny::new();
    let run = train(&tiny, "run", &["train.epochs=100000", "train.max_time=1s"]);
    assert_eq!(status(&run), "finished");
    assert!(!column(&run.join("steps.csv"), "step").is_empty());
    ended(&tiny, &[], &["train.max_time=soon"]).exits(2).says(&["train.max_time", "90m"]);
}

#[test]
fn the_end_of_the_job_stops_with_a_checkpoint() {
    let tiny = Tiny::new();
    let args = ["--run-dir", "a run", "--time-limit", "11s"];
    let stopped = ended(&tiny, &args, &["train.epochs=100000", "evaluate.every_epochs=0"]);
    stopped.exits(75).says(&[
        "stopped by the time limit",
        "run tiny.toml --run-dir 'a run' --continue-train latest",
        " --time-limit 11s",
    ]);
    assert_eq!(status(&tiny.path("a run")), "stopped");
    assert!(find(&tiny.path("a run"), Name::Latest).is_ok());
    // Slurm's own limit counts without being asked for; one that is over leaves no time for a step.
    let mut command =
        tiny.command(&["tiny.toml", "--run-dir", "job", "--set", "train.epochs=100000"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Ended::of(command.env("SLURM_JOB_END_TIME", (now - 60).to_string())).exits(75);
    // One that can't be its own says so.
    let mut command = tiny.command(&["tiny.toml", "-q", "--run-dir", "other"]);
    Ended::of(command.env("SLURM_JOB_END_TIME", "banana"))
        .exits(0)
        .says(&["warning: SLURM_JOB_END_TIME=\"banana\" is no time in seconds since 1970"]);
    ended(&tiny, &["--time-limit", "never"], &[]).exits(2).says(&["--time-limit"]);
}

#[test]
fn signals_of_a_cluster_stop_with_a_checkpoint() {
    for name in ["USR1", "USR2"] {
        let tiny = Tiny::new();
        let run = tiny.path("run");
        let args = ["tiny.toml", "--run-dir", "run", "--set", "train.epochs=100000"];
        let child = tiny.spawn(&args);
        wait_until("a step", || run.join("steps.csv").exists());
        signal(&child, name);
        Ended::wait(child).exits(75).says(&[&format!("stopped by SIG{name}")]);
        assert_eq!(status(&run), "stopped");
    }
    // One that is not listened to does what it always does.
    let tiny = Tiny::new();
    let run = tiny.path("run");
    let args = ["tiny.toml", "--run-dir", "run", "--set", "train.epochs=100000"];
    let child = tiny.spawn(&[&args[..], &["--set", "train.stop_signals=[\"SIGUSR2\"]"]].concat());
    wait_until("a step", || run.join("steps.csv").exists());
    signal(&child, "USR1");
    assert_eq!(Ended::wait(child).code, None);
}

/// Before the program could listen, while libtorch is loaded.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_at_the_very_start_is_heard() {
    let tiny = Tiny::new();
    let early = |name: &str, args: &[&str]| {
        let args = [&["tiny.toml", "--run-dir", "run", "--set", "train.epochs=9"], args].concat();
        let child = tiny.spawn(&args);
        wait_until("the signals to be held back", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
            };
            // Blocked, or caught by now: SIGUSR1 and SIGTERM.
            (field("SigBlk") | field("SigCgt")) & (1 << 9 | 1 << 14) == (1 << 9 | 1 << 14)
        });
        signal(&child, name);
        Ended::wait(child)
    };
    early("TERM", &[]).exits(75).says(&["stopped"]);
    let run = tiny.train("run", &["--set", "train.epochs=1", "--continue-train", "auto"]);
    let (info, latest) = (run_json(&run), find(&run, Name::Latest).unwrap());
    let latest_of = ["--continue-train", "latest"];
    for name in ["USR1", "TERM"] {
        let said = early(name, &latest_of).exits(75);
        said.says(&[
            &format!("stopped by SIG{name} before the training went on"),
            "continue with: ",
        ]);
        assert_eq!(
            (run_json(&run), find(&run, Name::Latest).unwrap()),
            (info.clone(), latest.clone())
        );
    }
    // One that the experiment leaves alone does what it always does.
    let deaf = ["--set", "train.stop_signals=[]"];
    assert_eq!(early("USR1", &[&latest_of[..], &deaf].concat()).code, None);
    tiny.train("run", &[&["--set", "train.epochs=9"][..], &latest_of].concat());
}

/// A learning rate that throws the weights beyond float32 within a few steps.
const EXPLODES: [&str; 5] = [
    "optimizer.lr=1e30",
    "scheduler.kind=constant",
    "scheduler.warmup.steps=0",
    "head.dropout=0",
    "evaluate.every_epochs=0",
];

#[test]
fn what_is_not_finite_ends_the_run_with_a_note() {
    let tiny = Tiny::new();
    ended(&tiny, &["--run-dir", "run"], &EXPLODES).exits(3).says(&["learning rate 1e30"]);
    let note = std::fs::read_to_string(tiny.path("run/crash.txt")).unwrap();
    for part in [
        "last good checkpoint: none",
        "learning rate: 1e30",
        "weights not finite: none",
        "buffers not finite after it: ",
        "gradients not finite: ",
        "first operation not finite: aten::",
        "images of the step (8):",
        ".jpg",
    ] {
        assert!(note.contains(part), "no {part:?} in:\n{note}");
    }
    assert_eq!(status(&tiny.path("run")), "diverged");
}

#[test]
fn steps_that_are_not_finite_are_left_out_aloud() {
    let tiny = Tiny::new();
    let skip = [&EXPLODES[..], &["train.on_nonfinite=skip", "train.max_nonfinite=3"]].concat();
    let seen = ended(&tiny, &["--run-dir", "run"], &skip).exits(3);
    let seen =
        seen.says(&["the step is left out (1 of 3 steps in a row)", "(3 of 3", "max_nonfinite"]);
    assert_eq!(seen.stderr.matches("the step is left out").count(), 3);
    let left_out = column(&tiny.path("run/steps.csv"), "left_out");
    assert_eq!(left_out[left_out.len() - 3..], ["1.0", "1.0", "1.0"]);
    assert_eq!(left_out[0], "0.0");
    let notes = std::fs::read_to_string(tiny.path("run/nonfinite.txt")).unwrap();
    assert_eq!(notes.matches("first operation not finite: aten::").count(), 3, "{notes}");
}

#[test]
fn a_rollback_takes_the_weights_of_the_checkpoint_and_goes_on() {
    let tiny = Tiny::new();
    let back = ["train.on_nonfinite=rollback", "train.max_nonfinite=2", "train.ema.decay=0.5"];
    let back = [&EXPLODES[..], &back].concat();
    let seen = ended(&tiny, &["--run-dir", "run"], &back).exits(3);
    seen.says(&["back to the weights of the checkpoint after step 0", "(2 of 2 times)"]);
    let run = tiny.path("run");
    // Before training: what there is to go back to.
    let kept = read(&find(&run, Name::Latest).unwrap()).unwrap();
    assert_eq!((kept.state.step, kept.state.epoch), (0, 0));
    let (left_out, loss) =
        (column(&run.join("steps.csv"), "left_out"), numbers(&run, "steps.csv", "loss"));
    let first = left_out.iter().position(|flag| flag == "1.0").unwrap();
    // The step after a return is one of the initial weights: its loss is of the size of the first.
    assert!(left_out[first + 1] == "0.0" && (loss[first + 1] - loss[0]).abs() < 4.0, "{loss:?}");
}

#[test]
fn a_network_learns_one_batch_by_heart() {
    let tiny = Tiny::new();
    let args = ["--run-dir", "run", "--overfit-one-batch"];
    let settings = ["train.epochs=60", "head.dropout=0", "evaluate.every_epochs=0"];
    ended(&tiny, &args, &settings).exits(0).says(&["overfit on 1 batches: loss"]);
    let run = tiny.path("run");
    assert_eq!(column(&run.join("steps.csv"), "step").len(), 60);
    let accuracy = numbers(&run, "steps.csv", "accuracy");
    assert!(accuracy[59] == 1.0 && accuracy[0] < 1.0, "{accuracy:?}");
}

/// The average by torch's definition, from the weights that `weights_every_epochs` keeps.
#[test]
fn the_average_follows_its_definition_and_is_scored() {
    let tiny = Tiny::new();
    let settings = [
        "train.ema.decay=0.75",
        "train.ema.every_steps=8",
        "checkpoint.weights_every_epochs=1",
        "train.epochs=4",
    ];
    let run = train(&tiny, "run", &settings);
    let read =
        |name: &str| arcrun::checkpoint::read_weights(&run.join("weights").join(name)).unwrap();
    // One update at the end of each epoch of 8 steps; the first copies.
    let mut average = read("epoch-0001.safetensors");
    for epoch in 2..=4 {
        for (name, value) in read(&format!("epoch-000{epoch}.safetensors")) {
            let own = &average[&name];
            let next = if own.is_floating_point() { own.lerp(&value, 0.25) } else { value };
            average.insert(name, next);
        }
    }
    let latest = find(&run, Name::Latest).unwrap();
    let (kept, state) = read_group(&latest, "ema").unwrap();
    let copied = read("epoch-0004-ema.safetensors");
    assert_eq!(state.ema_updates, 4);
    assert_eq!(kept.keys().collect::<Vec<_>>(), average.keys().collect::<Vec<_>>());
    let mut moved = 0;
    for (name, value) in &kept {
        assert_eq!(value, &average[name], "{name}");
        assert_eq!(value, &copied[name], "{name}");
        moved += usize::from(value != &read("epoch-0004.safetensors")[name]);
    }
    assert!(moved > 10, "{moved}");
    let rows = csv(&run.join("eval.csv"));
    let scored = |name: &str| rows.iter().filter(|row| row[1] == name).count();
    assert!(scored("ema") > 0 && scored("ema") == scored("latest"), "{rows:?}");
    let losses = numbers(&run, "epochs.csv", "ema_val_loss");
    let own = numbers(&run, "epochs.csv", "val_loss");
    assert_eq!(losses[0], own[0]);
    assert!(losses.iter().zip(&own).any(|(ours, theirs)| ours != theirs), "{losses:?} {own:?}");
    // By name, for every command.
    let scores = |which: &str| {
        tiny.succeed(&["eval", run.to_str().unwrap(), "--checkpoint", which]).replace(which, "it")
    };
    assert_eq!(scores("latest-ema"), scores("epoch-0004-ema"));
    assert_ne!(scores("latest-ema"), scores("latest"));
    let other = tiny.train("other", &[]);
    let refused = tiny.run(&["eval", other.to_str().unwrap(), "--checkpoint", "min-loss-ema"]);
    refused.exits(2).says(&["ema.safetensors", "train.ema.decay"]);
    // A resume goes on with it.
    let cut = [&settings[..], &["train.max_steps=21", "scheduler.kind=constant"]].concat();
    train(&tiny, "cut", &cut);
    let whole = train(&tiny, "whole", &[&settings[..], &["scheduler.kind=constant"]].concat());
    continued_equals(&tiny, "cut", &[&settings[..], &["scheduler.kind=constant"]].concat(), &whole);
}

#[test]
fn training_stops_when_a_metric_of_an_evaluation_no_longer_improves() {
    let tiny = Tiny::new();
    let settings = [
        "train.epochs=40",
        "evaluate.every_epochs=1",
        "train.early_stopping.metric=unseen/accuracy",
        "train.early_stopping.patience=2",
        "checkpoint.best=[\"unseen/accuracy\", \"train_loss\"]",
    ];
    let run = train(&tiny, "run", &settings);
    let rows = csv(&run.join("eval.csv"));
    let of_latest = |row: &&Vec<String>| row[1] == "latest" && row[3] == "accuracy";
    let mut seen: Vec<f64> =
        rows.iter().filter(of_latest).map(|row| row[4].parse().unwrap()).collect();
    let epochs = column(&run.join("epochs.csv"), "epoch").len();
    assert!(epochs < 40, "never stopped");
    // Scored once more at the end where the last epoch was not.
    seen.truncate(epochs);
    let best = seen.iter().copied().fold(f64::MIN, f64::max);
    let first = seen.iter().position(|value| *value == best).unwrap();
    assert_eq!(epochs, first + 1 + 2, "{seen:?}");
    let state = read_state(&find(&run, Name::Latest).unwrap()).unwrap();
    let named = find(&run, Name::Best("unseen/accuracy".into())).unwrap();
    assert_eq!(read_state(&named).unwrap().epoch, first as u64 + 1);
    // As the metric is called, and as the folder is.
    for name in ["best-unseen/accuracy", "best-unseen%2Faccuracy"] {
        let args = ["eval", run.to_str().unwrap(), "--checkpoint", name];
        assert!(tiny.succeed(&args).contains("unseen, best-unseen"));
    }
    assert!(run.join("checkpoints/best-unseen%2Faccuracy").exists());
    let kept: BTreeMap<_, _> =
        state.best.iter().map(|(name, best)| (name.as_str(), (best.value, best.epoch))).collect();
    assert_eq!(kept["unseen/accuracy"], (best, first as u64 + 1));
    let losses = numbers(&run, "epochs.csv", "train_loss");
    let least = losses.iter().copied().fold(f64::MAX, f64::min);
    assert_eq!(kept["train_loss"].0, least);
    ended(&tiny, &[], &["checkpoint.best=[\"val_loss\"]", "data.validation=0"])
        .exits(2)
        .says(&["checkpoint.best", "data.validation"]);
    ended(&tiny, &[], &["train.early_stopping.metric=unseen/acuracy"]).exits(2).says(&[
        "train.early_stopping.metric",
        "unseen/acuracy",
        "accuracy",
    ]);
    assert_eq!(run_json(&run)["status"], "finished");
}
