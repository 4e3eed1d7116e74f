//! What Adam and AdamW share: first and second moments for each parameter.

use super::Optimizer;
use super::by_list::ByList;
use super::groups::Grouped;
use super::slots::Active;
use crate::Result;
use crate::torch::fused;
use tch::Tensor;

type Kernel = fn(&mut [Tensor], &[Tensor], fused::Moments<'_>, i64, &fused::Adam) -> Result<()>;

/// `kernel` is [`fused::adam`] or [`fused::adamw`].
pub fn build(parameters: Grouped, options: fused::Adam, kernel: Kernel) -> Box<dyn Optimizer> {
    let names: &[&str] = match options.amsgrad {
        true => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
        false => &["exp_avg", "exp_avg_sq"],
    };
    ByList::build((options, kernel), parameters, names, step)
}

fn step((options, kernel): &(fused::Adam, Kernel), list: &mut Active) -> Result<()> {
    let weight_decay = options.weight_decay * list.weight_decay_scale;
    let options = fused::Adam { lr: list.lr, weight_decay, ..options.clone() };
    let moments = fused::Moments {
        exp_avgs: &mut list.take("exp_avg"),
        exp_avg_sqs: &mut list.take("exp_avg_sq"),
        max_exp_avg_sqs: &mut list.take("max_exp_avg_sq"),
    };
    kernel(&mut list.parameters, &list.gradients, moments, list.step, &options)
}
