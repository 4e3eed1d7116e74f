//! ArcFace: additive angular margin (Deng et al. 2019, arXiv:1801.07698, eq. 3).
//!
//! Target logit s cos(th + m), the others s cos th. References: pytorch-metric-learning
//! `ArcFaceLoss` (`boundary = "line"`; it counts the margin in degrees) and InsightFace's
//! arcface_torch (`boundary = "none"`, `gradient = "detached"`).
//!
//! Differs from the references in: 1 - cos^2 is held above 1e-9, so that the gradient stays
//! finite where an embedding is aligned with a class weight.

use super::margin::{CosineClassifier, Gradient, Softmax, sine};
use super::sharded::{Partition, ShardedRows};
use super::{Loss, LossInput, LossOutput, LossPart};
use crate::Result;
use std::f64::consts::PI;
use tch::{Tensor, nn};

crate::config_choice! {
    /// What the target logit is where the angle with its margin passes pi.
    pub enum Boundary {
        /// cos th - m sin(pi - m), a line in cos th (CurricularFace's code, pytorch-metric-learning).
        Line = "line",
        /// cos pi = -1: the angle stops at pi (opensphere, AdaFace).
        Clip = "clip",
        /// cos(th + m) rises again past pi (InsightFace).
        None = "none",
    }
}

crate::config_struct! {
    /// ArcFace: additive angular margin (Deng et al. 2019, arXiv:1801.07698, eq. 3).
    pub struct ArcFace {
        /// Scale `s` of the cosine logits.
        pub scale: f64 = 64.0, positive();
        /// Additive angular margin `m`, radians.
        pub margin: f64 = 0.5, between(0.0, PI);
        /// Target logit past the angle pi.
        pub boundary: Boundary = Boundary::Line;
        /// Apply the margin only where the target's cosine is positive; `boundary` then has no say.
        pub easy_margin: bool = false;
        /// Gradient through the margin, or around it.
        pub gradient: Gradient = Gradient::Exact;
        /// Divide the class weights over the processes, none of which then holds all logits.
        pub shard: bool = false;
        /// Share of the classes that a training step looks at, those of the batch among them (Partial FC,
        /// arXiv:2203.15565); below 1 it needs `shard`.
        pub sample_rate: f64 = 1.0, between(0.0, 1.0);
    }
}

/// cos(th + m) with the boundary rule, as a function of cos th.
///
/// # Shapes
/// `[B]` to `[B]`.
pub fn additive(cosine_b: &Tensor, margin: f64, boundary: Boundary) -> Tensor {
    let shifted = shift(cosine_b, margin);
    let inside = cosine_b.gt((PI - margin).cos());
    match boundary {
        Boundary::Line => {
            let line = cosine_b - (PI - margin).sin() * margin;
            shifted.where_self(&inside, &line)
        }
        Boundary::Clip => shifted.where_self(&inside, &cosine_b.full_like(-1.0)),
        Boundary::None => shifted,
    }
}

/// cos(th + m) as it is.
///
/// # Shapes
/// `[B]` to `[B]`.
pub fn shift(cosine_b: &Tensor, margin: f64) -> Tensor {
    cosine_b * margin.cos() - sine(cosine_b) * margin.sin()
}

#[derive(Debug)]
struct Built {
    config: ArcFace,
    classifier: CosineClassifier,
}

impl LossPart for ArcFace {
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
        let ArcFace { scale, margin, boundary, easy_margin, gradient, shard: _, sample_rate: _ } =
            self.config;
        let how = Softmax::new(scale, gradient);
        self.classifier.softmax(input, how, |cosine_b| match easy_margin {
            true => shift(cosine_b, margin).where_self(&cosine_b.gt(0.0), cosine_b),
            false => additive(cosine_b, margin, boundary),
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
