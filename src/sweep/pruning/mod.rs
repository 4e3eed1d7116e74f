//! Pruning: which trials stop early, so that the others get their time.
//!
//! Pure functions of what the trials have reported: nothing here knows processes or files.

mod none;

use super::Phase;

/// What pruning sees of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub phase: Phase,
    /// Epoch and score, in order; the larger the better, NaN is worst.
    pub scores: Vec<(u64, f64)>,
    /// The epoch after which it was last promoted.
    pub promoted_at: Option<u64>,
    /// Epochs of its whole training.
    pub epochs: u64,
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
    }
}

impl PruningConfig {
    /// What becomes of `trial`, which is running and whose newest score has just been added.
    pub fn verdict(&self, trials: &[Seen], trial: usize) -> Verdict {
        match self {
            PruningConfig::None(kind) => kind.verdict(trials, trial),
        }
    }

    /// The paused trial that goes on next, where one has earned it. Asked before a new trial is
    /// started, and again when nothing runs any more.
    pub fn promotion(&self, trials: &[Seen]) -> Option<usize> {
        match self {
            PruningConfig::None(kind) => kind.promotion(trials),
        }
    }
}
