//! The head: features to embedding.

use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

crate::config_struct! {
    /// Dropout, linear projection, optional batch norm: features to embedding.
    pub struct HeadConfig {
        /// Length of the embedding.
        pub embedding_dim: usize = 512, between(1, 65536);
        /// Probability of dropping a feature before the projection, while training.
        pub dropout: f64 = 0.0, below(0.0, 1.0);
        /// Batch norm after the projection, as InsightFace's networks end.
        pub batch_norm: bool = false;
    }
}

/// Features [B, F] to embedding [B, D], not normalised.
#[derive(Debug)]
pub struct Head {
    dropout: f64,
    linear: nn::Linear,
    bn: Option<nn::BatchNorm>,
}

impl HeadConfig {
    pub fn build(&self, path: &nn::Path, features: i64) -> Head {
        let HeadConfig { embedding_dim, dropout, batch_norm } = self;
        let output = *embedding_dim as i64;
        let linear = nn::linear(path / "linear", features, output, Default::default());
        let bn = batch_norm.then(|| {
            let config = nn::BatchNormConfig { ws_init: nn::Init::Const(1.), ..Default::default() };
            nn::batch_norm1d(path / "bn", output, config)
        });
        Head { dropout: *dropout, linear, bn }
    }
}

impl Head {
    /// # Shapes
    /// features [B, F] -> embedding [B, D].
    pub fn forward(&self, features: &Tensor, train: bool) -> Tensor {
        let embedding = if self.dropout > 0.0 && train {
            self.linear.forward(&features.dropout(self.dropout, true))
        } else {
            self.linear.forward(features)
        };
        match &self.bn {
            Some(bn) => bn.forward_t(&embedding, train),
            None => embedding,
        }
    }
}
