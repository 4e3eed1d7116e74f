//! Text towers: networks that turn tokens into feature vectors, beside a backbone that does so with
//! images.
//!
//! A tower keeps the parameter names of the implementation whose published weights people have.

mod clean;
pub mod clip_text;
mod entities;
pub mod none;
pub mod tokenizer;

use std::path::Path;
use tch::{Tensor, nn};

crate::config_family! {
    /// The network that turns a caption into features.
    pub enum TextConfig("text") {
        None(none::NoText) = "none",
        Clip(clip_text::ClipText) = "clip_text",
    }
}

/// A built text tower. Its parameters live in the `VarStore` that it was built in.
pub trait TextTower: std::fmt::Debug {
    /// # Shapes
    /// `tokens` int64 [B, L] as [`tokenizer::tokenize`] makes them, L up to `context_length()`;
    /// returns features [B, `features()`], not normalised.
    fn forward(&self, tokens: &Tensor) -> Tensor;

    /// Length of a feature vector.
    fn features(&self) -> i64;

    /// Tokens of a caption at most, its marks of start and end among them.
    fn context_length(&self) -> i64;

    /// Layers in the sense of `groups.layer_decay`: the embeddings, each block, the projection.
    fn layers(&self) -> usize;

    /// The layer that a parameter belongs to, from 0, the embeddings; `name` without the tower's
    /// prefix.
    fn layer(&self, name: &str) -> usize;
}

impl TextConfig {
    /// The tower with its parameters below `path`; None for "none".
    pub fn build(&self, path: &nn::Path) -> Option<Box<dyn TextTower>> {
        match self {
            TextConfig::None(none::NoText {}) => None,
            TextConfig::Clip(config) => Some(config.build(path)),
        }
    }

    /// [`TextTower::features`] of what `build` makes.
    pub fn features(&self) -> Option<i64> {
        match self {
            TextConfig::None(none::NoText {}) => None,
            TextConfig::Clip(config) => Some(config.embed_dim as i64),
        }
    }

    /// Keys that every tower has: (pretrained, frozen).
    pub fn common(&self) -> (Option<&Path>, bool) {
        match self {
            TextConfig::None(none::NoText {}) => (None, false),
            TextConfig::Clip(config) => (config.pretrained.path(), config.frozen),
        }
    }

    /// What is wrong with the values taken together: (key below `text`, message).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        match self {
            TextConfig::None(none::NoText {}) => Vec::new(),
            TextConfig::Clip(config) => config.validate(),
        }
    }
}
