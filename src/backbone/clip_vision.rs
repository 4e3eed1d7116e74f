//! The visual tower of CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4): a Vision
//! Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929) with a layer norm before its blocks and
//! a linear projection of the class token into the space that images and texts share.
//!
//! References: OpenAI's CLIP and open_clip; parameter names are theirs without `visual.`.
//! `clip_names` converts those of Hugging Face's transformers.
//!
//! Differs from the references in: the last norm is taken of the class token only, which is all that
//! is used.

use super::Backbone;
use super::transformer::{Activation, Sizes, Start, Transformer, layer_norm, normal, uniform};
use crate::config::Pretrained;
use crate::data::PreprocessConfig;
use tch::nn::{self, LayerNorm, Module};
use tch::{IndexOp, Tensor};

crate::config_struct! {
    /// Visual tower of CLIP's ViT-B/32, 512 features, 87.8 M parameters (Radford et al. 2021,
    /// arXiv:2103.00020; open_clip's names).
    pub struct VitB32 {
        /// Whether features are the tower's projection; else the class token after the last norm,
        /// 768 features.
        pub projection: bool = true;
        /// Side of the square input, a multiple of 32; `preprocess` must give it. Position
        /// embeddings of other sizes are interpolated.
        pub image_size: usize = 224, between(1, 4096);
        /// Activation that the weights were trained with.
        pub activation: Activation = Activation::QuickGelu;
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

crate::config_struct! {
    /// Visual tower of CLIP's ViT-B/16, 512 features, 86.2 M parameters (Radford et al. 2021,
    /// arXiv:2103.00020; open_clip's names).
    pub struct VitB16 {
        /// Whether features are the tower's projection; else the class token after the last norm,
        /// 768 features.
        pub projection: bool = true;
        /// Side of the square input, a multiple of 16; `preprocess` must give it. Position
        /// embeddings of other sizes are interpolated.
        pub image_size: usize = 224, between(1, 4096);
        /// Activation that the weights were trained with.
        pub activation: Activation = Activation::QuickGelu;
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

crate::config_struct! {
    /// Visual tower of CLIP's ViT-L/14, 768 features, 304 M parameters (Radford et al. 2021,
    /// arXiv:2103.00020; open_clip's names).
    pub struct VitL14 {
        /// Whether features are the tower's projection; else the class token after the last norm,
        /// 1024 features.
        pub projection: bool = true;
        /// Side of the square input, a multiple of 14; `preprocess` must give it. Position
        /// embeddings of other sizes are interpolated.
        pub image_size: usize = 224, between(1, 4096);
        /// Activation that the weights were trained with.
        pub activation: Activation = Activation::QuickGelu;
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

crate::config_struct! {
    /// CLIP's visual tower in sizes of your own, by default those of ViT-Ti/16 (Radford et al. 2021,
    /// arXiv:2103.00020; open_clip's names).
    pub struct Vit {
        /// Length of a token.
        pub width: usize = 192, between(1, 8192);
        /// Blocks.
        pub layers: usize = 12, between(1, 256);
        /// Heads of each attention; they divide `width`.
        pub heads: usize = 3, between(1, 256);
        /// Side of a patch, which becomes a token.
        pub patch_size: usize = 16, between(1, 512);
        /// Number of features after the projection.
        pub embed_dim: usize = 512, between(1, 8192);
        /// Whether features are the tower's projection; else the class token after the last norm,
        /// `width` features.
        pub projection: bool = true;
        /// Side of the square input, a multiple of `patch_size`; `preprocess` must give it.
        /// Position embeddings of other sizes are interpolated.
        pub image_size: usize = 224, between(1, 4096);
        /// Activation that the weights were trained with.
        pub activation: Activation = Activation::Gelu;
        /// Weights to start from: "none", a name of `run weights list`, or a file (docs/weights.md), relative to
        /// the file that states it.
        pub pretrained: Pretrained = Pretrained::default();
        /// Keep the backbone as it is and train head and loss only.
        pub frozen: bool = false;
    }
}

/// What a tower of any kind is made of.
#[derive(Clone, Copy, Debug)]
pub struct Tower {
    sizes: Sizes,
    patch: usize,
    /// Outputs of the projection, where there is one.
    projection: Option<i64>,
    image_size: usize,
    activation: Activation,
}

/// The tower of a kind whose sizes are fixed.
macro_rules! fixed {
    ($kind:ident, width: $width:literal, layers: $layers:literal, heads: $heads:literal,
     patch: $patch:literal, embed: $embed:literal) => {
        impl $kind {
            pub fn tower(&self) -> Tower {
                // pretrained and frozen are handled for all backbones alike.
                let Self { projection, image_size, activation, pretrained: _, frozen: _ } = self;
                Tower {
                    sizes: Sizes { width: $width, layers: $layers, heads: $heads },
                    patch: $patch,
                    projection: projection.then_some($embed),
                    image_size: *image_size,
                    activation: *activation,
                }
            }
        }
    };
}

// Radford et al. 2021, table 20.
fixed!(VitB32, width: 768, layers: 12, heads: 12, patch: 32, embed: 512);
fixed!(VitB16, width: 768, layers: 12, heads: 12, patch: 16, embed: 512);
fixed!(VitL14, width: 1024, layers: 24, heads: 16, patch: 14, embed: 768);

impl Vit {
    pub fn tower(&self) -> Tower {
        // pretrained and frozen are handled for all backbones alike.
        let Vit {
            width,
            layers,
            heads,
            patch_size,
            embed_dim,
            projection,
            image_size,
            activation,
            pretrained: _,
            frozen: _,
        } = self;
        Tower {
            sizes: Sizes { width: *width as i64, layers: *layers, heads: *heads as i64 },
            patch: *patch_size,
            projection: projection.then_some(*embed_dim as i64),
            image_size: *image_size,
            activation: *activation,
        }
    }
}

impl Tower {
    pub fn features(&self) -> i64 {
        self.projection.unwrap_or(self.sizes.width)
    }

    /// Patches along a side: position embeddings are `grid * grid + 1`, with the class token's
    /// first.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch
    }

    /// What is wrong with the sizes taken together, and with such an input: (key below `backbone`,
    /// message).
    pub fn conflicts(&self, input: &PreprocessConfig) -> Vec<(&'static str, String)> {
        let Tower { sizes: Sizes { width, heads, .. }, patch, image_size, .. } = *self;
        let mut wrong = Vec::new();
        if width % heads != 0 {
            let message = format!("is {heads}, which does not divide backbone.width = {width}");
            wrong.push(("heads", message));
        }
        if image_size % patch != 0 || image_size == 0 {
            let below = (image_size / patch).max(1) * patch;
            let message = format!(
                "is {image_size}, which is no multiple of the patches' side of {patch}: {below} and \
                 {} are",
                below + patch
            );
            wrong.push(("image_size", message));
        } else if (input.height, input.width) != (image_size, image_size) {
            let message = format!(
                "is {image_size}, but preprocess.height = {} and preprocess.width = {}: all three \
                 must be the same",
                input.height, input.width
            );
            wrong.push(("image_size", message));
        }
        wrong
    }

    /// Initial weights as open_clip's.
    pub fn build(&self, path: &nn::Path) -> Box<dyn Backbone> {
        let Sizes { width, .. } = self.sizes;
        let (patch, grid) = (self.patch as i64, self.grid() as i64);
        let scale = normal((width as f64).sqrt().recip());
        let conv = nn::ConvConfig {
            stride: patch,
            bias: false,
            ws_init: uniform(((3 * patch * patch) as f64).sqrt().recip()),
            ..Default::default()
        };
        Box::new(Network {
            conv1: nn::conv2d(path / "conv1", 3, width, patch, conv),
            class_embedding: path.var("class_embedding", &[width], scale),
            positional_embedding: path.var(
                "positional_embedding",
                &[grid * grid + 1, width],
                scale,
            ),
            ln_pre: layer_norm(&(path / "ln_pre"), width),
            transformer: Transformer::new(path, self.sizes, self.activation, Start::Torch),
            ln_post: layer_norm(&(path / "ln_post"), width),
            proj: self.projection.map(|output| path.var("proj", &[width, output], scale)),
            features: self.features(),
        })
    }
}

#[derive(Debug)]
struct Network {
    conv1: nn::Conv2D,
    /// `[W]`
    class_embedding: Tensor,
    /// [1 + patches, W]
    positional_embedding: Tensor,
    ln_pre: LayerNorm,
    transformer: Transformer,
    ln_post: LayerNorm,
    /// [W, features]
    proj: Option<Tensor>,
    features: i64,
}

impl Backbone for Network {
    fn forward(&self, images: &Tensor, _train: bool) -> Tensor {
        let patches = self.conv1.forward(images).flatten(2, -1).transpose(1, 2);
        // Under autocast the parameters are wider than what the convolution gives.
        let kind = patches.kind();
        let class = self.class_embedding.to_kind(kind).expand_as(&patches.narrow(1, 0, 1));
        let tokens = Tensor::cat(&[class, patches], 1) + self.positional_embedding.to_kind(kind);
        let tokens = self.transformer.forward(self.ln_pre.forward(&tokens), false);
        let class = self.ln_post.forward(&tokens.i((.., 0)));
        match &self.proj {
            Some(proj) => class.matmul(proj),
            None => class,
        }
    }

    fn features(&self) -> i64 {
        self.features
    }

    fn layers(&self) -> usize {
        1 + self.transformer.len() + usize::from(self.proj.is_some())
    }

    fn layer(&self, name: &str) -> usize {
        self.transformer.layer(name, "ln_post", "proj")
    }

    fn recompute(&mut self, blocks: usize) -> bool {
        self.transformer.recompute(blocks);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::BackboneConfig;
    use super::*;
    use tch::Device;

    fn input(height: usize, width: usize) -> PreprocessConfig {
        PreprocessConfig { height, width, ..Default::default() }
    }

    fn tiny() -> Vit {
        let vit = Vit::default();
        Vit { width: 32, layers: 2, heads: 2, patch_size: 8, embed_dim: 12, image_size: 32, ..vit }
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let wrong = |vit: Vit, input: PreprocessConfig| BackboneConfig::Vit(vit).validate(&input);
        assert!(wrong(tiny(), input(32, 32)).is_empty());
        let (key, message) = &wrong(tiny(), input(32, 40))[0];
        assert_eq!(*key, "image_size");
        assert!(message.contains("32, but preprocess.height = 32"), "{message}");
        let (key, message) = &wrong(Vit { image_size: 36, ..tiny() }, input(36, 36))[0];
        assert_eq!(*key, "image_size");
        assert!(message.contains("32 and 40 are"), "{message}");
        let (key, message) = &wrong(Vit { image_size: 5, ..tiny() }, input(5, 5))[0];
        assert!(message.contains("8 and 16 are"), "{key} {message}");
        let (key, message) = &wrong(Vit { heads: 3, ..tiny() }, input(32, 32))[0];
        assert_eq!(*key, "heads");
        assert!(message.contains("backbone.width = 32"), "{message}");
        let published = BackboneConfig::VitL14(VitL14 { image_size: 336, ..Default::default() });
        assert!(published.validate(&input(336, 336)).is_empty());
        assert_eq!(published.features(), 768);
    }

    #[test]
    fn layers_are_numbered_from_the_patches_to_the_projection() {
        let store = nn::VarStore::new(Device::Cpu);
        let tower = tiny().tower().build(&store.root());
        let of = |name: &str| tower.layer(name);
        assert_eq!([of("conv1.weight"), of("class_embedding"), of("ln_pre.bias")], [0, 0, 0]);
        assert_eq!(of("transformer.resblocks.0.ln_1.weight"), 1);
        assert_eq!([of("transformer.resblocks.1.mlp.c_fc.bias"), of("ln_post.bias")], [2, 2]);
        assert_eq!((of("proj"), tower.layers()), (3, 4));
        assert!(store.variables().keys().all(|name| of(name) < tower.layers()));
        let store = nn::VarStore::new(Device::Cpu);
        let tower = Vit { projection: false, ..tiny() }.tower().build(&store.root());
        assert_eq!((tower.layers(), tower.features()), (3, 32));
    }

    /// open_clip's: PyTorch's defaults, and normal distributions of deviation width^-0.5.
    #[test]
    fn initial_weights_are_open_clips() {
        tch::manual_seed(0);
        let store = nn::VarStore::new(Device::Cpu);
        tiny().tower().build(&store.root());
        let variables = store.variables();
        let near = |name: &str, found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 0.15, "{name}: {found} for {expected}");
        };
        for name in ["positional_embedding", "proj"] {
            near(name, variables[name].std(true).double_value(&[]), 32f64.powf(-0.5));
        }
        let block = "transformer.resblocks.0";
        for (name, bound) in [
            ("conv1.weight".to_string(), 192f64.powf(-0.5)),
            (format!("{block}.attn.in_proj_weight"), (6.0 / 128f64).sqrt()),
            (format!("{block}.attn.out_proj.weight"), 32f64.powf(-0.5)),
            (format!("{block}.mlp.c_fc.weight"), 32f64.powf(-0.5)),
            (format!("{block}.mlp.c_proj.bias"), 128f64.powf(-0.5)),
        ] {
            near(&name, variables[&name].abs().max().double_value(&[]), bound);
        }
        for name in ["attn.in_proj_bias", "attn.out_proj.bias"] {
            let bias = &variables[&format!("{block}.{name}")];
            assert_eq!(bias.abs().max().double_value(&[]), 0.0, "{name}");
        }
    }
}
