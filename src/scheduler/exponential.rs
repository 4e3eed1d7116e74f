//! Multiplied by gamma at every step or epoch. Reference: `torch.optim.lr_scheduler.ExponentialLR`.

use super::warmup::Warmup;
use super::{Horizon, Schedule, Unit};

crate::config_struct! {
    /// Multiply by `gamma` at every step or epoch (PyTorch's ExponentialLR).
    pub struct Exponential {
        /// Factor from one `unit` to the next.
        pub gamma: f64 = 0.95, positive();
        /// Whether the rate moves at every step or at every epoch.
        pub unit: Unit = Unit::Epoch;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(Exponential);

impl Exponential {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let Exponential { gamma, unit, warmup: _ } = &self.0;
        base * gamma.powf(horizon.count(step, *unit) as f64)
    }
}
