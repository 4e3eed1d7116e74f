//! A straight line from one factor to another. Reference: `torch.optim.lr_scheduler.LinearLR`.
//!
//! Differs from the reference in: a start of 0 is allowed, since nothing is divided by it here.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};

crate::config_struct! {
    /// A straight line between two factors on `optimizer.lr`, the last one kept after it (PyTorch's
    /// LinearLR).
    pub struct Linear {
        /// Factor on the learning rate at the start.
        pub start_factor: f64 = 1.0, between(0.0, 1.0);
        /// Factor on the learning rate at the end of the period and after it.
        pub end_factor: f64 = 0.0, between(0.0, 1.0);
        /// Length of the line in `unit`s; 0: all that the warm-up leaves of the training.
        pub period: usize = 0;
        /// Whether the rate moves at every step or at every epoch.
        pub unit: Unit = Unit::Step;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(Linear);

impl Linear {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }

    pub fn validate(&self) -> Vec<(&'static str, String)> {
        if self.start_factor == 0.0 && self.end_factor == 0.0 {
            let message = "is 0 and so is scheduler.end_factor: nothing would be learned";
            return vec![("start_factor", message.to_string())];
        }
        Vec::new()
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let Linear { start_factor, end_factor, period, unit, warmup: _ } = &self.0;
        let progress = horizon.progress(step, *period, *unit);
        base * (start_factor + (end_factor - start_factor) * progress)
    }
}
