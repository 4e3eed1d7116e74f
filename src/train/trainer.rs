//! The training loop: epochs of steps, validation, evaluation, checkpoints.

use super::divergence::REMEDY;
use super::embedder::Inputs;
use super::embeddings::EmbeddingsRecord;
use super::evaluation::{Evaluation, Scored};
use super::model::Model;
use super::pretrained;
use super::progress::Progress;
use super::signals::StopFlag;
use super::step::{StepOutcome, Stepper};
use crate::checkpoint::{self, Labels, Name, Snapshot, State, Store, find};
use crate::cli::progress::Counter;
use crate::data::{Batch, Loader};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::random::{Stream, derive};
use crate::record::{EpochRow, Event, Recorder, StepRow};
use crate::scheduler::Scheduler;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Tensor;

/// Everything a run consists of once it is built.
pub struct Trainer<'a> {
    pub plan: &'a Plan,
    pub run: PathBuf,
    pub model: Model,
    pub optimizer: Box<dyn Optimizer>,
    pub scheduler: Scheduler,
    pub stepper: Stepper,
    pub train: Loader,
    pub validation: Option<Loader>,
    pub evaluation: Evaluation,
    pub embeddings: Option<EmbeddingsRecord>,
    pub recorder: Recorder,
    pub store: Store,
    pub stop: StopFlag,
    pub progress: Progress,
    pub labels: Labels,
    /// Names of the values of a step's loss.
    pub loss_columns: Vec<String>,
    /// Broken images that `skipped.csv` names.
    pub skipped: usize,
}

impl Trainer<'_> {
    /// Trains to the end, or to a stop or a failure. What can be kept has been kept when this
    /// returns: an error of kind `Stopped` comes after its checkpoint.
    pub fn run(&mut self) -> Result<()> {
        match self.run_through() {
            Err(stopped @ Error::Stopped { .. }) => {
                if self.progress.step > 0 {
                    self.save()?;
                }
                Err(stopped)
            }
            other => other,
        }
    }

    fn run_through(&mut self) -> Result<()> {
        if self.progress.step > 0 && find(&self.run, Name::Latest).is_err() {
            // A fork: from here on this folder can be continued by itself.
            self.save()?;
        }
        let Progress { epoch, batch, .. } = self.progress;
        if let Some(record) = &self.embeddings
            && batch == 0
            && record.lacks(&self.run, epoch)
        {
            record.record(&self.model, &self.run, epoch, &self.stop)?;
        }
        while !self.is_done() {
            self.train_epoch()?;
            self.end_epoch()?;
        }
        self.evaluate_best()
    }

    /// Nothing is left to train.
    fn is_done(&self) -> bool {
        let train = &self.plan.experiment.train;
        self.progress.epoch >= train.epochs as u64
            || self.at_step_limit()
            || self.progress.out_of_patience(&train.early_stopping)
    }

    fn at_step_limit(&self) -> bool {
        let limit = self.plan.experiment.train.max_steps as u64;
        limit > 0 && self.progress.step >= limit
    }

    /// The steps of the epoch that are left.
    fn train_epoch(&mut self) -> Result<()> {
        let Progress { epoch, batch: first_batch, .. } = self.progress;
        self.recorder.emit(&Event::EpochStarted {
            epoch: epoch + 1,
            epochs: self.plan.experiment.train.epochs as u64,
            batches: self.train.batches_per_epoch() as u64,
            first_batch,
        })?;
        if let Some(text) = self.model.begin_epoch(epoch) {
            self.recorder.notice(text)?;
        }
        let every_steps = self.plan.experiment.checkpoint.every_steps as u64;
        let count = self.train.batches_per_epoch() as u64;
        let batches = self.train.epoch(epoch as usize, first_batch as usize);
        let mut begun = Instant::now();
        for batch in batches {
            if self.at_step_limit() {
                break;
            }
            let batch = batch?;
            self.train_batch(&batch, begun)?;
            begun = Instant::now();
            if self.stop.is_set() {
                return Err(Error::stopped(format!(
                    "stopped by {} after step {}",
                    self.stop.by(),
                    self.progress.step
                )));
            }
            // After the last batch the checkpoint is that of the epoch's end, with its scores.
            let last = self.progress.batch == count;
            if every_steps > 0 && self.progress.step.is_multiple_of(every_steps) && !last {
                self.save()?;
            }
        }
        Ok(())
    }

    fn train_batch(&mut self, batch: &Batch, begun: Instant) -> Result<()> {
        let step = self.progress.step;
        let lr = self.scheduler.lr(step as usize);
        // Noise inside a step depends on the step alone: a resumed run draws the same.
        tch::manual_seed(derive(self.plan.experiment.seed, Stream::Step, 0, step) as i64);
        let inputs = Inputs::of(batch, self.train.dataset(), &self.model);
        let optimizer = self.optimizer.as_mut();
        let outcome = self.stepper.step(&mut self.model, optimizer, lr, &inputs)?;
        if outcome.diverged() {
            return Err(self.diverged(&outcome, lr));
        }
        let (samples, seconds) = (batch.len() as u64, begun.elapsed().as_secs_f64());
        self.progress.add_batch(&outcome, samples, seconds);
        self.count_loading();
        let partial = &self.progress.partial;
        let waited = partial.loading.get("loader_wait").copied().unwrap_or(0.0);
        let wait = waited / partial.seconds.max(1e-9);
        self.recorder.emit(&Event::Step(StepRow {
            step: self.progress.step,
            epoch: self.progress.epoch + 1,
            loss: outcome.loss,
            lr,
            images_per_second: samples as f64 / seconds,
            accuracy: Some(outcome.correct as f64 / samples as f64),
            grad_norm: Some(outcome.grad_norm),
            extras: self.extras(&outcome),
            wait,
        }))?;
        match self.progress.step {
            1 => self.show_batch(batch),
            _ => Ok(()),
        }
    }

    /// Columns of `steps.csv` beyond the usual ones; the same in every step of a run.
    fn extras(&self, outcome: &StepOutcome) -> BTreeMap<String, f64> {
        let mut extras: BTreeMap<String, f64> =
            self.loss_columns.iter().cloned().zip(outcome.values.iter().copied()).collect();
        extras.insert("embedding_norm".to_string(), outcome.embedding_norm);
        if let Some(scaler) = &self.stepper.scaler {
            let skipped = f64::from(u8::from(outcome.skipped));
            extras.insert("amp_scale".to_string(), scaler.state().scale);
            extras.insert("amp_skipped".to_string(), skipped);
        }
        extras
    }

    /// Validation, evaluation, the epoch's row, the checkpoint.
    fn end_epoch(&mut self) -> Result<()> {
        self.report_skipped()?;
        self.check_weights()?;
        let experiment = &self.plan.experiment;
        let begun = Instant::now();
        self.count_loading();
        let validation = self.validate()?;
        let epoch = self.progress.epoch + 1;
        let every = experiment.evaluate.every_epochs as u64;
        let due = every > 0 && epoch.is_multiple_of(every);
        let rows = if due { self.evaluate_latest(epoch)? } else { Vec::new() };
        if let Some(record) = self.embeddings.as_ref().filter(|record| record.is_due(epoch)) {
            record.record(&self.model, &self.run, epoch, &self.stop)?;
        }

        // From here to the checkpoint nothing can be interrupted by a signal.
        let (train_loss, train_accuracy) = self.progress.means();
        let partial = self.progress.partial.clone();
        let monitored = validation.map_or(self.progress.monitored(), |(loss, _)| loss);
        let row = EpochRow {
            epoch,
            train_loss,
            train_accuracy: Some(train_accuracy),
            val_loss: validation.map(|(loss, _)| loss),
            val_accuracy: validation.map(|(_, accuracy)| accuracy),
            lr: self.scheduler.lr(self.progress.step.saturating_sub(1) as usize),
            seconds: partial.seconds + begun.elapsed().as_secs_f64(),
            images_per_second: partial.seen as f64 / partial.seconds,
            extras: partial.loading,
        };
        let patience = &experiment.train.early_stopping;
        self.progress.end_epoch(row.clone(), monitored, patience);
        self.scheduler.observe(monitored);
        self.show_parameters()?;
        self.recorder.emit(&Event::EpochEnded(row))?;
        self.evaluation.record(rows, &mut self.recorder)?;
        self.save()?;
        if self.progress.out_of_patience(patience) {
            self.recorder.notice(format!(
                "early stopping: the monitored loss has not fallen for {} epochs",
                patience.patience
            ))?;
        }
        let weights = experiment.checkpoint.weights_every_epochs as u64;
        if weights > 0 && epoch.is_multiple_of(weights) {
            self.store.save_weights(epoch, &on_cpu(self.model.tensors()))?;
        }
        Ok(())
    }

    /// Adds what the loader did since the last time to the epoch's sums.
    fn count_loading(&mut self) {
        for (name, seconds) in self.train.take_stages().columns() {
            *self.progress.partial.loading.entry(name.to_string()).or_default() += seconds;
        }
    }

    /// Mean loss and accuracy on the validation images; None where there are none.
    fn validate(&mut self) -> Result<Option<(f64, f64)>> {
        let Some(loader) = &self.validation else { return Ok(None) };
        // A loss that draws at random draws the same after a resume right before the validation.
        tch::manual_seed(
            derive(self.plan.experiment.seed, Stream::Step, 1, self.progress.step) as i64
        );
        let (mut loss, mut correct, mut seen) = (0.0, 0, 0);
        let counter = Counter::new("validating", self.evaluation.quiet);
        for batch in loader.epoch(0, 0) {
            if self.stop.is_set() {
                let by = self.stop.by();
                return Err(Error::stopped(format!("stopped by {by} during validation")));
            }
            let batch = batch?;
            if batch.len() == 1 && !loader.dataset().captions.is_empty() {
                // A caption alone is told apart from nothing: its loss is 0 whatever the weights.
                continue;
            }
            let inputs = Inputs::of(&batch, loader.dataset(), &self.model);
            let _no_grad = tch::no_grad_guard();
            let forward = self.stepper.forward(&mut self.model, &inputs, false)?;
            let scalars = forward.scalars();
            if !scalars.monitored.is_finite() || !scalars.embedding_norm.is_finite() {
                let Progress { step, epoch, .. } = self.progress;
                let kind = self.plan.experiment.loss.kind();
                let message = format!(
                    "in the validation after step {step} (epoch {}) the loss `{kind}` is {}, the mean \
                     norm of the embeddings {}",
                    epoch + 1,
                    scalars.loss,
                    scalars.embedding_norm
                );
                return Err(Error::diverged(message).help(REMEDY));
            }
            loss += scalars.monitored * batch.len() as f64;
            correct += scalars.correct;
            seen += batch.len();
            counter.set(seen, loader.dataset().len());
        }
        counter.finish();
        if seen == 0 {
            return Ok(None);
        }
        Ok(Some((loss / seen as f64, correct as f64 / seen as f64)))
    }

    /// Scores the weights as they are. The first time, the initial weights are scored beside them
    /// (which the seed brings back), so that the first step need not wait for that.
    fn evaluate_latest(&self, epoch: u64) -> Result<Vec<Scored>> {
        let mut scores = Vec::new();
        let experiment = &self.plan.experiment;
        if experiment.evaluate.untrained && self.evaluation.rows() == 0 {
            let initial = Model::build(experiment, self.labels.names.len(), self.plan.device);
            match pretrained::load(&initial, experiment) {
                Ok(_) => {
                    scores.extend(self.evaluation.run(&initial, "untrained", 0, &self.stop)?)
                }
                // A resume does not need them but for this.
                Err(why) => crate::tell!("the untrained model is not scored: {why}"),
            }
        }
        scores.extend(self.evaluation.run(&self.model, "latest", epoch, &self.stop)?);
        Ok(scores)
    }

    /// After training: the last weights, unless the last epoch's evaluation was of them, and
    /// those of least loss.
    fn evaluate_best(&mut self) -> Result<()> {
        if self.evaluation.is_empty() {
            return Ok(());
        }
        let epoch = self.progress.epoch;
        let every = self.plan.experiment.evaluate.every_epochs as u64;
        if every == 0 || !epoch.is_multiple_of(every) {
            let rows = self.evaluate_latest(epoch)?;
            self.evaluation.record(rows, &mut self.recorder)?;
        }
        let Some(best) = self.progress.min_loss.clone() else { return Ok(()) };
        let folder = find(&self.run, Name::MinLoss)?;
        let (weights, _) = checkpoint::read_group(&folder, "model")?;
        let last = on_cpu(self.model.tensors());
        self.model.load(&weights);
        let rows = self.evaluation.run(&self.model, "min-loss", best.epoch, &self.stop);
        self.model.load(&last);
        self.evaluation.record(rows?, &mut self.recorder)
    }

    fn save(&mut self) -> Result<()> {
        self.check_weights()?;
        self.count_loading();
        self.recorder.flush()?;
        let begun = Instant::now();
        let snapshot = self.snapshot();
        let saved = self.store.save(&snapshot)?;
        self.recorder.emit(&Event::CheckpointSaved {
            names: saved.names.iter().map(ToString::to_string).collect(),
            path: saved.path,
            epoch: self.progress.epoch,
            step: self.progress.step,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// Model, optimizer and state, copied to the CPU.
    pub fn snapshot(&self) -> Snapshot {
        let progress = &self.progress;
        let mut rows = self.recorder.rows();
        rows.insert(Evaluation::FILE.to_string(), self.evaluation.rows());
        let state = State {
            experiment: self.plan.name.clone(),
            run: run_id(&self.run),
            epoch: progress.epoch,
            step: progress.step,
            batch_in_epoch: progress.batch,
            seed: self.plan.experiment.seed,
            threads: tch::get_num_threads() as usize,
            scheduler: self.scheduler.state(),
            scaler: self.stepper.scaler.as_ref().map(|s| serde_json::json!(s.state())),
            loss: self.model.loss.state(),
            early_stopping: progress.early_stopping.clone(),
            min_loss: progress.min_loss.clone(),
            partial: progress.partial.clone(),
            history: progress.history.clone(),
            labels: self.labels.clone(),
            config: self.plan.experiment.to_toml(),
            rows,
            finished: self.is_done(),
            ..State::default()
        };
        let tensors = [
            ("model".to_string(), on_cpu(self.model.tensors())),
            ("optimizer".to_string(), on_cpu(self.optimizer.slots().state())),
        ];
        Snapshot { tensors: tensors.into(), state }
    }
}

fn on_cpu(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    // `copy`: a snapshot must not follow the weights where they already are on the CPU.
    let copy = |tensor: Tensor| tensor.detach().to_device(tch::Device::Cpu).copy();
    tensors.into_iter().map(|(name, tensor)| (name, copy(tensor))).collect()
}

/// The run id is the name of the run folder.
pub fn run_id(run: &Path) -> String {
    run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
