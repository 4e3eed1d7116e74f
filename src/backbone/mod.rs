//! Backbones: networks that turn images into feature vectors.
//!
//! Each backbone keeps the parameter names of the implementation whose published weights people
//! have, below the prefix `backbone.`, so that those files load as they are.

pub mod batch_norm;
pub mod clip_names;
pub mod clip_positions;
pub mod clip_vision;
pub mod efficient_fr;
pub mod efficientnet_b0;
pub mod embedding_2d;
pub mod inception_resnet_v1;
mod input_size;
pub mod iresnet;
pub mod layers;
pub mod mbf;
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
        EfficientNetB0(efficientnet_b0::EfficientNetB0) = "efficientnet_b0",
        Embedding2d(embedding_2d::Embedding2d) = "embedding_2d",
        InceptionResnetV1(inception_resnet_v1::InceptionResnetV1) = "inception_resnet_v1",
        IResNet18(iresnet::IResNet18) = "iresnet18",
        IResNet34(iresnet::IResNet34) = "iresnet34",
        IResNet50(iresnet::IResNet50) = "iresnet50",
        IResNet100(iresnet::IResNet100) = "iresnet100",
        IResNet200(iresnet::IResNet200) = "iresnet200",
        Mbf(mbf::Mbf) = "mbf",
        MobileFaceNet(mobilefacenet::MobileFaceNet) = "mobilefacenet",
        ResNet18(resnet::ResNet18) = "resnet18",
        ResNet34(resnet::ResNet34) = "resnet34",
        ResNet50(resnet::ResNet50) = "resnet50",
        ResNet101(resnet::ResNet101) = "resnet101",
        ResNet152(resnet::ResNet152) = "resnet152",
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

/// The stage, from 1, of a layer that [`layer_of`] tells; 0 for the stem.
fn stage_of(depths: &[usize], layer: usize) -> usize {
    let ends = depths.iter().scan(0, |blocks, depth| {
        *blocks += depth;
        Some(*blocks)
    });
    if layer == 0 { 0 } else { 1 + ends.filter(|end| *end < layer).count() }
}

impl BackboneConfig {
    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        let backbone = match self {
            BackboneConfig::EfficientFr(config) => config.build(path),
            BackboneConfig::EfficientNetB0(config) => config.build(path),
            BackboneConfig::Embedding2d(config) => config.build(path),
            BackboneConfig::InceptionResnetV1(config) => config.build(path),
            BackboneConfig::IResNet18(config) => config.build(path),
            BackboneConfig::IResNet34(config) => config.build(path),
            BackboneConfig::IResNet50(config) => config.build(path),
            BackboneConfig::IResNet100(config) => config.build(path),
            BackboneConfig::IResNet200(config) => config.build(path),
            BackboneConfig::Mbf(config) => config.build(path),
            BackboneConfig::MobileFaceNet(config) => config.build(path),
            BackboneConfig::ResNet18(config) => config.build(path),
            BackboneConfig::ResNet34(config) => config.build(path),
            BackboneConfig::ResNet50(config) => config.build(path),
            BackboneConfig::ResNet101(config) => config.build(path),
            BackboneConfig::ResNet152(config) => config.build(path),
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
            BackboneConfig::EfficientNetB0(_) => efficientnet_b0::FEATURES,
            BackboneConfig::Embedding2d(_) => embedding_2d::FEATURES,
            BackboneConfig::InceptionResnetV1(_) => inception_resnet_v1::FEATURES,
            BackboneConfig::IResNet18(config) => config.features as i64,
            BackboneConfig::IResNet34(config) => config.features as i64,
            BackboneConfig::IResNet50(config) => config.features as i64,
            BackboneConfig::IResNet100(config) => config.features as i64,
            BackboneConfig::IResNet200(config) => config.features as i64,
            BackboneConfig::Mbf(config) => config.features as i64,
            BackboneConfig::MobileFaceNet(config) => config.features as i64,
            BackboneConfig::ResNet18(_) => resnet::ResNet18::FEATURES,
            BackboneConfig::ResNet34(_) => resnet::ResNet34::FEATURES,
            BackboneConfig::ResNet50(_) => resnet::ResNet50::FEATURES,
            BackboneConfig::ResNet101(_) => resnet::ResNet101::FEATURES,
            BackboneConfig::ResNet152(_) => resnet::ResNet152::FEATURES,
            BackboneConfig::Vit(config) => config.tower().features(),
            BackboneConfig::VitB16(config) => config.tower().features(),
            BackboneConfig::VitB32(config) => config.tower().features(),
            BackboneConfig::VitL14(config) => config.tower().features(),
        }
    }

    /// Whether features are normalised over the batch alone, with nothing left of height and width: in
    /// training that takes two images.
    pub fn ends_in_batch_norm(&self) -> bool {
        matches!(
            self,
            BackboneConfig::InceptionResnetV1(_)
                | BackboneConfig::IResNet18(_)
                | BackboneConfig::IResNet34(_)
                | BackboneConfig::IResNet50(_)
                | BackboneConfig::IResNet100(_)
                | BackboneConfig::IResNet200(_)
                | BackboneConfig::Mbf(_)
                | BackboneConfig::MobileFaceNet(_)
        )
    }

    /// Keys that every backbone has: (pretrained, frozen).
    pub fn common(&self) -> (Option<&Path>, bool) {
        let (pretrained, frozen) = match self {
            BackboneConfig::EfficientFr(config) => (&config.pretrained, config.frozen),
            BackboneConfig::EfficientNetB0(config) => (&config.pretrained, config.frozen),
            BackboneConfig::Embedding2d(config) => (&config.pretrained, config.frozen),
            BackboneConfig::InceptionResnetV1(config) => (&config.pretrained, config.frozen),
            BackboneConfig::IResNet18(config) => (&config.pretrained, config.frozen),
            BackboneConfig::IResNet34(config) => (&config.pretrained, config.frozen),
            BackboneConfig::IResNet50(config) => (&config.pretrained, config.frozen),
            BackboneConfig::IResNet100(config) => (&config.pretrained, config.frozen),
            BackboneConfig::IResNet200(config) => (&config.pretrained, config.frozen),
            BackboneConfig::Mbf(config) => (&config.pretrained, config.frozen),
            BackboneConfig::MobileFaceNet(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet18(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet34(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet50(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet101(config) => (&config.pretrained, config.frozen),
            BackboneConfig::ResNet152(config) => (&config.pretrained, config.frozen),
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
            BackboneConfig::InceptionResnetV1(config) => {
                config.conflict(input).into_iter().collect()
            }
            BackboneConfig::IResNet18(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::IResNet34(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::IResNet50(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::IResNet100(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::IResNet200(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::Mbf(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::MobileFaceNet(config) => config.conflict(input).into_iter().collect(),
            BackboneConfig::Vit(config) => config.tower().conflicts(input),
            BackboneConfig::VitB16(config) => config.tower().conflicts(input),
            BackboneConfig::VitB32(config) => config.tower().conflicts(input),
            BackboneConfig::VitL14(config) => config.tower().conflicts(input),
            BackboneConfig::EfficientNetB0(_)
            | BackboneConfig::Embedding2d(_)
            | BackboneConfig::ResNet18(_)
            | BackboneConfig::ResNet34(_)
            | BackboneConfig::ResNet50(_)
            | BackboneConfig::ResNet101(_)
            | BackboneConfig::ResNet152(_) => Vec::new(),
        }
    }
}
