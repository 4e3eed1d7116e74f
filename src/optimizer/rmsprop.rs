//! RMSprop (Hinton, Srivastava & Swersky 2012, Neural Networks for Machine Learning, lecture 6e),
//! optionally centered (Graves 2013, arXiv:1308.0850, eq. 38-41) and with momentum.
//!
//! Reference: `torch.optim.RMSprop`. g += wd p; v = alpha v + (1 - alpha) g^2; with `centered`
//! m += (1 - alpha) (g - m) and the root is of v - m^2; eps is added outside the root; with
//! momentum buf = mu buf + g / (root + eps) from 0, and the step is lr buf. Graves has eps inside the
//! root; here, as in PyTorch, rounding can turn v - m^2 of a gradient that no longer changes below 0,
//! and the run then ends as diverged.

use super::Optimizer;
use super::by_list::ByList;
use super::groups::Grouped;
use super::slots::Active;
use crate::Result;
use crate::torch::foreach;

crate::config_struct! {
    /// RMSprop (Hinton et al. 2012, lecture 6e), optionally centered (Graves 2013, arXiv:1308.0850).
    pub struct RmsProp {
        /// Learning rate before the schedule.
        pub lr: f64 = 0.01, non_negative();
        /// Decay of the running mean of the squared gradient.
        pub alpha: f64 = 0.99, below(0.0, 1.0);
        /// Added to the root.
        pub eps: f64 = 1e-8, positive();
        /// Momentum of the scaled gradient; 0 keeps no buffer.
        pub momentum: f64 = 0.0, below(0.0, 1.0);
        /// Divide by the standard deviation of the gradient instead of its root mean square.
        pub centered: bool = false;
        /// L2 penalty, added to the gradient.
        pub weight_decay: f64 = 0.0, non_negative();
    }
}

impl RmsProp {
    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let mut names = vec!["square_avg"];
        if self.centered {
            names.push("grad_avg");
        }
        if self.momentum > 0.0 {
            names.push("momentum_buffer");
        }
        ByList::build(self.clone(), parameters, &names, step)
    }
}

fn step(config: &RmsProp, list: &mut Active) -> Result<()> {
    let RmsProp { lr: _, alpha, eps, momentum, centered, weight_decay } = *config;
    let weight_decay = weight_decay * list.weight_decay_scale;
    let options = foreach::RmsProp { lr: list.lr, alpha, eps, weight_decay, momentum, centered };
    let mut square_avgs = list.take("square_avg");
    let mut grad_avgs = list.take("grad_avg");
    let mut buffers = list.take("momentum_buffer");
    let Active { parameters, gradients, .. } = list;
    foreach::rmsprop(parameters, gradients, &mut square_avgs, &mut grad_avgs, &mut buffers, options)
}
