//! The training loop: epochs of steps, validation, evaluation, checkpoints.

use super::divided::Divided;
use super::ema::Average;
use super::embeddings::EmbeddingsRecord;
use super::evaluation::{Evaluation, Scored};
use super::model::Model;
use super::pretrained;
use super::progress::Progress;
use super::ranks::{Asked, Ranks};
use super::saving::Saving;
use super::signals::StopFlag;
use super::step::Stepper;
use super::time_limit::Reserve;
use super::watch::{self, Watch};
use crate::checkpoint::{self, Labels, Name, Named, Snapshot, State, find};
use crate::config::check;
use crate::config::tables::OnNonFinite;
use crate::data::Loader;
use crate::distributed::{self, Reducer};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::record::{AVERAGE, EMA_LOSS, EpochRow, Event, Recorder};
use crate::scheduler::Scheduler;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Tensor;
use tracing::info_span;

/// Everything a run consists of once it is built.
pub struct Trainer<'a> {
    pub plan: &'a Plan,
    pub run: PathBuf,
    pub model: Model,
    pub optimizer: Box<dyn Optimizer>,
    pub scheduler: Scheduler,
    pub stepper: Stepper,
    /// Of the weights, where `train.ema` keeps one.
    pub average: Option<Average>,
    pub train: Loader,
    pub validation: Option<Loader>,
    pub evaluation: Evaluation,
    pub embeddings: Option<EmbeddingsRecord>,
    pub recorder: Recorder,
    /// None on ranks that write nothing.
    pub saving: Option<Saving>,
    pub stop: StopFlag,
    pub progress: Progress,
    pub labels: Labels,
    /// Names of the values of a step's loss.
    pub loss_columns: Vec<String>,
    /// Broken images that `skipped.csv` names.
    pub skipped: usize,
    /// What a stop by itself must leave time for.
    pub reserve: Reserve,
    /// What the crash note is to say beside the error.
    pub details: Option<String>,
    /// This process among those that train together.
    pub ranks: Ranks,
    /// Averages gradients, where there are several.
    pub reducer: Option<Reducer>,
    /// Parameters that the ranks divide among themselves.
    pub divided: Divided,
    /// `train.max_time` is over, as all ranks see it.
    pub over: bool,
    /// Bytes sent in the steps of this session, and the number of those steps.
    pub sent: (u64, u64),
    /// Watched metrics that were said to be missing.
    pub missing: BTreeSet<String>,
}

impl Trainer<'_> {
    /// Trains to the end, or to a stop or a failure. What can be kept has been kept when this
    /// returns: an error of kind `Stopped` comes after its checkpoint.
    pub fn run(&mut self) -> Result<()> {
        match distributed::caught(|| self.run_through()) {
            Err(stopped @ Error::Stopped { .. }) => {
                // Also before the first step: whoever starts again continues.
                self.save(false)?;
                self.settle()?;
                // A launcher ends the others once one has ended.
                self.ranks.meet()?;
                Err(stopped)
            }
            Err(error) => {
                // The failure itself comes before that of what was being written.
                let _ = self.wait_for_checkpoint();
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn run_through(&mut self) -> Result<()> {
        let returns = self.plan.experiment.train.on_nonfinite == OnNonFinite::Rollback;
        let missing = self.ranks.of_first(find(&self.run, Name::Latest).is_err())?;
        if (self.progress.step > 0 || returns) && missing {
            // A fork can be continued by itself from here on, and a rollback has somewhere to go.
            self.save(false)?;
        }
        let Progress { epoch, batch, .. } = self.progress;
        if let Some(record) = &self.embeddings
            && batch == 0
            && record.lacks(&self.run, epoch)
        {
            record.record(&self.model, &self.run, epoch, &self.stop)?;
        }
        // A run that had its time makes no step more.
        let asked = Asked { stop: false, over: self.time_is_over() };
        self.over = self.ranks.any(asked)?.over;
        // An epoch that was stopped at its end, or at a limit, is still to be closed.
        while !self.is_done() || self.progress.batch > 0 {
            self.train_epoch()?;
            let cut = self.progress.batch < self.train.batches_per_epoch() as u64;
            if cut {
                self.tell_limit()?;
                // A limit in mid-epoch: whoever raises it goes on from here, as if it had not been.
                self.save(false)?;
            }
            self.end_epoch(cut)?;
        }
        let settled = self.settle();
        self.tell_overfit()?;
        self.tell_traffic()?;
        self.evaluate_best()?;
        self.ranks.meet()?;
        settled
    }

    /// Which limit ended the training in mid-epoch.
    fn tell_limit(&mut self) -> Result<()> {
        let train = &self.plan.experiment.train;
        let limit = match self.over {
            true => format!("train.max_time = {:?}", train.max_time),
            false => format!("train.max_steps = {}", train.max_steps),
        };
        let Progress { epoch, batch, step, .. } = self.progress;
        let batches = self.train.batches_per_epoch();
        self.recorder.notice(format!(
            "{limit} is reached after step {step}, {batch} of {batches} batches into epoch {}",
            epoch + 1
        ))
    }

    /// Says once of each watched metric that an evaluation did not measure it.
    fn tell_missing(&mut self, key: &str, watch: &Watch, epoch: u64) -> Result<()> {
        if !watch.of_evaluation() || !self.missing.insert(watch.name().to_string()) {
            return Ok(());
        }
        let name = watch.name();
        self.recorder.warning(format!(
            "`{key}` has {name:?}, which the evaluation after epoch {epoch} did not measure: it decides nothing"
        ))
    }

    /// What the ranks sent in this session.
    fn tell_traffic(&mut self) -> Result<()> {
        let (sent, steps) = self.sent;
        let Some(reducer) = self.reducer.as_ref().filter(|_| steps > 0) else { return Ok(()) };
        let ranks = self.ranks.size() as f64;
        let ideal = 2.0 * (ranks - 1.0) / ranks * reducer.bytes() as f64;
        let times = reducer.times()?;
        let hidden = times.hidden().map(|hidden| {
            let (took, share) = (times.communication * 1e3, hidden * 100.0);
            format!(", {took:.1} ms of which the backward pass hides {share:.0} %")
        });
        let text = format!(
            "{ranks} processes: {:.3} MB sent by each in a step, where averaging {:.3} MB of gradients \
             takes {:.3} MB{}",
            sent as f64 / steps as f64 / 1e6,
            reducer.bytes() as f64 / 1e6,
            ideal / 1e6,
            hidden.unwrap_or_default()
        );
        self.recorder.notice(text)
    }

    /// What training on a few batches alone shows.
    fn tell_overfit(&mut self) -> Result<()> {
        let batches = self.plan.experiment.train.overfit_batches;
        let (Some(first), Some(last)) =
            (self.progress.history.first(), self.progress.history.last())
        else {
            return Ok(());
        };
        if batches == 0 {
            return Ok(());
        }
        let accuracy = |row: &EpochRow| row.train_accuracy.unwrap_or(f64::NAN);
        let text = format!(
            "overfit on {batches} batches: loss {:.4} to {:.4}, accuracy {:.3} to {:.3} from epoch {} to \
             {}; a network that learns brings the loss near 0 and the accuracy to 1",
            first.train_loss,
            last.train_loss,
            accuracy(first),
            accuracy(last),
            first.epoch,
            last.epoch
        );
        self.recorder.notice(text)
    }

    /// Nothing is left to train.
    fn is_done(&self) -> bool {
        let train = &self.plan.experiment.train;
        self.progress.epoch >= train.epochs as u64
            || self.at_limit()
            || self.progress.out_of_patience(&train.early_stopping)
    }

    /// `train.max_steps` or `train.max_time` is reached.
    pub(super) fn at_limit(&self) -> bool {
        let train = &self.plan.experiment.train;
        let steps = train.max_steps as u64;
        (steps > 0 && self.progress.step >= steps) || self.over
    }

    /// `train.max_time` is over by this process's clock.
    pub(super) fn time_is_over(&self) -> bool {
        let most = check::seconds(&self.plan.experiment.train.max_time);
        most.is_some_and(|most| self.progress.seconds() >= most)
    }

    /// Validation, evaluation, the epoch's row, the checkpoint.
    fn end_epoch(&mut self, cut: bool) -> Result<()> {
        self.report_skipped()?;
        self.mend_weights()?;
        let plan = self.plan;
        let experiment = &plan.experiment;
        let begun = Instant::now();
        self.count_loading();
        let validation = self.validate()?;
        let averaged = self.with_average(Self::validate)?.flatten();
        let epoch = self.progress.epoch + 1;
        let every = experiment.evaluate.every_epochs as u64;
        let due = every > 0 && epoch.is_multiple_of(every);
        let rows = if due { self.evaluate_latest(epoch)? } else { Vec::new() };
        if let Some(record) = self.embeddings.as_ref().filter(|record| record.is_due(epoch)) {
            record.record(&self.model, &self.run, epoch, &self.stop)?;
        }

        // Of the checkpoint before, whether its loss is the one to beat; no earlier wait is needed.
        self.wait_for_checkpoint()?;
        // From here to the checkpoint nothing can be interrupted by a signal.
        let (train_loss, train_accuracy) = self.progress.means();
        let partial = self.progress.partial.clone();
        let monitored = validation.map_or(self.progress.monitored(), |(loss, _)| loss);
        let mut row = EpochRow {
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
        if self.average.is_some() && self.validation.is_some() {
            let loss = averaged.map_or(f64::NAN, |(loss, _)| loss);
            row.extras.insert(EMA_LOSS.to_string(), loss);
        }
        let patience = &experiment.train.early_stopping;
        // Rank 0 alone has scores.
        let scored = due && self.ranks.leads();
        let stopping = match watch::of_stopping(experiment) {
            Some(watch) => {
                let value = watch.value(&row, &rows);
                if value.is_none() && scored {
                    self.tell_missing("train.early_stopping.metric", &watch, epoch)?;
                }
                value.map(|value| watch.cost(value))
            }
            None => Some(monitored),
        };
        self.progress.end_epoch(row.clone(), monitored, stopping, patience);
        self.progress.cut = cut;
        for watch in watch::of_checkpoints(experiment) {
            match watch.value(&row, &rows) {
                Some(value) => self.progress.observe(&watch, value),
                None if scored => self.tell_missing("checkpoint.best", &watch, epoch)?,
                None => {}
            }
        }
        // Scores are rank 0's alone, and what follows from them.
        let Progress { early_stopping, min_loss, best, .. } = &self.progress;
        let decided = (early_stopping.clone(), min_loss.clone(), best.clone());
        let (early_stopping, min_loss, best) = self.ranks.of_first(decided)?;
        self.progress = Progress { early_stopping, min_loss, best, ..self.progress.clone() };
        self.scheduler.observe(monitored);
        self.show_parameters()?;
        self.recorder.emit(&Event::EpochEnded(row))?;
        self.evaluation.record(rows, &mut self.recorder)?;
        let weights = experiment.checkpoint.weights_every_epochs as u64;
        self.save(weights > 0 && epoch.is_multiple_of(weights))?;
        if self.progress.out_of_patience(patience) {
            let what = match patience.metric.as_str() {
                "" => "the monitored loss has not fallen".to_string(),
                metric => format!("{metric} has not improved"),
            };
            self.recorder
                .notice(format!("early stopping: {what} for {} epochs", patience.patience))?;
        }
        Ok(())
    }

    /// Adds what the loader did since the last time to the epoch's sums.
    pub(super) fn count_loading(&mut self) {
        for (name, seconds) in self.train.take_stages().columns() {
            *self.progress.partial.loading.entry(name.to_string()).or_default() += seconds;
        }
    }

    /// Scores the weights as they are. The first time, the initial weights are scored beside them
    /// (which the seed brings back), so that the first step need not wait for that.
    fn evaluate_latest(&mut self, epoch: u64) -> Result<Vec<Scored>> {
        let mut scores = Vec::new();
        let experiment = &self.plan.experiment;
        let first = experiment.evaluate.untrained && self.evaluation.rows() == 0;
        if self.ranks.of_first(first)? {
            let initial = Model::build(experiment, self.labels.names.len(), self.plan.device);
            let loaded = match self.ranks.leads() {
                true => pretrained::load(&initial, experiment).map(drop),
                false => Ok(()),
            };
            if self.ranks.of_first(loaded.is_ok())? {
                self.ranks.broadcast(&initial.tensors(), &self.divided)?;
                scores.extend(self.evaluation.run(&initial, "untrained", 0, &self.stop)?);
            }
            if let Err(why) = loaded {
                // A resume does not need them but for this.
                crate::tell!("the untrained model is not scored: {why}");
            }
        }
        scores.extend(self.evaluation.run(&self.model, "latest", epoch, &self.stop)?);
        let averaged = self.with_average(|trainer| {
            trainer.evaluation.run(&trainer.model, AVERAGE, epoch, &trainer.stop)
        })?;
        scores.extend(averaged.into_iter().flatten());
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
        // Rank 0 alone knows which checkpoints are on the disk.
        let best = self.ranks.of_first(self.progress.min_loss.clone())?;
        let Some(best) = best else { return Ok(()) };
        let own = match self.ranks.leads() {
            true => {
                let weights = find(&self.run, Name::MinLoss)
                    .and_then(|folder| checkpoint::read_group(&folder, "model"));
                // It was whole when it was written: the run has failed, its user did nothing wrong.
                let (model, state) = weights.map_err(|error| match error {
                    Error::Input { message, help } => Error::Failed { message, help },
                    other => other,
                })?;
                Some(Box::new(Snapshot { tensors: [("model".to_string(), model)].into(), state }))
            }
            false => None,
        };
        let Some(mut kept) = self.ranks.snapshot_of_first(own)? else { return Ok(()) };
        let last = on_cpu(self.model.tensors());
        self.load_whole(kept.tensors.remove("model").unwrap_or_default());
        let rows = self.evaluation.run(&self.model, "min-loss", best.epoch, &self.stop);
        self.model.load(&last);
        self.evaluation.record(rows?, &mut self.recorder)
    }

    /// Model, optimizer and state, copied to the CPU.
    ///
    /// # Errors
    /// A rank that is gone, where parameters are divided over several.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let _span = info_span!("snapshot").entered();
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
            best: progress.best.clone(),
            nonfinite: progress.nonfinite,
            ema_updates: self.average.as_ref().map_or(0, Average::updates),
            cut: progress.cut,
            partial: progress.partial.clone(),
            history: progress.history.clone(),
            labels: self.labels.clone(),
            config: self.plan.experiment.to_toml(),
            rows,
            finished: self.is_done(),
            ..State::default()
        };
        Ok(Snapshot { tensors: self.whole_tensors()?, state })
    }

    /// Model, optimizer and average as one process has them, on the CPU.
    pub(super) fn whole_tensors(&self) -> Result<BTreeMap<String, Named>> {
        let whole = |tensors: Named| self.divided.whole(tensors);
        let mut tensors = BTreeMap::from([
            ("model".to_string(), whole(on_cpu(self.model.tensors()))?),
            ("optimizer".to_string(), whole(on_cpu(self.optimizer.slots().state()))?),
        ]);
        if let Some(average) = &self.average {
            tensors.insert("ema".to_string(), whole(average.tensors(&self.model))?);
        }
        Ok(tensors)
    }

    /// Copies a whole model's values into this rank's.
    pub(super) fn load_whole(&self, tensors: Named) {
        self.model.load(&self.divided.own(tensors));
    }
}

pub(super) fn on_cpu(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    // A snapshot must not follow the weights where they already are on the CPU.
    let copy = |tensor: Tensor| match tensor.detach() {
        here if here.device() == tch::Device::Cpu => here.copy(),
        there => there.to_device(tch::Device::Cpu),
    };
    tensors.into_iter().map(|(name, tensor)| (name, copy(tensor))).collect()
}

/// The run id is the name of the run folder.
pub fn run_id(run: &Path) -> String {
    run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
