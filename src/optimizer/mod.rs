//! Optimizers: our own state, by name and exportable, over libtorch's fused kernels.
//!
//! What each computes is PyTorch's definition; `tests/parity_optimizer.rs` holds it to
//! `torch.optim`, state included.

pub mod adam;
pub mod adamw;
pub mod moments;
pub mod sgd;
pub mod slots;

use crate::Result;
use slots::Slots;
use std::collections::BTreeMap;
use tch::Tensor;

crate::config_family! {
    /// How the weights follow the gradients.
    pub enum OptimizerConfig("optimizer") {
        Adam(adam::Adam) = "adam",
        AdamW(adamw::AdamW) = "adamw",
        Sgd(sgd::Sgd) = "sgd",
    }
}

/// A built optimizer over named parameters.
pub trait Optimizer: std::fmt::Debug {
    /// The parameters, their gradients and the state.
    fn slots(&self) -> &Slots;

    fn slots_mut(&mut self) -> &mut Slots;

    /// Moves the parameters by their gradients at learning rate `lr`.
    fn step(&mut self, lr: f64) -> Result<()>;
}

impl OptimizerConfig {
    pub fn build(&self, parameters: BTreeMap<String, Tensor>) -> Box<dyn Optimizer> {
        match self {
            OptimizerConfig::Adam(config) => config.build(parameters),
            OptimizerConfig::AdamW(config) => config.build(parameters),
            OptimizerConfig::Sgd(config) => config.build(parameters),
        }
    }

    /// Base learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            OptimizerConfig::Adam(config) => config.lr,
            OptimizerConfig::AdamW(config) => config.lr,
            OptimizerConfig::Sgd(config) => config.lr,
        }
    }

    /// What is wrong with the values taken together: (key below `optimizer`, message).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        match self {
            OptimizerConfig::Sgd(config) => config.validate(),
            OptimizerConfig::Adam(_) | OptimizerConfig::AdamW(_) => Vec::new(),
        }
    }
}
