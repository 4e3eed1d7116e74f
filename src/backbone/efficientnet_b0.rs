//! EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946, table 1): inverted residuals (Sandler et al. 2018,
//! arXiv:1801.04381) with squeeze-and-excitation and SiLU, and stochastic depth (Huang et al. 2016,
//! arXiv:1603.09382), average pooling at the end.
//!
//! Reference: torchvision `efficientnet_b0`; parameter names are its own without `classifier`, which
//! the head and the loss replace, its dropout by `head.dropout`.

use super::layers::{Conv, ConvBn, KAIMING_FAN_OUT, batch_norm2d, normed, squeeze_excite};
use super::{Backbone, layer_of, stage_of};
use crate::config::Pretrained;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Init};

pub const FEATURES: i64 = 1280;
const STEM: i64 = 32;
/// Table 1: (expansion, kernel, stride of the first block, output channels, blocks).
const STAGES: [(i64, i64, i64, i64, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];
const DEPTHS: [usize; STAGES.len()] = {
    let mut depths = [0; STAGES.len()];
    let mut stage = 0;
    while stage < STAGES.len() {
        depths[stage] = STAGES[stage].4;
        stage += 1;
    }
    depths
};
/// A squeeze-and-excitation is as wide as the block's input divided by this.
const SQUEEZE: i64 = 4;

crate::config_struct! {
    /// EfficientNet-B0, 1280 features, 4.0 M parameters (Tan & Le 2019, arXiv:1905.11946; torchvision's
    /// names).
    pub struct EfficientNetB0 {
        /// Probability of leaving out the last block for an image, while training; that of the others
        /// falls linearly to 0 at the first. Only blocks with a skip connection are left out.
        pub stochastic_depth: f64 = 0.2, below(0.0, 1.0);
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

impl EfficientNetB0 {
    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        // pretrained and frozen are handled for all backbones alike.
        let EfficientNetB0 { stochastic_depth, pretrained: _, frozen: _ } = self;
        let path = path / "features";
        let stem = conv_bn(&path / 0, Conv { kernel: 3, stride: 2, groups: 1 }, 3, STEM);
        let mut blocks = Vec::new();
        let mut input = STEM;
        let total: usize = DEPTHS.iter().sum();
        for (stage, (expansion, kernel, stride, output, depth)) in STAGES.into_iter().enumerate() {
            for index in 0..depth {
                let path = &path / (stage + 1) / index / "block";
                let channels = [input, input * expansion, output];
                let stride = if index == 0 { stride } else { 1 };
                // torchvision's: block i of n at p i / n, so the last is a little below p.
                let dropped = stochastic_depth * blocks.len() as f64 / total as f64;
                blocks.push(Block::new(&path, channels, kernel, stride, dropped));
                input = output;
            }
        }
        let last = conv_bn(&path / (STAGES.len() + 1), Conv::pointwise(1), input, FEATURES);
        Box::new(Network { stem, blocks: Sequence::new(blocks), last })
    }
}

/// The first two of an `nn.Sequential`.
fn conv_bn(path: nn::Path, conv: Conv, input: i64, output: i64) -> ConvBn {
    (conv.build(&path / 0, input, output), batch_norm2d(&path / 1, output))
}

#[derive(Debug)]
struct Network {
    stem: ConvBn,
    blocks: Sequence<Block>,
    last: ConvBn,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stem = normed(&self.stem, images, train).silu();
        let maps = self.blocks.forward(stem, move |block, x| block.forward(x, train));
        normed(&self.last, &maps, train).silu().adaptive_avg_pool2d([1, 1]).flatten(1, -1)
    }

    fn features(&self) -> i64 {
        FEATURES
    }

    /// The convolution after the blocks is a layer too.
    fn layers(&self) -> usize {
        self.blocks.len() + 2
    }

    /// `features.3.1.block.0.0.weight` is of stage 2, block 1; `features.0` is the stem, `features.8`
    /// follows the blocks.
    fn layer(&self, name: &str) -> usize {
        let mut numbers = name.split('.').skip(1).map_while(|part| part.parse().ok());
        match numbers.next() {
            None | Some(0) => 0,
            Some(stage) if stage > STAGES.len() => self.layers() - 1,
            Some(stage) => layer_of(&DEPTHS, numbers.next().map(|index| (stage - 1, index))),
        }
    }

    /// The rows of the table, and the convolution after them.
    fn stages(&self) -> usize {
        DEPTHS.len() + 1
    }

    fn stage(&self, name: &str) -> usize {
        match self.layer(name) {
            layer if layer + 1 == self.layers() => DEPTHS.len() + 1,
            layer => stage_of(&DEPTHS, layer),
        }
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}

#[derive(Debug)]
struct Block {
    widen: Option<ConvBn>,
    depthwise: ConvBn,
    squeeze: nn::Conv2D,
    excite: nn::Conv2D,
    narrow: ConvBn,
    residual: bool,
    /// Probability of leaving it out.
    dropped: f64,
}

impl Block {
    /// `channels` at the input, within, at the output.
    fn new(path: &nn::Path, channels: [i64; 3], kernel: i64, stride: i64, dropped: f64) -> Self {
        let [input, wide, output] = channels;
        let mut parts = 0;
        let mut next = || {
            parts += 1;
            path / (parts - 1)
        };
        let widen = (wide != input).then(|| conv_bn(next(), Conv::pointwise(1), input, wide));
        let depthwise = conv_bn(next(), Conv { kernel, stride, groups: wide }, wide, wide);
        let config = nn::ConvConfig {
            ws_init: KAIMING_FAN_OUT,
            bs_init: Init::Const(0.0),
            ..Default::default()
        };
        let path = next();
        let squeezed = (input / SQUEEZE).max(1);
        Block {
            widen,
            depthwise,
            squeeze: nn::conv2d(&path / "fc1", wide, squeezed, 1, config),
            excite: nn::conv2d(&path / "fc2", squeezed, wide, 1, config),
            narrow: conv_bn(next(), Conv::pointwise(1), wide, output),
            residual: stride == 1 && input == output,
            dropped,
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let wide = match &self.widen {
            Some(widen) => normed(widen, x, train).silu(),
            None => x.shallow_clone(),
        };
        let wide = normed(&self.depthwise, &wide, train).silu();
        let wide = squeeze_excite(&wide, &self.squeeze, &self.excite);
        let main = normed(&self.narrow, &wide, train);
        match self.residual {
            true if train => stochastic_depth(&main, self.dropped) + x,
            true => main + x,
            false => main,
        }
    }
}

/// Each image's maps are 0 with probability `dropped`, else scaled so that the mean stays.
///
/// # Shapes
/// [B, C, H, W] -> [B, C, H, W]
fn stochastic_depth(maps: &Tensor, dropped: f64) -> Tensor {
    if dropped == 0.0 {
        return maps.shallow_clone();
    }
    let kept = 1.0 - dropped;
    let shape = [maps.size()[0], 1, 1, 1];
    let mask = Tensor::empty(shape, (maps.kind(), maps.device())).bernoulli_float_(kept);
    maps * (mask / kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn images_are_left_out_whole_and_the_mean_stays() {
        tch::manual_seed(5);
        let maps = Tensor::ones([4000, 2, 3, 1], (Kind::Float, Device::Cpu));
        let kept = stochastic_depth(&maps, 0.25);
        let flat = kept.flatten(1, -1);
        assert_eq!(flat.min_dim(1, false).0, flat.max_dim(1, false).0);
        let mut values: Vec<f32> = Vec::try_from(flat.select(1, 0)).unwrap();
        values.sort_by(f32::total_cmp);
        let zeros = values.iter().filter(|value| **value == 0.0).count();
        // 1000 +- 27.
        assert!((850..1150).contains(&zeros), "{zeros}");
        assert!(values[zeros..].iter().all(|value| (value - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(stochastic_depth(&maps, 0.0), maps);
    }
}
