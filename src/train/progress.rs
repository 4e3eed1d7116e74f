//! Where the training stands: position, sums of the running epoch, the best loss so far.

use super::step::{StepOutcome, Window};
use super::watch::Watch;
use crate::checkpoint::{Best, EarlyStopping, NonFinite, Partial};
use crate::config::tables::EarlyStopping as Patience;
use crate::record::EpochRow;
use std::collections::BTreeMap;

/// Everything countable that a checkpoint carries.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Epochs completed.
    pub epoch: u64,
    /// Optimizer steps done.
    pub step: u64,
    /// Batches of the running epoch done.
    pub batch: u64,
    pub partial: Partial,
    pub early_stopping: EarlyStopping,
    pub min_loss: Option<Best>,
    /// Of the metrics in `checkpoint.best`.
    pub best: BTreeMap<String, Best>,
    pub nonfinite: NonFinite,
    pub history: Vec<EpochRow>,
    /// A limit ended the last epoch before its end.
    pub cut: bool,
}

impl Progress {
    /// Counts a step over the batches of `window`.
    pub fn add_window(&mut self, outcome: &StepOutcome, window: &Window, seconds: f64) {
        let samples = window.samples;
        self.step += 1;
        self.batch += window.batches;
        self.nonfinite.in_row = 0;
        self.partial.loss_sum += outcome.loss * samples as f64;
        self.partial.monitored_sum += outcome.monitored * samples as f64;
        self.partial.correct += outcome.correct as u64;
        self.partial.seen += samples;
        self.partial.seconds += seconds;
    }

    /// Counts a step that was left out: its samples taught nothing.
    pub fn leave_out(&mut self, batches: u64, seconds: f64) {
        self.step += 1;
        self.batch += batches;
        self.partial.seconds += seconds;
    }

    /// Seconds of training and validation so far.
    pub fn seconds(&self) -> f64 {
        self.history.iter().map(|row| row.seconds).sum::<f64>() + self.partial.seconds
    }

    /// Mean loss and accuracy over the samples of the epoch so far.
    pub fn means(&self) -> (f64, f64) {
        let seen = self.partial.seen as f64;
        (self.partial.loss_sum / seen, self.partial.correct as f64 / seen)
    }

    /// Mean over the epoch so far of the loss that `min-loss` compares where nothing is validated.
    pub fn monitored(&self) -> f64 {
        self.partial.monitored_sum / self.partial.seen as f64
    }

    /// Closes an epoch with its row. `monitored` is the loss that decides over `min-loss`, `stopping`
    /// what early stopping watches, smaller being better; None where the epoch did not measure it.
    pub fn end_epoch(
        &mut self,
        row: EpochRow,
        monitored: f64,
        stopping: Option<f64>,
        patience: &Patience,
    ) {
        self.epoch += 1;
        self.batch = 0;
        self.partial = Partial::default();
        self.history.push(row);
        let least = self.min_loss.as_ref().is_none_or(|best| monitored < best.value);
        if least && monitored.is_finite() {
            self.min_loss = Some(Best { value: monitored, epoch: self.epoch, step: self.step });
        }
        let Some(value) = stopping.filter(|value| !value.is_nan()) else { return };
        let stopping = &mut self.early_stopping;
        if stopping.best.is_none_or(|best| value < best - patience.min_delta) {
            *stopping = EarlyStopping { best: Some(value), bad_epochs: 0 };
        } else {
            stopping.bad_epochs += 1;
        }
    }

    /// Counts what the epoch that was closed last measured of a metric whose best checkpoint is kept.
    pub fn observe(&mut self, watch: &Watch, value: f64) {
        let better = |best: &Best| watch.cost(value) < watch.cost(best.value);
        if value.is_finite() && self.best.get(watch.name()).is_none_or(better) {
            let best = Best { value, epoch: self.epoch, step: self.step };
            self.best.insert(watch.name().to_string(), best);
        }
    }

    /// What early stopping watches has not improved for as long as is allowed.
    pub fn out_of_patience(&self, patience: &Patience) -> bool {
        patience.patience > 0 && self.early_stopping.bad_epochs >= patience.patience as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Goal;
    use crate::train::step::Scalars;

    fn add(progress: &mut Progress, loss: f64, correct: usize, samples: u64, seconds: f64) {
        let scalars =
            Scalars { loss, monitored: loss / 2.0, correct, embedding_norm: 1.0, values: vec![] };
        let mut window = Window::default();
        window.add(scalars, samples);
        progress.add_window(&window.clone().outcome(1.0, false), &window, seconds);
    }

    fn after(losses: &[f64], patience: &Patience) -> Progress {
        let mut progress = Progress::default();
        for &loss in losses {
            add(&mut progress, loss, 1, 2, 0.5);
            progress.end_epoch(EpochRow::default(), loss, Some(loss), patience);
        }
        progress
    }

    #[test]
    fn the_least_loss_is_remembered() {
        let progress = after(&[3.0, 1.0, 2.0, 1.0], &Patience::default());
        assert_eq!(progress.min_loss, Some(Best { value: 1.0, epoch: 2, step: 2 }));
        assert_eq!((progress.epoch, progress.step, progress.batch), (4, 4, 0));
        assert_eq!(progress.partial, Partial::default());
        assert_eq!(progress.history.len(), 4);
    }

    #[test]
    fn a_fall_smaller_than_min_delta_uses_up_patience() {
        let patience = Patience { patience: 2, min_delta: 0.5, ..Patience::default() };
        assert!(!after(&[3.0, 2.8], &patience).out_of_patience(&patience));
        assert!(after(&[3.0, 2.8, 2.6], &patience).out_of_patience(&patience));
        assert!(!after(&[3.0, 2.8, 2.4], &patience).out_of_patience(&patience));
        let off = Patience::default();
        assert!(!after(&[1.0; 50], &off).out_of_patience(&off));
    }

    #[test]
    fn means_weigh_batches_by_their_size() {
        let mut progress = Progress::default();
        add(&mut progress, 1.0, 3, 3, 0.1);
        add(&mut progress, 5.0, 0, 1, 0.1);
        assert_eq!((progress.means(), progress.monitored()), ((2.0, 0.75), 1.0));
    }

    #[test]
    fn an_epoch_without_the_metric_uses_up_no_patience() {
        let patience = Patience { patience: 2, ..Patience::default() };
        let mut progress = Progress::default();
        for value in [Some(1.0), None, Some(2.0), None, None] {
            progress.end_epoch(EpochRow::default(), 1.0, value, &patience);
            assert!(!progress.out_of_patience(&patience));
        }
        progress.end_epoch(EpochRow::default(), 1.0, Some(1.0), &patience);
        assert!(progress.out_of_patience(&patience));
    }

    #[test]
    fn the_best_of_a_metric_is_remembered() {
        let watch = Watch::new("lfw/accuracy", Goal::Auto);
        let mut progress = Progress::default();
        for (step, value) in [0.5, 0.75, f64::NAN, 0.625].into_iter().enumerate() {
            progress.step = step as u64;
            progress.observe(&watch, value);
        }
        assert_eq!(progress.best["lfw/accuracy"], Best { value: 0.75, epoch: 0, step: 1 });
    }

    #[test]
    fn a_step_that_was_left_out_counts_no_samples() {
        let mut progress = Progress::default();
        add(&mut progress, 1.0, 3, 3, 0.5);
        progress.nonfinite.in_row = 1;
        progress.leave_out(2, 0.25);
        assert_eq!((progress.step, progress.batch, progress.means()), (2, 3, (1.0, 1.0)));
        assert_eq!((progress.seconds(), progress.nonfinite.in_row), (0.75, 1));
        add(&mut progress, 1.0, 3, 3, 0.5);
        assert_eq!(progress.nonfinite.in_row, 0);
    }
}
