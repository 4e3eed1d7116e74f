//! Sub-centre ArcFace: several weight vectors for each class, of which the nearest counts (Deng et
//! al. 2020, ECCV, "Sub-center ArcFace", eq. 4).
//!
//! cos of a class is the largest over its K sub-centres, then ArcFace. Reference:
//! pytorch-metric-learning `SubCenterArcFaceLoss`. Class c's weights are the rows c K to
//! c K + K - 1.

use super::arcface::{Boundary, additive};
use super::margin::{CosineClassifier, Gradient, Softmax};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use std::f64::consts::PI;
use tch::{Tensor, nn};

crate::config_struct! {
    /// ArcFace with several sub-centres for each class, against noisy labels (Deng et al. 2020).
    pub struct SubcenterArcFace {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Additive angular margin `m`, radians.
        pub margin: f64 = 0.5, between(0.0, PI);
        /// Target logit past the angle pi.
        pub boundary: Boundary = Boundary::Line;
        /// Sub-centres `K` of each class.
        pub subcenters: usize = 3, between(1, 64);
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
    config: SubcenterArcFace,
    classifier: CosineClassifier,
}

impl LossPart for SubcenterArcFace {
    fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let centres = self.subcenters as i64;
        let classifier =
            CosineClassifier::with_centres(path, dim, classes, centres, self.partition());
        Box::new(Built { config: self.clone(), classifier })
    }

    fn partition(&self) -> Partition {
        Partition { shard: self.shard, sample_rate: self.sample_rate }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let SubcenterArcFace {
            scale,
            margin,
            boundary,
            subcenters: _,
            gradient,
            shard: _,
            sample_rate: _,
        } = self.config;
        let how = Softmax::new(scale, gradient);
        self.classifier.softmax(input, how, |cosine_b| additive(cosine_b, margin, boundary))
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
