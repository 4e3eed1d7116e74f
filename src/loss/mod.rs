//! Losses: what training minimises.
//!
//! A loss owns its parameters (class weights, below the prefix `loss.`) and its state, both part
//! of every checkpoint. Everything in a loss runs in float32 or wider, also under AMP: half
//! precision cannot tell cosines near 1 apart.

pub mod arcface;
pub mod cosface;
pub mod cross_entropy;
pub mod margin;

use tch::{Kind, Tensor, nn};

crate::config_family! {
    /// What training minimises.
    pub enum LossConfig("loss") {
        ArcFace(arcface::ArcFace) = "arcface",
        CosFace(cosface::CosFace) = "cosface",
        CrossEntropy(cross_entropy::CrossEntropy) = "cross_entropy",
    }
}

/// What a loss says of one batch.
#[derive(Debug)]
pub struct LossOutput {
    /// Mean over the batch, a scalar with a graph.
    pub loss: Tensor,
    /// Scores [B, C] without margin and without a graph, for the accuracy.
    pub scores: Tensor,
}

/// A built loss.
pub trait Loss: std::fmt::Debug {
    /// `train` tells a training step (which may move the loss's state) from validation (which
    /// never does).
    ///
    /// # Shapes
    /// embedding [B, D], labels `[B]` int64 in 0..C.
    fn forward(&mut self, embedding: &Tensor, labels: &Tensor, train: bool) -> LossOutput;

    /// State beside the parameters that a checkpoint must carry.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn load_state(&mut self, _state: &serde_json::Value) -> crate::Result<()> {
        Ok(())
    }
}

impl LossConfig {
    /// `path` is where the loss's parameters go; `dim` D and `classes` C shape them.
    pub fn build(&self, path: &nn::Path, dim: i64, classes: i64) -> Box<dyn Loss> {
        match self {
            LossConfig::ArcFace(config) => config.build(path, dim, classes),
            LossConfig::CosFace(config) => config.build(path, dim, classes),
            LossConfig::CrossEntropy(config) => config.build(path, dim, classes),
        }
    }
}

/// float16 and bfloat16 become float32; float32 and float64 stay.
pub(crate) fn widen(tensor: &Tensor) -> Tensor {
    match tensor.kind() {
        Kind::Half | Kind::BFloat16 => tensor.to_kind(Kind::Float),
        _ => tensor.shallow_clone(),
    }
}
