//! A power of the part that is left. Reference: `torch.optim.lr_scheduler.PolynomialLR`.
//!
//! Differs from the reference in: it ends at `min_lr`, which the reference has at 0; the power acts
//! on what lies above it.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};

crate::config_struct! {
    /// Fall from `optimizer.lr` to `min_lr` by a power of the part of the period that is left
    /// (PyTorch's PolynomialLR).
    pub struct Polynomial {
        /// Exponent: 1 is a straight line, more falls faster at first.
        pub power: f64 = 1.0, positive();
        /// Length of the fall in `unit`s; 0: all that the warm-up leaves of the training.
        pub period: usize = 0;
        /// Learning rate at the end of the period and after it.
        pub min_lr: f64 = 0.0, non_negative();
        /// Whether the rate moves at every step or at every epoch.
        pub unit: Unit = Unit::Step;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(Polynomial);

impl Polynomial {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let Polynomial { power, period, min_lr, unit, warmup: _ } = &self.0;
        let left = 1.0 - horizon.progress(step, *period, *unit);
        min_lr + (base - min_lr) * left.powf(*power)
    }
}
