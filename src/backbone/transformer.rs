//! The transformer of both towers of CLIP (Radford et al. 2021, arXiv:2103.00020): blocks that
//! normalise before attention and before the perceptron (pre-norm), with the parameter names of
//! OpenAI's CLIP and open_clip, `resblocks.N.{ln_1, attn, ln_2, mlp}`.
//!
//! Attention is Vaswani et al. 2017 (arXiv:1706.03762), eq. 1, in one kernel of libtorch; queries,
//! keys and values are views of one product, so nothing is copied on the way to it.

use crate::torch::checkpointing::Sequence;
use tch::Tensor;
use tch::nn::{self, Init, LayerNorm, Module};

/// The perceptron's width relative to the transformer's.
const MLP_RATIO: i64 = 4;

crate::config_choice! {
    /// The activation of CLIP's perceptrons. Weights trained with one give other outputs with the
    /// other, though their names are the same.
    pub enum Activation {
        /// x sigmoid(1.702 x): OpenAI's weights, and open_clip's models whose names end in
        /// `-quickgelu`.
        QuickGelu = "quick_gelu",
        /// GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415), exact: open_clip's other models.
        Gelu = "gelu",
    }
}

impl Activation {
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Activation::QuickGelu => {
                let mut gate = x * 1.702;
                let mut gate = gate.sigmoid_();
                if x.requires_grad() {
                    return x * gate;
                }
                gate *= x;
                gate
            }
            Activation::Gelu => x.gelu("none"),
        }
    }
}

/// What initial weights are drawn from; biases of attention start at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// PyTorch's defaults, as in the visual tower.
    Torch,
    /// Normal distributions whose residual branches shrink with the depth, as in the text tower
    /// (open_clip's and OpenAI's `init_parameters`).
    Scaled,
}

/// Sizes of a transformer; `heads` divides `width`.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub width: i64,
    pub layers: usize,
    pub heads: i64,
}

#[derive(Debug)]
pub struct Transformer {
    blocks: Sequence<Block>,
}

impl Transformer {
    /// `path` is the tower's.
    pub fn new(path: &nn::Path, sizes: Sizes, activation: Activation, start: Start) -> Self {
        let blocks = path / "transformer" / "resblocks";
        let block = |index| Block::new(&(&blocks / index), sizes, activation, start);
        Transformer { blocks: Sequence::new((0..sizes.layers).map(block).collect()) }
    }

    /// `causal`: a token sees those before it and itself only.
    ///
    /// # Shapes
    /// [B, L, W] -> [B, L, W]
    pub fn forward(&self, tokens: Tensor, causal: bool) -> Tensor {
        self.blocks.forward(tokens, move |block, tokens| block.forward(tokens, causal))
    }

    /// See [`super::Backbone::recompute`].
    pub fn recompute(&mut self, blocks: usize) {
        self.blocks.recompute(blocks);
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The layer of a tower's parameter: 0 is what stands before the blocks, the norm after them is
    /// of the last block, and the projection is a layer of its own, as open_clip groups them.
    pub fn layer(&self, name: &str, norm: &str, projection: &str) -> usize {
        let block = name.strip_prefix("transformer.resblocks.");
        let block: Option<usize> = block.and_then(|rest| rest.split('.').next()?.parse().ok());
        match block {
            Some(block) => block + 1,
            None if name == projection => self.len() + 1,
            None if name.strip_prefix(norm).is_some_and(|rest| rest.starts_with('.')) => self.len(),
            None => 0,
        }
    }
}

/// x + attention(norm(x)), then x + perceptron(norm(x)).
#[derive(Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    c_fc: nn::Linear,
    activation: Activation,
    c_proj: nn::Linear,
}

impl Block {
    fn new(path: &nn::Path, sizes: Sizes, activation: Activation, start: Start) -> Self {
        let Sizes { width, layers, .. } = sizes;
        let wide = MLP_RATIO * width;
        let mlp = path / "mlp";
        let hidden = scaled(start, (2.0 * width as f64).sqrt().recip());
        Block {
            ln_1: layer_norm(&(path / "ln_1"), width),
            attn: Attention::new(&(path / "attn"), sizes, start),
            ln_2: layer_norm(&(path / "ln_2"), width),
            c_fc: linear(&(&mlp / "c_fc"), width, wide, hidden, None),
            activation,
            c_proj: linear(
                &(&mlp / "c_proj"),
                wide,
                width,
                scaled(start, residual(width, layers)),
                None,
            ),
        }
    }

    fn forward(&self, x: &Tensor, causal: bool) -> Tensor {
        // The outputs of the linear layers are nobody else's, and no gradient needs them.
        let mut seen = self.attn.forward(&self.ln_1.forward(x), causal);
        seen += x;
        let hidden = self.activation.apply(&self.c_fc.forward(&self.ln_2.forward(&seen)));
        let mut output = self.c_proj.forward(&hidden);
        output += seen;
        output
    }
}

/// Multi-head self-attention with the parameters of `torch.nn.MultiheadAttention`.
#[derive(Debug)]
struct Attention {
    /// `[3 W, W]`: queries, keys, values
    in_proj_weight: Tensor,
    /// `[3 W]`
    in_proj_bias: Tensor,
    out_proj: nn::Linear,
    heads: i64,
}

impl Attention {
    fn new(path: &nn::Path, Sizes { width, layers, heads }: Sizes, start: Start) -> Self {
        let joint = match start {
            // Xavier's uniform over all three at once (Glorot & Bengio 2010, eq. 16).
            Start::Torch => uniform((6.0 / (4.0 * width as f64)).sqrt()),
            Start::Scaled => normal((width as f64).sqrt().recip()),
        };
        let output = scaled(start, residual(width, layers));
        Attention {
            in_proj_weight: path.var("in_proj_weight", &[3 * width, width], joint),
            in_proj_bias: path.var("in_proj_bias", &[3 * width], Init::Const(0.0)),
            out_proj: linear(&(path / "out_proj"), width, width, output, Some(Init::Const(0.0))),
            heads,
        }
    }

    fn forward(&self, x: &Tensor, causal: bool) -> Tensor {
        // No size of the batch is spelled out, so that a trace takes any.
        let joint = x.linear(&self.in_proj_weight, Some(&self.in_proj_bias));
        let head = self.in_proj_bias.size()[0] / 3 / self.heads;
        let heads = |part: &Tensor| part.unflatten(-1, [self.heads, head]).transpose(1, 2);
        let parts = joint.chunk(3, -1);
        let [query, key, value] = [heads(&parts[0]), heads(&parts[1]), heads(&parts[2])];
        let mask = None::<&Tensor>;
        let seen = Tensor::scaled_dot_product_attention(
            &query, &key, &value, mask, 0.0, causal, None, false,
        );
        self.out_proj.forward(&seen.transpose(1, 2).flatten(2, -1))
    }
}

/// Layer norm (Ba et al. 2016, arXiv:1607.06450) over the last dimension.
pub fn layer_norm(path: &nn::Path, width: i64) -> LayerNorm {
    nn::layer_norm(path, vec![width], Default::default())
}

pub fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}

pub fn uniform(bound: f64) -> Init {
    Init::Uniform { lo: -bound, up: bound }
}

/// Deviation of what is added to the residual stream, which has two branches a block.
fn residual(width: i64, layers: usize) -> f64 {
    ((width * 2 * layers as i64) as f64).sqrt().recip()
}

fn scaled(start: Start, stdev: f64) -> Option<Init> {
    (start == Start::Scaled).then(|| normal(stdev))
}

/// A linear layer; `weight` and `bias` are PyTorch's uniform distribution unless they are given.
fn linear(
    path: &nn::Path,
    input: i64,
    output: i64,
    weight: Option<Init>,
    bias: Option<Init>,
) -> nn::Linear {
    let torch = uniform((input as f64).sqrt().recip());
    let config = nn::LinearConfig { ws_init: weight.unwrap_or(torch), bs_init: bias, bias: true };
    nn::linear(path, input, output, config)
}
