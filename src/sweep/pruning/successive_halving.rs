//! Synchronous successive halving (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm
//! Identification and Hyperparameter Optimization", arXiv:1502.07943).
//!
//! Every trial stops at every rung. When no other trial can reach the rung any more, the best
//! floor(n / reduction) of the n that did go on, and at least one; if all
//! of these failed, the best that is left on the highest rung.
//!
//! Differs from the paper in: the epochs of a rung are `min_epochs * reduction^k` and do not come
//! from a total budget; the paper halves (its reduction is 2).

use super::rungs::Rungs;
use super::{Seen, Verdict};
use crate::sweep::Phase;

crate::config_struct! {
    /// Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all trials stop at
    /// epochs min_epochs * reduction^k, wait for each other, and the best 1 / reduction go on.
    pub struct SuccessiveHalving {
        /// Epochs that every trial gets.
        pub min_epochs: u64 = 1, at_least(1);
        /// Eta: one of so many goes on to so many times the epochs.
        pub reduction: u64 = 3, at_least(2);
    }
}

impl SuccessiveHalving {
    fn rungs(&self) -> Rungs {
        let Self { min_epochs, reduction } = *self;
        Rungs { min_epochs, reduction }
    }

    pub fn verdict(&self, trials: &[Seen], trial: usize) -> Verdict {
        match self.rungs().asked(&trials[trial]) {
            Some(_) => Verdict::Pause,
            None => Verdict::Continue,
        }
    }

    pub fn promotion(&self, trials: &[Seen]) -> Option<usize> {
        let rungs = self.rungs();
        for rung in rungs.of(trials) {
            let may_come = |trial: &Seen| {
                let reached = trial.scores.last().is_some_and(|(epoch, _)| *epoch >= rung);
                !trial.is_at_rest() && !reached && trial.epochs >= rung
            };
            // Whoever is still below this rung may come to the higher ones too.
            if trials.iter().any(may_come) {
                return None;
            }
            let ranking = rungs.ranking(trials, rung, None);
            let reduction = usize::try_from(self.reduction).unwrap_or(usize::MAX).max(1);
            let paused = |trial: usize| trials[trial].phase == Phase::Pruned;
            let next = rungs
                .top(trials, &ranking, (ranking.len() / reduction).max(1))
                .find(|place| place.here && paused(place.trial));
            if let Some(place) = next {
                return Some(place.trial);
            }
        }
        rungs.last_resort(trials)
    }
}
