//! Combined margin (Deng et al. 2019, arXiv:1801.07698, eq. 4): cos(m1 th + m2) - m3.
//!
//! CM1 of the paper is (1, 0.3, 0.2), CM2 (0.9, 0.4, 0.15). Reference: the formula, through
//! `torch.acos`; InsightFace's PyTorch class of this name computes something else with m3 > 0.
//!
//! Differs from the reference in: within rounding of |cos| = 1 the margin has no gradient.

use super::margin::{CosineClassifier, Gradient, Softmax, angle};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use std::f64::consts::PI;
use tch::{Tensor, nn};

crate::config_struct! {
    /// Combined margin: cos(m1 th + m2) - m3 (Deng et al. 2019, arXiv:1801.07698, eq. 4).
    pub struct Combined {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Factor on the target's angle.
        pub m1: f64 = 1.0, between(0.0, 16.0);
        /// Added to the angle, radians.
        pub m2: f64 = 0.3, between(0.0, PI);
        /// Subtracted from the cosine.
        pub m3: f64 = 0.2, between(0.0, 2.0);
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
    config: Combined,
    classifier: CosineClassifier,
}

impl LossPart for Combined {
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
        let Combined { scale, m1, m2, m3, gradient, shard: _, sample_rate: _ } = self.config;
        let how = Softmax::new(scale, gradient);
        let target = |cosine_b: &Tensor| (angle(cosine_b) * m1 + m2).cos() - m3;
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
