//! Backbones: networks that turn images into feature vectors.
//!
//! Each backbone keeps the parameter names of the implementation whose published weights people
//! have, below the prefix `backbone.`, so that those files load as they are.

pub mod batch_norm;
pub mod efficient_fr;
pub mod embedding_2d;
pub mod layers;
pub mod mobilefacenet;
pub mod resnet;

use crate::data::PreprocessConfig;
use std::path::Path;
use tch::{Tensor, nn};

crate::config_family! {
    /// The network that turns an image into features.
    pub enum BackboneConfig("backbone") {
        EfficientFr(efficient_fr::EfficientFr) = "efficient_fr",
        Embedding2d(embedding_2d::Embedding2d) = "embedding_2d",
        MobileFaceNet(mobilefacenet::MobileFaceNet) = "mobilefacenet",
        ResNet18(resnet::ResNet18) = "resnet18",
        ResNet50(resnet::ResNet50) = "resnet50",
    }
}

/// A built backbone. Its parameters live in the `VarStore` that it was built in.
pub trait Backbone: std::fmt::Debug {
    /// # Shapes
    /// `images` [B, 3, H, W], normalised; returns features [B, `features()`].
    fn forward(&self, images: &Tensor, train: bool) -> Tensor;

    /// Length of a feature vector.
    fn features(&self) -> i64;

    /// Layers in the sense of `groups.layer_decay`: the stem and each block.
    fn layers(&self) -> usize;

    /// The layer that a parameter belongs to, from 0, the stem; `name` without `backbone.`.
    fn layer(&self, name: &str) -> usize;

    /// Stages in the sense of `finetune.freeze_stages`, without the stem: the parts between two
    /// halvings of the resolution, or where nothing says otherwise, the blocks.
    fn stages(&self) -> usize {
        self.layers() - 1
    }

    /// The stage that a tensor belongs to, from 1; 0 is the stem. `name` without `backbone.`.
    fn stage(&self, name: &str) -> usize {
        self.layer(name)
    }

    /// From now on the backward pass recomputes the activations of so many blocks at a time; 0: of
    /// none. False: this network can't.
    fn recompute(&mut self, _blocks: usize) -> bool {
        false
    }
}

/// The layer of a parameter in a network of a stem and blocks: `block` are the numbers of its stage
/// and, within that, its block, from 0; None for the stem. `depths` are the blocks of each stage.
fn layer_of(depths: &[usize], block: Option<(usize, usize)>) -> usize {
    block.map_or(0, |(stage, index)| 1 + depths[..stage].iter().sum::<usize>() + index)
}

impl BackboneConfig {
    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        let backbone = match self {
            BackboneConfig::EfficientFr(config) => config.build(path),
            BackboneConfig::Embedding2d(config) => config.build(path),
            BackboneConfig::MobileFaceNet(config) => config.build(path),
            BackboneConfig::ResNet18(config) => config.build(path),
            BackboneConfig::ResNet50(config) => config.build(path),
        };
        debug_assert_eq!(backbone.features(), self.features());
        backbone
    }

    /// [`Backbone::features`] of what `build` makes.
    pub fn features(&self) -> i64 {
        match self {
            BackboneConfig::EfficientFr(config) => config.features(),
            BackboneConfig::Embedding2d(_) => embedding_2d::FEATURES,
            BackboneConfig::MobileFaceNet(config) => config.features as i64,
            BackboneConfig::ResNet18(_) => 512,
            BackboneConfig::ResNet50(_) => 2048,
        }
    }

    /// Keys that every backbone has: (pretrained, frozen).
    pub fn common(&self) -> (Option<&Path>, bool) {
        let (pretrained, frozen) = match self {
            BackboneConfig::EfficientFr(config) => (&config.pretrained, config.frozen),
            BackboneConfig::Embedding2d(config) => (&config.pretrained, config.frozen),
            BackboneConfig::MobileFaceNet(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet18(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet50(config) => (&config.pretrained, config.frozen),
        };
        (pretrained.path(), frozen)
    }

    /// What is wrong with the values taken together, and with the size of the images: (key below
    /// `backbone`, message).
    pub fn validate(&self, input: &PreprocessConfig) -> Vec<(&'static str, String)> {
        match self {
            BackboneConfig::EfficientFr(config) => config.validate(),
            BackboneConfig::MobileFaceNet(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::Embedding2d(_)
            | BackboneConfig::ResNet18(_)
            | BackboneConfig::ResNet50(_) => Vec::new(),
        }
    }
}
