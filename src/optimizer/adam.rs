//! Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1), optionally AMSGrad (Reddi et al. 2018).
//!
//! Reference: `torch.optim.Adam`. Weight decay is an L2 penalty, added to the gradient; AdamW's is
//! decoupled.

use super::Optimizer;
use super::groups::Grouped;
use super::moments;
use crate::torch::fused;

crate::config_struct! {
    /// Adam (Kingma & Ba 2015, arXiv:1412.6980); weight decay added to the gradient.
    pub struct Adam {
        /// Learning rate before the schedule.
        pub lr: f64 = 1e-3, non_negative();
        /// Decay of the running mean of the gradient.
        pub beta1: f64 = 0.9, below(0.0, 1.0);
        /// Decay of the running mean of its square.
        pub beta2: f64 = 0.999, below(0.0, 1.0);
        /// Added to the denominator.
        pub eps: f64 = 1e-8, positive();
        /// L2 penalty, added to the gradient.
        pub weight_decay: f64 = 0.0, non_negative();
        /// Divide by the largest second moment so far (AMSGrad).
        pub amsgrad: bool = false;
    }
}

impl Adam {
    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let Adam { lr: _, beta1, beta2, eps, weight_decay, amsgrad } = *self;
        let options =
            fused::Adam { lr: 0.0, beta1, beta2, eps, weight_decay, amsgrad, maximize: false };
        moments::build(parameters, options, fused::adam)
    }
}
