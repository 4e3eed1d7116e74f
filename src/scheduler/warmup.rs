//! Warm-up in front of any schedule (Goyal et al. 2017, arXiv:1706.02677, section 2.2).

use super::Horizon;

crate::config_choice! {
    /// Shape of the warm-up.
    pub enum WarmupKind {
        /// From `start` to the full rate in a straight line (PyTorch's `LinearLR`).
        Linear = "linear",
        /// `start` times the full rate throughout (PyTorch's `ConstantLR`).
        Constant = "constant",
    }
}

crate::config_struct! {
    /// Warm-up in front of the schedule; `epochs` and `steps` add up.
    pub struct Warmup {
        /// Length in epochs; parts of an epoch work.
        pub epochs: f64 = 0.0, non_negative();
        /// Length in optimizer steps.
        pub steps: usize = 0;
        /// Shape.
        pub kind: WarmupKind = WarmupKind::Linear;
        /// Factor on the learning rate at the first step.
        pub start: f64 = 0.01, between(0.0, 1.0);
    }
}

impl Warmup {
    /// Optimizer steps.
    pub fn length(&self, horizon: Horizon) -> usize {
        self.steps + (self.epochs * horizon.steps_per_epoch as f64).round() as usize
    }

    /// Factor on the learning rate at `step` of `length`.
    pub fn factor(&self, step: usize, length: usize) -> f64 {
        match self.kind {
            WarmupKind::Linear => self.start + (1.0 - self.start) * step as f64 / length as f64,
            WarmupKind::Constant => self.start,
        }
    }
}
