//! Pruning: which trials stop early, so that the others get their time.
//!
//! Pure functions of what the trials have reported: nothing here knows processes or files.

pub mod asha;
pub mod median;
mod none;
mod rungs;
#[cfg(test)]
mod simulated;
pub mod successive_halving;

use super::Phase;

/// What pruning sees of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// `Failed` is for good: one that will be tried again counts as `Interrupted`.
    pub phase: Phase,
    /// Epoch and score, in order; the larger the better, NaN is worst.
    pub scores: Vec<(u64, f64)>,
    /// The epoch after which it was last promoted.
    pub promoted_at: Option<u64>,
    /// Epochs of its whole training.
    pub epochs: u64,
}

impl Seen {
    /// It reports nothing more unless it is promoted.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Pruned | Phase::Finished | Phase::Failed)
    }
}

/// What becomes of a trial that has just reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Continue,
    /// It stops, with its checkpoint.
    Pause,
}

crate::config_family! {
    /// Which trials stop early.
    pub enum PruningConfig("pruning") {
        None(none::NoPruning) = "none",
        Asha(asha::Asha) = "asha",
        SuccessiveHalving(successive_halving::SuccessiveHalving) = "successive_halving",
        Median(median::Median) = "median",
    }
}

impl PruningConfig {
    /// What becomes of `trial`, which is running and whose newest score has just been added.
    pub fn verdict(&self, trials: &[Seen], trial: usize) -> Verdict {
        match self {
            PruningConfig::None(kind) => kind.verdict(trials, trial),
            PruningConfig::Asha(kind) => kind.verdict(trials, trial),
            PruningConfig::SuccessiveHalving(kind) => kind.verdict(trials, trial),
            PruningConfig::Median(kind) => kind.verdict(trials, trial),
        }
    }

    /// The paused trial that goes on next, where one has earned it. Asked before a new trial is
    /// started, and again when nothing runs any more.
    pub fn promotion(&self, trials: &[Seen]) -> Option<usize> {
        match self {
            PruningConfig::None(kind) => kind.promotion(trials),
            PruningConfig::Asha(kind) => kind.promotion(trials),
            PruningConfig::SuccessiveHalving(kind) => kind.promotion(trials),
            PruningConfig::Median(kind) => kind.promotion(trials),
        }
    }
}
