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
    pub(super) centre_bc: Option<Tensor>,
    /// 1 / norm of each row of the weights; None where they count as they are.
    pub(super) inverse_r: Option<Tensor>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// Loss and gradients over weights that lie in memory as they are given.
    fn run(weight: Tensor, normalize: bool) -> (f64, Tensor, Tensor) {
        let weight = weight.set_requires_grad(true);
        tch::manual_seed(1);
        let options = (Kind::Double, Device::Cpu);
        let embedding = Tensor::randn([6, weight.size()[1]], options);
        let embedding = &embedding / embedding.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
        let embedding = embedding.set_requires_grad(true);
        let labels = Tensor::from_slice(&[0i64, 1, 2, 0, 1, 2]);
        let cosines = cosines(&embedding, &weight, 1, normalize).unwrap();
        let target = cosines.cosine_bc.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1);
        let loss_b = loss(&Inputs {
            embedding_bd: &embedding,
            weight_rd: &weight,
            scale_b: &target.full_like(16.0),
            cosines: &cosines,
            labels_b: &labels,
            moved_b: &(&target - 0.2),
            slope_b: &target.ones_like(),
            hard: None,
            clip: 0.0,
        })
        .unwrap();
        let mean = loss_b.mean(Kind::Double);
        mean.backward();
        (mean.double_value(&[]), embedding.grad(), weight.grad())
    }

    /// Contiguous weights on the CPU take a loop of our own, all others (and CUDA) libtorch's
    /// operations; rows of 19 leave a rest beside the loop's eight lanes.
    #[test]
    fn both_ways_to_project_the_gradient_agree() {
        tch::manual_seed(2);
        let weight = Tensor::randn([5, 19], (Kind::Double, Device::Cpu)) * 7.0;
        // A row below the smallest norm that counts.
        tch::no_grad(|| {
            let _ = weight.get(4).g_mul_scalar_(1e-16);
        });
        let scattered = weight.tr().contiguous().tr();
        assert!(weight.is_contiguous() && !scattered.is_contiguous());
        let (ours, theirs) = (run(weight.copy(), true), run(scattered, true));
        assert!((ours.0 - theirs.0).abs() < 1e-12);
        for (ours, theirs) in [(ours.1, theirs.1), (ours.2, theirs.2)] {
            let largest = theirs.abs().max().double_value(&[]);
            let difference = (ours - theirs).abs().max().double_value(&[]);
            assert!(difference <= 1e-13 * largest, "{difference} of {largest}");
        }
    }

    /// The gradient of a direction has no part along the row.
    #[test]
    fn the_gradient_is_across_the_weights() {
        tch::manual_seed(3);
        let weight = Tensor::randn([5, 19], (Kind::Double, Device::Cpu));
        let along = |gradient: &Tensor| {
            let dots = (gradient * &weight).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
            dots.abs().max().double_value(&[])
        };
        assert!(along(&run(weight.copy(), true).2) < 1e-13);
        assert!(along(&run(weight.copy(), false).2) > 1e-3);
    }

    #[test]
    fn shapes_that_do_not_fit_are_an_error() {
        let options = (Kind::Float, Device::Cpu);
        let refused =
            cosines(&Tensor::zeros([2, 3], options), &Tensor::zeros([4, 5], options), 1, true);
        assert!(refused.is_err());
    }
}
