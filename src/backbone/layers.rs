//! Layers shared by the convolutional backbones, with PyTorch's defaults where tch differs.

use super::batch_norm::BatchNorm;
use tch::nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

/// Kaiming normal over the fan-out (He et al. 2015, eq. 14), as torchvision's ResNet and
/// EfficientNet initialise their convolutions.
pub const KAIMING_FAN_OUT: Init = Init::Kaiming {
    dist: NormalOrUniform::Normal,
    fan: FanInOut::FanOut,
    non_linearity: NonLinearity::ReLU,
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
        let config = nn::ConvConfig {
            stride: self.stride,
            padding: self.kernel / 2,
            groups: self.groups,
            bias: false,
            ws_init: KAIMING_FAN_OUT,
            ..Default::default()
        };
        nn::conv2d(path, input, output, self.kernel, config)
    }
}

/// Batch norm that starts as the identity; tch's own default draws its weights from [0, 1].
pub fn batch_norm2d(path: nn::Path, channels: i64) -> BatchNorm {
    BatchNorm::new(&path, channels)
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
