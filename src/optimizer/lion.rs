//! Lion (Chen et al. 2023, arXiv:2302.06675, algorithm 2): the sign of an interpolated momentum.
//!
//! Reference: timm `Lion`. p *= 1 - lr wd; p -= lr sign(beta1 m + (1 - beta1) g);
//! m = beta2 m + (1 - beta2) g. The paper writes the decay into the same update, which is the same
//! but for rounding.

use super::Optimizer;
use super::by_list::ByList;
use super::groups::Grouped;
use super::slots::Active;
use crate::Result;
use crate::torch::foreach;

crate::config_struct! {
    /// Lion: the sign of an interpolated momentum, decoupled weight decay (Chen et al. 2023,
    /// arXiv:2302.06675). Wants a rate 3 to 10 times below AdamW's, and as many times its decay.
    pub struct Lion {
        /// Learning rate before the schedule: how far every weight moves in a step.
        pub lr: f64 = 1e-4, non_negative();
        /// Share of the momentum in the direction of the step.
        pub beta1: f64 = 0.9, below(0.0, 1.0);
        /// Decay of the momentum.
        pub beta2: f64 = 0.99, below(0.0, 1.0);
        /// Decay: each step multiplies the weights by 1 - lr x this.
        pub weight_decay: f64 = 0.0, non_negative();
    }
}

impl Lion {
    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        ByList::build(self.clone(), parameters, &["exp_avg"], step)
    }
}

fn step(config: &Lion, list: &mut Active) -> Result<()> {
    let Lion { lr: _, beta1, beta2, weight_decay } = *config;
    let weight_decay = weight_decay * list.weight_decay_scale;
    let options = foreach::Lion { lr: list.lr, beta1, beta2, weight_decay };
    let mut exp_avgs = list.take("exp_avg");
    foreach::lion(&mut list.parameters, &list.gradients, &mut exp_avgs, options)
}
