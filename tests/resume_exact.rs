//! Every loss, optimizer, scheduler, sampler and number format goes on from a checkpoint in the middle
//! of an epoch as if nothing had happened.
//!
//! A finished run is put back to where a kill would have left it: its last checkpoint is taken away, so
//! that the one before, three batches into the second epoch, is the newest, while the CSV files have
//! the rows of the end. It is continued and must end with the same bits. `tests/resume.rs` and
//! `tests/soak.rs` do the same with real signals.

mod support;

use arcrun::checkpoint::{Name, find, read_state};
use arcrun::config::{Family, FamilyInfo, load_str};
use arcrun::data::SamplerConfig;
use arcrun::loss::LossConfig;
use arcrun::optimizer::OptimizerConfig;
use arcrun::plan::Plan;
use arcrun::record::Verbosity;
use arcrun::scheduler::SchedulerConfig;
use arcrun::train::signals::StopFlag;
use arcrun::train::{self, Continue, Options};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use support::pairs::{PAIRS, pairs};
use support::{TINY, Tiny, assert_same_training, column};

/// torch has one generator and one number of threads for all.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|failed| failed.into_inner())
}

/// Trains `text` in the folder `run` of `tiny`.
fn train(tiny: &Tiny, text: &str, run: &str, sets: &[&str], from: Option<Continue>) {
    let datasets = format!("paths.datasets={}", tiny.path("datasets").display());
    let usual = [&datasets, "record.wandb.mode=disabled", "record.scores=false"];
    let sets: Vec<String> = usual.iter().chain(sets).map(ToString::to_string).collect();
    let file = tiny.path("exact.toml");
    let loaded = load_str(file.to_str().unwrap(), text, &sets).unwrap_or_else(|e| panic!("{e}"));
    let plan = Plan::new(loaded).unwrap();
    let options = Options {
        continue_train: from,
        run_dir: Some(tiny.path(run)),
        verbosity: Verbosity::Quiet,
        again: Vec::new(),
        time_limit: None,
        profile: None,
    };
    train::run(&plan, &options, &StopFlag::default()).unwrap();
}

/// Trains two epochs, goes back to step `at` and trains the rest again.
#[track_caller]
fn goes_on_alike(tiny: &Tiny, text: &str, at: u64, sets: &[&str]) {
    let every = format!("checkpoint.every_steps={at}");
    let sets = [&["train.epochs=2", &every, "checkpoint.every_epochs=1"], sets].concat();
    let [whole, run] = ["whole", "run"].map(|name| tiny.path(name));
    for folder in [&whole, &run] {
        let _ = std::fs::remove_dir_all(folder);
    }
    train(tiny, text, "whole", &sets, None);
    assert!(Command::new("cp").arg("-r").args([&whole, &run]).status().unwrap().success());
    let newest = find(&run, Name::Latest).unwrap();
    std::fs::remove_dir_all(newest).unwrap();
    let before = read_state(&find(&run, Name::Previous).unwrap()).unwrap();
    assert_eq!((before.step, before.epoch), (at, 1), "{sets:?}");
    assert!(before.batch_in_epoch > 0 && !before.finished);
    train(tiny, text, "run", &sets, Some(Continue::Latest));
    assert_same_training(&run, &whole);
}

/// Eight batches an epoch, with dropout in the head.
fn faces(tiny: &Tiny, sets: &[&str]) {
    goes_on_alike(tiny, TINY, 11, sets);
}

/// Runs a case for each kind of a family; `more` is what a kind needs.
fn each(family: &FamilyInfo, skipped: &[&str], more: impl Fn(&str) -> Vec<&'static str>) {
    let tiny = Tiny::new();
    let mut known = 0;
    for kind in &family.kinds {
        if skipped.contains(&kind.name) {
            known += 1;
            continue;
        }
        let set = format!("{}.kind={}", family.name, kind.name);
        faces(&tiny, &[&[set.as_str()], &more(kind.name)[..]].concat());
    }
    assert_eq!(known, skipped.len(), "a kind that is skipped is gone");
}

/// Two images of each identity in a batch.
const PAIRED: [&str; 2] = ["sampler.kind=pk", "sampler.images_per_identity=2"];

#[test]
fn every_loss() {
    let _alone = alone();
    // Those of images and captions are in `losses_of_captions`.
    each(&LossConfig::family(), &["clip", "siglip"], |kind| match kind {
        "triplet" | "supcon" => PAIRED.to_vec(),
        "sum" => vec![
            "loss.parts.a.loss.kind=curricularface",
            "loss.parts.b.loss.kind=adaface",
            "loss.parts.b.weight=0.5",
        ],
        _ => Vec::new(),
    });
}

#[test]
fn losses_of_captions() {
    let _alone = alone();
    let tiny = pairs();
    let file = format!("data.file={}", tiny.path("pairs/captions.csv").display());
    for loss in ["loss.kind=clip", "loss.kind=siglip"] {
        // Seven batches an epoch.
        goes_on_alike(&tiny, PAIRS, 10, &[&file, loss]);
    }
}

#[test]
fn every_optimizer() {
    let _alone = alone();
    each(&OptimizerConfig::family(), &[], |kind| match kind {
        "sgd" => vec!["optimizer.momentum=0.9", "optimizer.nesterov=true"],
        _ => vec!["optimizer.lr=0.01", "groups.layer_decay=0.9", "train.clip_grad_norm=1.0"],
    });
}

#[test]
fn every_scheduler() {
    let _alone = alone();
    let early = "train.early_stopping.patience=5";
    each(&SchedulerConfig::family(), &[], |kind| match kind {
        "reduce_on_plateau" => vec![early, "scheduler.patience=0", "scheduler.threshold=0.5"],
        "multi_step" => vec![early, "scheduler.milestones=[1]"],
        _ => vec![early],
    });
}

#[test]
fn every_sampler() {
    let _alone = alone();
    each(&SamplerConfig::family(), &[], |kind| match kind {
        "pk" => vec!["sampler.images_per_identity=2"],
        _ => Vec::new(),
    });
}

#[test]
fn every_number_format_and_what_draws_at_random() {
    let _alone = alone();
    let tiny = Tiny::new();
    faces(&tiny, &["train.amp=fp16", "optimizer.kind=adam"]);
    let scale = column(&tiny.path("run/steps.csv"), "amp_scale");
    assert_eq!(scale.len(), 16);
    let state = read_state(&find(&tiny.path("run"), Name::Latest).unwrap()).unwrap();
    assert!(state.scaler.is_some_and(|scaler| scaler["scale"].as_f64().unwrap() > 0.0));
    faces(&tiny, &["train.amp=bf16", "loss.kind=curricularface"]);
    faces(&tiny, &["train.amp=bf16", "optimizer.kind=adamw", "loss.kind=adaface"]);
    // A scale that has just been lowered, and counts.
    faces(&tiny, &["train.amp=fp16", "optimizer.lr=1e-4", "loss.scale=2048"]);
    let scale = column(&tiny.path("run/steps.csv"), "amp_scale");
    assert!(scale[0] != scale[10], "never lowered: {scale:?}");
    faces(&tiny, &["head.dropout=0.7", "train.channels_last=true", "loader.workers=3"]);
    faces(
        &tiny,
        &[
            "augmentation.resized_crop.share=0.5",
            "augmentation.color_jitter.share=0.5",
            "augmentation.cutout.share=0.5",
            "finetune.freeze_stages=1",
            "finetune.unfreeze_epoch=2",
        ],
    );
}

/// Nothing is left of the run that was put back.
#[test]
fn a_checkpoint_of_the_first_steps_will_do() {
    let _alone = alone();
    let tiny = Tiny::new();
    let sets = ["train.epochs=1", "checkpoint.every_steps=7"];
    train(&tiny, TINY, "whole", &sets, None);
    let [whole, run] = ["whole", "run"].map(|name| tiny.path(name));
    let copied = Command::new("cp").arg("-r").args([&whole, &run]).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(find(&run, Name::Latest).unwrap()).unwrap();
    train(&tiny, TINY, "run", &sets, Some(Continue::Latest));
    assert_same_training(&run, &whole);
    let left: Vec<String> = names(&run);
    assert_eq!(left, names(&whole));
}

fn names(run: &Path) -> Vec<String> {
    arcrun::checkpoint::list(run).into_iter().map(|(name, _)| name.to_string()).collect()
}
