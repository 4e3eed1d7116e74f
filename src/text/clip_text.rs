//! The text tower of CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4): a causal
//! transformer (Radford et al. 2019, GPT-2) over byte pairs, whose token at the end of the text is
//! projected into the space that images and texts share.
//!
//! References: OpenAI's CLIP and open_clip; parameter names are theirs.
//! [`crate::backbone::clip_names`] converts those of Hugging Face's transformers.
//!
//! Differs from the references in: the last norm is taken of the end-of-text token only, which is all
//! that is used; the causal mask is the attention kernel's.

use super::TextTower;
use super::tokenizer::VOCABULARY;
use crate::backbone::transformer::{Activation, Sizes, Start, Transformer, layer_norm, normal};
use crate::config::Pretrained;
use tch::nn::{self, LayerNorm, Module};
use tch::{Kind, Tensor};

crate::config_struct! {
    /// Text tower of CLIP, by default that of ViT-B/32 and ViT-B/16, 63.4 M parameters (Radford et
    /// al. 2021, arXiv:2103.00020; open_clip's names).
    pub struct ClipText {
        /// Length of a token's vector; 768 for ViT-L/14.
        pub width: usize = 512, between(1, 8192);
        /// Blocks.
        pub layers: usize = 12, between(1, 256);
        /// Heads of each attention; they divide `width`. 12 for ViT-L/14.
        pub heads: usize = 8, between(1, 256);
        /// Tokens of a caption, its marks of start and end among them; longer ones are cut.
        pub context_length: usize = 77, between(2, 4096);
        /// Number of features, as many as the image's embedding has; 768 for ViT-L/14.
        pub embed_dim: usize = 512, between(1, 8192);
        /// Activation that the weights were trained with.
        pub activation: Activation = Activation::QuickGelu;
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the tower as it is.
        pub frozen: bool = false;
    }
}

impl ClipText {
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let ClipText { width, heads, .. } = self;
        if width % heads == 0 {
            return Vec::new();
        }
        vec![("heads", format!("is {heads}, which does not divide text.width = {width}"))]
    }

    /// Initial weights as open_clip's.
    pub fn build(&self, path: &nn::Path) -> Box<dyn TextTower> {
        // pretrained and frozen are handled for all towers alike.
        let ClipText {
            width,
            layers,
            heads,
            context_length,
            embed_dim,
            activation,
            pretrained: _,
            frozen: _,
        } = self;
        let (width, embed) = (*width as i64, *embed_dim as i64);
        let length = *context_length as i64;
        let sizes = Sizes { width, layers: *layers, heads: *heads as i64 };
        let embedding = nn::EmbeddingConfig { ws_init: normal(0.02), ..Default::default() };
        let scale = normal((width as f64).sqrt().recip());
        Box::new(Network {
            token_embedding: nn::embedding(path / "token_embedding", VOCABULARY, width, embedding),
            positional_embedding: path.var("positional_embedding", &[length, width], normal(0.01)),
            transformer: Transformer::new(path, sizes, *activation, Start::Scaled),
            ln_final: layer_norm(&(path / "ln_final"), width),
            text_projection: path.var("text_projection", &[width, embed], scale),
        })
    }
}

#[derive(Debug)]
struct Network {
    token_embedding: nn::Embedding,
    /// [context, W]
    positional_embedding: Tensor,
    transformer: Transformer,
    ln_final: LayerNorm,
    /// [W, features]
    text_projection: Tensor,
}

impl TextTower for Network {
    fn forward(&self, tokens: &Tensor) -> Tensor {
        let size = tokens.size();
        let positions = self.positional_embedding.narrow(0, 0, size[1]);
        let x = self.token_embedding.forward(tokens) + positions;
        let x = self.transformer.forward(x, true);
        // The end of the text is the highest of all tokens; the first, should the text hold one.
        let end = tokens.argmax(1, false);
        let row = Tensor::arange(size[0], (Kind::Int64, tokens.device()));
        let end = x.index(&[Some(row), Some(end)]);
        self.ln_final.forward(&end).matmul(&self.text_projection)
    }

    fn features(&self) -> i64 {
        self.text_projection.size()[1]
    }

    fn context_length(&self) -> i64 {
        self.positional_embedding.size()[0]
    }

    fn layers(&self) -> usize {
        1 + self.transformer.len() + 1
    }

    fn layer(&self, name: &str) -> usize {
        self.transformer.layer(name, "ln_final", "text_projection")
    }
}

#[cfg(test)]
mod tests {
    use super::super::TextConfig;
    use super::super::tokenizer::tokenize;
    use super::*;
    use crate::config::{Request, load_text};
    use std::path::Path;
    use tch::Device;

    fn tower(length: usize) -> (nn::VarStore, Box<dyn TextTower>) {
        tch::manual_seed(0);
        let store = nn::VarStore::new(Device::Cpu);
        let config = ClipText {
            width: 32,
            layers: 2,
            heads: 2,
            context_length: length,
            embed_dim: 12,
            ..Default::default()
        };
        let tower = TextConfig::Clip(config).build(&store.root()).unwrap();
        (store, tower)
    }

    #[test]
    fn the_default_is_no_tower() {
        let request = Request { file: "t.toml".into(), sets: Vec::new(), environment: Vec::new() };
        let read = |text: &str| -> TextConfig {
            load_text(&request, text, "kind = \"none\"").unwrap().experiment
        };
        let none = read("");
        assert_eq!(none, TextConfig::default());
        assert!(none.build(&nn::VarStore::new(Device::Cpu).root()).is_none());
        let stated =
            read("kind = \"clip_text\"\nheads = 7\nfrozen = true\npretrained = \"/a/b.pt\"");
        assert_eq!(stated.common(), (Some(Path::new("/a/b.pt")), true));
        let (key, message) = &stated.validate()[0];
        assert_eq!(*key, "heads");
        assert!(message.contains("text.width = 512"), "{message}");
        assert_eq!(stated.features(), Some(512));
    }

    #[test]
    fn what_follows_the_end_changes_nothing() {
        let (_store, tower) = tower(16);
        let tokens = tokenize(&["a red circle", "two blue squares on a hill"], 16);
        let features = tower.forward(&tokens);
        assert_eq!(features.size(), [2, tower.features()]);
        // Without the padding that both texts have.
        let short = tower.forward(&tokens.narrow(1, 0, 8));
        assert!((&features - short).abs().max().double_value(&[]) < 1e-5);
        assert!((features.get(0) - features.get(1)).abs().max().double_value(&[]) > 1e-3);
    }

    #[test]
    fn layers_are_numbered_from_the_embeddings_to_the_projection() {
        let (store, tower) = tower(9);
        let of = |name: &str| tower.layer(name);
        assert_eq!([of("token_embedding.weight"), of("positional_embedding")], [0, 0]);
        assert_eq!(of("transformer.resblocks.1.mlp.c_fc.bias"), 2);
        assert_eq!([of("ln_final.bias"), of("text_projection")], [2, 3]);
        assert_eq!((tower.layers(), tower.context_length()), (4, 9));
        assert!(store.variables().keys().all(|name| of(name) < tower.layers()));
    }

    /// The deviations of open_clip's `init_parameters`.
    #[test]
    fn initial_weights_are_scaled_by_width_and_depth() {
        let (store, _) = tower(77);
        let variables = store.variables();
        let deviation = |name: &str| variables[name].std(false).double_value(&[]);
        let near = |name: &str, expected: f64| {
            let found = deviation(name);
            assert!((found / expected - 1.0).abs() < 0.1, "{name}: {found} for {expected}");
        };
        near("token_embedding.weight", 0.02);
        near("positional_embedding", 0.01);
        near("text_projection", 32f64.powf(-0.5));
        near("transformer.resblocks.0.attn.in_proj_weight", 32f64.powf(-0.5));
        near("transformer.resblocks.1.attn.out_proj.weight", (32.0 * 4.0f64).powf(-0.5));
        near("transformer.resblocks.1.mlp.c_fc.weight", 64f64.powf(-0.5));
        near("transformer.resblocks.0.mlp.c_proj.weight", (32.0 * 4.0f64).powf(-0.5));
        assert_eq!(deviation("transformer.resblocks.0.attn.in_proj_bias"), 0.0);
    }
}
