//! Cross-entropy over cosines whose target entry was replaced, as one node of the graph: it keeps
//! one buffer of logits, builds no one-hot matrix and no normalised copy of the class weights.

use super::ffi;
use crate::Result;
use std::ptr::null_mut;
use tch::Tensor;

/// Cosines between embeddings and classes, without a graph.
#[derive(Debug)]
pub struct Cosines {
    /// [B, C]; of each class the largest over its sub-centres.
    pub cosine_bc: Tensor,
    /// Which sub-centre that was, [B, C] int64; None with one for each class.
    centre_bc: Option<Tensor>,
    /// 1 / norm of each row of the weights; None where they count as they are.
    inverse_r: Option<Tensor>,
}

/// What [`loss`] is asked for.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Rows of unit norm, [B, D], with a graph.
    pub embedding_bd: &'a Tensor,
    /// [C x sub-centres, D], with a graph.
    pub weight_rd: &'a Tensor,
    /// Factor on the logits of each sample, `[B]`, perhaps with a graph.
    pub scale_b: &'a Tensor,
    pub cosines: &'a Cosines,
    /// int64 `[B]`.
    pub labels_b: &'a Tensor,
    /// The target's entry in the place of its cosine, `[B]`.
    pub moved_b: &'a Tensor,
    /// Its slope over the cosine, `[B]`.
    pub slope_b: &'a Tensor,
    /// A negative of cosine c above the sample's threshold `[B]` counts as c (t + c).
    pub hard: Option<(&'a Tensor, f64)>,
    /// Negatives are held between -clip and clip; 0: they are not.
    pub clip: f64,
}

/// # Shapes
/// embedding [B, D] of unit norm, weights [C x `centres`, D] -> cosines [B, C].
///
/// # Errors
/// What libtorch says of shapes, types or memory.
pub fn cosines(
    embedding_bd: &Tensor,
    weight_rd: &Tensor,
    centres: i64,
    normalize: bool,
) -> Result<Cosines> {
    let [cosine_bc, centre_bc, inverse_r] = [Tensor::new(), Tensor::new(), Tensor::new()];
    let [cosine, centre, inverse] =
        [&cosine_bc, &centre_bc, &inverse_r].map(|tensor| tensor.as_ptr().cast_mut());
    // SAFETY: all handles are live; the last three are ours to write to.
    unsafe {
        let [embedding, weight] = [embedding_bd, weight_rd].map(|t| t.as_ptr().cast_mut());
        let message =
            ffi::arcrun_cosines(embedding, weight, centres, normalize, cosine, centre, inverse);
        ffi::check(message)?;
    }
    let some = |tensor: Tensor| tensor.defined().then_some(tensor);
    Ok(Cosines { cosine_bc, centre_bc: some(centre_bc), inverse_r: some(inverse_r) })
}

/// # Shapes
/// -log softmax of each sample's target logit, `[B]`; differentiable once in embedding, weight
/// and scale.
///
/// # Errors
/// What libtorch says of shapes, types or memory.
pub fn loss(inputs: &Inputs<'_>) -> Result<Tensor> {
    let Inputs {
        embedding_bd,
        weight_rd,
        scale_b,
        cosines,
        labels_b,
        moved_b,
        slope_b,
        hard,
        clip,
    } = inputs;
    let handle = |tensor: &Tensor| tensor.as_ptr().cast_mut();
    let optional = |tensor: Option<&Tensor>| tensor.map_or(null_mut(), handle);
    let raw = ffi::MarginSoftmaxInputs {
        embedding: handle(embedding_bd),
        weight: handle(weight_rd),
        scale: handle(scale_b),
        cosine: handle(&cosines.cosine_bc),
        centre: optional(cosines.centre_bc.as_ref()),
        inverse: optional(cosines.inverse_r.as_ref()),
        labels: handle(labels_b),
        moved: handle(moved_b),
        slope: handle(slope_b),
        threshold: optional(hard.map(|(threshold, _)| threshold)),
        hard_t: hard.map_or(0.0, |(_, t)| t),
        clip: *clip,
    };
    let loss_b = Tensor::new();
    // SAFETY: all handles are live for the length of the call; `loss_b` is ours to write to.
    unsafe { ffi::check(ffi::arcrun_margin_softmax(raw, loss_b.as_ptr().cast_mut()))? };
    Ok(loss_b)
}
