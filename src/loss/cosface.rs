//! CosFace: additive cosine margin (Wang et al. 2018, arXiv:1801.09414, eq. 4; also AM-Softmax,
//! arXiv:1801.05599).
//!
//! Target logit s (cos th - m), the others s cos th. Reference: pytorch-metric-learning
//! `CosFaceLoss`.

use super::margin::{CosineClassifier, Gradient, Softmax};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use tch::{Tensor, nn};

crate::config_struct! {
    /// CosFace: additive cosine margin (Wang et al. 2018, arXiv:1801.09414, eq. 4).
    pub struct CosFace {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Additive cosine margin `m`.
        pub margin: f64 = 0.35, between(0.0, 2.0);
        /// Gradient through the margin, or around it: of a constant margin both are the same.
        pub gradient: Gradient = Gradient::Exact;
    }
}

#[derive(Debug)]
struct Built {
    config: CosFace,
    classifier: CosineClassifier,
}

impl LossPart for CosFace {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes);
        Box::new(Built { config: self.clone(), classifier })
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let CosFace { scale, margin, gradient } = self.config;
        let how = Softmax::new(scale, gradient);
        self.classifier.softmax(input.embedding, input.labels, how, |cosine_b| cosine_b - margin)
    }

    fn columns(&self) -> Vec<String> {
        CosineClassifier::columns()
    }

    fn centres(&self) -> Option<Tensor> {
        Some(self.classifier.class_centres())
    }
}
