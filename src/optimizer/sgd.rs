//! Stochastic gradient descent with momentum (Sutskever et al. 2013), optionally Nesterov's.
//!
//! Reference: `torch.optim.SGD`. g += wd p; buf = g in a parameter's first step, later
//! buf = mu buf + (1 - dampening) g; step along buf, or along g + mu buf with Nesterov.

use super::Optimizer;
use super::by_list::ByList;
use super::groups::Grouped;
use super::slots::Active;
use crate::Result;
use crate::torch::fused;

crate::config_struct! {
    /// Stochastic gradient descent, momentum, Nesterov (PyTorch's SGD).
    pub struct Sgd {
        /// Learning rate before the schedule.
        pub lr: f64 = 0.1, non_negative();
        /// Momentum `mu`.
        pub momentum: f64 = 0.9, below(0.0, 1.0);
        /// Share of the gradient kept out of the momentum buffer.
        pub dampening: f64 = 0.0, below(0.0, 1.0);
        /// Nesterov's momentum; needs `momentum` above 0 and `dampening` 0.
        pub nesterov: bool = false;
        /// L2 penalty, added to the gradient.
        pub weight_decay: f64 = 5e-4, non_negative();
    }
}

impl Sgd {
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let message = format!(
                "needs momentum above 0 and dampening 0; they are {} and {}",
                self.momentum, self.dampening
            );
            wrong.push(("nesterov", message));
        }
        wrong
    }

    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let names: &[&str] = if self.momentum > 0.0 { &["momentum_buffer"] } else { &[] };
        ByList::build(self.clone(), parameters, names, step)
    }
}

fn step(config: &Sgd, list: &mut Active) -> Result<()> {
    let Sgd { lr: _, momentum, dampening, nesterov, weight_decay } = *config;
    let weight_decay = weight_decay * list.weight_decay_scale;
    let options =
        fused::Sgd { lr: list.lr, momentum, dampening, weight_decay, nesterov, maximize: false };
    let mut buffers = list.take("momentum_buffer");
    fused::sgd(&mut list.parameters, &list.gradients, &mut buffers, list.step == 1, &options)
}
