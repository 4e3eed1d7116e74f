//! The head: features to embedding.

pub mod mlp;

use crate::backbone::BackboneConfig;
use crate::backbone::batch_norm::BatchNorm;
use crate::loss::{LossConfig, normalize, widen};
use mlp::Mlp;
use tch::Tensor;
use tch::nn::{self, LinearConfig, Module, ModuleT};

crate::config_choice! {
    /// What makes an embedding of the features.
    pub enum Projection {
        /// A linear layer of `embedding_dim` outputs.
        Linear = "linear",
        /// The projection head of image-text models: linear, GELU, linear, dropout, a residual
        /// connection around the last three, layer norm.
        Mlp = "mlp",
        /// Nothing: the backbone's features are the embedding.
        None = "none",
    }
}

crate::config_struct! {
    /// Features to embedding: dropout and a linear projection, or a projection head of two layers;
    /// batch norm and unit length on request. InsightFace's networks end in `batch_norm = true`,
    /// `batch_norm_scale = false` after a linear layer.
    pub struct HeadConfig {
        /// Length of the embedding.
        pub embedding_dim: usize = 512, between(1, 65536);
        /// What makes an embedding of the backbone's features: a linear layer, two layers with a
        /// residual connection, or nothing.
        pub projection: Projection = Projection::Linear;
        /// Width between the two layers of "mlp"; 0: the embedding's. With another than the
        /// embedding's, the residual connection has a linear layer of its own.
        pub hidden_dim: usize = 0, at_most(65536);
        /// Whether the projection's linear layers have biases.
        pub bias: bool = true;
        /// Probability of dropping a value while training: a feature before the linear projection,
        /// of "mlp" an output of its second layer.
        pub dropout: f64 = 0.0, below(0.0, 1.0);
        /// Batch norm after the projection, as InsightFace's networks end.
        pub batch_norm: bool = false;
        /// Whether that batch norm's weight trains; InsightFace's stays 1.
        pub batch_norm_scale: bool = true;
        /// Scale embeddings to unit length. Cosine losses and evaluations do it themselves.
        pub normalize: bool = false;
    }
}

/// Features [B, F] to embedding [B, D].
#[derive(Debug)]
pub struct Head {
    dropout: f64,
    projector: Projector,
    bn: Option<BatchNorm>,
    normalize: bool,
}

#[derive(Debug)]
enum Projector {
    None,
    Linear(nn::Linear),
    Mlp(Mlp),
}

impl HeadConfig {
    /// What is wrong with the values taken together, and with backbone and loss: (key below `head`,
    /// message).
    pub fn validate(
        &self,
        backbone: &BackboneConfig,
        loss: &LossConfig,
    ) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut refuse = |key, message: String| wrong.push((key, message));
        let projection = self.projection.as_str();
        let features = backbone.features();
        if self.projection == Projection::None && self.embedding_dim as i64 != features {
            let message = format!(
                "is {}, but head.projection = \"none\" makes the {features} features of \
                 backbone.kind = \"{}\" the embedding: set it to {features}, or \
                 head.projection = \"linear\"",
                self.embedding_dim,
                backbone.kind(),
            );
            refuse("embedding_dim", message);
        }
        if self.projection != Projection::Mlp && self.hidden_dim > 0 {
            let message = format!(
                "is {}, but head.projection = \"{projection}\" has nothing hidden: leave it out, or \
                 set head.projection = \"mlp\"",
                self.hidden_dim
            );
            refuse("hidden_dim", message);
        }
        if self.projection == Projection::None && !self.bias {
            let message =
                "is false, but head.projection = \"none\" has no layer that could have one";
            refuse("bias", message.to_string());
        }
        if self.projection == Projection::Mlp && self.batch_norm {
            let message = "is true, but head.projection = \"mlp\" ends in a layer norm: set it to \
                           false, or head.projection = \"linear\"";
            refuse("batch_norm", message.to_string());
        }
        if !self.batch_norm && !self.batch_norm_scale {
            let message = "is false, but there is no batch norm: set head.batch_norm = true";
            refuse("batch_norm_scale", message.to_string());
        }
        if self.normalize && loss.reads_norms() {
            let message = format!(
                "is true, but the loss \"{}\" goes by the lengths of embeddings: set it to false",
                loss.kind()
            );
            refuse("normalize", message);
        }
        wrong
    }

    pub fn build(&self, path: &nn::Path, features: i64) -> Head {
        let HeadConfig {
            embedding_dim,
            projection,
            hidden_dim,
            bias,
            dropout,
            batch_norm,
            batch_norm_scale,
            normalize,
        } = self;
        let output = *embedding_dim as i64;
        let projector = match projection {
            Projection::Linear => {
                let config = LinearConfig { bias: *bias, ..Default::default() };
                Projector::Linear(nn::linear(path / "linear", features, output, config))
            }
            Projection::Mlp => {
                let hidden = if *hidden_dim == 0 { output } else { *hidden_dim as i64 };
                Projector::Mlp(Mlp::new(path, [features, hidden, output], *bias, *dropout))
            }
            Projection::None => Projector::None,
        };
        let bn = batch_norm.then(|| match batch_norm_scale {
            true => BatchNorm::new(&(path / "bn"), output),
            false => BatchNorm::fixed_scale(&(path / "bn"), output),
        });
        Head { dropout: *dropout, projector, bn, normalize: *normalize }
    }
}

impl Head {
    /// # Shapes
    /// features [B, F] -> embedding [B, D].
    pub fn forward(&self, features: &Tensor, train: bool) -> Tensor {
        let kept = || match self.dropout > 0.0 && train {
            true => features.dropout(self.dropout, true),
            false => features.shallow_clone(),
        };
        let embedding = match &self.projector {
            Projector::None => kept(),
            Projector::Linear(linear) => linear.forward(&kept()),
            Projector::Mlp(mlp) => mlp.forward(features, train),
        };
        let embedding = match &self.bn {
            Some(bn) => bn.forward_t(&embedding, train),
            None => embedding,
        };
        match self.normalize {
            true => normalize(&widen(&embedding)),
            false => embedding,
        }
    }
}

#[cfg(test)]
mod tests;
