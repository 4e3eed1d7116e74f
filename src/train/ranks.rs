//! What the processes of a run agree on: rank 0 decides and writes, the others follow.

use super::divided::Divided;
use super::same::{flat, is_place as is_source};
use super::step::{Scalars, Window};
use crate::checkpoint::{self, Named, Snapshot, State};
use crate::data::{Shard, Splits};
use crate::distributed::{self, Group, Reducer, Reduction};
use crate::plan::Plan;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// This process among those that train together; one process alone shares nothing and waits for nobody.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    group: Option<Arc<Group>>,
}

/// What a rank has to say after a step's passes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// Someone asked for a stop.
    pub stop: bool,
    /// The time of training is over.
    pub over: bool,
}

impl Ranks {
    /// By the group that was entered.
    pub fn of_process() -> Ranks {
        Ranks { group: distributed::current() }
    }

    /// Whether this process writes logs, checkpoints and results.
    pub fn leads(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.is_first())
    }

    /// Whether there are others.
    pub fn are_several(&self) -> bool {
        self.group.is_some()
    }

    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rank())
    }

    pub fn size(&self) -> usize {
        self.group.as_ref().map_or(1, |group| group.size())
    }

    /// This rank's part of every batch.
    pub fn shard(&self) -> Shard {
        Shard { rank: self.rank(), ranks: self.size() }
    }

    /// The ranks run one program and one experiment; where things lie may differ from machine to machine.
    ///
    /// # Errors
    /// Names the ranks that differ.
    pub fn agree_on_plan(&self, plan: &Plan) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        // Two builds hardly ever have the same size.
        let size = std::env::current_exe().and_then(std::fs::metadata).map_or(0, |file| file.len());
        let version = env!("CARGO_PKG_VERSION");
        group.agree("program", &format!("arcrun {version}, {size} bytes"))?;
        let keys = flat(&plan.experiment.to_toml())?;
        let keys = keys.into_iter().filter(|(key, _)| !is_place(key));
        let lines: Vec<String> = keys.map(|(key, value)| format!("{key} = {value}")).collect();
        group.agree("configuration", &lines.join("\n"))
    }

    /// The ranks see the same images.
    ///
    /// # Errors
    /// Names the ranks that differ.
    pub fn agree_on_data(&self, splits: &Splits) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        let sums = serde_json::to_string(&splits.fingerprints()?)
            .map_err(|error| Error::failed(error.to_string()))?;
        group.agree("data", &sums)
    }

    /// Waits for all ranks' results: where one failed, the others fail too, with the error of the first
    /// of those and so with its exit code.
    ///
    /// # Errors
    /// `own`; else that of another rank.
    pub fn together<T>(&self, own: Result<T>) -> Result<T> {
        let Some(group) = &self.group else { return own };
        let place = if own.is_err() { group.rank() } else { group.size() };
        let met = group.reduce_numbers(&[place as f64], Reduction::Min);
        let (own, met) = match (own, met) {
            // Its own failure comes before that of saying so.
            (own @ Err(_), Err(_)) => return own,
            (own, met) => (own, met?),
        };
        let first = met[0] as usize;
        if first >= group.size() {
            return own;
        }
        let said = own.as_ref().err().map(Told::of).unwrap_or_default();
        let said = serde_json::to_vec(&said).map_err(|error| Error::failed(error.to_string()))?;
        let heard = bytes_of(group, first, &said);
        // All have heard before one ends.
        let _ = group.barrier();
        own.and_then(|_| {
            let told: Told = serde_json::from_slice(&heard?).unwrap_or_default();
            Err(told.into_error(first))
        })
    }

    /// What must be done once on a machine, such as drawing data: the first process of each does it
    /// before the others.
    ///
    /// # Errors
    /// Those of `body`, on all ranks.
    pub fn first_then_others<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match &self.group {
            Some(group) if group.launch().local_rank == 0 => {
                let done = self.together(body())?;
                self.together(Ok(()))?;
                Ok(done)
            }
            Some(_) => {
                self.together(Ok(()))?;
                self.together(body())
            }
            None => body(),
        }
    }

    /// What rank 0 has.
    pub fn of_first<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<T> {
        let Some(group) = &self.group else { return Ok(value) };
        let said = serde_json::to_vec(&value).map_err(|error| Error::failed(error.to_string()))?;
        let heard = bytes_of_first(group, &said)?;
        serde_json::from_slice(&heard)
            .map_err(|error| Error::failed(format!("what rank 0 said can't be read: {error}")))
    }

    /// Rank 0's snapshot, on every rank.
    pub fn snapshot_of_first(&self, own: Option<Box<Snapshot>>) -> Result<Option<Box<Snapshot>>> {
        if self.leads() {
            self.tell_snapshot(own.as_deref())?;
            return Ok(own);
        }
        self.hear_snapshot()
    }

    /// On rank 0: what the others get by [`Ranks::hear_snapshot`].
    pub fn tell_snapshot(&self, own: Option<&Snapshot>) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        self.of_first(own.map(|own| own.state.clone()))?;
        let Some(Snapshot { tensors, .. }) = own else { return Ok(()) };
        self.of_first(tensors.keys().cloned().collect::<Vec<_>>())?;
        tensors.values().try_for_each(|tensors| {
            bytes_of_first(group, &checkpoint::to_bytes(tensors)?).map(drop)
        })
    }

    /// On the others: what rank 0 says by [`Ranks::tell_snapshot`].
    pub fn hear_snapshot(&self) -> Result<Option<Box<Snapshot>>> {
        let Some(group) = &self.group else { return Ok(None) };
        let state: Option<State> = self.of_first(None)?;
        let Some(state) = state else { return Ok(None) };
        let names: Vec<String> = self.of_first(Vec::new())?;
        let mut tensors = BTreeMap::new();
        for name in names {
            tensors.insert(name, checkpoint::from_bytes(&bytes_of_first(group, &[])?)?);
        }
        Ok(Some(Box::new(Snapshot { tensors, state })))
    }

    /// Brings the values of rank 0 to the others, but for what is divided over the ranks.
    pub fn broadcast(&self, tensors: &Named, divided: &Divided) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        for (name, tensor) in tensors {
            if !divided.contains(name) {
                tch::no_grad(|| group.broadcast(&mut tensor.detach(), 0))?;
            }
        }
        Ok(())
    }

    /// Averages the gradients of these parameters from now on; None of one process.
    pub fn reducer(&self, parameters: &Named, divided: &Divided) -> Result<Option<Reducer>> {
        let Some(group) = &self.group else { return Ok(None) };
        let shared = parameters.iter().filter(|(name, _)| !divided.contains(name));
        let shared: Vec<Tensor> = shared.map(|(_, tensor)| tensor.shallow_clone()).collect();
        Reducer::new(group, &shared, false).map(Some)
    }

    /// Counts a batch of which this rank saw `samples` of `whole`. What a loss says on each rank is such
    /// that the average is that of the whole batch.
    pub fn add(
        &self,
        window: &mut Window,
        scalars: Scalars,
        samples: u64,
        whole: u64,
    ) -> Result<()> {
        let Some(group) = &self.group else {
            window.add(scalars, samples);
            return Ok(());
        };
        let share = samples as f64 / whole as f64;
        let ranks = group.size() as f64;
        let Scalars { loss, monitored, correct, embedding_norm, values } = scalars;
        // The mean over no sample is no number: it counts for nothing.
        let norm = if samples == 0 { 0.0 } else { embedding_norm * share };
        let mut numbers = vec![loss / ranks, monitored / ranks, correct as f64, norm];
        numbers.extend(values.iter().map(|value| value / ranks));
        let mut heard = group.reduce_numbers(&numbers, Reduction::Sum)?.into_iter();
        let mut next = || heard.next().unwrap_or(f64::NAN);
        let (loss, monitored, correct, embedding_norm) = (next(), next(), next() as usize, next());
        let values = heard.collect();
        window.add(Scalars { loss, monitored, correct, embedding_norm, values }, whole);
        Ok(())
    }

    /// Sums over the ranks.
    pub fn sum(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        match &self.group {
            Some(group) => group.reduce_numbers(numbers, Reduction::Sum),
            None => Ok(numbers.to_vec()),
        }
    }

    /// The largest of all ranks.
    pub fn most(&self, number: f64) -> Result<f64> {
        match &self.group {
            Some(group) => Ok(group.reduce_numbers(&[number], Reduction::Max)?[0]),
            None => Ok(number),
        }
    }

    /// What any rank asks for.
    pub fn any(&self, asked: Asked) -> Result<Asked> {
        let Some(group) = &self.group else { return Ok(asked) };
        let flag = |on: bool| f64::from(u8::from(on));
        let numbers = [flag(asked.stop), flag(asked.over)];
        let heard = group.reduce_numbers(&numbers, Reduction::Max)?;
        Ok(Asked { stop: heard[0] > 0.0, over: heard[1] > 0.0 })
    }

    /// Rows of all ranks in rank order, for as many as each has.
    ///
    /// # Shapes
    /// [n_r x dim] -> [sum of n_r x dim]
    pub fn gather_rows(&self, rows: &[f32], dim: usize, counts: &[i64]) -> Result<Vec<f32>> {
        let Some(group) = &self.group else { return Ok(rows.to_vec()) };
        let rows = Tensor::from_slice(rows).view([-1, dim as i64]);
        let all = tch::no_grad(|| group.gather_rows(&rows, counts))?;
        Vec::<f32>::try_from(all.to_kind(Kind::Float).contiguous().view(-1))
            .map_err(|error| Error::failed(error.to_string()))
    }

    /// Waits for the others.
    pub fn meet(&self) -> Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.barrier())
    }

    /// Bytes that this rank has sent so far.
    pub fn sent(&self) -> Option<u64> {
        self.group.as_ref().map(|group| group.sent())
    }
}

/// Where data and results lie, and how many threads there are for them, which may differ from machine to
/// machine.
fn is_place(key: &str) -> bool {
    key.starts_with("paths.")
        || key.starts_with("loader.")
        || key == "train.threads"
        || key == "data.root"
        || is_source(key)
}

/// An error as another rank hears of it.
#[derive(Default, Serialize, Deserialize)]
struct Told {
    code: u8,
    message: String,
    help: Option<String>,
}

impl Told {
    fn of(error: &Error) -> Told {
        let help = match error {
            Error::Input { help, .. }
            | Error::Failed { help, .. }
            | Error::Diverged { help, .. }
            | Error::Stopped { help, .. } => help.clone(),
            Error::Config(_) => None,
        };
        Told { code: error.exit_code(), message: error.to_string(), help }
    }

    fn into_error(self, rank: usize) -> Error {
        let Told { code, message, help } = self;
        let message = format!("rank {rank}: {message}");
        match code {
            2 => Error::Input { message, help },
            3 => Error::Diverged { message, help },
            75 => Error::Stopped { message, help },
            _ => Error::Failed { message, help },
        }
    }
}

/// Rank 0's bytes.
fn bytes_of_first(group: &Group, own: &[u8]) -> Result<Vec<u8>> {
    bytes_of(group, 0, own)
}

/// The bytes of rank `root`: their number first, then they themselves.
fn bytes_of(group: &Group, root: usize, own: &[u8]) -> Result<Vec<u8>> {
    let mut length = Tensor::from(own.len() as i64);
    group.broadcast(&mut length, root)?;
    let length = length.int64_value(&[]);
    let mut bytes = match group.rank() == root {
        true => Tensor::from_slice(own),
        false => Tensor::zeros([length], (Kind::Uint8, tch::Device::Cpu)),
    };
    if length > 0 {
        group.broadcast(&mut bytes, root)?;
    }
    Vec::<u8>::try_from(bytes).map_err(|error| Error::failed(error.to_string()))
}
