//! CosFace: additive cosine margin (Wang et al. 2018, arXiv:1801.09414, eq. 4; also AM-Softmax,
//! arXiv:1801.05599).
//!
//! Target logit s (cos th - m), the others s cos th. Reference: pytorch-metric-learning
//! `CosFaceLoss`. The margin is a constant, so exact and detached gradients are the same.

use super::margin::{CosineClassifier, Gradient, margin_softmax};
use super::{Loss, LossOutput};
use tch::{Tensor, nn};

crate::config_struct! {
    /// CosFace: additive cosine margin (Wang et al. 2018, arXiv:1801.09414, eq. 4).
    pub struct CosFace {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Additive cosine margin `m`.
        pub margin: f64 = 0.35, between(0.0, 2.0);
    }
}

#[derive(Debug)]
struct Built {
    scale: f64,
    margin: f64,
    classifier: CosineClassifier,
}

impl CosFace {
    pub fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let CosFace { scale, margin } = *self;
        let classifier = CosineClassifier::new(path, dim, classes);
        Box::new(Built { scale, margin, classifier })
    }
}

impl Loss for Built {
    fn forward(&mut self, embedding: &Tensor, labels: &Tensor, _train: bool) -> LossOutput {
        let cosine = self.classifier.cosine(embedding);
        margin_softmax(&cosine, labels, self.scale, Gradient::Exact, |target| target - self.margin)
    }
}
