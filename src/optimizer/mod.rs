//! Optimizers: our own state, by name and exportable, over libtorch's fused and foreach kernels.
//!
//! What each computes is PyTorch's definition, or timm's where PyTorch has none;
//! `tests/parity_optimizer.rs` holds it to them, state included. Which parameters get which share of
//! the learning rate and of the weight decay is the same for all: [`groups`].

pub mod adagrad;
pub mod adam;
pub mod adamw;
pub mod by_list;
pub mod groups;
pub mod lamb;
pub mod lars;
pub mod lion;
pub mod moments;
#[cfg(test)]
mod oracle_tests;
pub mod rmsprop;
pub mod sgd;
pub mod slots;

use crate::Result;
use groups::Grouped;
use slots::Slots;

crate::config_family! {
    /// How the weights follow the gradients.
    pub enum OptimizerConfig("optimizer") {
        Adam(adam::Adam) = "adam",
        AdamW(adamw::AdamW) = "adamw",
        Sgd(sgd::Sgd) = "sgd",
        RmsProp(rmsprop::RmsProp) = "rmsprop",
        Adagrad(adagrad::Adagrad) = "adagrad",
        Lion(lion::Lion) = "lion",
        Lars(lars::Lars) = "lars",
        Lamb(lamb::Lamb) = "lamb",
    }
}

/// A built optimizer over named parameters.
pub trait Optimizer: std::fmt::Debug {
    /// The parameters, their gradients and the state.
    fn slots(&self) -> &Slots;

    fn slots_mut(&mut self) -> &mut Slots;

    /// Moves the parameters by their gradients at learning rate `lr`, which each group multiplies
    /// by its own scale.
    fn step(&mut self, lr: f64) -> Result<()>;
}

impl OptimizerConfig {
    pub fn build(&self, parameters: Grouped) -> Box<dyn Optimizer> {
        match self {
            OptimizerConfig::Adam(config) => config.build(parameters),
            OptimizerConfig::AdamW(config) => config.build(parameters),
            OptimizerConfig::Sgd(config) => config.build(parameters),
            OptimizerConfig::RmsProp(config) => config.build(parameters),
            OptimizerConfig::Adagrad(config) => config.build(parameters),
            OptimizerConfig::Lion(config) => config.build(parameters),
            OptimizerConfig::Lars(config) => config.build(parameters),
            OptimizerConfig::Lamb(config) => config.build(parameters),
        }
    }

    /// Base learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            OptimizerConfig::Adam(config) => config.lr,
            OptimizerConfig::AdamW(config) => config.lr,
            OptimizerConfig::Sgd(config) => config.lr,
            OptimizerConfig::RmsProp(config) => config.lr,
            OptimizerConfig::Adagrad(config) => config.lr,
            OptimizerConfig::Lion(config) => config.lr,
            OptimizerConfig::Lars(config) => config.lr,
            OptimizerConfig::Lamb(config) => config.lr,
        }
    }

    /// What is wrong with the values taken together: (key below `optimizer`, message).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        match self {
            OptimizerConfig::Sgd(config) => config.validate(),
            OptimizerConfig::Lars(config) => config.validate(),
            OptimizerConfig::Lamb(config) => config.validate(),
            OptimizerConfig::Adam(_)
            | OptimizerConfig::AdamW(_)
            | OptimizerConfig::RmsProp(_)
            | OptimizerConfig::Adagrad(_)
            | OptimizerConfig::Lion(_) => Vec::new(),
        }
    }
}
