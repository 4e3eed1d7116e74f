//! Half cosines, one after the other, each as long as the last or longer (Loshchilov & Hutter 2016,
//! arXiv:1608.03983, eq. 5). Reference: `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`, also
//! in that `min_lr` itself is never reached: the step that would reach it is the restart.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};
use std::f64::consts::PI;

crate::config_struct! {
    /// Half cosines from `optimizer.lr` towards `min_lr`, each starting anew at the full rate
    /// (Loshchilov & Hutter 2016, arXiv:1608.03983; PyTorch's CosineAnnealingWarmRestarts).
    pub struct CosineRestarts {
        /// Length of the first half cosine in `unit`s.
        pub period: usize = 10, at_least(1);
        /// How many times as long as the one before every further half cosine is.
        pub multiplier: usize = 1, at_least(1);
        /// Learning rate that each half cosine falls towards.
        pub min_lr: f64 = 0.0, non_negative();
        /// Whether the rate moves, and the period counts, in steps or in epochs.
        pub unit: Unit = Unit::Epoch;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(CosineRestarts);

impl CosineRestarts {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let CosineRestarts { period, multiplier, min_lr, unit, warmup: _ } = &self.0;
        let (position, length) = in_period(horizon.count(step, *unit), *period, *multiplier);
        let progress = position as f64 / length as f64;
        min_lr + (base - min_lr) * (1.0 + (PI * progress).cos()) / 2.0
    }
}

/// Where `position` lies in its period, and how long that period is.
fn in_period(position: usize, first: usize, multiplier: usize) -> (usize, usize) {
    if multiplier <= 1 {
        return (position % first, first);
    }
    let (mut left, mut length) = (position, first);
    while left >= length {
        left -= length;
        length = length.saturating_mul(multiplier);
    }
    (left, length)
}
