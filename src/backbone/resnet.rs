//! ResNet (He et al. 2015, arXiv:1512.03385, table 1), version 1.5: the stride of a bottleneck stands in
//! its 3x3 convolution.
//!
//! Reference: torchvision `resnet18` to `resnet152`; parameter names are theirs without `fc`, which the
//! head and the loss replace.

use super::batch_norm::BatchNorm;
use super::layers::{Conv, ConvBn, batch_norm2d, normed};
use super::{Backbone, layer_of};
use crate::config::Pretrained;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

/// A kind for each number of blocks in the four stages.
macro_rules! resnets {
    ($($(#[doc = $doc:literal])* $name:ident: $block:expr, $depths:expr, $expansion:expr;)*) => {$(
        crate::config_struct! {
            $(#[doc = $doc])*
            pub struct $name {
                /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
                pub pretrained: Pretrained = Pretrained::default();
                /// Keep the backbone as it is and train head and loss only.
                pub frozen: bool = false;
            }
        }

        impl $name {
            pub const FEATURES: i64 = 512 * $expansion;

            pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
                // pretrained and frozen are handled for all backbones alike.
                let $name { pretrained: _, frozen: _ } = self;
                Box::new(Network::new(path, $depths, $block, $expansion))
            }
        }
    )*};
}

resnets! {
    /// ResNet-18, 512 features, 11.2 M parameters (He et al. 2015, arXiv:1512.03385; torchvision's names).
    ResNet18: Block::basic, [2, 2, 2, 2], 1;
    /// ResNet-34, 512 features, 21.3 M parameters (He et al. 2015, arXiv:1512.03385; torchvision's names).
    ResNet34: Block::basic, [3, 4, 6, 3], 1;
    /// ResNet-50 v1.5, 2048 features, 23.5 M parameters (He et al. 2015, arXiv:1512.03385; torchvision's names).
    ResNet50: Block::bottleneck, [3, 4, 6, 3], 4;
    /// ResNet-101 v1.5, 2048 features, 42.5 M parameters (He et al. 2015, arXiv:1512.03385; torchvision's names).
    ResNet101: Block::bottleneck, [3, 4, 23, 3], 4;
    /// ResNet-152 v1.5, 2048 features, 58.1 M parameters (He et al. 2015, arXiv:1512.03385; torchvision's names).
    ResNet152: Block::bottleneck, [3, 8, 36, 3], 4;
}

#[derive(Debug)]
struct Network {
    conv1: nn::Conv2D,
    bn1: BatchNorm,
    depths: [usize; 4],
    blocks: Sequence<Block>,
    features: i64,
}

/// (path, input channels, width, stride) -> block.
type BlockBuilder = fn(&nn::Path, i64, i64, i64) -> Block;

impl Network {
    fn new(path: &nn::Path, depths: [usize; 4], block: BlockBuilder, expansion: i64) -> Self {
        let conv1 = Conv { kernel: 7, stride: 2, groups: 1 }.build(path / "conv1", 3, 64);
        let bn1 = batch_norm2d(path / "bn1", 64);
        let mut blocks = Vec::new();
        let mut input = 64;
        for (stage, depth) in depths.into_iter().enumerate() {
            let width = 64 << stage;
            for index in 0..depth {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let path = path / format!("layer{}", stage + 1) / index;
                blocks.push(block(&path, input, width, stride));
                input = width * expansion;
            }
        }
        Network { conv1, bn1, depths, blocks: Sequence::new(blocks), features: input }
    }
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stem = self.bn1.forward_t(&self.conv1.forward(images), train).relu_();
        let stem = stem.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        let maps = self.blocks.forward(stem, move |block, x| block.forward(x, train));
        maps.adaptive_avg_pool2d([1, 1]).flatten(1, -1)
    }

    fn features(&self) -> i64 {
        self.features
    }

    fn layers(&self) -> usize {
        1 + self.blocks.len()
    }

    /// `layer3.1.conv2.weight` is of stage 3, block 1.
    fn layer(&self, name: &str) -> usize {
        let stage = self.stage(name).checked_sub(1);
        let index = name.split('.').nth(1).and_then(|part| part.parse().ok());
        layer_of(&self.depths, stage.zip(index))
    }

    fn stages(&self) -> usize {
        self.depths.len()
    }

    /// `layer3` is stage 3.
    fn stage(&self, name: &str) -> usize {
        let stage = name.strip_prefix("layer").and_then(|rest| rest.split('.').next());
        stage.and_then(|stage| stage.parse().ok()).unwrap_or(0)
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}

/// Convolutions each followed by batch norm, ReLU between them and after the addition.
#[derive(Debug)]
struct Block {
    layers: Vec<ConvBn>,
    downsample: Option<ConvBn>,
}

impl Block {
    fn basic(path: &nn::Path, input: i64, width: i64, stride: i64) -> Self {
        Self::new(path, input, width, stride, &[(3, stride, width), (3, 1, width)])
    }

    fn bottleneck(path: &nn::Path, input: i64, width: i64, stride: i64) -> Self {
        let layers = [(1, 1, width), (3, stride, width), (1, 1, 4 * width)];
        Self::new(path, input, 4 * width, stride, &layers)
    }

    /// `layers`: (kernel, stride, output channels) of each convolution.
    fn new(
        path: &nn::Path,
        input: i64,
        output: i64,
        stride: i64,
        layers: &[(i64, i64, i64)],
    ) -> Self {
        let mut channels = input;
        let layers = layers
            .iter()
            .enumerate()
            .map(|(index, &(kernel, stride, output))| {
                let conv = Conv { kernel, stride, groups: 1 };
                let conv = conv.build(path / format!("conv{}", index + 1), channels, output);
                channels = output;
                (conv, batch_norm2d(path / format!("bn{}", index + 1), output))
            })
            .collect();
        let downsample = (stride != 1 || input != output).then(|| {
            let path = path / "downsample";
            let conv = Conv::pointwise(stride).build(&path / 0, input, output);
            (conv, batch_norm2d(&path / 1, output))
        });
        Block { layers, downsample }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let mut main = x.shallow_clone();
        for (index, layer) in self.layers.iter().enumerate() {
            main = normed(layer, &main, train);
            if index + 1 < self.layers.len() {
                main = main.relu_();
            }
        }
        match &self.downsample {
            Some(downsample) => (main + normed(downsample, x, train)).relu_(),
            None => (main + x).relu_(),
        }
    }
}
