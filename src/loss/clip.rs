//! CLIP's loss: images and captions of a batch find each other (Radford et al. 2021,
//! arXiv:2103.00020, figure 3).
//!
//! Both embeddings normalised, logits exp(t) f g^T, mean of the cross-entropies along rows and
//! columns. t is learnt, from ln(1 / 0.07), held within [0, ln 100] after each step and never
//! decayed. Reference: open_clip's `ClipLoss`, by its formula.

use super::{Loss, LossInput, LossOutput, LossPart, Needs, normalize, widen};
use crate::distributed::WholeBatch;
use crate::{Error, Result};
use tch::nn::{self, Init};
use tch::{Kind, Reduction, Tensor};

crate::config_struct! {
    /// Image-text contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020).
    pub struct Clip {
        /// Temperature at the start; its inverse is the logit scale.
        pub temperature: f64 = 0.07, between(0.01, 1.0);
    }
}

#[derive(Debug)]
struct Built {
    logit_scale: Tensor,
}

impl LossPart for Clip {
    fn build(&self, path: &nn::Path, _dim: i64, _classes: i64) -> Box<dyn Loss> {
        let Clip { temperature } = *self;
        let logit_scale = path.var("logit_scale", &[], Init::Const((1.0 / temperature).ln()));
        Box::new(Built { logit_scale })
    }

    fn needs(&self) -> Needs {
        Needs { pairs: false, text: true }
    }
}

/// Unit embeddings of images and captions, both [B, D], of all processes.
///
/// # Errors
/// A batch without captions.
pub(super) fn both(kind: &str, input: &LossInput<'_>) -> Result<(WholeBatch, Tensor, Tensor)> {
    let Some(text) = input.text else {
        let message =
            format!("the loss `{kind}` compares images with texts, and this data has none");
        return Err(Error::input(message).help("choose a loss of images and identities"));
    };
    let batch = WholeBatch::of(input.embedding)?;
    let unit = |rows: &Tensor| -> Result<Tensor> { Ok(normalize(&batch.gather(&widen(rows))?)) };
    let (image_bd, text_bd) = (unit(input.embedding)?, unit(text)?);
    Ok((batch, image_bd, text_bd))
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let (batch, image_bd, text_bd) = both("clip", input)?;
        let logits_bb = image_bd.matmul(&text_bd.tr()) * self.logit_scale.exp();
        let own_b = Tensor::arange(logits_bb.size()[0], (Kind::Int64, logits_bb.device()));
        let cross = |logits_bb: &Tensor| {
            logits_bb.cross_entropy_loss(&own_b, None::<Tensor>, Reduction::Mean, -100, 0.0)
        };
        let loss = (cross(&logits_bb) + cross(&logits_bb.tr())) / 2.0;
        let correct = batch.count_own(&logits_bb.detach().argmax(1, false).eq_tensor(&own_b));
        let scale = self.logit_scale.detach().exp();
        Ok(LossOutput { loss, correct, monitored: None, values: vec![scale] })
    }

    fn columns(&self) -> Vec<String> {
        vec!["logit_scale".to_string()]
    }

    fn without_decay(&self) -> Vec<String> {
        vec!["logit_scale".to_string()]
    }

    fn after_step(&mut self) {
        tch::no_grad(|| {
            let _ = self.logit_scale.clamp_(0.0, 100f64.ln());
        });
    }
}
