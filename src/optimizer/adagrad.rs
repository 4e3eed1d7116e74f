//! Adagrad (Duchi, Hazan & Singer 2011, JMLR 12, 2121-2159), the diagonal form.
//!
//! Reference: `torch.optim.Adagrad`. g += wd p; sum += g^2;
//! p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(sum) + eps).

use super::Optimizer;
use super::by_list::ByList;
use super::groups::Grouped;
use super::slots::{Active, Slots};
use crate::Result;
use crate::torch::foreach;

crate::config_struct! {
    /// Adagrad: rates that fall with the sum of squared gradients (Duchi et al. 2011, JMLR 12).
    pub struct Adagrad {
        /// Learning rate before the schedule.
        pub lr: f64 = 0.01, non_negative();
        /// The rate of step t, from 1, is divided by 1 + (t - 1) x this, beside any schedule.
        pub lr_decay: f64 = 0.0, non_negative();
        /// What the sum of squares starts at.
        pub initial_accumulator_value: f64 = 0.0, non_negative();
        /// Added to the root.
        pub eps: f64 = 1e-10, positive();
        /// L2 penalty, added to the gradient.
        pub weight_decay: f64 = 0.0, non_negative();
    }
}

impl Adagrad {
    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        let slots = Slots::new(parameters, &["sum"]).starting_at(self.initial_accumulator_value);
        ByList::with(self.clone(), slots, step)
    }
}

fn step(config: &Adagrad, list: &mut Active) -> Result<()> {
    let Adagrad { lr: _, lr_decay, initial_accumulator_value: _, eps, weight_decay } = *config;
    let weight_decay = weight_decay * list.weight_decay_scale;
    let options = foreach::Adagrad { lr: list.lr, lr_decay, eps, weight_decay };
    let mut sums = list.take("sum");
    foreach::adagrad(&mut list.parameters, &list.gradients, &mut sums, list.step, options)
}
