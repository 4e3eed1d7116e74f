//! What the losses over pairs of samples share: who is whose positive or negative, and how a
//! batch looks without any loss.
//!
//! Of several processes each compares the samples of all: embeddings are gathered, with their gradients.
//!
//! Shape suffixes: B batch (also the second B of a pair), D embedding.

use super::{LossInput, normalize, widen};
use crate::Result;
use crate::distributed::WholeBatch;
use tch::{Kind, Tensor};

/// A batch as pairs.
#[derive(Debug)]
pub struct Pairs {
    /// Cosine of every pair [B, B], with a graph.
    pub cosine_bb: Tensor,
    /// Two samples of one identity [B, B], bool.
    pub positive_bb: Tensor,
    /// Of two identities [B, B], bool.
    pub negative_bb: Tensor,
    pub batch: WholeBatch,
}

impl Pairs {
    /// Names of [`Pairs::values`].
    pub const COLUMNS: [&str; 2] = ["target_cosine", "top_cosine"];

    pub fn new(input: &LossInput<'_>) -> Result<Self> {
        let batch = WholeBatch::of(input.labels)?;
        let unit_bd = normalize(&batch.gather(&widen(input.embedding))?);
        let labels_b = batch.gather(input.labels)?;
        let cosine_bb = unit_bd.matmul(&unit_bd.tr());
        let same_bb = labels_b.unsqueeze(0).eq_tensor(&labels_b.unsqueeze(1));
        let negative_bb = same_bb.logical_not();
        let size = labels_b.size()[0];
        let others = Tensor::eye(size, (Kind::Bool, labels_b.device())).logical_not();
        Ok(Pairs { cosine_bb, positive_bb: same_bb.logical_and(&others), negative_bb, batch })
    }

    /// Mean cosine of the positive pairs; mean over the samples of the cosine to the nearest
    /// negative. NaN where there is none.
    pub fn values(&self) -> Vec<Tensor> {
        let cosine_bb = self.cosine_bb.detach();
        let target = cosine_bb.masked_select(&self.positive_bb);
        let least = f64::NEG_INFINITY;
        let top_b = cosine_bb
            .masked_fill(&self.negative_bb.logical_not(), least)
            .amax([1i64].as_slice(), false);
        let top_b = top_b.masked_select(&top_b.isfinite());
        vec![target.mean(target.kind()), top_b.mean(top_b.kind())]
    }

    /// Samples of this process whose nearest other sample is of their identity.
    pub fn correct(&self) -> Tensor {
        let considered = self.positive_bb.logical_or(&self.negative_bb).logical_not();
        let nearest_b1 =
            (self.cosine_bb.detach()).masked_fill(&considered, f64::NEG_INFINITY).argmax(1, true);
        self.batch.count_own(&self.positive_bb.gather(1, &nearest_b1, false))
    }
}
