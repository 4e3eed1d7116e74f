//! Parameters by name, and what an optimizer keeps for each: a step count and state tensors.

use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// Name of the step count in an exported state.
const STEP: &str = "step";

#[derive(Debug)]
struct Entry {
    name: String,
    parameter: Tensor,
    /// Steps in which the parameter was moved.
    step: i64,
    /// One tensor for each slot, made in the first step.
    state: Vec<Tensor>,
}

#[derive(Debug)]
pub struct Slots {
    /// Names of the state tensors, PyTorch's.
    names: &'static [&'static str],
    entries: Vec<Entry>,
}

/// Parameters that have a gradient and are in the same step, as lists, which is the form that the
/// fused kernels take; all share storage with the originals.
#[derive(Debug, Default)]
pub struct Active {
    /// Step that is about to be done, from 1.
    pub step: i64,
    pub parameters: Vec<Tensor>,
    pub gradients: Vec<Tensor>,
    /// `state[k][i]` is slot `k` of parameter `i`.
    pub state: Vec<Vec<Tensor>>,
}

impl Slots {
    pub fn new(parameters: BTreeMap<String, Tensor>, names: &'static [&'static str]) -> Self {
        let entries = parameters
            .into_iter()
            .map(|(name, parameter)| Entry { name, parameter, step: 0, state: Vec::new() })
            .collect();
        Slots { names, entries }
    }

    /// Gradients of the parameters that have one, sharing storage.
    pub fn gradients(&self) -> Vec<Tensor> {
        let gradients = self.entries.iter().map(|entry| entry.parameter.grad());
        gradients.filter(Tensor::defined).collect()
    }

    /// Forgets the gradients, so that the next backward pass starts from nothing.
    pub fn clear_gradients(&mut self) -> Result<()> {
        let parameters = self.entries.iter().map(|entry| entry.parameter.shallow_clone());
        crate::torch::gradient::clear(&parameters.collect::<Vec<_>>())
    }

    /// Counts a step for every parameter that has a gradient and lists them by step: one list,
    /// unless some went without a gradient before. A parameter in its first step gets zeros for
    /// its state.
    pub fn begin_step(&mut self) -> Vec<Active> {
        let mut lists: BTreeMap<i64, Active> = BTreeMap::new();
        for entry in &mut self.entries {
            let gradient = entry.parameter.grad();
            if !gradient.defined() {
                continue;
            }
            if entry.step == 0 {
                entry.state = self.names.iter().map(|_| entry.parameter.zeros_like()).collect();
            }
            entry.step += 1;
            let list = lists.entry(entry.step).or_insert_with(|| Active {
                step: entry.step,
                state: self.names.iter().map(|_| Vec::new()).collect(),
                ..Active::default()
            });
            list.parameters.push(entry.parameter.shallow_clone());
            list.gradients.push(gradient);
            for (slot, tensor) in list.state.iter_mut().zip(&entry.state) {
                slot.push(tensor.shallow_clone());
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
            let Some(step) = state.get(&format!("{}.{STEP}", entry.name)) else { continue };
            let step = step.to_kind(Kind::Int64).int64_value(&[]);
            let mut tensors = Vec::new();
            for slot in self.names {
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
