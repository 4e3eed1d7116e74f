//! Stochastic gradient descent with momentum (Sutskever et al. 2013), optionally Nesterov's.
//!
//! Reference: `torch.optim.SGD`. g += wd p; buf = g in a parameter's first step, later
//! buf = mu buf + (1 - dampening) g; step along buf, or along g + mu buf with Nesterov.

use super::Optimizer;
use super::slots::Slots;
use crate::Result;
use crate::torch::fused;
use std::collections::BTreeMap;
use tch::Tensor;

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

#[derive(Debug)]
struct Built {
    config: Sgd,
    slots: Slots,
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

    pub fn build(&self, parameters: BTreeMap<String, Tensor>) -> Box<dyn Optimizer> {
        let names: &[&str] = if self.momentum > 0.0 { &["momentum_buffer"] } else { &[] };
        Box::new(Built { config: self.clone(), slots: Slots::new(parameters, names) })
    }
}

impl Optimizer for Built {
    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn step(&mut self, lr: f64) -> Result<()> {
        let Sgd { lr: _, momentum, dampening, nesterov, weight_decay } = self.config;
        for mut list in self.slots.begin_step() {
            let options =
                fused::Sgd { lr, momentum, dampening, weight_decay, nesterov, maximize: false };
            let mut buffers = list.state.pop().unwrap_or_default();
            let first = list.step == 1;
            fused::sgd(&mut list.parameters, &list.gradients, &mut buffers, first, &options)?;
        }
        Ok(())
    }
}
