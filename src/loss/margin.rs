//! What the margin softmax losses share: one classifier of cosines, and the cross-entropy over
//! them with the target's entry replaced by what a margin makes of it.
//!
//! A margin is a function of the target's cosine. Its slope comes from autograd over `[B]` values;
//! everything of the size of the classes is one node of the graph (`torch::margin_softmax`).
//!
//! Shape suffixes: B batch, C classes, D embedding.

use super::sharded::{Partition, Request, Shard, ShardedRows};
use super::{LossInput, LossOutput, norm, widen};
use crate::Result;
use crate::distributed::{Samples, WholeBatch};
use crate::torch::margin_softmax::{self, Inputs};
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

crate::config_choice! {
    /// How the gradient treats the margin.
    pub enum Gradient {
        /// Autograd through the margin: the gradient of the loss as it is written.
        Exact = "exact",
        /// dL/dcos = s (p - y) / B: no gradient through the margin, as in InsightFace's PyTorch code.
        Detached = "detached",
    }
}

/// Class weights [C x sub-centres, D] and the cosine between them and an embedding.
#[derive(Debug)]
pub struct CosineClassifier {
    weights: Weights,
    centres: i64,
}

#[derive(Debug)]
enum Weights {
    Whole(Tensor),
    /// Those of some classes: every process has others.
    Part(Shard),
}

/// The factor on the logits.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    Fixed(f64),
    /// Each sample's own norm, with its gradient; the class weights count as they are, which is
    /// to be after [`CosineClassifier::project`].
    EmbeddingNorm,
    /// The same, of class weights of any norm.
    EmbeddingNormOnly,
}

/// How the softmax is done beside the margin.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    pub scale: Scale,
    pub gradient: Gradient,
    /// Negatives' cosines are held between -clip and clip; 0: they are not.
    pub clip: f64,
}

impl Softmax {
    pub fn new(scale: f64, gradient: Gradient) -> Self {
        Softmax { scale: Scale::Fixed(scale), gradient, clip: 0.0 }
    }
}

/// What a margin makes of the targets' cosines.
#[derive(Debug)]
pub struct Moved {
    /// In the place of the cosine, `[B]`.
    pub target_b: Tensor,
    /// Thresholds `[B]` and t: a negative of cosine c above its threshold becomes c (t + c).
    pub hard: Option<(Tensor, f64)>,
}

impl CosineClassifier {
    /// Names of the values of an output.
    pub const COLUMNS: [&str; 2] = ["target_cosine", "top_cosine"];

    /// Initialised N(0, 0.01) as in InsightFace; only the directions matter to the loss.
    pub fn new(path: &nn::Path, dim: i64, classes: i64, partition: Partition) -> Self {
        Self::with_centres(path, dim, classes, 1, partition)
    }

    /// Class c has the rows c K .. c K + K - 1; the nearest counts.
    pub fn with_centres(
        path: &nn::Path,
        dim: i64,
        classes: i64,
        centres: i64,
        partition: Partition,
    ) -> Self {
        let Partition { shard, sample_rate } = partition;
        let weights = if shard {
            Weights::Part(Shard::new(path, dim, classes, centres, sample_rate))
        } else {
            let init = Init::Randn { mean: 0.0, stdev: 0.01 };
            Weights::Whole(path.var("weight", &[classes * centres, dim], init))
        };
        CosineClassifier { weights, centres }
    }

    pub fn columns() -> Vec<String> {
        Self::COLUMNS.map(String::from).to_vec()
    }

    /// The weights that are here.
    fn weight(&self) -> &Tensor {
        match &self.weights {
            Weights::Whole(weight) => weight,
            Weights::Part(shard) => &shard.weight,
        }
    }

    /// The class weights [C, D]; of several sub-centres the mean of their unit vectors. None where some
    /// are elsewhere.
    pub fn class_centres(&self) -> Option<Tensor> {
        let weight = self.weight().detach();
        if !self.sharded().is_empty() {
            return None;
        }
        if self.centres == 1 {
            return Some(weight);
        }
        let size = weight.size();
        let own = (&weight / norm(&weight).unsqueeze(1)).view([-1, self.centres, size[1]]);
        Some(own.mean_dim([1i64].as_slice(), false, weight.kind()))
    }

    /// The rows that are here, where the others are elsewhere.
    pub fn sharded(&self) -> Vec<ShardedRows> {
        match &self.weights {
            Weights::Whole(_) => Vec::new(),
            Weights::Part(shard) => shard.rows().into_iter().collect(),
        }
    }

    /// Brings the weights to unit norm, without a trace in the graph.
    pub fn project(&mut self) {
        tch::no_grad(|| {
            let mut weight = self.weight().shallow_clone();
            let norms = norm(&weight).unsqueeze(1);
            let _ = weight.g_div_(&norms);
        });
    }

    /// Mean cross-entropy with `margin` applied to the targets' cosines.
    ///
    /// # Shapes
    /// `margin` maps `[B]` to `[B]`, elementwise.
    pub fn softmax(
        &self,
        input: &LossInput<'_>,
        how: Softmax,
        margin: impl FnOnce(&Tensor) -> Tensor,
    ) -> Result<LossOutput> {
        self.softmax_with(input, how, |cosine_b, _| {
            Ok(Moved { target_b: margin(cosine_b), hard: None })
        })
    }

    /// [`CosineClassifier::softmax`] for a margin that has a say on the negatives too, or needs to know
    /// which samples it is asked about.
    pub fn softmax_with(
        &self,
        input: &LossInput<'_>,
        how: Softmax,
        margin: impl FnOnce(&Tensor, Samples<'_>) -> Result<Moved>,
    ) -> Result<LossOutput> {
        let Softmax { scale, gradient, clip } = how;
        let labels_b = input.labels;
        let batch = WholeBatch::of(labels_b)?;
        let embedding_bd = widen(input.embedding);
        let norm_b = norm(&embedding_bd);
        let unit_bd = &embedding_bd / norm_b.unsqueeze(1);
        let (scale_b, normalize) = match scale {
            Scale::Fixed(scale) => (norm_b.detach().full_like(scale), true),
            Scale::EmbeddingNorm => (norm_b, false),
            Scale::EmbeddingNormOnly => (norm_b, true),
        };
        let weight = match &self.weights {
            Weights::Whole(weight) => weight,
            Weights::Part(shard) => {
                let request = Request {
                    batch: &batch,
                    unit_bd: &unit_bd,
                    scale_b: &scale_b,
                    labels_b,
                    normalize,
                    how,
                    train: input.train,
                };
                return shard.softmax(&request, margin);
            }
        };
        let cosines = margin_softmax::cosines(&unit_bd, weight, self.centres, normalize)?;
        let index_b1 = labels_b.unsqueeze(1);
        let target_b1 = cosines.cosine_bc.gather(1, &index_b1, false);

        // The largest of the others, without a copy: the target steps aside meanwhile.
        let mut cosine_bc = cosines.cosine_bc.shallow_clone();
        let _ = cosine_bc.scatter_value_(1, &index_b1, f64::NEG_INFINITY);
        let top_b = cosine_bc.amax([1i64].as_slice(), false);
        let _ = cosine_bc.scatter_(1, &index_b1, &target_b1);

        let target_b = target_b1.squeeze_dim(1);
        let leaf_b = target_b.copy().set_requires_grad(true);
        let samples = Samples { batch: &batch, all: false };
        let Moved { target_b: moved_b, hard } = tch::with_grad(|| margin(&leaf_b, samples))?;
        let slope_b = match gradient {
            Gradient::Detached => target_b.ones_like(),
            Gradient::Exact => slope(&moved_b, &leaf_b),
        };
        let loss_b = margin_softmax::loss(&Inputs {
            embedding_bd: &unit_bd,
            weight_rd: weight,
            scale_b: &scale_b,
            cosines: &cosines,
            labels_b,
            moved_b: &moved_b.detach(),
            slope_b: &slope_b,
            hard: hard.as_ref().map(|(threshold_b, t)| (threshold_b, *t)),
            clip,
        })?;
        Ok(LossOutput {
            loss: batch.mean(&loss_b),
            correct: target_b.gt_tensor(&top_b).sum(Kind::Int64),
            monitored: None,
            values: vec![batch.mean(&target_b), batch.mean(&top_b)],
        })
    }
}

/// d moved / d cosine of an elementwise margin; 0 where a margin does not depend on the cosine.
pub(super) fn slope(moved_b: &Tensor, leaf_b: &Tensor) -> Tensor {
    if !moved_b.requires_grad() {
        return leaf_b.zeros_like().detach();
    }
    // Validation asks from within a no_grad region.
    let sum = tch::with_grad(|| moved_b.sum(moved_b.kind()));
    Tensor::run_backward(&[sum], &[leaf_b.shallow_clone()], false, false).remove(0)
}

/// sin of the angle, held above sqrt(1e-9): its own slope is infinite at |cos| = 1.
///
/// # Shapes
/// `[B]` -> `[B]`.
pub fn sine(cosine_b: &Tensor) -> Tensor {
    (-cosine_b.square() + 1.0).clamp_min(1e-9).sqrt()
}

/// The angle of a cosine. Within rounding of |cos| = 1 it has no gradient, for the true one is
/// infinite.
///
/// # Shapes
/// `[B]` -> `[B]`, radians.
pub fn angle(cosine_b: &Tensor) -> Tensor {
    let bound = match cosine_b.kind() {
        Kind::Double => 1.0 - 1e-12,
        _ => 1.0 - 1e-7,
    };
    cosine_b.clamp(-bound, bound).acos()
}
