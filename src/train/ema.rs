//! An exponential moving average of the weights.
//!
//! Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in the
//! exponential form that Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017,
//! made usual. Values are those of `torch.optim.swa_utils.AveragedModel` with
//! `get_ema_multi_avg_fn(decay)` and `use_buffers=True`: the first update copies.

use super::model::Model;
use crate::checkpoint::Named;
use crate::config::tables::Ema;
use crate::torch::average;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// The average of everything in the model that training moves: parameters, running statistics.
#[derive(Debug)]
pub struct Average {
    config: Ema,
    /// Updates done.
    updates: u64,
    tensors: Named,
}

impl Average {
    /// None where the decay is 0. The average starts as the model is.
    pub fn new(config: &Ema, model: &Model) -> Option<Average> {
        let tensors = moving(model).map(|(name, tensor)| (name, tensor.detach().copy()));
        let tensors = tensors.collect();
        (config.decay > 0.0).then(|| Average { config: config.clone(), updates: 0, tensors })
    }

    /// Updates done: what a checkpoint keeps beside the tensors.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The share of the average that update `n` (from 0) keeps.
    fn decay(&self, n: u64) -> f64 {
        let Ema { decay, warmup, .. } = self.config;
        match (n, warmup) {
            (0, _) => 0.0,
            (n, true) => decay.min((1.0 + n as f64) / (10.0 + n as f64)),
            (_, false) => decay,
        }
    }

    /// To be called after optimizer step `step`, from 1.
    pub fn after_step(&mut self, step: u64, model: &Model) -> Result<()> {
        if !step.is_multiple_of(self.config.every_steps as u64) {
            return Ok(());
        }
        let decay = self.decay(self.updates);
        self.updates += 1;
        let (mut averages, mut values) = (Vec::new(), Vec::new());
        for (name, value) in moving(model) {
            let Some(average) = self.tensors.get_mut(&name) else { continue };
            if decay > 0.0 && average.is_floating_point() {
                averages.push(average.shallow_clone());
                values.push(value.detach());
            } else {
                tch::no_grad(|| average.copy_(&value));
            }
        }
        average::lerp(&mut averages, &values, 1.0 - decay)
    }

    /// The whole model with the averages in their places, on the CPU.
    pub fn tensors(&self, model: &Model) -> Named {
        let mut all = super::trainer::on_cpu(model.tensors());
        let own = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        all.extend(super::trainer::on_cpu(own.collect()));
        all
    }

    /// Takes over what [`Average::tensors`] gave.
    ///
    /// # Errors
    /// Tensors of another model.
    pub fn load(&mut self, updates: u64, tensors: &Named) -> Result<()> {
        self.updates = updates;
        for (name, own) in &mut self.tensors {
            let fits = |tensor: &&Tensor| tensor.size() == own.size();
            let Some(tensor) = tensors.get(name).filter(fits) else {
                return Err(Error::input(format!(
                    "the checkpoint's average of the weights lacks `{name}`"
                ))
                .help("continue with the experiment that wrote the checkpoint"));
            };
            tch::no_grad(|| own.copy_(tensor));
        }
        Ok(())
    }
}

/// What training moves, or will after a thaw. Counters are copied, for they have no average.
fn moving(model: &Model) -> impl Iterator<Item = (String, Tensor)> {
    let numbers = |tensor: &Tensor| tensor.is_floating_point() || tensor.kind() == Kind::Int64;
    model.moving().into_iter().filter(move |(_, tensor)| numbers(tensor))
}
