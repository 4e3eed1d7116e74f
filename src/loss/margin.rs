//! What the margin softmax losses share: cosine logits, and the cross-entropy over them with the
//! target's entry replaced.
//!
//! Shape suffixes: B batch, C classes, D embedding.

use super::{LossOutput, widen};
use tch::nn::{self, Init};
use tch::{Reduction, Tensor};

crate::config_choice! {
    /// How the gradient treats the margin.
    pub enum Gradient {
        /// Autograd through the margin: the gradient of the loss as it is written.
        Exact = "exact",
        /// dL/dcos = s (p - y) / B: no gradient through the margin, as in InsightFace's PyTorch code.
        Detached = "detached",
    }
}

/// Class weights [C, D] and the cosine between them and an embedding.
#[derive(Debug)]
pub struct CosineClassifier {
    weight: Tensor,
}

impl CosineClassifier {
    /// Initialised N(0, 0.01) as in InsightFace; only the directions matter to the loss.
    pub fn new(path: &nn::Path, dim: i64, classes: i64) -> Self {
        let init = Init::Randn { mean: 0.0, stdev: 0.01 };
        CosineClassifier { weight: path.var("weight", &[classes, dim], init) }
    }

    /// # Shapes
    /// embedding [B, D] -> cosines [B, C].
    pub fn cosine(&self, embedding_bd: &Tensor) -> Tensor {
        let embedding_bd = normalize(&widen(embedding_bd));
        embedding_bd.matmul(&normalize(&self.weight).tr())
    }
}

/// Rows of unit L2 norm; a zero row stays zero.
fn normalize(rows: &Tensor) -> Tensor {
    let norm = rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true).clamp_min(1e-12);
    rows / norm
}

/// Cross-entropy over `scale` x cosines, the target's cosine replaced by `margin(target cosine)`.
///
/// # Shapes
/// cosine [B, C], labels `[B]`; `margin` maps [B, 1] to [B, 1].
pub fn margin_softmax(
    cosine_bc: &Tensor,
    labels_b: &Tensor,
    scale: f64,
    gradient: Gradient,
    margin: impl Fn(&Tensor) -> Tensor,
) -> LossOutput {
    let index_b1 = labels_b.unsqueeze(1);
    let target_b1 = cosine_bc.gather(1, &index_b1, false);
    let moved_b1 = match gradient {
        Gradient::Exact => margin(&target_b1),
        Gradient::Detached => {
            let shift_b1 = tch::no_grad(|| margin(&target_b1) - &target_b1);
            target_b1 + shift_b1
        }
    };
    let logits_bc = cosine_bc.scatter(1, &index_b1, &moved_b1) * scale;
    let loss = logits_bc.cross_entropy_loss(labels_b, None::<Tensor>, Reduction::Mean, -100, 0.0);
    LossOutput { loss, scores: cosine_bc.detach() }
}
