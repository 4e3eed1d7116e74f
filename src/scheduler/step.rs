//! Multiplied by gamma every so many steps or epochs. Reference: `torch.optim.lr_scheduler.StepLR`.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};

crate::config_struct! {
    /// Multiply by `gamma` every `every` steps or epochs (PyTorch's StepLR).
    pub struct Step {
        /// Interval.
        pub every: usize = 30, at_least(1);
        /// Factor at each interval.
        pub gamma: f64 = 0.1, positive();
        /// What `every` counts.
        pub unit: Unit = Unit::Epoch;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(Step);

impl Step {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let Step { every, gamma, unit, warmup: _ } = &self.0;
        base * gamma.powi((horizon.count(step, *unit) / every) as i32)
    }
}
