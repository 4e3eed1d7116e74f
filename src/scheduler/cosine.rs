//! Half a cosine from the full rate to `min_lr` (Loshchilov & Hutter 2016, arXiv:1608.03983, eq. 5
//! without restarts). Reference: `torch.optim.lr_scheduler.CosineAnnealingLR`, also in that the
//! rate climbs again past the period.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};
use std::f64::consts::PI;

crate::config_struct! {
    /// Half a cosine from `optimizer.lr` down to `min_lr` (Loshchilov & Hutter 2016, arXiv:1608.03983).
    pub struct Cosine {
        /// Length of the half cosine in `unit`s; 0: all that the warm-up leaves of the training.
        pub period: usize = 0;
        /// Learning rate at the end.
        pub min_lr: f64 = 0.0, non_negative();
        /// Whether the rate moves at every step or at every epoch.
        pub unit: Unit = Unit::Step;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(Cosine);

impl Cosine {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let Cosine { period, min_lr, unit, warmup: _ } = &self.0;
        let period = match *period {
            0 => horizon.count(horizon.steps, *unit),
            period => period,
        };
        let progress = horizon.count(step, *unit) as f64 / period.max(1) as f64;
        min_lr + (base - min_lr) * (1.0 + (PI * progress).cos()) / 2.0
    }
}
