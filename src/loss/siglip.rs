//! SigLIP: a sigmoid for every pair of image and caption (Zhai et al. 2023, arXiv:2303.15343,
//! algorithm 1).
//!
//! Sum over all pairs of -ln sigmoid(z (exp(t) f g^T + b)) / B, z = 1 for a pair that belongs
//! together, else -1; t from ln 10, b from -10. Reference: open_clip's `SigLipLoss`, by its
//! formula.

use super::clip::both;
use super::{Loss, LossInput, LossOutput, LossPart, Needs};
use crate::Result;
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

crate::config_struct! {
    /// Pairwise sigmoid loss of images and texts (Zhai et al. 2023, arXiv:2303.15343).
    pub struct SigLip {
        /// Factor on the cosines at the start.
        pub scale: f64 = 10.0, positive();
        /// Bias of the logits at the start.
        pub bias: f64 = -10.0;
    }
}

#[derive(Debug)]
struct Built {
    logit_scale: Tensor,
    logit_bias: Tensor,
}

impl LossPart for SigLip {
    fn build(&self, path: &nn::Path, _dim: i64, _classes: i64) -> Box<dyn Loss> {
        let SigLip { scale, bias } = *self;
        let logit_scale = path.var("logit_scale", &[], Init::Const(scale.ln()));
        let logit_bias = path.var("logit_bias", &[], Init::Const(bias));
        Box::new(Built { logit_scale, logit_bias })
    }

    fn needs(&self) -> Needs {
        Needs { pairs: false, text: true }
    }
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let (batch, image_bd, text_bd) = both("siglip", input)?;
        let logits_bb = image_bd.matmul(&text_bd.tr()) * self.logit_scale.exp() + &self.logit_bias;
        let size = logits_bb.size()[0];
        let own_bb = Tensor::eye(size, (logits_bb.kind(), logits_bb.device())) * 2.0 - 1.0;
        let loss = -(own_bb * &logits_bb).log_sigmoid().sum(logits_bb.kind()) / size as f64;
        let own_b = Tensor::arange(size, (Kind::Int64, logits_bb.device()));
        let correct = batch.count_own(&logits_bb.detach().argmax(1, false).eq_tensor(&own_b));
        let values = vec![self.logit_scale.detach().exp(), self.logit_bias.detach().copy()];
        Ok(LossOutput { loss, correct, monitored: None, values })
    }

    fn columns(&self) -> Vec<String> {
        ["logit_scale", "logit_bias"].map(String::from).to_vec()
    }

    fn without_decay(&self) -> Vec<String> {
        self.columns()
    }
}
