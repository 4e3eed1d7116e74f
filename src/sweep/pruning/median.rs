//! The median stopping rule (Golovin et al. 2017, "Google Vizier: A Service for Black-Box
//! Optimization", section 3.2.1, doi:10.1145/3097983.3098043).
//!
//! A trial stops at epoch s if its best score up to s is below the median of the running averages
//! of the others: the mean of what each reported up to s.
//!
//! Differs from the paper in: it asks the completed trials; here, as in Ray Tune, everyone counts
//! who has reported at s or later, else the first trials of a sweep with many slots would never be
//! judged. A running average with a score that is not finite is the worst.
//!
//! Differs from Ray Tune's `MedianStoppingRule` in: that one leaves the reports of the warm-up
//! (its grace period) and averages that are not finite out. Differs from optuna's `MedianPruner`
//! in: that one takes the median of the completed trials' scores at s itself, without averaging,
//! and leaves scores that are not finite out.

use super::{Seen, Verdict};

crate::config_struct! {
    /// The median rule (Golovin et al. 2017, Vizier, section 3.2.1): a trial stops whose best
    /// score is below the median of the others' running averages.
    pub struct Median {
        /// Epochs after which a trial is first judged.
        pub warm_up_epochs: u64 = 1;
        /// How many others must have come as far.
        pub min_trials: usize = 5, at_least(1);
        /// Judged every so many epochs.
        pub every_epochs: u64 = 1, at_least(1);
    }
}

impl Median {
    pub fn verdict(&self, trials: &[Seen], trial: usize) -> Verdict {
        let Self { warm_up_epochs, min_trials, every_epochs } = *self;
        let own = &trials[trial];
        let Some((epoch, _)) = own.scores.last().copied() else { return Verdict::Continue };
        // The first epoch after the warm-up is in interval 1.
        let interval = |epoch: u64| match epoch > warm_up_epochs {
            true => (epoch - warm_up_epochs - 1) / every_epochs.max(1) + 1,
            false => 0,
        };
        let before = own.scores.len().checked_sub(2).map_or(0, |at| own.scores[at].0);
        let repeated = own.promoted_at.is_some_and(|promoted| promoted >= epoch);
        if interval(epoch) == interval(before) || epoch >= own.epochs || repeated {
            return Verdict::Continue;
        }
        let others = trials.iter().enumerate().filter(|(at, _)| *at != trial);
        let mut averages: Vec<f64> =
            others.filter_map(|(_, other)| running_average(other, epoch)).collect();
        if averages.len() < min_trials.max(1) {
            return Verdict::Continue;
        }
        averages.sort_by(f64::total_cmp);
        let finite = own.scores.iter().map(|(_, score)| *score).filter(|score| score.is_finite());
        match finite.fold(f64::NEG_INFINITY, f64::max) < median(&averages) {
            true => Verdict::Pause,
            false => Verdict::Continue,
        }
    }

    /// What the rule stopped stays so until the user says otherwise.
    pub fn promotion(&self, _trials: &[Seen]) -> Option<usize> {
        None
    }
}

/// The mean of what was reported up to `epoch`; none where the trial has not come so far.
fn running_average(trial: &Seen, epoch: u64) -> Option<f64> {
    trial.scores.last().filter(|(last, _)| *last >= epoch)?;
    let up_to = trial.scores.partition_point(|(at, _)| *at <= epoch);
    // One that reported later alone has nothing to average.
    let scores = trial.scores.get(..up_to).filter(|scores| !scores.is_empty())?;
    let mean = scores.iter().map(|(_, score)| score).sum::<f64>() / scores.len() as f64;
    Some(if mean.is_finite() { mean } else { f64::NEG_INFINITY })
}

/// Of sorted values, at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => sorted[middle - 1].midpoint(sorted[middle]),
    }
}
