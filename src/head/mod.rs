//! The head: features to embedding.

use crate::backbone::BackboneConfig;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};

crate::config_choice! {
    /// What makes an embedding of the features.
    pub enum Projection {
        /// A linear layer of `embedding_dim` outputs.
        Linear = "linear",
        /// Nothing: the backbone's features are the embedding.
        None = "none",
    }
}

crate::config_struct! {
    /// Dropout, linear projection on request, optional batch norm: features to embedding.
    pub struct HeadConfig {
        /// Length of the embedding.
        pub embedding_dim: usize = 512, between(1, 65536);
        /// What makes an embedding of the backbone's features: a linear layer, or nothing.
        pub projection: Projection = Projection::Linear;
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
    linear: Option<nn::Linear>,
    bn: Option<nn::BatchNorm>,
}

impl HeadConfig {
    /// Without a projection the embedding has the features' length: (key below `head`, message).
    pub fn validate(&self, backbone: &BackboneConfig) -> Vec<(&'static str, String)> {
        let features = backbone.features();
        if self.projection == Projection::Linear || self.embedding_dim as i64 == features {
            return Vec::new();
        }
        let message = format!(
            "is {}, but head.projection = \"none\" makes the {features} features of \
             backbone.kind = \"{}\" the embedding: set it to {features}, or \
             head.projection = \"linear\"",
            self.embedding_dim,
            backbone.kind(),
        );
        vec![("embedding_dim", message)]
    }

    pub fn build(&self, path: &nn::Path, features: i64) -> Head {
        let HeadConfig { embedding_dim, projection, dropout, batch_norm } = self;
        let output = *embedding_dim as i64;
        let linear = match projection {
            Projection::Linear => {
                Some(nn::linear(path / "linear", features, output, Default::default()))
            }
            Projection::None => None,
        };
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
        let kept = if self.dropout > 0.0 && train {
            features.dropout(self.dropout, true)
        } else {
            features.shallow_clone()
        };
        let embedding = match &self.linear {
            Some(linear) => linear.forward(&kept),
            None => kept,
        };
        match &self.bn {
            Some(bn) => bn.forward_t(&embedding, train),
            None => embedding,
        }
    }
}
