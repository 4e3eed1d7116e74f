//! ArcFace: additive angular margin (Deng et al. 2019, arXiv:1801.07698, eq. 3).
//!
//! Target logit s cos(th + m), the others s cos th. References: pytorch-metric-learning
//! `ArcFaceLoss` (`boundary = "line"`; it counts the margin in degrees) and InsightFace's
//! arcface_torch (`boundary = "none"`, `gradient = "detached"`).
//!
//! Differs from the references in: 1 - cos^2 is held above 1e-9, so that the gradient stays
//! finite where an embedding is aligned with a class weight.

use super::margin::{CosineClassifier, Gradient, margin_softmax};
use super::{Loss, LossOutput};
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
    }
}

#[derive(Debug)]
struct Built {
    config: ArcFace,
    classifier: CosineClassifier,
}

impl ArcFace {
    pub fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        let classifier = CosineClassifier::new(path, dim, classes);
        Box::new(Built { config: self.clone(), classifier })
    }

    /// cos(th + m) with the boundary rule.
    ///
    /// # Shapes
    /// Any shape to the same shape.
    fn target(&self, cosine: &Tensor) -> Tensor {
        let ArcFace { scale: _, margin, boundary, easy_margin, gradient: _ } = self;
        let sine = (-cosine.square() + 1.0).clamp_min(1e-9).sqrt();
        let shifted = cosine * margin.cos() - sine * margin.sin();
        if *easy_margin {
            return shifted.where_self(&cosine.gt(0.0), cosine);
        }
        let inside = cosine.gt((PI - margin).cos());
        match boundary {
            Boundary::Line => {
                let line = cosine - (PI - margin).sin() * margin;
                shifted.where_self(&inside, &line)
            }
            Boundary::Clip => shifted.where_self(&inside, &cosine.full_like(-1.0)),
            Boundary::None => shifted,
        }
    }
}

impl Loss for Built {
    fn forward(&mut self, embedding: &Tensor, labels: &Tensor, _train: bool) -> LossOutput {
        let ArcFace { scale, gradient, .. } = &self.config;
        let cosine = self.classifier.cosine(embedding);
        margin_softmax(&cosine, labels, *scale, *gradient, |target| self.config.target(target))
    }
}
