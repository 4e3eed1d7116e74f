//! Backbones: networks that turn images into feature vectors.
//!
//! Each backbone keeps the parameter names of the implementation whose published weights people
//! have, below the prefix `backbone.`, so that those files load as they are.

pub mod clip_names;
pub mod clip_positions;
pub mod clip_vision;
pub mod efficient_fr;
pub mod embedding_2d;
pub mod layers;
pub mod mobilefacenet;
pub mod resnet;
pub mod transformer;

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
        Vit(clip_vision::Vit) = "vit",
        VitB16(clip_vision::VitB16) = "vit_b_16",
        VitB32(clip_vision::VitB32) = "vit_b_32",
        VitL14(clip_vision::VitL14) = "vit_l_14",
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
            BackboneConfig::Vit(config) => config.tower().build(path),
            BackboneConfig::VitB16(config) => config.tower().build(path),
            BackboneConfig::VitB32(config) => config.tower().build(path),
            BackboneConfig::VitL14(config) => config.tower().build(path),
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
            BackboneConfig::Vit(config) => config.tower().features(),
            BackboneConfig::VitB16(config) => config.tower().features(),
            BackboneConfig::VitB32(config) => config.tower().features(),
            BackboneConfig::VitL14(config) => config.tower().features(),
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
            BackboneConfig::Vit(config) => (&config.pretrained, config.frozen),
            BackboneConfig::VitB16(config) => (&config.pretrained, config.frozen),
            BackboneConfig::VitB32(config) => (&config.pretrained, config.frozen),
            BackboneConfig::VitL14(config) => (&config.pretrained, config.frozen),
        };
        (pretrained.path(), frozen)
    }

    /// What is wrong with the values taken together, and with the size of the images: (key below
    /// `backbone`, message).
    pub fn validate(&self, input: &PreprocessConfig) -> Vec<(&'static str, String)> {
        match self {
            BackboneConfig::EfficientFr(config) => config.validate(),
            BackboneConfig::MobileFaceNet(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::Vit(config) => config.tower().conflicts(input),
            BackboneConfig::VitB16(config) => config.tower().conflicts(input),
            BackboneConfig::VitB32(config) => config.tower().conflicts(input),
            BackboneConfig::VitL14(config) => config.tower().conflicts(input),
            BackboneConfig::Embedding2d(_)
            | BackboneConfig::ResNet18(_)
            | BackboneConfig::ResNet50(_) => Vec::new(),
        }
    }
}
