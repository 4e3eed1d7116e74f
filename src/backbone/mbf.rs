//! InsightFace's MobileFaceNet, "mbf": the network of [`mobilefacenet`](super::mobilefacenet) (Chen et
//! al. 2018, arXiv:1804.07573), twice as wide at the start, with a stem of two channels to a group and
//! 512 features.
//!
//! Reference: InsightFace's arcface_torch, `get_mbf`; parameter names are its own: `layers.N`,
//! `conv_sep`, `features`. `features` ends in the embedding, so `head.projection = "none"` uses it as
//! it is.
//!
//! Differs from the reference in: input sizes other than 112x112; with `train.amp` the last layers are
//! in half precision like the others.

use super::batch_norm::BatchNorm;
use super::layers::{Activated, Conv, ConvBn, KAIMING_FAN_OUT, batch_norm2d, normed};
use super::mobilefacenet::Bottleneck;
use super::{Backbone, input_size, layer_of, stage_of};
use crate::config::Pretrained;
use crate::data::PreprocessConfig;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

const STEM: i64 = 128;
const STEM_GROUPS: i64 = 64;
/// What follows the stem: (channels within a block, at its output, blocks with a skip connection).
/// Without such it is one block that halves the resolution.
const STAGES: [(i64, i64, usize); 6] =
    [(128, 128, 0), (128, 128, 4), (256, 256, 0), (256, 256, 6), (512, 256, 0), (256, 256, 2)];
/// Convolutions of the stem, which `layers` begins with.
const STEM_LAYERS: usize = 2;
/// Channels of the last maps.
const LAST: i64 = 512;
/// The stem and three stages halve the resolution, rounding up.
const REDUCTION: usize = 16;

crate::config_struct! {
    /// InsightFace's MobileFaceNet, 2.1 M parameters, for one input size (after Chen et al. 2018,
    /// arXiv:1804.07573; InsightFace's names).
    pub struct Mbf {
        /// Height and width of the last maps, which a depthwise convolution takes as a whole: those
        /// of the input divided by 16, rounded up. [7, 7] for 112x112, [7, 6] for 112x96 (height
        /// first).
        pub kernel: Vec<usize> = vec![7, 7], input_size::sides();
        /// Number of features, which are an embedding already.
        pub features: usize = 512, between(1, 8192);
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

impl Mbf {
    /// The kernel must be the last maps of such an input: (key below `backbone`, message).
    pub fn conflict(&self, input: &PreprocessConfig) -> Option<(&'static str, String)> {
        input_size::conflict(&self.kernel, REDUCTION, input).map(|message| ("kernel", message))
    }

    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        // pretrained and frozen are handled for all backbones alike.
        let Mbf { kernel, features, pretrained: _, frozen: _ } = self;
        let features = *features as i64;
        let layers = path / "layers";
        let first = Conv { kernel: 3, stride: 2, groups: 1 };
        let second = Conv { kernel: 3, stride: 1, groups: STEM_GROUPS };
        let stem = [
            Activated::new(pieces(&(&layers / 0)), first, 3, STEM),
            Activated::new(pieces(&(&layers / 1)), second, STEM, STEM),
        ];
        let mut blocks = Vec::new();
        let mut input = STEM;
        for (stage, (wide, output, repeats)) in STAGES.into_iter().enumerate() {
            let path = &layers / (STEM_LAYERS + stage);
            let mut block = |path: nn::Path, stride: i64| {
                let name = |part: i64, piece: i64| &path / "layers" / part / "layers" / piece;
                blocks.push(Bottleneck::new(name, [input, wide, output], stride));
                input = output;
            };
            if repeats == 0 {
                block(path, 2);
            } else {
                (0..repeats).for_each(|index| block(&path / "layers" / index, 1));
            }
        }
        let conv_sep =
            Activated::new(pieces(&(path / "conv_sep")), Conv::pointwise(1), input, LAST);
        let end = path / "features" / "layers";
        let config = nn::ConvConfigND::<[i64; 2]> {
            groups: LAST,
            bias: false,
            ws_init: KAIMING_FAN_OUT,
            ..Default::default()
        };
        let whole = [kernel[0] as i64, kernel[1] as i64];
        let pooling = &end / 0 / "layers";
        let pooling =
            (nn::conv(&pooling / 0, LAST, LAST, whole, config), batch_norm2d(&pooling / 1, LAST));
        let config =
            nn::LinearConfig { ws_init: KAIMING_FAN_OUT, bias: false, ..Default::default() };
        let linear = nn::linear(&end / 2, LAST, features, config);
        let bn = BatchNorm::new(&(&end / 3), features);
        Box::new(Network {
            stem,
            blocks: Sequence::new(blocks),
            conv_sep,
            pooling,
            linear,
            bn,
            features,
        })
    }
}

/// Convolution, batch norm, PReLU below `path`.
fn pieces<'a>(path: &nn::Path<'a>) -> [nn::Path<'a>; 3] {
    [0, 1, 2].map(|piece| path / "layers" / piece)
}

#[derive(Debug)]
struct Network {
    stem: [Activated; 2],
    blocks: Sequence<Bottleneck>,
    conv_sep: Activated,
    /// A depthwise convolution over the whole of the last maps.
    pooling: ConvBn,
    linear: nn::Linear,
    bn: BatchNorm,
    features: i64,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stem = self.stem[1].forward(&self.stem[0].forward(images, train), train);
        let maps = self.blocks.forward(stem, move |block, x| block.forward(x, train));
        let pooled = normed(&self.pooling, &self.conv_sep.forward(&maps, train), train);
        self.bn.forward_t(&self.linear.forward(&pooled.flatten(1, -1)), train)
    }

    fn features(&self) -> i64 {
        self.features
    }

    /// What follows the blocks is a layer too.
    fn layers(&self) -> usize {
        self.blocks.len() + 2
    }

    /// `layers.3.layers.2.layers.0.layers.0.weight` is of block 2 of stage 1, `layers.4.layers.0...` of
    /// the only block of stage 2.
    fn layer(&self, name: &str) -> usize {
        let mut numbers = name.split('.').filter_map(|part| part.parse().ok());
        if !name.starts_with("layers.") {
            return self.layers() - 1;
        }
        let stage = numbers.next().and_then(|number: usize| number.checked_sub(STEM_LAYERS));
        let block = stage.zip(numbers.next()).map(|(stage, index)| match STAGES[stage] {
            (_, _, 0) => (stage, 0),
            _ => (stage, index),
        });
        layer_of(&STAGES.map(|(_, _, repeats)| repeats.max(1)), block)
    }

    /// The rows of the table, and what follows them.
    fn stages(&self) -> usize {
        STAGES.len() + 1
    }

    fn stage(&self, name: &str) -> usize {
        match self.layer(name) {
            layer if layer + 1 == self.layers() => STAGES.len() + 1,
            layer => stage_of(&STAGES.map(|(_, _, repeats)| repeats.max(1)), layer),
        }
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}
