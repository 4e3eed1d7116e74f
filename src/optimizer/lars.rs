//! LARS: layer-wise adaptive rate scaling (You, Gitman & Ginsburg 2017, arXiv:1708.03888,
//! algorithm 1), for large batches.
//!
//! Reference: timm `Lars`. ratio = trust_coefficient |p| / (|g| + wd |p| + eps), 1 where a norm is
//! 0; g = ratio (g + wd p); then SGD with momentum (as in `torch.optim.SGD`) at rate lr.
//!
//! timm differs from the paper in two things, and this follows timm: the rate multiplies the
//! momentum buffer, not what enters it; and a parameter without weight decay (all of a norm's and
//! all biases under `groups.norms_and_biases_decay = false`) is not adapted unless `always_adapt`.

use super::Optimizer;
use super::by_list::ByList;
use super::groups::Grouped;
use super::slots::Active;
use crate::Result;
use crate::torch::foreach;

crate::config_struct! {
    /// LARS: SGD whose step is scaled for each tensor by the norms of weights and gradient (You et
    /// al. 2017, arXiv:1708.03888).
    pub struct Lars {
        /// Learning rate before the schedule.
        pub lr: f64 = 1.0, non_negative();
        /// Momentum `mu`.
        pub momentum: f64 = 0.9, below(0.0, 1.0);
        /// Nesterov's momentum; needs `momentum` above 0.
        pub nesterov: bool = false;
        /// L2 penalty; a parameter without it is not adapted, see `always_adapt`.
        pub weight_decay: f64 = 5e-4, non_negative();
        /// Trust coefficient `eta`: the norm of a step over the norm of its weights, at rate 1.
        pub trust_coefficient: f64 = 1e-3, positive();
        /// Added to the denominator of the trust ratio.
        pub eps: f64 = 1e-8, non_negative();
        /// Never step further than SGD would at the same rate (LARC).
        pub trust_clip: bool = false;
        /// Adapt parameters without weight decay too.
        pub always_adapt: bool = false;
    }
}

impl Lars {
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.nesterov && self.momentum == 0.0 {
            wrong.push(("nesterov", "needs momentum above 0".to_string()));
        }
        if self.weight_decay == 0.0 && !self.always_adapt {
            let message = "is 0, so nothing would be adapted: set always_adapt, or take sgd";
            wrong.push(("weight_decay", message.to_string()));
        }
        wrong
    }

    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let names: &[&str] = if self.momentum > 0.0 { &["momentum_buffer"] } else { &[] };
        ByList::build(self.clone(), parameters, names, step)
    }
}

fn step(config: &Lars, list: &mut Active) -> Result<()> {
    let Lars {
        lr: _,
        momentum,
        nesterov,
        weight_decay,
        trust_coefficient,
        eps,
        trust_clip,
        always_adapt,
    } = *config;
    let options = foreach::Lars {
        lr: list.lr,
        momentum,
        weight_decay: weight_decay * list.weight_decay_scale,
        trust_coefficient,
        eps,
        nesterov,
        trust_clip,
        always_adapt,
    };
    let mut buffers = list.take("momentum_buffer");
    foreach::lars(&mut list.parameters, &list.gradients, &mut buffers, list.step == 1, options)
}
