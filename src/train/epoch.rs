//! The steps of an epoch: batches, gathered into windows of one optimizer step each.

use super::embedder::Inputs;
use super::ranks::Asked;
use super::step::{StepOutcome, Window};
use super::trainer::Trainer;
use crate::config::tables::OnNonFinite;
use crate::data::{Batch, EpochIter};
use crate::profile::{self, timed};
use crate::random::{Stream, derive};
use crate::record::{Event, StepRow};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::time::Instant;
use tracing::debug_span;

/// What became of a window.
struct Done {
    outcome: StepOutcome,
    window: Window,
    /// Items of the data set that it was made of.
    files: Vec<usize>,
    /// The last batch, or the one that was not finite.
    last: Batch,
    lr: f64,
}

impl Trainer<'_> {
    /// The steps of the epoch that are left, or as many as the limits allow.
    pub(super) fn train_epoch(&mut self) -> Result<()> {
        let (epoch, first_batch) = (self.progress.epoch, self.progress.batch);
        let accumulate = self.plan.experiment.train.accumulate as u64;
        let count = self.train.batches_per_epoch() as u64;
        self.recorder.emit(&Event::EpochStarted {
            epoch: epoch + 1,
            epochs: self.plan.experiment.train.epochs as u64,
            batches: count.div_ceil(accumulate),
            first_batch: first_batch.div_ceil(accumulate),
        })?;
        let told = self.model.begin_epoch(epoch);
        if self.reducer.is_none() || told.is_some() {
            // A thaw brings parameters that were not averaged before.
            self.reducer = self.ranks.reducer(&self.model.parameters(), &self.divided)?;
        }
        if let Some(text) = told {
            self.recorder.notice(text)?;
        }
        let every_steps = self.plan.experiment.checkpoint.every_steps as u64;
        let mut batches = self.train.epoch(epoch as usize, first_batch as usize);
        while self.progress.batch < count && !self.at_limit() {
            let step = profile::step(self.progress.step + 1);
            let sent = self.ranks.sent();
            self.train_step(&mut batches)?;
            if let (Some(before), Some(now)) = (sent, self.ranks.sent()) {
                self.sent = (self.sent.0 + now - before, self.sent.1 + 1);
            }
            drop(step);
            if let Some(shares) = profile::told() {
                self.recorder.notice(shares)?;
            }
            self.hear_of_checkpoint()?;
            let asked = Asked { stop: self.stop.is_set(), over: self.time_is_over() };
            let asked = self.ranks.any(asked)?;
            self.over = asked.over;
            if asked.stop {
                let by = if self.stop.is_set() { self.stop.by() } else { "another rank" };
                return Err(Error::stopped(format!(
                    "stopped by {by} after step {}",
                    self.progress.step
                )));
            }
            // After the last batch the checkpoint is that of the epoch's end, with its scores.
            let last = self.progress.batch == count;
            if every_steps > 0 && self.progress.step.is_multiple_of(every_steps) && !last {
                self.save(false)?;
            }
        }
        Ok(())
    }

    /// One optimizer step: forward and backward passes over its batches, then the update.
    fn train_step(&mut self, batches: &mut EpochIter) -> Result<()> {
        let begun = Instant::now();
        let before = self.before_step();
        let done = self.pass_window(batches)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.reserve.step(seconds);
        let Done { outcome, window, files, last, lr } = done;
        let scale = self.stepper.scaler.as_ref().map(|scaler| scaler.state().scale);
        let diverged = outcome.diverged(scale);
        if diverged {
            let seen = self.diagnose(&outcome, lr, &last, &files);
            self.after_nonfinite(seen, before)?;
            self.progress.leave_out(window.batches, seconds);
        } else {
            self.progress.add_window(&outcome, &window, seconds);
            if let Some(average) = &mut self.average {
                average.after_step(self.progress.step, &self.model)?;
            }
        }
        let samples = window.samples as f64;
        self.count_loading();
        let partial = &self.progress.partial;
        let waited = partial.loading.get("loader_wait").copied().unwrap_or(0.0);
        let wait = waited / partial.seconds.max(1e-9);
        self.recorder.emit(&Event::Step(StepRow {
            step: self.progress.step,
            epoch: self.progress.epoch + 1,
            loss: outcome.loss,
            lr,
            images_per_second: samples / seconds,
            accuracy: Some(outcome.correct as f64 / samples),
            grad_norm: Some(outcome.grad_norm),
            extras: self.extras(&outcome, diverged),
            wait,
        }))?;
        match self.progress.step {
            1 => self.show_batch(&last),
            _ => Ok(()),
        }
    }

    /// The batches of a step. After one that is not finite the rest of its window is passed over, so
    /// that the windows of an epoch are the same whatever happens.
    fn pass_window(&mut self, batches: &mut EpochIter) -> Result<Done> {
        let train = &self.plan.experiment.train;
        let (most, full) = (train.accumulate, train.batch_size as f64);
        let left = self.train.batches_per_epoch() as u64 - self.progress.batch;
        let count = (most as u64).min(left);
        let step = self.progress.step;
        let lr = self.scheduler.lr(step as usize);
        // Noise inside a step depends on the step alone: a resumed run draws the same.
        let stream = 2 * self.ranks.rank() as u64;
        tch::manual_seed(derive(self.plan.experiment.seed, Stream::Step, stream, step) as i64);
        let (mut window, mut files, mut last) = (Window::default(), Vec::new(), None);
        for batch in batches.by_ref().take(count as usize) {
            let batch = batch?;
            files.extend_from_slice(&batch.indices);
            if !window.is_finite() {
                window.batches += 1;
                continue;
            }
            let inputs = Inputs::of(&batch, self.train.dataset(), &self.model);
            // The mean over all samples: by the share of a full batch now, by their number below.
            let share = if most == 1 { 1.0 } else { batch.whole as f64 / full };
            let last_one = window.batches + 1 == count;
            let reducer = self.reducer.as_mut().filter(|_| last_one);
            let scalars = self.stepper.accumulate(&mut self.model, &inputs, share, reducer)?;
            let (own, whole) = (batch.len() as u64, batch.whole as u64);
            self.ranks.add(&mut window, scalars, own, whole)?;
            last = Some(batch);
        }
        let Some(last) = last else {
            return Err(Error::failed(format!("the loader ended before step {}", step + 1)));
        };
        let factor = if most == 1 { 1.0 } else { full / window.samples as f64 };
        let (grad_norm, skipped) = match window.is_finite() {
            true => timed(debug_span!("optimizer"), self.model.device(), || {
                self.stepper.update(self.optimizer.as_mut(), lr, factor)
            })?,
            false => (f64::NAN, false),
        };
        if grad_norm.is_finite() || skipped {
            self.model.loss.after_step();
        }
        let outcome = window.clone().outcome(grad_norm, skipped);
        Ok(Done { outcome, window, files, last, lr })
    }

    /// Columns of `steps.csv` beyond the usual ones; the same in every step of a run.
    fn extras(&self, outcome: &StepOutcome, left_out: bool) -> BTreeMap<String, f64> {
        let mut extras: BTreeMap<String, f64> =
            self.loss_columns.iter().cloned().zip(outcome.values.iter().copied()).collect();
        let flag = |on: bool| f64::from(u8::from(on));
        extras.insert("embedding_norm".to_string(), outcome.embedding_norm);
        if let Some(scaler) = &self.stepper.scaler {
            extras.insert("amp_scale".to_string(), scaler.state().scale);
            extras.insert("amp_skipped".to_string(), flag(outcome.skipped));
        }
        if self.plan.experiment.train.on_nonfinite != OnNonFinite::Stop {
            extras.insert(LEFT_OUT.to_string(), flag(left_out));
        }
        extras
    }
}

/// The column that tells the steps that were left out.
pub(super) const LEFT_OUT: &str = "left_out";
