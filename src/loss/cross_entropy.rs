//! Softmax cross-entropy over a linear classifier W x + b, with label smoothing (Szegedy et al.
//! 2016, arXiv:1512.00567, section 7).
//!
//! Reference: `torch.nn.Linear` and `torch.nn.functional.cross_entropy`.

use super::{Loss, LossInput, LossOutput, LossPart, widen};
use crate::Result;
use crate::distributed::WholeBatch;
use tch::nn::{self, Module};
use tch::{Kind, Reduction, Tensor};

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

impl LossPart for CrossEntropy {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let CrossEntropy { label_smoothing } = *self;
        let classifier = nn::linear(path, dim, classes, Default::default());
        Box::new(Built { label_smoothing, classifier })
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let logits = self.classifier.forward(&widen(input.embedding));
        let (labels, smoothing) = (input.labels, self.label_smoothing);
        let batch = WholeBatch::of(labels)?;
        let cross = |reduction: Reduction| {
            logits.cross_entropy_loss(labels, None::<Tensor>, reduction, -100, smoothing)
        };
        let loss = match batch.group() {
            Some(_) => batch.mean(&cross(Reduction::None)),
            None => cross(Reduction::Mean),
        };
        let correct = logits.detach().argmax(1, false).eq_tensor(labels).sum(Kind::Int64);
        Ok(LossOutput { loss, correct, monitored: None, values: Vec::new() })
    }

    fn columns(&self) -> Vec<String> {
        Vec::new()
    }

    fn centres(&self) -> Option<Tensor> {
        Some(self.classifier.ws.detach())
    }
}
