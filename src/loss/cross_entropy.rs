//! Softmax cross-entropy over a linear classifier W x + b, with label smoothing (Szegedy et al.
//! 2016, arXiv:1512.00567, section 7).
//!
//! Reference: `torch.nn.Linear` and `torch.nn.functional.cross_entropy`.

use super::{Loss, LossOutput, widen};
use tch::nn::{self, Module};
use tch::{Reduction, Tensor};

crate::config_struct! {
    /// Softmax cross-entropy over a linear classifier, optional label smoothing (Szegedy et al.
    /// 2016, arXiv:1512.00567).
    pub struct CrossEntropy {
        /// Share of the target's probability that is spread over all classes.
        pub label_smoothing: f64 = 0.0, below(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    label_smoothing: f64,
    classifier: nn::Linear,
}

impl CrossEntropy {
    pub fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let CrossEntropy { label_smoothing } = *self;
        let classifier = nn::linear(path, dim, classes, Default::default());
        Box::new(Built { label_smoothing, classifier })
    }
}

impl Loss for Built {
    fn forward(&mut self, embedding: &Tensor, labels: &Tensor, _train: bool) -> LossOutput {
        let logits = self.classifier.forward(&widen(embedding));
        let smoothing = self.label_smoothing;
        let loss =
            logits.cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, smoothing);
        LossOutput { loss, scores: logits.detach() }
    }
}
