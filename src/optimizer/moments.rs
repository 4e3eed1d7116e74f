//! What Adam and AdamW share: first and second moments for each parameter.

use super::Optimizer;
use super::slots::Slots;
use crate::Result;
use crate::torch::fused;
use std::collections::BTreeMap;
use tch::Tensor;

type Kernel = fn(&mut [Tensor], &[Tensor], fused::Moments<'_>, i64, &fused::Adam) -> Result<()>;

#[derive(Debug)]
pub struct Moments {
    options: fused::Adam,
    kernel: Kernel,
    slots: Slots,
}

impl Moments {
    /// `kernel` is [`fused::adam`] or [`fused::adamw`].
    pub fn new(parameters: BTreeMap<String, Tensor>, options: fused::Adam, kernel: Kernel) -> Self {
        let names: &[&str] = match options.amsgrad {
            true => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            false => &["exp_avg", "exp_avg_sq"],
        };
        Moments { options, kernel, slots: Slots::new(parameters, names) }
    }
}

impl Optimizer for Moments {
    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn step(&mut self, lr: f64) -> Result<()> {
        let options = fused::Adam { lr, ..self.options };
        for mut list in self.slots.begin_step() {
            let mut slots = list.state.iter_mut().map(Vec::as_mut_slice);
            let mut slot = || slots.next().unwrap_or_default();
            let moments =
                fused::Moments { exp_avgs: slot(), exp_avg_sqs: slot(), max_exp_avg_sqs: slot() };
            (self.kernel)(&mut list.parameters, &list.gradients, moments, list.step, &options)?;
        }
        Ok(())
    }
}
