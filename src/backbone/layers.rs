//! Layers shared by the convolutional backbones, with PyTorch's defaults where tch differs.

use super::batch_norm::BatchNorm;
use tch::nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use tch::nn::{self, Init, Module, ModuleT};
use tch::{Kind, Tensor};

/// Kaiming normal over the fan-out (He et al. 2015, eq. 14), as torchvision's ResNet and
/// EfficientNet initialise their convolutions.
pub const KAIMING_FAN_OUT: Init = Init::Kaiming {
    dist: NormalOrUniform::Normal,
    fan: FanInOut::FanOut,
    non_linearity: NonLinearity::ReLU,
};

/// What PyTorch draws the weights of a convolution and of a linear layer from where nothing else is
/// said: uniform within 1 / sqrt(fan-in). tch's own default is sqrt(6) times as wide.
pub const PYTORCH_DEFAULT: Init = Init::Kaiming {
    dist: NormalOrUniform::Uniform,
    fan: FanInOut::FanIn,
    // 1 / sqrt(3): the bound is sqrt(3) times the gain.
    non_linearity: NonLinearity::ExplicitGain(0.577_350_269_189_625_8),
};

/// Geometry of a square convolution without bias; a batch norm follows it.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    pub kernel: i64,
    pub stride: i64,
    pub groups: i64,
}

impl Conv {
    pub fn pointwise(stride: i64) -> Self {
        Conv { kernel: 1, stride, groups: 1 }
    }

    /// # Shapes
    /// [B, `input`, H, W] -> [B, `output`, ceil(H / stride), ceil(W / stride)] for odd kernels.
    pub fn build(self, path: nn::Path, input: i64, output: i64) -> nn::Conv2D {
        self.build_from(KAIMING_FAN_OUT, path, input, output)
    }

    /// The same with weights drawn otherwise.
    pub fn build_from(self, ws_init: Init, path: nn::Path, input: i64, output: i64) -> nn::Conv2D {
        let config = nn::ConvConfig {
            stride: self.stride,
            padding: self.kernel / 2,
            groups: self.groups,
            bias: false,
            ws_init,
            ..Default::default()
        };
        nn::conv2d(path, input, output, self.kernel, config)
    }
}

/// Batch norm that starts as the identity; tch's own default draws its weights from [0, 1].
pub fn batch_norm2d(path: nn::Path, channels: i64) -> BatchNorm {
    BatchNorm::new(&path, channels)
}

/// A convolution and the batch norm after it.
pub type ConvBn = (nn::Conv2D, BatchNorm);

/// # Shapes
/// Those of the convolution.
pub fn normed((conv, bn): &ConvBn, maps: &Tensor, train: bool) -> Tensor {
    bn.forward_t(&conv.forward(maps), train)
}

/// Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507) with SiLU, as EfficientNet has it: the
/// maps, each times a number in (0, 1) that two pointwise convolutions make of the means of all.
///
/// # Shapes
/// maps [B, C, H, W] -> [B, C, H, W]; `reduce` C -> R, `expand` R -> C.
pub fn squeeze_excite(maps: &Tensor, reduce: &nn::Conv2D, expand: &nn::Conv2D) -> Tensor {
    let squeezed = maps.mean_dim([2i64, 3].as_slice(), true, None::<Kind>);
    maps * expand.forward(&reduce.forward(&squeezed).silu()).sigmoid()
}

/// PReLU with one slope for each channel (He et al. 2015, arXiv:1502.01852), from 0.25.
#[derive(Debug)]
pub struct PRelu {
    /// `[C]`
    slope: Tensor,
}

impl PRelu {
    pub fn new(path: &nn::Path, channels: i64) -> Self {
        PRelu { slope: path.var("weight", &[channels], Init::Const(0.25)) }
    }

    /// # Shapes
    /// [B, C, H, W] -> [B, C, H, W]
    pub fn forward(&self, maps: &Tensor) -> Tensor {
        // Under autocast the slopes are wider than the maps.
        let slope = match maps.kind() {
            kind @ (Kind::Half | Kind::BFloat16) => self.slope.to_kind(kind),
            _ => self.slope.shallow_clone(),
        };
        maps.prelu(&slope)
    }
}

/// Convolution, batch norm, PReLU.
#[derive(Debug)]
pub struct Activated {
    pub conv: ConvBn,
    pub prelu: PRelu,
}

impl Activated {
    /// `paths` of the three parts.
    pub fn new([conv, bn, prelu]: [nn::Path; 3], of: Conv, input: i64, output: i64) -> Self {
        Activated {
            conv: (of.build(conv, input, output), batch_norm2d(bn, output)),
            prelu: PRelu::new(&prelu, output),
        }
    }

    /// # Shapes
    /// Those of the convolution.
    pub fn forward(&self, maps: &Tensor, train: bool) -> Tensor {
        self.prelu.forward(&normed(&self.conv, maps, train))
    }
}
