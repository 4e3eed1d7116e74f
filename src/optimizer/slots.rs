//! Parameters by name, and what an optimizer keeps for each: a step count and state tensors.

use super::groups::{Grouped, Member};
use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// Name of the step count in an exported state.
const STEP: &str = "step";

#[derive(Debug)]
struct Entry {
    name: String,
    parameter: Tensor,
    lr_scale: f64,
    weight_decay_scale: f64,
    /// Steps in which the parameter was moved.
    step: i64,
    /// One tensor for each slot, made in the first step.
    state: Vec<Tensor>,
}

#[derive(Debug)]
pub struct Slots {
    /// Names of the state tensors, PyTorch's.
    names: Vec<&'static str>,
    /// What the state is filled with before the first step.
    initial: f64,
    entries: Vec<Entry>,
}

/// Parameters that have a gradient, are in the same step and have the same scales, as lists, which
/// is the form that the kernels take; all share storage with the originals.
#[derive(Debug)]
pub struct Active {
    /// Step that is about to be done, from 1.
    pub step: i64,
    /// Learning rate of these parameters.
    pub lr: f64,
    /// What the optimizer's weight decay is to be multiplied by.
    pub weight_decay_scale: f64,
    pub parameters: Vec<Tensor>,
    pub gradients: Vec<Tensor>,
    state: BTreeMap<&'static str, Vec<Tensor>>,
}

impl Active {
    /// One state tensor for each parameter; none if the optimizer has no slot of this name.
    pub fn take(&mut self, slot: &str) -> Vec<Tensor> {
        self.state.remove(slot).unwrap_or_default()
    }
}

impl Slots {
    pub fn new(parameters: Grouped, names: &[&'static str]) -> Self {
        let entry = |(name, member)| {
            let Member { parameter, lr_scale, weight_decay_scale } = member;
            Entry { name, parameter, lr_scale, weight_decay_scale, step: 0, state: Vec::new() }
        };
        let entries = parameters.members.into_iter().map(entry).collect();
        Slots { names: names.to_vec(), initial: 0.0, entries }
    }

    /// The state starts at `value` instead of 0.
    pub fn starting_at(self, value: f64) -> Self {
        Slots { initial: value, ..self }
    }

    /// Gradients of the parameters that have one, sharing storage.
    pub fn gradients(&self) -> Vec<Tensor> {
        let gradients = self.entries.iter().map(|entry| entry.parameter.grad());
        gradients.filter(Tensor::defined).collect()
    }

    /// The same by name, sorted.
    pub fn named_gradients(&self) -> BTreeMap<String, Tensor> {
        let named = self.entries.iter().map(|entry| (entry.name.clone(), entry.parameter.grad()));
        named.filter(|(_, gradient)| gradient.defined()).collect()
    }

    /// Forgets the gradients, so that the next backward pass starts from nothing.
    pub fn clear_gradients(&mut self) -> Result<()> {
        let parameters = self.entries.iter().map(|entry| entry.parameter.shallow_clone());
        crate::torch::gradient::clear(&parameters.collect::<Vec<_>>())
    }

    /// Counts a step for every parameter that has a gradient and lists them by step and scales: one
    /// list, unless there are groups or some went without a gradient before. `lr` is the rate at
    /// scale 1.
    pub fn begin_step(&mut self, lr: f64) -> Vec<Active> {
        // Positive numbers have the order of their bits.
        let mut lists: BTreeMap<(i64, u64, u64), Active> = BTreeMap::new();
        let (names, initial) = (&self.names, self.initial);
        for entry in &mut self.entries {
            let gradient = entry.parameter.grad();
            if !gradient.defined() {
                continue;
            }
            if entry.step == 0 {
                // In the parameter's own memory layout, which the kernels need.
                let start = || match initial {
                    0.0 => entry.parameter.zeros_like(),
                    value => entry.parameter.full_like(value),
                };
                entry.state = tch::no_grad(|| names.iter().map(|_| start()).collect());
            }
            entry.step += 1;
            let scales = (entry.lr_scale.to_bits(), entry.weight_decay_scale.to_bits());
            let list = lists.entry((entry.step, scales.0, scales.1)).or_insert_with(|| Active {
                step: entry.step,
                lr: lr * entry.lr_scale,
                weight_decay_scale: entry.weight_decay_scale,
                parameters: Vec::new(),
                gradients: Vec::new(),
                state: names.iter().map(|name| (*name, Vec::new())).collect(),
            });
            list.parameters.push(entry.parameter.shallow_clone());
            list.gradients.push(gradient);
            for (name, tensor) in names.iter().zip(&entry.state) {
                list.state.entry(name).or_default().push(tensor.shallow_clone());
            }
        }
        lists.into_values().collect()
    }

    /// State by `<parameter>.<slot>`, for a checkpoint; shares storage. Parameters that were never
    /// moved have none.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.step > 0) {
            state.insert(format!("{}.{STEP}", entry.name), Tensor::from(entry.step));
            for (slot, tensor) in self.names.iter().zip(&entry.state) {
                state.insert(format!("{}.{slot}", entry.name), tensor.shallow_clone());
            }
        }
        state
    }

    /// Takes over what [`Slots::state`] gave.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut used = 0;
        for entry in &mut self.entries {
            let Some(step) = state.get(&format!("{}.{STEP}", entry.name)) else {
                // Never moved so far.
                (entry.step, entry.state) = (0, Vec::new());
                continue;
            };
            let step = step.to_kind(Kind::Int64).int64_value(&[]);
            let mut tensors = Vec::new();
            for slot in &self.names {
                let name = format!("{}.{slot}", entry.name);
                let fits = |tensor: &&Tensor| tensor.size() == entry.parameter.size();
                let Some(tensor) = state.get(&name).filter(fits) else {
                    let message = format!("optimizer state `{name}` is missing or mis-shaped");
                    return Err(foreign(message));
                };
                // A state in the parameter's own memory layout, which the fused kernels need.
                let mut own = entry.parameter.zeros_like();
                tch::no_grad(|| own.copy_(tensor));
                tensors.push(own);
            }
            used += 1 + tensors.len();
            (entry.step, entry.state) = (step, tensors);
        }
        if used != state.len() {
            return Err(foreign(format!(
                "the checkpoint has {} tensors of optimizer state, of which {used} belong here",
                state.len(),
            )));
        }
        Ok(())
    }
}

fn foreign(message: String) -> Error {
    Error::input(message).help("continue with the optimizer that wrote the checkpoint")
}
