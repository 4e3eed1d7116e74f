//! efficient_fr: an EfficientNet-inspired residual network for faces.
//!
//! Depthwise separable convolutions (Howard et al. 2017, arXiv:1704.04861) with squeeze-and-
//! excitation and SiLU as in EfficientNet (Tan & Le 2019, arXiv:1905.11946), a residual connection
//! around every block (He et al. 2015, arXiv:1512.03385), adaptive average pooling at the end so
//! that any input size works.
//!
//! Differs from EfficientNet in: no expansion (the depthwise convolution runs at the block's input
//! width), a projected skip where the shape changes, activation after the addition.

use super::batch_norm::BatchNorm;
use super::layers::{Conv, ConvBn, batch_norm2d, normed, squeeze_excite};
use super::{Backbone, layer_of};
use crate::config::Pretrained;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Init, Module, ModuleT};

crate::config_struct! {
    /// EfficientNet-inspired residual network of depthwise separable convolutions, adaptive
    /// average pooling (after Tan & Le 2019, arXiv:1905.11946).
    pub struct EfficientFr {
        /// Output channels of each stage; the first is the stem's width too. Each stage after the
        /// first halves the resolution, as does the stem.
        pub channels: Vec<usize> = vec![32, 64, 128, 256, 512], each(between(1, 8192));
        /// Blocks in each stage.
        pub depths: Vec<usize> = vec![1, 2, 2, 3, 2], each(between(1, 256));
        /// Width of the squeeze-and-excitation bottleneck relative to the block's input; 0 leaves it out.
        pub squeeze_excite: f64 = 0.25, between(0.0, 1.0);
        /// Side of the pooled feature map: 1 is global average pooling, 2 keeps a 2 x 2 grid.
        pub pool: usize = 1, between(1, 32);
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

impl EfficientFr {
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.channels.is_empty() || self.channels.len() > 8 {
            wrong.push(("channels", "needs one width for each of 1 to 8 stages".to_string()));
        }
        if self.depths.len() != self.channels.len() {
            let message = format!(
                "has {} stages where channels has {}; both need the same number",
                self.depths.len(),
                self.channels.len()
            );
            wrong.push(("depths", message));
        }
        wrong
    }

    pub fn features(&self) -> i64 {
        let side = self.pool as i64;
        self.channels.last().map_or(0, |&last| last as i64 * side * side)
    }

    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        // pretrained and frozen are handled for all backbones alike.
        let EfficientFr { channels, depths, squeeze_excite, pool, pretrained: _, frozen: _ } = self;
        let stem = path / "stem";
        let width = channels[0] as i64;
        let stem_conv = Conv { kernel: 3, stride: 2, groups: 1 }.build(&stem / "conv", 3, width);
        let stem_bn = batch_norm2d(&stem / "bn", width);
        let mut blocks = Vec::new();
        let mut input = width;
        for (stage, (&output, &depth)) in channels.iter().zip(depths).enumerate() {
            for index in 0..depth {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let path = path / "stages" / stage / index;
                blocks.push(Block::new(&path, input, output as i64, stride, *squeeze_excite));
                input = output as i64;
            }
        }
        let (pool, depths, features) = (*pool as i64, depths.clone(), self.features());
        let blocks = Sequence::new(blocks);
        Box::new(Network { stem_conv, stem_bn, depths, blocks, pool, features })
    }
}

#[derive(Debug)]
struct Network {
    stem_conv: nn::Conv2D,
    stem_bn: BatchNorm,
    depths: Vec<usize>,
    blocks: Sequence<Block>,
    pool: i64,
    features: i64,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stem = self.stem_bn.forward_t(&self.stem_conv.forward(images), train).silu();
        let maps = self.blocks.forward(stem, move |block, x| block.forward(x, train));
        maps.adaptive_avg_pool2d([self.pool, self.pool]).flatten(1, -1)
    }

    fn features(&self) -> i64 {
        self.features
    }

    fn layers(&self) -> usize {
        1 + self.blocks.len()
    }

    /// `stages.3.1.pointwise.conv.weight` is of stage 3, block 1.
    fn layer(&self, name: &str) -> usize {
        let numbers = name.strip_prefix("stages.").into_iter().flat_map(|rest| rest.split('.'));
        let mut numbers = numbers.map_while(|part| part.parse().ok());
        layer_of(&self.depths, numbers.next().zip(numbers.next()))
    }

    fn stages(&self) -> usize {
        self.depths.len()
    }

    /// `stages.3` is stage 4: the stem is 0.
    fn stage(&self, name: &str) -> usize {
        let stage = name.strip_prefix("stages.").and_then(|rest| rest.split('.').next());
        stage.and_then(|stage| stage.parse().ok()).map_or(0, |stage: usize| stage + 1)
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}

#[derive(Debug)]
struct Block {
    depthwise: ConvBn,
    squeeze_excite: Option<(nn::Conv2D, nn::Conv2D)>,
    pointwise: ConvBn,
    skip: Option<ConvBn>,
}

impl Block {
    fn new(path: &nn::Path, input: i64, output: i64, stride: i64, ratio: f64) -> Self {
        let depthwise = Conv { kernel: 3, stride, groups: input };
        let named = |name: &str, conv: Conv, output: i64| {
            let path = path / name;
            (conv.build(&path / "conv", input, output), batch_norm2d(&path / "bn", output))
        };
        Block {
            depthwise: named("depthwise", depthwise, input),
            squeeze_excite: (ratio > 0.0).then(|| {
                let hidden = ((input as f64 * ratio).round() as i64).max(8);
                let config = nn::ConvConfig { bs_init: Init::Const(0.), ..Default::default() };
                let path = path / "se";
                (
                    nn::conv2d(&path / "reduce", input, hidden, 1, config),
                    nn::conv2d(&path / "expand", hidden, input, 1, config),
                )
            }),
            pointwise: named("pointwise", Conv::pointwise(1), output),
            skip: (stride != 1 || input != output)
                .then(|| named("skip", Conv::pointwise(stride), output)),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let mut main = normed(&self.depthwise, x, train).silu();
        if let Some((reduce, expand)) = &self.squeeze_excite {
            main = squeeze_excite(&main, reduce, expand);
        }
        let main = normed(&self.pointwise, &main, train);
        match &self.skip {
            Some(skip) => (main + normed(skip, x, train)).silu(),
            None => (main + x).silu(),
        }
    }
}
