//! Where the training stands: position, sums of the running epoch, the best loss so far.

use super::step::StepOutcome;
use crate::checkpoint::{Best, EarlyStopping, Partial};
use crate::config::tables::EarlyStopping as Patience;
use crate::record::EpochRow;

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
    pub history: Vec<EpochRow>,
}

impl Progress {
    /// Counts one batch of `samples`.
    pub fn add_batch(&mut self, outcome: &StepOutcome, samples: u64, seconds: f64) {
        self.step += 1;
        self.batch += 1;
        self.partial.loss_sum += outcome.loss * samples as f64;
        self.partial.monitored_sum += outcome.monitored * samples as f64;
        self.partial.correct += outcome.correct as u64;
        self.partial.seen += samples;
        self.partial.seconds += seconds;
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

    /// Closes an epoch with its row. `monitored` is the loss that decides over `min-loss`.
    pub fn end_epoch(&mut self, row: EpochRow, monitored: f64, patience: &Patience) {
        self.epoch += 1;
        self.batch = 0;
        self.partial = Partial::default();
        self.history.push(row);
        if self.min_loss.as_ref().is_none_or(|best| monitored < best.value) {
            self.min_loss = Some(Best { value: monitored, epoch: self.epoch, step: self.step });
        }
        let stopping = &mut self.early_stopping;
        if stopping.best.is_none_or(|best| monitored < best - patience.min_delta) {
            *stopping = EarlyStopping { best: Some(monitored), bad_epochs: 0 };
        } else {
            stopping.bad_epochs += 1;
        }
    }

    /// The monitored loss has not fallen for as long as is allowed.
    pub fn out_of_patience(&self, patience: &Patience) -> bool {
        patience.patience > 0 && self.early_stopping.bad_epochs >= patience.patience as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(loss: f64, correct: usize) -> StepOutcome {
        StepOutcome { loss, monitored: loss / 2.0, correct, ..StepOutcome::default() }
    }

    fn after(losses: &[f64], patience: &Patience) -> Progress {
        let mut progress = Progress::default();
        for &loss in losses {
            progress.add_batch(&outcome(loss, 1), 2, 0.5);
            progress.end_epoch(EpochRow::default(), loss, patience);
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
        let patience = Patience { patience: 2, min_delta: 0.5 };
        assert!(!after(&[3.0, 2.8], &patience).out_of_patience(&patience));
        assert!(after(&[3.0, 2.8, 2.6], &patience).out_of_patience(&patience));
        assert!(!after(&[3.0, 2.8, 2.4], &patience).out_of_patience(&patience));
        let off = Patience::default();
        assert!(!after(&[1.0; 50], &off).out_of_patience(&off));
    }

    #[test]
    fn means_weigh_batches_by_their_size() {
        let mut progress = Progress::default();
        progress.add_batch(&outcome(1.0, 3), 3, 0.1);
        progress.add_batch(&outcome(5.0, 0), 1, 0.1);
        assert_eq!((progress.means(), progress.monitored()), ((2.0, 0.75), 1.0));
    }
}
