//! A training that diverged: told by what stopped being finite, and what to do about it.

use super::progress::Progress;
use super::step::StepOutcome;
use super::trainer::Trainer;
use crate::torch::fused;
use crate::{Error, Result};
use tch::Tensor;

/// What to do about a training that diverged.
pub(super) const REMEDY: &str = "try a lower optimizer.lr, a warm-up (scheduler.warmup.epochs), or \
                      train.clip_grad_norm = 5.0";

impl Trainer<'_> {
    pub(super) fn diverged(&self, outcome: &StepOutcome, lr: f64) -> Error {
        let kind = self.plan.experiment.loss.kind();
        let what = if !outcome.embedding_norm.is_finite() {
            format!(
                "the network's embeddings are not finite: the loss `{kind}` is {}",
                outcome.loss
            )
        } else if outcome.loss.is_finite() {
            format!("the gradient norm of the loss `{kind}` is {}", outcome.grad_norm)
        } else {
            format!("the loss `{kind}` is {} although the embeddings are finite", outcome.loss)
        };
        // A sum is told by its part.
        let part = |name: &&String| name.ends_with(".loss");
        let parts = self.loss_columns.iter().zip(&outcome.values);
        let parts = parts.filter(|(name, value)| part(name) && !value.is_finite());
        let parts: String = parts.map(|(name, value)| format!(", its {name} {value}")).collect();
        let (step, epoch) = (self.progress.step + 1, self.progress.epoch + 1);
        let message = format!("{what}{parts} in step {step} (epoch {epoch}, learning rate {lr:e})");
        Error::diverged(message).help(match step {
            1 => {
                "no weight has been moved yet: look at the keys of [loss] (scale, margin, \
                  temperature), at preprocess.mean and preprocess.std, and at pretrained weights"
            }
            _ => REMEDY,
        })
    }

    /// # Errors
    /// `Diverged` where the last steps left weights that are not finite: such a state is not worth a
    /// checkpoint, least of all the one of least loss.
    pub(super) fn check_weights(&self) -> Result<()> {
        let weights: Vec<Tensor> =
            self.model.parameters().into_values().map(|weight| weight.detach()).collect();
        let norm = fused::grad_norm(&weights)?.double_value(&[]);
        if norm.is_finite() {
            return Ok(());
        }
        let Progress { step, epoch, .. } = self.progress;
        let message =
            format!("the norm of the weights is {norm} after step {step} (epoch {})", epoch + 1);
        Err(Error::diverged(message).help(REMEDY))
    }
}
