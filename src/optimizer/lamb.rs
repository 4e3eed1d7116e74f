//! LAMB (You et al. 2020, arXiv:1904.00962, algorithm 2): Adam whose step is scaled for each
//! tensor, for large batches.
//!
//! Reference: timm `Lamb`. All gradients together are first scaled to a norm of at most
//! `max_grad_norm`; u = m' / (sqrt(v') + eps) + wd p with Adam's bias-corrected moments;
//! p -= lr |p| / |u| u, the ratio being 1 where a norm is 0.
//!
//! timm differs from the paper in two things, and this follows timm: the gradients are clipped as
//! NVIDIA's implementation does (`max_grad_norm = 0` is the paper); and a parameter without weight
//! decay (all of a norm's and all biases under `groups.norms_and_biases_decay = false`) takes
//! Adam's step unless `always_adapt`.

use super::Optimizer;
use super::groups::Grouped;
use super::slots::Slots;
use crate::Result;
use crate::torch::{foreach, fused};

crate::config_struct! {
    /// LAMB: Adam whose step is scaled for each tensor by the norms of weights and step (You et al.
    /// 2020, arXiv:1904.00962).
    pub struct Lamb {
        /// Learning rate before the schedule.
        pub lr: f64 = 1e-3, non_negative();
        /// Decay of the running mean of the gradient.
        pub beta1: f64 = 0.9, below(0.0, 1.0);
        /// Decay of the running mean of its square.
        pub beta2: f64 = 0.999, below(0.0, 1.0);
        /// Added to the denominator.
        pub eps: f64 = 1e-6, positive();
        /// Decay, part of the step that is scaled; a parameter without it is not adapted, see
        /// `always_adapt`.
        pub weight_decay: f64 = 0.01, non_negative();
        /// Largest L2 norm of all gradients together, after `train.clip_grad_norm`; 0 is off.
        pub max_grad_norm: f64 = 1.0, non_negative();
        /// Never step further than Adam would (LAMBC).
        pub trust_clip: bool = false;
        /// Adapt parameters without weight decay too.
        pub always_adapt: bool = false;
    }
}

#[derive(Debug)]
struct Built {
    config: Lamb,
    slots: Slots,
}

impl Lamb {
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.weight_decay == 0.0 && !self.always_adapt {
            let message = "is 0, so nothing would be adapted: set always_adapt, or take adam";
            wrong.push(("weight_decay", message.to_string()));
        }
        wrong
    }

    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let slots = Slots::new(parameters, &["exp_avg", "exp_avg_sq"]);
        Box::new(Built { config: self.clone(), slots })
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
        let Lamb {
            lr: _,
            beta1,
            beta2,
            eps,
            weight_decay,
            max_grad_norm,
            trust_clip,
            always_adapt,
        } = self.config;
        let grad_divisor = if max_grad_norm > 0.0 {
            let norm = fused::grad_norm(&self.slots.gradients())?.double_value(&[]);
            (norm / max_grad_norm).max(1.0)
        } else {
            1.0
        };
        for mut list in self.slots.begin_step(lr) {
            let options = foreach::Lamb {
                lr: list.lr,
                beta1,
                beta2,
                eps,
                weight_decay: weight_decay * list.weight_decay_scale,
                grad_divisor,
                trust_clip,
                always_adapt,
            };
            let (mut means, mut squares) = (list.take("exp_avg"), list.take("exp_avg_sq"));
            foreach::lamb(
                &mut list.parameters,
                &list.gradients,
                &mut means,
                &mut squares,
                list.step,
                options,
            )?;
        }
        Ok(())
    }
}
