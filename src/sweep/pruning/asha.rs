//! Asynchronous successive halving (Li et al. 2018, "A System for Massively Parallel
//! Hyperparameter Tuning", arXiv:1810.05934, Algorithm 2, ASHA).
//!
//! Nobody waits for a rung to be full: of the n trials that have reached it so far the best
//! floor(n / reduction) may go on. A trial that is among them when it reports goes on at once. Any
//! other stops there, and goes on later when enough others turn out to be worse; free slots go to
//! the highest rung first.
//!
//! As in the paper, a trial that went on early may turn out not to be among the best of its rung
//! later; so more than floor(n / reduction) can have gone on in the end.
//!
//! Differs from Algorithm 2 in: a trial whose turn it is when it reports keeps its slot, though
//! another on a higher rung may have earned one too; that one gets the next. Algorithm 2 draws new
//! trials for ever. A sweep ends, and its last rungs hold fewer than `reduction` trials, of which
//! none could go on: when nothing else is left to run, the best trial of each rung goes on; and if
//! all of these failed, the best that is left on the highest rung.
//!
//! Differs from optuna's `SuccessiveHalvingPruner` in: that one cannot promote later; it lets the
//! best of the first `reduction - 1` trials of a rung, and trials that equal the last of the best,
//! go on. From `reduction` trials on and without ties both let the same go on at once. Differs from
//! syne-tune's `PromotionRungSystem` in: that one stops everyone at a rung, and compares with the
//! interpolated quantile 1 - 1 / `reduction`, which lets floor(n / reduction) go on where n is its
//! multiple and one more elsewhere. Differs from Ray Tune's `ASHAScheduler` in: that one compares
//! with the quantile of those who came before, lets the first go on, and promotes nobody later.

use super::rungs::Rungs;
use super::{Seen, Verdict};
use crate::sweep::Phase;

crate::config_struct! {
    /// Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934): at epochs
    /// min_epochs * reduction^k the best 1 / reduction of all so far go on, at once or later.
    pub struct Asha {
        /// Epochs that every trial gets.
        pub min_epochs: u64 = 1, at_least(1);
        /// Eta: one of so many goes on to so many times the epochs.
        pub reduction: u64 = 3, at_least(2);
    }
}

impl Asha {
    fn rungs(&self) -> Rungs {
        let Self { min_epochs, reduction } = *self;
        Rungs { min_epochs, reduction }
    }

    fn share(&self, reached: usize) -> usize {
        reached / usize::try_from(self.reduction).unwrap_or(usize::MAX).max(1)
    }

    pub fn verdict(&self, trials: &[Seen], trial: usize) -> Verdict {
        let rungs = self.rungs();
        let Some(rung) = rungs.asked(&trials[trial]) else { return Verdict::Continue };
        let ranking = rungs.ranking(trials, rung, Some(trial));
        let mut top = rungs.top(trials, &ranking, self.share(ranking.len()));
        match top.any(|place| place.trial == trial) {
            true => Verdict::Continue,
            false => Verdict::Pause,
        }
    }

    pub fn promotion(&self, trials: &[Seen]) -> Option<usize> {
        let rungs = self.rungs();
        let least = usize::from(trials.iter().all(Seen::is_at_rest));
        let earned = rungs.of(trials).into_iter().rev().find_map(|rung| {
            let ranking = rungs.ranking(trials, rung, None);
            let count = self.share(ranking.len()).max(least);
            let paused = |trial: usize| trials[trial].phase == Phase::Pruned;
            rungs
                .top(trials, &ranking, count)
                .find(|place| place.here && paused(place.trial))
                .map(|place| place.trial)
        });
        earned.or_else(|| rungs.last_resort(trials))
    }
}
