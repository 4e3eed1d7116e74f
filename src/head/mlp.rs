//! The projection head of image-text models that are trained on top of pretrained encoders: linear,
//! GELU, linear, dropout, a residual connection around the last three, layer norm (Natural language
//! image search with a dual encoder, keras.io/examples; the PyTorch versions of it are called Simple
//! CLIP). Parameter names are the latter's: `projection`, `fc`, `layer_norm`.
//!
//! Differs from them in: a hidden width of its own; the residual connection then is a projection
//! `skip` without bias (He et al. 2015, arXiv:1512.03385, eq. 2).

use tch::Tensor;
use tch::nn::{self, LinearConfig, Module};

#[derive(Debug)]
pub struct Mlp {
    projection: nn::Linear,
    fc: nn::Linear,
    skip: Option<nn::Linear>,
    layer_norm: nn::LayerNorm,
    dropout: f64,
}

impl Mlp {
    /// `dims`: features F, hidden H and embedding D.
    pub fn new(path: &nn::Path, dims: [i64; 3], bias: bool, dropout: f64) -> Self {
        let [features, hidden, output] = dims;
        let linear = |name: &str, input: i64, output: i64, bias: bool| {
            let config = LinearConfig { bias, ..Default::default() };
            nn::linear(path / name, input, output, config)
        };
        Mlp {
            projection: linear("projection", features, hidden, bias),
            fc: linear("fc", hidden, output, bias),
            skip: (hidden != output).then(|| linear("skip", hidden, output, false)),
            layer_norm: nn::layer_norm(path / "layer_norm", vec![output], Default::default()),
            dropout,
        }
    }

    /// # Shapes
    /// features [B, F] -> embedding [B, D].
    pub fn forward(&self, features: &Tensor, train: bool) -> Tensor {
        let projected = self.projection.forward(features);
        let mut main = self.fc.forward(&projected.gelu("none"));
        if self.dropout > 0.0 && train {
            main = main.dropout(self.dropout, true);
        }
        let residual = match &self.skip {
            Some(skip) => skip.forward(&projected),
            None => projected,
        };
        self.layer_norm.forward(&(main + residual))
    }
}
