//! Inception-ResNet-v1 (Szegedy et al. 2017, arXiv:1602.07261, figures 10 to 14) as FaceNet
//! implementations have it: branches of convolutions whose joined maps, scaled down, are added to the
//! input; a linear layer and batch norm at the end, which make it an embedding, so
//! `head.projection = "none"` uses it as it is.
//!
//! Reference: facenet-pytorch's `InceptionResnetV1`; parameter names are its own without `logits`.
//!
//! Differs from the reference in: the features are not normalised to length 1, which the losses and
//! `run embed` do.

use super::batch_norm::BatchNorm;
use super::layers::PYTORCH_DEFAULT;
use super::{Backbone, input_size, layer_of, stage_of};
use crate::config::Pretrained;
use crate::data::PreprocessConfig;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Init, Module, ModuleT};

pub const FEATURES: i64 = 512;
/// Of the last maps.
const LAST: i64 = 1792;
/// Shortest side, pixels, of which the convolutions without padding leave one pixel.
const LEAST: usize = 75;

/// A convolution: output channels, kernel, stride, whether zeros around the maps keep their size.
type Shape = (i64, [i64; 2], i64, bool);

const fn same(output: i64, height: i64, width: i64) -> Shape {
    (output, [height, width], 1, true)
}

const fn valid(output: i64, kernel: i64, stride: i64) -> Shape {
    (output, [kernel, kernel], stride, false)
}

/// A max-pooling stands between the third and the fourth.
const STEM: [(&str, Shape); 6] = [
    ("conv2d_1a", valid(32, 3, 2)),
    ("conv2d_2a", valid(32, 3, 1)),
    ("conv2d_2b", same(64, 3, 3)),
    ("conv2d_3b", same(80, 1, 1)),
    ("conv2d_4a", valid(192, 3, 1)),
    ("conv2d_4b", valid(256, 3, 2)),
];
const STEM_POOLING: usize = 3;

/// Blocks of one shape.
struct Stage {
    name: &'static str,
    /// More than one are numbered.
    depth: usize,
    branches: &'static [&'static [Shape]],
    join: Join,
}

/// What becomes of the branches' joined maps.
#[derive(Clone, Copy, Debug)]
enum Join {
    /// A pointwise convolution of them times `scale` is added to the input; then ReLU or nothing.
    Residual { scale: f64, relu: bool },
    /// Max-pooled maps of the input join them.
    Pooled,
}

const STAGES: [Stage; 6] = [
    Stage {
        name: "repeat_1",
        depth: 5,
        branches: &[
            &[same(32, 1, 1)],
            &[same(32, 1, 1), same(32, 3, 3)],
            &[same(32, 1, 1), same(32, 3, 3), same(32, 3, 3)],
        ],
        join: Join::Residual { scale: 0.17, relu: true },
    },
    Stage {
        name: "mixed_6a",
        depth: 1,
        branches: &[&[valid(384, 3, 2)], &[same(192, 1, 1), same(192, 3, 3), valid(256, 3, 2)]],
        join: Join::Pooled,
    },
    Stage {
        name: "repeat_2",
        depth: 10,
        branches: &[&[same(128, 1, 1)], &[same(128, 1, 1), same(128, 1, 7), same(128, 7, 1)]],
        join: Join::Residual { scale: 0.10, relu: true },
    },
    Stage {
        name: "mixed_7a",
        depth: 1,
        branches: &[
            &[same(256, 1, 1), valid(384, 3, 2)],
            &[same(256, 1, 1), valid(256, 3, 2)],
            &[same(256, 1, 1), same(256, 3, 3), valid(256, 3, 2)],
        ],
        join: Join::Pooled,
    },
    Stage {
        name: "repeat_3",
        depth: 5,
        branches: WIDE,
        join: Join::Residual { scale: 0.20, relu: true },
    },
    Stage {
        name: "block8",
        depth: 1,
        branches: WIDE,
        join: Join::Residual { scale: 1.0, relu: false },
    },
];
const WIDE: &[&[Shape]] =
    &[&[same(192, 1, 1)], &[same(192, 1, 1), same(192, 1, 3), same(192, 3, 1)]];

crate::config_struct! {
    /// Inception-ResNet-v1, 512 features, 23.5 M parameters (Szegedy et al. 2017, arXiv:1602.07261;
    /// facenet-pytorch's names).
    pub struct InceptionResnetV1 {
        /// Probability of dropping a value before the last linear layer, while training.
        pub dropout: f64 = 0.6, below(0.0, 1.0);
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

impl InceptionResnetV1 {
    /// Smaller images vanish on the way: (key below `backbone`, message).
    pub fn conflict(&self, input: &PreprocessConfig) -> Option<(&'static str, String)> {
        input_size::too_small("inception_resnet_v1", LEAST, input).map(|message| ("kind", message))
    }

    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        // pretrained and frozen are handled for all backbones alike.
        let InceptionResnetV1 { dropout, pretrained: _, frozen: _ } = self;
        let mut input = 3;
        let mut stem = Vec::new();
        for (name, shape) in STEM {
            stem.push(Unit::new(&(path / name), input, shape));
            input = shape.0;
        }
        let mut blocks = Vec::new();
        for Stage { name, depth, branches, join } in STAGES {
            for index in 0..depth {
                let path = if depth == 1 { path / name } else { path / name / index };
                let block = Block::new(&path, input, branches, join);
                input = block.output;
                blocks.push(block);
            }
        }
        debug_assert_eq!(input, LAST);
        let config =
            nn::LinearConfig { ws_init: PYTORCH_DEFAULT, bias: false, ..Default::default() };
        let last_linear = nn::linear(path / "last_linear", LAST, FEATURES, config);
        let last_bn = batch_norm(&(path / "last_bn"), FEATURES);
        let blocks = Sequence::new(blocks);
        Box::new(Network { stem, blocks, dropout: *dropout, last_linear, last_bn })
    }
}

/// With TensorFlow's eps and PyTorch's momentum.
fn batch_norm(path: &nn::Path, channels: i64) -> BatchNorm {
    BatchNorm::with(path, channels, 0.1, 1e-3)
}

#[derive(Debug)]
struct Network {
    stem: Vec<Unit>,
    blocks: Sequence<Block>,
    dropout: f64,
    last_linear: nn::Linear,
    last_bn: BatchNorm,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let (before, after) = self.stem.split_at(STEM_POOLING);
        let maps = max_pool(&through(before, images, train));
        let maps = through(after, &maps, train);
        let maps = self.blocks.forward(maps, move |block, x| block.forward(x, train));
        let mut pooled = maps.adaptive_avg_pool2d([1, 1]).flatten(1, -1);
        if self.dropout > 0.0 {
            pooled = pooled.dropout(self.dropout, train);
        }
        self.last_bn.forward_t(&self.last_linear.forward(&pooled), train)
    }

    fn features(&self) -> i64 {
        FEATURES
    }

    /// What follows the blocks is a layer too.
    fn layers(&self) -> usize {
        self.blocks.len() + 2
    }

    /// `repeat_2.3.branch0.conv.weight` is of stage 2, block 3; `mixed_6a.branch0.conv.weight` of
    /// stage 1.
    fn layer(&self, name: &str) -> usize {
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let index = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        match STAGES.iter().position(|stage| stage.name == first) {
            None if first.starts_with("last_") => self.layers() - 1,
            stage => layer_of(&STAGES.map(|stage| stage.depth), stage.map(|stage| (stage, index))),
        }
    }

    /// Those of the paper, and what follows them.
    fn stages(&self) -> usize {
        STAGES.len() + 1
    }

    fn stage(&self, name: &str) -> usize {
        match self.layer(name) {
            layer if layer + 1 == self.layers() => STAGES.len() + 1,
            layer => stage_of(&STAGES.map(|stage| stage.depth), layer),
        }
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.blocks.recompute(blocks);
        true
    }
}

fn max_pool(maps: &Tensor) -> Tensor {
    maps.max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)
}

/// Convolution without bias, batch norm, ReLU.
#[derive(Debug)]
struct Unit {
    conv: nn::Conv2D,
    bn: BatchNorm,
}

impl Unit {
    fn new(path: &nn::Path, input: i64, (output, kernel, stride, pad): Shape) -> Self {
        let config = nn::ConvConfigND::<[i64; 2]> {
            stride: [stride, stride],
            padding: kernel.map(|side| if pad { side / 2 } else { 0 }),
            bias: false,
            ws_init: PYTORCH_DEFAULT,
            ..Default::default()
        };
        Unit {
            conv: nn::conv(path / "conv", input, output, kernel, config),
            bn: batch_norm(&(path / "bn"), output),
        }
    }

    fn forward(&self, maps: &Tensor, train: bool) -> Tensor {
        self.bn.forward_t(&self.conv.forward(maps), train).relu_()
    }
}

fn through(units: &[Unit], maps: &Tensor, train: bool) -> Tensor {
    units.iter().fold(maps.shallow_clone(), |maps, unit| unit.forward(&maps, train))
}

#[derive(Debug)]
struct Block {
    branches: Vec<Vec<Unit>>,
    end: End,
    output: i64,
}

#[derive(Debug)]
enum End {
    Residual { conv: nn::Conv2D, scale: f64, relu: bool },
    Pooled,
}

impl Block {
    fn new(path: &nn::Path, input: i64, branches: &[&[Shape]], join: Join) -> Self {
        let mut joined = 0;
        let mut branch = |(index, shapes): (usize, &&[Shape])| {
            let path = path / format!("branch{index}");
            let mut channels = input;
            let mut unit = |(number, &shape): (usize, &Shape)| {
                // A branch of one convolution is that.
                let unit = match shapes.len() {
                    1 => Unit::new(&path, channels, shape),
                    _ => Unit::new(&(&path / number), channels, shape),
                };
                channels = shape.0;
                unit
            };
            let units: Vec<Unit> = shapes.iter().enumerate().map(&mut unit).collect();
            joined += channels;
            units
        };
        let branches = branches.iter().enumerate().map(&mut branch).collect();
        match join {
            Join::Pooled => Block { branches, end: End::Pooled, output: joined + input },
            Join::Residual { scale, relu } => {
                let bound = 1.0 / (joined as f64).sqrt();
                let config = nn::ConvConfig {
                    ws_init: PYTORCH_DEFAULT,
                    bs_init: Init::Uniform { lo: -bound, up: bound },
                    ..Default::default()
                };
                let conv = nn::conv2d(path / "conv2d", joined, input, 1, config);
                Block { branches, end: End::Residual { conv, scale, relu }, output: input }
            }
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let mut joined: Vec<Tensor> =
            self.branches.iter().map(|branch| through(branch, x, train)).collect();
        match &self.end {
            End::Pooled => {
                joined.push(max_pool(x));
                Tensor::cat(&joined, 1)
            }
            End::Residual { conv, scale, relu } => {
                let main = conv.forward(&Tensor::cat(&joined, 1)) * *scale + x;
                if *relu { main.relu() } else { main }
            }
        }
    }
}
