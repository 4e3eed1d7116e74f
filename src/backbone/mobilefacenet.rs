//! MobileFaceNet (Chen et al. 2018, arXiv:1804.07573, table 1): inverted residuals (Sandler et al.
//! 2018, arXiv:1801.04381) with PReLUs, and instead of average pooling a depthwise convolution over
//! the whole of the last maps, which weighs the face's middle and its rim apart.
//!
//! Parameter names are those of the PyTorch implementations whose weights are passed around: `conv1`,
//! `dw_conv1`, `blocks.N.conv.M`, `conv2`, `linear7`, `linear1`. `linear1` ends in the embedding, so
//! `head.projection = "none"` uses it as it is.
//!
//! Differs from the paper in: no larger weight decay of the last convolutions (4e-4 there), which
//! `groups.rules` can give them; input sizes other than 112x112 and 112x96.

use super::layers::{Activated, Conv, ConvBn, KAIMING_FAN_OUT, batch_norm2d, normed};
use super::{Backbone, input_size, layer_of};
use crate::config::Pretrained;
use crate::data::PreprocessConfig;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn;

/// Table 1: (expansion t, channels c, blocks n, stride s of the first of them).
const STAGES: [(i64, i64, usize, i64); 5] =
    [(2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)];
const STEM: i64 = 64;
/// Channels of the last maps.
const LAST: i64 = 512;
/// The stem and three stages halve the resolution, rounding up.
const REDUCTION: usize = 16;

crate::config_struct! {
    /// MobileFaceNet, 1.0 M parameters, for one input size (Chen et al. 2018, arXiv:1804.07573; the
    /// names of its PyTorch implementations).
    pub struct MobileFaceNet {
        /// Height and width of the last maps, which a depthwise convolution takes as a whole: those
        /// of the input divided by 16, rounded up. [7, 7] for 112x112, [7, 6] for 112x96 (height
        /// first).
        pub kernel: Vec<usize> = vec![7, 7], input_size::sides();
        /// Number of features, which are an embedding already.
        pub features: usize = 128, between(1, 8192);
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

impl MobileFaceNet {
    /// The kernel must be the last maps of such an input: (key below `backbone`, message).
    pub fn conflict(&self, input: &PreprocessConfig) -> Option<(&'static str, String)> {
        input_size::conflict(&self.kernel, REDUCTION, input).map(|message| ("kernel", message))
    }

    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        // pretrained and frozen are handled for all backbones alike.
        let MobileFaceNet { kernel, features, pretrained: _, frozen: _ } = self;
        let features = *features as i64;
        let conv1 = Conv { kernel: 3, stride: 2, groups: 1 };
        let conv1 = Activated::new(pieces(&(path / "conv1")), conv1, 3, STEM);
        let depthwise = Conv { kernel: 3, stride: 1, groups: STEM };
        let dw_conv1 = Activated::new(pieces(&(path / "dw_conv1")), depthwise, STEM, STEM);
        let mut blocks = Vec::new();
        let mut input = STEM;
        for (expansion, output, depth, stride) in STAGES {
            for index in 0..depth {
                let path = path / "blocks" / blocks.len() / "conv";
                let stride = if index == 0 { stride } else { 1 };
                // Its parts are numbered as in one `nn.Sequential`.
                let names = |part: i64, piece: i64| &path / (3 * part + piece);
                let channels = [input, input * expansion, output];
                blocks.push(Bottleneck::new(names, channels, stride));
                input = output;
            }
        }
        let conv2 = Activated::new(pieces(&(path / "conv2")), Conv::pointwise(1), input, LAST);
        let linear7 = path / "linear7";
        let config = nn::ConvConfigND::<[i64; 2]> {
            groups: LAST,
            bias: false,
            ws_init: KAIMING_FAN_OUT,
            ..Default::default()
        };
        let whole = [kernel[0] as i64, kernel[1] as i64];
        let linear7 = (
            nn::conv(&linear7 / "conv", LAST, LAST, whole, config),
            batch_norm2d(linear7 / "bn", LAST),
        );
        let linear1 = path / "linear1";
        let linear1 = (
            Conv::pointwise(1).build(&linear1 / "conv", LAST, features),
            batch_norm2d(linear1 / "bn", features),
        );
        let blocks = Sequence::new(blocks);
        Box::new(Network { conv1, dw_conv1, blocks, conv2, linear7, linear1, features })
    }
}

/// Convolution, batch norm, PReLU below `path`.
fn pieces<'a>(path: &nn::Path<'a>) -> [nn::Path<'a>; 3] {
    ["conv", "bn", "prelu"].map(|piece| path / piece)
}

#[derive(Debug)]
struct Network {
    conv1: Activated,
    dw_conv1: Activated,
    blocks: Sequence<Bottleneck>,
    conv2: Activated,
    linear7: ConvBn,
    linear1: ConvBn,
    features: i64,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stem = self.dw_conv1.forward(&self.conv1.forward(images, train), train);
        let maps = self.blocks.forward(stem, move |block, x| block.forward(x, train));
        let maps = normed(&self.linear7, &self.conv2.forward(&maps, train), train);
        normed(&self.linear1, &maps, train).flatten(1, -1)
    }

    fn features(&self) -> i64 {
        self.features
    }

    /// What follows the blocks is a layer too.
    fn layers(&self) -> usize {
        self.blocks.len() + 2
    }

    /// `blocks.3.conv.0.weight` is of block 3, which is layer 4.
    fn layer(&self, name: &str) -> usize {
        let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next());
        match block.and_then(|block| block.parse().ok()) {
            Some(block) => layer_of(&[self.blocks.len()], Some((0, block))),
            None if name.starts_with("conv1.") || name.starts_with("dw_conv1.") => 0,
            None => self.layers() - 1,
        }
    }

    /// The rows of the paper's table, and what follows them.
    fn stages(&self) -> usize {
        STAGES.len() + 1
    }

    fn stage(&self, name: &str) -> usize {
        let layer = self.layer(name);
        let lasts = STAGES.iter().scan(0, |blocks, (_, _, depth, _)| {
            *blocks += depth;
            Some(*blocks)
        });
        // Rows that end before the layer, and the stem.
        if layer == 0 { 0 } else { 1 + lasts.filter(|last| *last < layer).count() }
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}

/// Inverted residual: widened by a pointwise convolution, filtered by a depthwise one, brought back
/// without activation; added to the input where shapes allow.
#[derive(Debug)]
pub struct Bottleneck {
    widen: Activated,
    depthwise: Activated,
    narrow: ConvBn,
    residual: bool,
}

impl Bottleneck {
    /// `name` of a piece (0 convolution, 1 batch norm, 2 PReLU) of each of the three parts;
    /// `channels` at the input, within, at the output.
    pub fn new<'a>(
        name: impl Fn(i64, i64) -> nn::Path<'a>,
        channels: [i64; 3],
        stride: i64,
    ) -> Self {
        let [input, wide, output] = channels;
        let depthwise = Conv { kernel: 3, stride, groups: wide };
        let pieces = |part: i64| [name(part, 0), name(part, 1), name(part, 2)];
        Bottleneck {
            widen: Activated::new(pieces(0), Conv::pointwise(1), input, wide),
            depthwise: Activated::new(pieces(1), depthwise, wide, wide),
            narrow: (
                Conv::pointwise(1).build(name(2, 0), wide, output),
                batch_norm2d(name(2, 1), output),
            ),
            residual: stride == 1 && input == output,
        }
    }

    /// # Shapes
    /// [B, input, H, W] -> [B, output, ceil(H / stride), ceil(W / stride)]
    pub fn forward(&self, maps: &Tensor, train: bool) -> Tensor {
        let wide = self.depthwise.forward(&self.widen.forward(maps, train), train);
        let narrow = normed(&self.narrow, &wide, train);
        if self.residual { narrow + maps } else { narrow }
    }
}
