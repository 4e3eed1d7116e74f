//! Backbones: networks that turn images into feature vectors.
//!
//! Each backbone keeps the parameter names of the implementation whose published weights people
//! have, below the prefix `backbone.`, so that those files load as they are.

pub mod efficient_fr;
pub mod layers;
pub mod resnet;

use tch::{Tensor, nn};

crate::config_family! {
    /// The network that turns an image into features.
    pub enum BackboneConfig("backbone") {
        EfficientFr(efficient_fr::EfficientFr) = "efficient_fr",
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
}

impl BackboneConfig {
    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        match self {
            BackboneConfig::EfficientFr(config) => config.build(path),
            BackboneConfig::ResNet18(config) => config.build(path),
            BackboneConfig::ResNet50(config) => config.build(path),
        }
    }

    /// Keys that every backbone has: (pretrained, frozen).
    pub fn common(&self) -> (&str, bool) {
        match self {
            BackboneConfig::EfficientFr(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet18(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet50(config) => (&config.pretrained, config.frozen),
        }
    }

    /// What is wrong with the values taken together: (key below `backbone`, message).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        match self {
            BackboneConfig::EfficientFr(config) => config.validate(),
            BackboneConfig::ResNet18(_) | BackboneConfig::ResNet50(_) => Vec::new(),
        }
    }
}
