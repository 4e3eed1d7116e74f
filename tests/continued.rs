//! What a run does when it goes on under another limit or metric than before, and what it says of a
//! training that goes wrong between its steps.

mod support;

use std::path::Path;

use arcrun::checkpoint::{Name, find, read_state};
use support::{Ended, Tiny, column, csv, run_json, status};

/// Batches of an epoch.
const BATCHES: usize = 8;

fn run(tiny: &Tiny, run: &str, args: &[&str], settings: &[&str]) -> Ended {
    let sets = settings.iter().flat_map(|set| ["--set", set]);
    let given = ["tiny.toml", "--run-dir", run].into_iter().chain(args.iter().copied());
    tiny.run(&given.chain(sets).collect::<Vec<_>>())
}

fn go_on(tiny: &Tiny, name: &str, settings: &[&str]) -> Ended {
    run(tiny, name, &["--continue-train", "latest"], settings)
}

fn steps(run: &Path) -> usize {
    column(&run.join("steps.csv"), "step").len()
}

#[test]
fn a_time_that_is_over_ends_a_continued_run_before_its_next_step() {
    let tiny = Tiny::new();
    let folder = tiny.path("run");
    let constant = "scheduler.kind=constant";
    let cut = run(&tiny, "run", &[], &[constant, "train.epochs=100000", "train.max_time=1s"]);
    let state = |folder: &Path| read_state(&find(folder, Name::Latest).unwrap()).unwrap();
    let was_cut = state(&folder).cut;
    if was_cut {
        cut.says(&["train.max_time = \"1s\" is reached after step"]);
    }
    let before = (steps(&folder), state(&folder).checkpoint_hash());
    for longer in
        [["train.epochs=100001", "train.max_time=1s"], ["train.epochs=9999", "max_time=1001ms"]]
    {
        go_on(&tiny, "run", &[&[constant], &longer[..]].concat()).exits(0);
        assert_eq!(status(&folder), "finished");
        assert_eq!((steps(&folder), state(&folder).checkpoint_hash()), before, "{longer:?}");
    }
    // Without the limit the epoch that it cut is made whole.
    let epochs = column(&folder.join("epochs.csv"), "epoch").len();
    let whole = format!("train.epochs={}", epochs + 1);
    go_on(&tiny, "run", &[constant, &whole]).exits(0);
    assert_eq!(steps(&folder), (epochs + 1) * BATCHES);
}

#[test]
fn early_stopping_counts_anew_for_another_metric() {
    let tiny = Tiny::new();
    let patience = "train.early_stopping.patience=2";
    let metric = |name: &str| format!("train.early_stopping.metric={name}");
    // Nothing is better than a loss that has to fall by a million.
    let huge = "train.early_stopping.min_delta=1000000";
    let first = [patience, huge, &metric("train_loss"), "scheduler.kind=constant"];
    run(&tiny, "run", &[], &[&first[..], &["train.epochs=2"]].concat()).exits(0);
    let folder = tiny.path("run");
    let state = || read_state(&find(&folder, Name::Latest).unwrap()).unwrap();
    assert_eq!(state().early_stopping.bad_epochs, 1);
    let second = [patience, &metric("unseen/accuracy"), "scheduler.kind=constant"];
    let other = [&second[..], &["train.epochs=3", "evaluate.every_epochs=1"]].concat();
    go_on(&tiny, "run", &other).exits(0).says(&["early stopping counts anew"]);
    assert_eq!(column(&folder.join("epochs.csv"), "epoch").len(), 3);
    assert_eq!(state().early_stopping.bad_epochs, 0);
    // Another patience alone keeps the count.
    let longer = [&other[..1], &["train.early_stopping.patience=3"], &other[1..]].concat();
    let longer = [&longer[..], &["train.epochs=4"]].concat();
    let said = go_on(&tiny, "run", &longer).exits(0);
    assert!(!said.stderr.contains("counts anew"), "{}", said.stderr);
}

#[test]
fn a_stop_before_the_first_step_leaves_something_to_go_on_from() {
    let tiny = Tiny::new();
    let settings = ["record.embeddings_every_epochs=1", "train.epochs=1"];
    let stopped = run(&tiny, "run", &["--time-limit", "1s"], &settings);
    stopped.exits(75).says(&["stopped by the time limit", "--continue-train latest"]);
    assert!(find(&tiny.path("run"), Name::Latest).is_ok());
    go_on(&tiny, "run", &settings).exits(0);
    run(&tiny, "whole", &[], &settings).exits(0);
    let hash = |name: &str| {
        read_state(&find(&tiny.path(name), Name::Latest).unwrap()).unwrap().checkpoint_hash()
    };
    assert_eq!(hash("run"), hash("whole"));
}

#[test]
fn averaged_weights_are_a_metric_and_are_evaluated_with_all() {
    let tiny = Tiny::new();
    let metric = "train.early_stopping.metric=ema_val_loss";
    let settings = [
        "train.ema.decay=0.5",
        metric,
        "checkpoint.best=[\"ema_val_loss\", \"loader_wait\"]",
        "train.early_stopping.patience=9",
    ];
    run(&tiny, "run", &[], &settings).exits(0);
    let folder = tiny.path("run");
    let column = |name: &str| -> Vec<f64> {
        column(&folder.join("epochs.csv"), name).iter().map(|text| text.parse().unwrap()).collect()
    };
    let state = read_state(&find(&folder, Name::Latest).unwrap()).unwrap();
    let least = column("ema_val_loss").into_iter().fold(f64::MAX, f64::min);
    assert_eq!(state.best["ema_val_loss"].value, least);
    assert_eq!(state.early_stopping.best, Some(least));
    let said = tiny.succeed(&["eval", "run", "--checkpoint", "all"]);
    assert!(said.contains("latest-ema"), "{said}");
    // Without an average there is no such column.
    let refused = run(&tiny, "none", &[], &[metric]);
    refused.exits(2).says(&["train.early_stopping.metric", "no column of epochs.csv"]);
}

#[test]
fn a_metric_that_no_evaluation_measures_is_warned_of_once() {
    let tiny = Tiny::new();
    // Too few pairs for it.
    let settings =
        ["checkpoint.best=[\"unseen/tar@far=1e-6\"]", "evaluate.every_epochs=1", "train.epochs=3"];
    let said = run(&tiny, "run", &[], &settings).exits(0);
    let warning = "`checkpoint.best` has \"unseen/tar@far=1e-6\"";
    assert_eq!(said.stderr.matches(warning).count(), 1, "{}", said.stderr);
}

#[test]
fn what_a_run_says_at_its_end_knows_of_the_sessions_before() {
    let tiny = Tiny::new();
    let every = "evaluate.every_epochs=1";
    run(&tiny, "run", &[], &[every, "train.epochs=1"]).exits(0);
    let said = go_on(&tiny, "run", &[every, "train.epochs=2"]).exits(0);
    assert!(said.stdout.contains("(untrained 0."), "{}", said.stdout);
    assert_eq!(run_json(&tiny.path("run"))["processes"], 1);
    for name in ["epoch-0009", "best-unseen/auc"] {
        let args = ["tiny.toml", "--run-dir", "run", "--continue-train", name];
        // As the folder is called.
        tiny.run(&args).exits(2).says(&[&name.replace('/', "%2F"), "min-loss"]);
    }
    let fork = ["tiny.toml", "--run-dir", "run", "--continue-train", "min-loss"];
    tiny.run(&[&fork[..], &["--set", "train.epochs=4", "--set", every]].concat()).exits(0);
    let least = ["--run-dir", "run", "--continue-train", "min-loss", "--set", "train.epochs=1"];
    let refused = tiny.run(&[&["tiny.toml"], &least[..]].concat());
    refused.exits(2).says(&["nothing is left to train", "train.epochs = 1", "--epochs 2"]);
}

/// Weights that become infinite in the last update, which no loss shows.
const BLOWN: [&str; 5] = [
    "optimizer.kind=sgd",
    "optimizer.momentum=0",
    "optimizer.lr=1e38",
    "scheduler.kind=constant",
    "train.max_steps=1",
];

#[test]
fn weights_that_blow_up_are_told_in_full() {
    let tiny = Tiny::new();
    let stopped = run(&tiny, "run", &[], &BLOWN);
    stopped.exits(3);
    let crash = std::fs::read_to_string(tiny.path("run").join("crash.txt")).unwrap();
    for part in ["learning rate 1e38", "weights not finite:", "last good checkpoint: none"] {
        assert!(crash.contains(part), "{part}: {crash}");
    }
}

#[test]
fn a_validation_that_is_not_finite_names_its_images_and_no_checkpoint_of_it() {
    let tiny = Tiny::new();
    // Running statistics of one step, and weights that it moved far.
    let settings =
        ["optimizer.kind=sgd", "optimizer.lr=1e9", "scheduler.kind=constant", "train.max_steps=1"];
    let stopped = run(&tiny, "run", &[], &settings);
    stopped.exits(3).says(&["in the validation after step 1"]);
    let crash = std::fs::read_to_string(tiny.path("run").join("crash.txt")).unwrap();
    for part in [
        "learning rate 1e9",
        "images of the batch",
        "first operation not finite: ",
        "last good checkpoint: none",
    ] {
        assert!(crash.contains(part), "{part}: {crash}");
    }
}

#[test]
fn overfitting_looks_at_no_other_images() {
    let tiny = Tiny::new();
    let settings = ["train.epochs=3", "evaluate.every_epochs=1"];
    let said = run(&tiny, "run", &["--overfit-one-batch"], &settings).exits(0);
    said.says(&["nothing is validated or evaluated", "overfit on 1 batches"]);
    let rows = csv(&tiny.path("run").join("epochs.csv"));
    assert_eq!(rows.len(), 1 + 3);
    assert!(!tiny.path("run").join("eval.csv").exists());
    assert!(column(&tiny.path("run").join("epochs.csv"), "val_loss").iter().all(String::is_empty));
}
