//! SphereFace-R: A-Softmax's margin on scaled cosines (Liu et al. 2022, arXiv:2109.05565,
//! hard feature normalisation with the characteristic gradient detached).
//!
//! Target logit s psi(th), psi(th) = (-1)^k cos(m th) - 2 k, k = floor(m th / pi); the others
//! s cos th. Reference: the formula of opensphere's `SphereFaceR`, in plain PyTorch.

use super::margin::{CosineClassifier, Gradient, Softmax, angle};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use std::f64::consts::PI;
use tch::{Tensor, nn};

crate::config_struct! {
    /// A-Softmax's margin on scaled cosines, gradient detached (Liu et al. 2022, arXiv:2109.05565).
    pub struct SphereFaceR {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 30.0, positive();
        /// Factor `m` on the target's angle; any number from 1.
        pub margin: f64 = 1.7, between(1.0, 16.0);
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    config: SphereFaceR,
    classifier: CosineClassifier,
}

impl LossPart for SphereFaceR {
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
        let SphereFaceR { scale, margin, shard: _, sample_rate: _ } = self.config;
        let how = Softmax::new(scale, Gradient::Detached);
        self.classifier.softmax(input, how, |cosine_b| {
            let scaled_b = angle(cosine_b) * margin;
            let (sign_b, twice_b) = turns(&scaled_b);
            sign_b * scaled_b.cos() - twice_b
        })
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

/// (-1)^k and 2 k of psi for angles m th, k = floor(m th / pi); without a graph.
///
/// # Shapes
/// `[B]` -> `[B]`, `[B]`.
pub fn turns(scaled_b: &Tensor) -> (Tensor, Tensor) {
    let k_b = (scaled_b.detach() / PI).floor();
    (1.0 - k_b.remainder(2.0) * 2.0, k_b * 2.0)
}
