//! Multiplicative angular margin on scaled cosines: SphereFace as the ArcFace paper compares it
//! (arXiv:1801.07698, eq. 4 with m2 = m3 = 0; InsightFace's MXNet `margin_m`).
//!
//! Target logit s cos(m th), the others s cos th, without SphereFace's monotone continuation: past
//! th = pi / m it rises again. Reference: the formula, through `torch.acos`.
//!
//! Differs from the reference in: within rounding of |cos| = 1 the margin has no gradient.

use super::margin::{CosineClassifier, Gradient, Softmax, angle};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use tch::{Tensor, nn};

crate::config_struct! {
    /// Multiplicative angular margin on scaled cosines: cos(m th), not monotone past pi / m
    /// (InsightFace's MXNet; ArcFace paper, arXiv:1801.07698, eq. 4).
    pub struct Multiplicative {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Factor `m` on the target's angle; any number from 1.
        pub margin: f64 = 1.35, between(1.0, 16.0);
        /// Gradient through the margin, or around it.
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
    config: Multiplicative,
    classifier: CosineClassifier,
}

impl LossPart for Multiplicative {
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
        let Multiplicative { scale, margin, gradient, shard: _, sample_rate: _ } = self.config;
        let how = Softmax::new(scale, gradient);
        let target = |cosine_b: &Tensor| (angle(cosine_b) * margin).cos();
        self.classifier.softmax(input, how, target)
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
