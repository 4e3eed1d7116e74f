//! embedding_2d: the LeNet++ of the centre loss paper (Wen et al. 2016, ECCV, "A Discriminative
//! Feature Learning Approach for Deep Face Recognition", table 1), for pictures of embeddings in two
//! dimensions.
//!
//! Three stages of two 5x5 convolutions (stride 1, padding 2) with a PReLU each (He et al. 2015,
//! arXiv:1502.01852, one slope for each channel, from 0.25), 32, 64 and 128 channels wide, a 2x2
//! max-pooling after each. The paper's last layer, fully connected to 2, is the head:
//! `head.embedding_dim = 2`.
//!
//! Differs from the paper in: colour images of any size, for which an adaptive average pooling to
//! 3x3 stands before the head (of the paper's 28x28 it changes nothing); batch norm on request.

use super::Backbone;
use super::batch_norm::BatchNorm;
use super::layers::{PRelu, batch_norm2d};
use crate::config::Pretrained;
use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use tch::nn::{self, Init, Module, ModuleT};

/// He et al. 2015 (arXiv:1502.01852), eq. 10, of ReLU: the slope of a PReLU at the start changes
/// little.
const KAIMING_FAN_IN: Init = Init::Kaiming {
    dist: NormalOrUniform::Normal,
    fan: FanInOut::FanIn,
    non_linearity: NonLinearity::ReLU,
};

const WIDTHS: [i64; 3] = [32, 64, 128];
/// Side of the maps that the head gets.
const GRID: i64 = 3;
pub const FEATURES: i64 = WIDTHS[WIDTHS.len() - 1] * GRID * GRID;

crate::config_struct! {
    /// LeNet++ for embeddings in two dimensions, with head.embedding_dim = 2 (Wen et al. 2016, ECCV,
    /// table 1).
    pub struct Embedding2d {
        /// Batch norm between each convolution and its PReLU, which the paper has not: it lets
        /// margins train without a pretrained network.
        pub batch_norm: bool = false;
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

impl Embedding2d {
    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        // pretrained and frozen are handled for all backbones alike.
        let Embedding2d { batch_norm, pretrained: _, frozen: _ } = self;
        let mut input = 3;
        let mut stages = Vec::new();
        for (stage, width) in WIDTHS.into_iter().enumerate() {
            let path = path / "stages" / stage;
            let first = Layer::new(&(&path / 0), input, width, *batch_norm);
            let second = Layer::new(&(&path / 1), width, width, *batch_norm);
            stages.push([first, second]);
            input = width;
        }
        Box::new(Network { stages: Sequence::new(stages) })
    }
}

#[derive(Debug)]
struct Network {
    stages: Sequence<[Layer; 2]>,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let stage = move |layers: &[Layer; 2], maps: &Tensor| {
            let maps = layers[1].forward(&layers[0].forward(maps, train), train);
            // A side of a single pixel has nothing left to pool.
            let window = |side: i64| side.min(2);
            let size = maps.size();
            let window = [window(size[2]), window(size[3])];
            maps.max_pool2d(window, window, [0, 0], [1, 1], false)
        };
        let maps = self.stages.forward(images.shallow_clone(), stage);
        maps.adaptive_avg_pool2d([GRID, GRID]).flatten(1, -1)
    }

    fn features(&self) -> i64 {
        FEATURES
    }

    fn layers(&self) -> usize {
        self.stages.len()
    }

    /// A stage is a layer: `stages.1.0.conv.weight` is of layer 1.
    fn layer(&self, name: &str) -> usize {
        let stage = name.strip_prefix("stages.").and_then(|rest| rest.split('.').next());
        stage.and_then(|stage| stage.parse().ok()).unwrap_or(0)
    }

    fn stages(&self) -> usize {
        self.stages.len()
    }

    /// There is no stem.
    fn stage(&self, name: &str) -> usize {
        1 + self.layer(name)
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.stages.recompute(blocks);
        true
    }
}

#[derive(Debug)]
struct Layer {
    conv: nn::Conv2D,
    bn: Option<BatchNorm>,
    prelu: PRelu,
}

impl Layer {
    fn new(path: &nn::Path, input: i64, output: i64, batch_norm: bool) -> Self {
        let config = nn::ConvConfig {
            padding: 2,
            // Batch norm takes out what a bias adds.
            bias: !batch_norm,
            ws_init: KAIMING_FAN_IN,
            bs_init: Init::Const(0.0),
            ..Default::default()
        };
        Layer {
            conv: nn::conv2d(path / "conv", input, output, 5, config),
            bn: batch_norm.then(|| batch_norm2d(path / "bn", output)),
            prelu: PRelu::new(&(path / "prelu"), output),
        }
    }

    fn forward(&self, maps: &Tensor, train: bool) -> Tensor {
        let maps = self.conv.forward(maps);
        let maps = match &self.bn {
            Some(bn) => bn.forward_t(&maps, train),
            None => maps,
        };
        self.prelu.forward(&maps)
    }
}
