//! Averages of gradients over the ranks.

use super::Group;
use crate::Result;
use crate::torch::c10d::{self, Times};
use std::sync::Arc;
use tch::Tensor;

/// c10d's reducer, as DistributedDataParallel has it: gradients are summed in buckets (1 MiB the first,
/// 25 MiB the others) while the backward pass goes on.
#[derive(Debug)]
pub struct Reducer {
    inner: c10d::Reducer,
    group: Arc<Group>,
    bytes: u64,
}

impl Reducer {
    /// Of parameters that require a gradient, in the same order on all ranks; not of those that a loss
    /// divides over the ranks. All of them must get a gradient in every pass, on every rank, unless
    /// `find_unused` (which costs a walk through the graph).
    ///
    /// # Errors
    /// Parameters that differ between ranks.
    pub fn new(group: &Arc<Group>, parameters: &[Tensor], find_unused: bool) -> Result<Reducer> {
        let inner = c10d::Reducer::new(Arc::clone(group.handle()), parameters, find_unused)
            .map_err(|error| group.failed("compare parameters", &error.to_string()))?;
        let bytes = parameters.iter().map(|p| (p.numel() * p.kind().elt_size_in_bytes()) as u64);
        Ok(Reducer { inner, group: Arc::clone(group), bytes: bytes.sum() })
    }

    /// To be called between the forward and the backward pass of the last batch of a step: after that
    /// pass the gradients, with what the batches before it added, are averages over the ranks. The
    /// batches before go backward without this call, and send nothing.
    pub fn prepare(&mut self, loss: &Tensor) -> Result<()> {
        let prepared = self.inner.prepare(loss);
        prepared.map_err(|error| self.group.failed("average gradients", &error.to_string()))
    }

    /// How long averaging took, and how much of it the backward pass hid.
    pub fn times(&self) -> Result<Times> {
        self.inner.times()
    }

    /// Size of all gradients.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
