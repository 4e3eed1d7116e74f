//! `run check` and `--dry-run`: everything up to the first training step.

use super::args::{Settings, experiment_files};
use super::progress::Counter;
use super::{print_error, request, say};
use crate::config::{Loaded, load};
use crate::data::{Dataset, OnCorrupt};
use crate::evaluate::Absent;
use crate::inference::{self, embedding};
use crate::plan::Plan;
use crate::record::Verbosity;
use crate::train::build::{steps_per_epoch, train_loader};
use crate::train::embedder::pixels;
use crate::train::model::Model;
use crate::train::pretrained;
use crate::train::session::{Prepared, prepare, set_up_torch, wandb_settings};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::fmt::Write;

/// Checks every file and reports every error before it fails.
pub fn check(patterns: &[String], settings: &Settings) -> Result<()> {
    let mut wrong = 0;
    let files = experiment_files(patterns)?;
    for file in &files {
        let result = load(&request(file, settings))
            .and_then(|loaded: Loaded| Plan::new(loaded))
            .and_then(|plan| dry_run(&plan));
        match result {
            Ok(text) => say(&text)?,
            Err(error) => {
                print_error(&error);
                wrong += 1;
            }
        }
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(Error::input(format!("{wrong} of {} experiments are wrong", files.len()))),
    }
}

/// Opens the data and the evaluation sets, builds the parts, sends one batch through the network;
/// returns what the run would be.
pub fn dry_run(plan: &Plan) -> Result<String> {
    let experiment = &plan.experiment;
    wandb_settings(plan)?;
    set_up_torch(plan, None)?;
    let Prepared { splits, evaluation, notes } =
        prepare(plan, Verbosity::Normal, Absent::Refuse, &StopFlag::default())?;
    let (train, classes) = (held(&splits.train), splits.train.labels.len());
    let mut model = Model::build(experiment, classes, plan.device);
    let loaded = pretrained::load(&model, experiment)?;
    let loaded = loaded.into_iter().chain(pretrained::preprocessing(experiment));
    let grouped = model.grouped(plan)?;
    let parameters = grouped.values();
    let groups = [grouped.notice, model.frozen_notice(experiment.train.epochs)];
    let loader = train_loader(plan, splits.train, splits.on_corrupt)?;
    let steps = steps_per_epoch(plan, &loader);
    if let Some(batch) = loader.epoch(0, 0).next() {
        let pixels = pixels(&batch?).to_device(plan.device);
        let _ = tch::no_grad(|| model.embed(&model.normalize(&pixels), false));
    }
    let mut text = format!("{}: ready\n", plan.file.display());
    // Writing to a String can't fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    line("device", crate::torch::device::describe(plan.device));
    line("train", train);
    if let Some(validation) = &splits.validation {
        let held = match validation.captions.is_empty() {
            true => format!("{} images", validation.len()),
            false => held(validation),
        };
        line("validation", held);
    }
    line("parameters", format!("{parameters}"));
    line("steps", format!("{} epochs of {steps}", experiment.train.epochs));
    for (name, set) in &evaluation.sets {
        line("evaluate", format!("{name}: {}", set.size()));
    }
    let counter = Counter::new("reading evaluation images", false);
    for (name, set) in &evaluation.sets {
        let embedding = inference::options(plan, false, OnCorrupt::Error);
        let read = embedding::readable(&evaluation.preprocess, set.images(), embedding, &|a, b| {
            counter.set(a, b);
            true
        });
        read.map_err(|error| in_set(name, error))?;
    }
    counter.finish();
    let notes = notes.into_iter().chain(loaded).chain(groups.into_iter().flatten());
    notes.for_each(|note| line("note", note));
    Ok(text)
}

/// What a part of the data holds.
fn held(set: &Dataset) -> String {
    match set.captions.is_empty() {
        true => format!("{} images of {} identities", set.len(), set.labels.len()),
        false => format!("{} images with {} captions", set.distinct().len(), set.len()),
    }
}

fn in_set(name: &str, error: Error) -> Error {
    match error {
        Error::Input { message, help } => {
            Error::Input { message: format!("evaluate.sets.{name}: {message}"), help }
        }
        other => other,
    }
}
