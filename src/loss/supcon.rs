//! SupCon: supervised contrastive loss, L_out (Khosla et al. 2020, arXiv:2004.11362, eq. 2).
//!
//! Of every sample that has a positive: mean over its positives of -log softmax over all others of
//! cos / temperature; then the mean over those samples. Reference: pytorch-metric-learning
//! `SupConLoss`.

use super::pairs::Pairs;
use super::{Loss, LossInput, LossOutput, LossPart, Needs};
use crate::Result;
use tch::{Tensor, nn};

crate::config_struct! {
    /// Supervised contrastive loss, L_out (Khosla et al. 2020, arXiv:2004.11362, eq. 2).
    pub struct SupCon {
        /// Temperature: what the cosines are divided by.
        pub temperature: f64 = 0.1, positive();
    }
}

#[derive(Debug)]
struct Built {
    temperature: f64,
}

impl LossPart for SupCon {
    fn build(&self, _path: &nn::Path, _dim: i64, _classes: i64) -> Box<dyn Loss> {
        let SupCon { temperature } = *self;
        Box::new(Built { temperature })
    }

    fn needs(&self) -> Needs {
        Needs { pairs: true, text: false }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let pairs = Pairs::new(input)?;
        let Pairs { cosine_bb, positive_bb, negative_bb, batch: _ } = &pairs;
        let own_bb = positive_bb.logical_or(negative_bb).logical_not();
        let logits_bb = (cosine_bb / self.temperature).masked_fill(&own_bb, f64::NEG_INFINITY);
        let log_p_bb = logits_bb.log_softmax(1, cosine_bb.kind());
        let positives_b = positive_bb.sum_dim_intlist([1i64].as_slice(), false, cosine_bb.kind());
        let zero = Tensor::zeros_like(&log_p_bb);
        let sum_b = log_p_bb.where_self(positive_bb, &zero).sum_dim_intlist(
            [1i64].as_slice(),
            false,
            cosine_bb.kind(),
        );
        let anchors = positives_b.gt(0.0).sum(cosine_bb.kind()).clamp_min(1.0);
        let loss_b = -sum_b / positives_b.clamp_min(1.0);
        Ok(LossOutput {
            loss: loss_b.sum(cosine_bb.kind()) / anchors,
            correct: pairs.correct(),
            monitored: None,
            values: pairs.values(),
        })
    }

    fn columns(&self) -> Vec<String> {
        Pairs::COLUMNS.map(String::from).to_vec()
    }
}
