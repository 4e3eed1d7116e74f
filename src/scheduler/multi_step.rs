//! Multiplied by gamma at each milestone. Reference: `torch.optim.lr_scheduler.MultiStepLR`, also
//! in that a milestone given twice counts twice.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};

crate::config_struct! {
    /// Multiply by `gamma` at each milestone (PyTorch's MultiStepLR).
    pub struct MultiStep {
        /// Steps or epochs at which the rate falls, counted from the end of the warm-up.
        pub milestones: Vec<usize> = vec![];
        /// Factor at each milestone.
        pub gamma: f64 = 0.1, positive();
        /// What the milestones count.
        pub unit: Unit = Unit::Epoch;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(MultiStep);

impl MultiStep {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let MultiStep { milestones, gamma, unit, warmup: _ } = &self.0;
        let position = horizon.count(step, *unit);
        let passed = milestones.iter().filter(|&&milestone| milestone <= position).count();
        base * gamma.powi(passed as i32)
    }
}
