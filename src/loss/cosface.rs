//! CosFace: additive cosine margin (Wang et al. 2018, arXiv:1801.09414, eq. 4; also AM-Softmax,
//! arXiv:1801.05599).
//!
//! Target logit s (cos th - m), the others s cos th. Reference: pytorch-metric-learning
//! `CosFaceLoss`.

use super::margin::{CosineClassifier, Gradient, Softmax};
use super::sharded::{Partition, ShardedRows};
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
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    config: CosFace,
    classifier: CosineClassifier,
}

impl LossPart for CosFace {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes, self.partition());
        Box::new(Built { config: self.clone(), classifier })
    }

    fn partition(&self) -> Partition {
        Partition { shard: self.shard, sample_rate: self.sample_rate }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let CosFace { scale, margin, gradient, shard: _, sample_rate: _ } = self.config;
        let how = Softmax::new(scale, gradient);
        self.classifier.softmax(input, how, |cosine_b| cosine_b - margin)
    }

    fn columns(&self) -> Vec<String> {
        CosineClassifier::columns()
    }

    fn centres(&self) -> Option<Tensor> {
        self.classifier.class_centres()
    }

    fn sharded(&self) -> Vec<ShardedRows> {
        self.classifier.sharded()
    }
}
