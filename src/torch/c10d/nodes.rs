//! Nodes of the graph over all ranks. The loss of a rank is its own scalar, and what is minimised is
//! their sum: a gradient that reaches several ranks is summed over them.

use super::{Handle, ffi};
use crate::Result;
use crate::torch::ffi::check;
use crate::torch::margin_softmax::Cosines;
use std::ptr::null_mut;
use tch::Tensor;

fn handle(tensor: &Tensor) -> *mut torch_sys::C_tensor {
    tensor.as_ptr().cast_mut()
}

fn optional(tensor: Option<&Tensor>) -> *mut torch_sys::C_tensor {
    tensor.map_or(null_mut(), handle)
}

/// Rows of all ranks in rank order; backward: each row's gradients summed over the ranks.
///
/// # Shapes
/// [B_r, ...] -> [sum of B_r, ...]; `counts` holds every rank's B_r.
pub fn gather_rows(group: &Handle, rows: &Tensor, counts: &[i64]) -> Result<Tensor> {
    assert_eq!(counts.len(), group.size, "one count for each rank");
    let out = Tensor::new();
    // SAFETY: all are live, and the counts are as many as ranks; `out` is ours to write to.
    unsafe {
        let counts = counts.as_ptr();
        check(ffi::arcrun_gather_rows(group.raw, handle(rows), counts, handle(&out)))?;
    }
    Ok(out)
}

/// Sum over the ranks; backward: the gradients, summed over the ranks.
pub fn sum_over_ranks(group: &Handle, tensor: &Tensor) -> Result<Tensor> {
    let out = Tensor::new();
    // SAFETY: both are live; `out` is ours to write to.
    unsafe { check(ffi::arcrun_sum_over_ranks(group.raw, handle(tensor), handle(&out)))? };
    Ok(out)
}

/// Batch norm by the statistics of all ranks' maps together.
#[derive(Debug)]
pub struct SyncBatchNorm<'a> {
    /// `[C]`.
    pub weight: &'a Tensor,
    /// `[C]`.
    pub bias: &'a Tensor,
    /// Mean and variance `[C]` that are moved; none: they stay.
    pub running: Option<(&'a Tensor, &'a Tensor)>,
    pub momentum: f64,
    pub eps: f64,
}

impl SyncBatchNorm<'_> {
    /// # Shapes
    /// [B_r, C, ...] to the same shape; B_r may be 0 on some ranks.
    pub fn forward(&self, group: &Handle, maps: &Tensor) -> Result<Tensor> {
        let SyncBatchNorm { weight, bias, running, momentum, eps } = *self;
        let inputs = ffi::SyncBatchNormInputs {
            maps: handle(maps),
            weight: handle(weight),
            bias: handle(bias),
            running_mean: optional(running.map(|(mean, _)| mean)),
            running_var: optional(running.map(|(_, var)| var)),
            momentum,
            eps,
        };
        let out = Tensor::new();
        // SAFETY: all are live; `out` is ours to write to, and so are a layer's running statistics.
        unsafe { check(ffi::arcrun_sync_batch_norm(group.raw, inputs, handle(&out)))? };
        Ok(out)
    }
}

/// What [`sharded_softmax`] is asked for.
#[derive(Debug)]
pub struct Sharded<'a> {
    /// Rows of unit norm of all ranks, [N, D], with a graph.
    pub embedding_nd: &'a Tensor,
    /// This rank's, [C x sub-centres, D], with a graph.
    pub weight_rd: &'a Tensor,
    /// Factor on the logits of each sample, `[N]`, perhaps with a graph.
    pub scale_n: &'a Tensor,
    pub cosines: &'a Cosines,
    /// Samples whose class is here, int64 `[K]`, and its place among those here, int64 `[K]`.
    pub own: (&'a Tensor, &'a Tensor),
    /// The target's entry in the place of its cosine, `[N]`, and its slope over the cosine, `[N]`.
    pub moved_n: &'a Tensor,
    pub slope_n: &'a Tensor,
    /// A negative of cosine c above the sample's threshold `[N]` counts as c (t + c).
    pub hard: Option<(&'a Tensor, f64)>,
    /// Negatives are held between -clip and clip; 0: they are not.
    pub clip: f64,
}

/// -log softmax of each sample's target over the classes of all ranks, `[N]`, the same on all ranks;
/// without a group, of one rank.
///
/// Every rank goes backward with the same gradient of it. The weights get the gradient of that; the
/// embedding and the scale their part of it times the number of ranks, so that summed over the ranks
/// ([`gather_rows`]) and averaged with all other parameters' it is that of one process.
pub fn sharded_softmax(group: Option<&Handle>, inputs: &Sharded<'_>) -> Result<Tensor> {
    let Sharded { embedding_nd, weight_rd, scale_n, cosines, own, moved_n, slope_n, hard, clip } =
        inputs;
    let raw = ffi::ShardedSoftmaxInputs {
        embedding: handle(embedding_nd),
        weight: handle(weight_rd),
        scale: handle(scale_n),
        cosine: handle(&cosines.cosine_bc),
        centre: optional(cosines.centre_bc.as_ref()),
        inverse: optional(cosines.inverse_r.as_ref()),
        own_samples: handle(own.0),
        own_labels: handle(own.1),
        moved: handle(moved_n),
        slope: handle(slope_n),
        threshold: optional(hard.map(|(threshold, _)| threshold)),
        hard_t: hard.map_or(0.0, |(_, t)| t),
        clip: *clip,
    };
    let loss_n = Tensor::new();
    let group = group.map_or(null_mut(), |group| group.raw);
    // SAFETY: all handles are live for the length of the call; `loss_n` is ours to write to.
    unsafe { check(ffi::arcrun_sharded_softmax(group, raw, handle(&loss_n)))? };
    Ok(loss_n)
}
