//! iResNet, the ResNet of face recognition (Deng et al. 2019, arXiv:1801.07698, section 3.2.2, after
//! Han et al. 2017, arXiv:1610.02915): a stem that keeps the resolution, blocks of batch norm, 3x3
//! convolution, batch norm, PReLU, 3x3 convolution with the stride, batch norm, nothing after the
//! addition; batch norm, dropout, a fully connected layer over the whole of the last maps and batch
//! norm at the end ("E"), which make it an embedding, so `head.projection = "none"` uses it as it is.
//!
//! Reference: InsightFace's arcface_torch, `iresnet`; parameter names are its own. As there, the scale
//! of the last batch norm is stored, is 1 and is not trained.
//!
//! Differs from the reference in: input sizes other than 112x112; with `train.amp` the fully connected
//! layer is in half precision like the others.

use super::batch_norm::BatchNorm;
use super::layers::{Activated, Conv, ConvBn, PRelu, PYTORCH_DEFAULT, batch_norm2d, normed};
use super::{Backbone, input_size, layer_of, stage_of};
use crate::config::Pretrained;
use crate::data::PreprocessConfig;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Init, Module, ModuleT};

const CONV_INIT: Init = Init::Randn { mean: 0.0, stdev: 0.1 };
const STEM: i64 = 64;
/// Channels of the last maps.
const LAST: i64 = 512;
/// The four stages halve the resolution, rounding up.
const REDUCTION: usize = 16;

/// A kind for each number of blocks in the four stages.
macro_rules! iresnets {
    ($($(#[doc = $doc:literal])* $name:ident: $depths:expr;)*) => {$(
        crate::config_struct! {
            $(#[doc = $doc])*
            pub struct $name {
                /// Height and width of the last maps, which the fully connected layer takes as a
                /// whole: those of the input divided by 16, rounded up. [7, 7] for 112x112, [7, 6]
                /// for 112x96 (height first).
                pub grid: Vec<usize> = vec![7, 7], input_size::sides();
                /// Number of features, which are an embedding already.
                pub features: usize = 512, between(1, 8192);
                /// Probability of dropping a value before the fully connected layer, while training.
                pub dropout: f64 = 0.0, below(0.0, 1.0);
                /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
                pub pretrained: Pretrained = Pretrained::default();
                /// Keep the backbone as it is and train head and loss only.
                pub frozen: bool = false;
            }
        }

        impl $name {
            /// The grid must be the last maps of such an input: (key below `backbone`, message).
            pub fn conflict(&self, input: &PreprocessConfig) -> Option<(&'static str, String)> {
                input_size::conflict(&self.grid, REDUCTION, input).map(|message| ("grid", message))
            }

            pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
                // pretrained and frozen are handled for all backbones alike.
                let $name { grid, features, dropout, pretrained: _, frozen: _ } = self;
                let area = grid.iter().product::<usize>() as i64;
                Box::new(Network::new(path, $depths, area, *features as i64, *dropout))
            }
        }
    )*};
}

iresnets! {
    /// iResNet-18, 24.0 M parameters, for one input size (Deng et al. 2019, arXiv:1801.07698;
    /// InsightFace's names).
    IResNet18: [2, 2, 2, 2];
    /// iResNet-34, 34.1 M parameters, for one input size (Deng et al. 2019, arXiv:1801.07698;
    /// InsightFace's names).
    IResNet34: [3, 4, 6, 3];
    /// iResNet-50, 43.6 M parameters, for one input size (Deng et al. 2019, arXiv:1801.07698;
    /// InsightFace's names).
    IResNet50: [3, 4, 14, 3];
    /// iResNet-100, 65.2 M parameters, for one input size (Deng et al. 2019, arXiv:1801.07698;
    /// InsightFace's names).
    IResNet100: [3, 13, 30, 3];
    /// iResNet-200, 118.8 M parameters, for one input size (Deng et al. 2019, arXiv:1801.07698;
    /// InsightFace's names).
    IResNet200: [6, 26, 60, 6];
}

#[derive(Debug)]
struct Network {
    stem: Activated,
    depths: [usize; 4],
    blocks: Sequence<Block>,
    bn2: BatchNorm,
    dropout: f64,
    fc: nn::Linear,
    end: BatchNorm,
    features: i64,
}

impl Network {
    /// `area`: pixels of the last maps.
    fn new(path: &nn::Path, depths: [usize; 4], area: i64, features: i64, dropout: f64) -> Self {
        let stem = Activated {
            conv: conv_bn(path / "conv1", path / "bn1", (3, 1), 3, STEM),
            prelu: PRelu::new(&(path / "prelu"), STEM),
        };
        let mut blocks = Vec::new();
        let mut input = STEM;
        for (stage, depth) in depths.into_iter().enumerate() {
            let output = STEM << stage;
            for index in 0..depth {
                let stride = if index == 0 { 2 } else { 1 };
                let path = path / format!("layer{}", stage + 1) / index;
                blocks.push(Block::new(&path, input, output, stride));
                input = output;
            }
        }
        let config = nn::LinearConfig { ws_init: PYTORCH_DEFAULT, ..Default::default() };
        Network {
            stem,
            depths,
            blocks: Sequence::new(blocks),
            bn2: batch_norm2d(path / "bn2", LAST),
            dropout,
            fc: nn::linear(path / "fc", LAST * area, features, config),
            end: BatchNorm::fixed_scale(&(path / "features"), features),
            features,
        }
    }
}

/// A convolution of (kernel, stride) and its batch norm.
fn conv_bn(
    conv: nn::Path,
    bn: nn::Path,
    (kernel, stride): (i64, i64),
    input: i64,
    output: i64,
) -> ConvBn {
    let of = Conv { kernel, stride, groups: 1 };
    (of.build_from(CONV_INIT, conv, input, output), batch_norm2d(bn, output))
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stem = self.stem.forward(images, train);
        let maps = self.blocks.forward(stem, move |block, x| block.forward(x, train));
        let mut whole = self.bn2.forward_t(&maps, train).flatten(1, -1);
        if self.dropout > 0.0 {
            whole = whole.dropout(self.dropout, train);
        }
        self.end.forward_t(&self.fc.forward(&whole), train)
    }

    fn features(&self) -> i64 {
        self.features
    }

    /// What follows the blocks is a layer too.
    fn layers(&self) -> usize {
        self.blocks.len() + 2
    }

    /// `layer3.1.conv2.weight` is of stage 2, block 1; `bn1.weight` of the stem, `bn2.weight` of the
    /// end.
    fn layer(&self, name: &str) -> usize {
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let stage = first.strip_prefix("layer").and_then(|stage| stage.parse().ok());
        let stage = stage.and_then(|stage: usize| stage.checked_sub(1));
        match stage.zip(parts.next().and_then(|index| index.parse().ok())) {
            None if ["bn2", "fc", "features"].contains(&first) => self.layers() - 1,
            block => layer_of(&self.depths, block),
        }
    }

    /// The four, and what follows them.
    fn stages(&self) -> usize {
        self.depths.len() + 1
    }

    /// `layer3.1.conv2.weight` is of stage 3.
    fn stage(&self, name: &str) -> usize {
        match self.layer(name) {
            layer if layer + 1 == self.layers() => self.depths.len() + 1,
            layer => stage_of(&self.depths, layer),
        }
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}

#[derive(Debug)]
struct Block {
    bn1: BatchNorm,
    first: Activated,
    second: ConvBn,
    downsample: Option<ConvBn>,
}

impl Block {
    fn new(path: &nn::Path, input: i64, output: i64, stride: i64) -> Self {
        Block {
            bn1: batch_norm2d(path / "bn1", input),
            first: Activated {
                conv: conv_bn(path / "conv1", path / "bn2", (3, 1), input, output),
                prelu: PRelu::new(&(path / "prelu"), output),
            },
            second: conv_bn(path / "conv2", path / "bn3", (3, stride), output, output),
            downsample: (stride != 1 || input != output).then(|| {
                let path = path / "downsample";
                conv_bn(&path / 0, &path / 1, (1, stride), input, output)
            }),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let main = self.first.forward(&self.bn1.forward_t(x, train), train);
        let main = normed(&self.second, &main, train);
        match &self.downsample {
            Some(downsample) => main + normed(downsample, x, train),
            None => main + x,
        }
    }
}
