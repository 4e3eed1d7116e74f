//! AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101,
//! algorithm 2).
//!
//! Reference: `torch.optim.AdamW`: p *= 1 - lr wd comes first, then Adam's step without decay.

use super::Optimizer;
use super::groups::Grouped;
use super::moments;
use crate::torch::fused;

crate::config_struct! {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101).
    pub struct AdamW {
        /// Learning rate before the schedule.
        pub lr: f64 = 1e-3, non_negative();
        /// Decay of the running mean of the gradient.
        pub beta1: f64 = 0.9, below(0.0, 1.0);
        /// Decay of the running mean of its square.
        pub beta2: f64 = 0.999, below(0.0, 1.0);
        /// Added to the denominator.
        pub eps: f64 = 1e-8, positive();
        /// Decay: each step multiplies the weights by 1 - lr x this.
        pub weight_decay: f64 = 0.01, non_negative();
        /// Divide by the largest second moment so far (AMSGrad).
        pub amsgrad: bool = false;
    }
}

impl AdamW {
    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let AdamW { lr: _, beta1, beta2, eps, weight_decay, amsgrad } = *self;
        let options =
            fused::Adam { lr: 0.0, beta1, beta2, eps, weight_decay, amsgrad, maximize: false };
        moments::build(parameters, options, fused::adamw)
    }
}
