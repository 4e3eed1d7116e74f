//! What most optimizers share: keys, state, and a function that moves one list of parameters.

use super::Optimizer;
use super::groups::Grouped;
use super::slots::{Active, Slots};
use crate::Result;

/// Moves the parameters of a list by its gradients; the list's own rate and scale of the weight
/// decay count.
pub type Move<C> = fn(&C, &mut Active) -> Result<()>;

#[derive(Debug)]
pub struct ByList<C> {
    config: C,
    step: Move<C>,
    slots: Slots,
}

impl<C: std::fmt::Debug + 'static> ByList<C> {
    /// `names` are those of the state tensors.
    pub fn build(
        config: C,
        parameters: Grouped,
        names: &[&'static str],
        step: Move<C>,
    ) -> Box<dyn Optimizer> {
        Self::with(config, Slots::new(parameters, names), step)
    }

    pub fn with(config: C, slots: Slots, step: Move<C>) -> Box<dyn Optimizer> {
        Box::new(ByList { config, step, slots })
    }
}

impl<C: std::fmt::Debug> Optimizer for ByList<C> {
    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    fn step(&mut self, lr: f64) -> Result<()> {
        let ByList { config, step, slots } = self;
        slots.begin_step(lr).iter_mut().try_for_each(|list| step(config, list))
    }
}
