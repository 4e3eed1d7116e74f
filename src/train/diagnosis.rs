//! What was seen when something stopped being finite: for the error, and at length for `crash.txt`.

use super::embedder::Inputs;
use super::model::Model;
use super::progress::Progress;
use super::step::{StepOutcome, Stepper};
use super::trainer::Trainer;
use crate::data::{Batch, Dataset};
use crate::torch::nonfinite;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tch::Tensor;

/// Names shown of a list.
const SHOWN: usize = 10;

/// What is to be said of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Diagnosis {
    /// A sentence without its end.
    pub(super) message: String,
    /// Lines for the crash note.
    pub(super) details: String,
}

impl Trainer<'_> {
    /// Looks at a step that went wrong, before its gradients are forgotten. `batch` is the one whose
    /// loss or embeddings are not finite, or the last of the step; `files` are those of the step.
    pub(super) fn diagnose(
        &mut self,
        outcome: &StepOutcome,
        lr: f64,
        batch: &Batch,
        files: &[usize],
    ) -> Diagnosis {
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

        let mut details = String::new();
        let gradients = self.optimizer.slots().named_gradients();
        // Writing to a String can't fail.
        let _ = writeln!(details, "learning rate: {lr:e}");
        let _ = writeln!(
            details,
            "loss {}, mean embedding norm {}, gradient norm {}",
            outcome.loss, outcome.embedding_norm, outcome.grad_norm
        );
        if let Some(scaler) = &self.stepper.scaler {
            let _ = writeln!(details, "loss scale: {}", scaler.state().scale);
        }
        let _ = writeln!(details, "gradients not finite: {}", listed(&gradients));
        details += &self.tensors_seen();
        // It moves what a forward pass moves (running statistics), which whoever goes on puts back.
        let origin = origin(&self.stepper, &mut self.model, batch, self.train.dataset(), true);
        let _ = writeln!(details, "first operation not finite: {origin}");
        let images = images(self.train.dataset(), files);
        let _ = writeln!(details, "images of the step ({}):\n{images}", files.len());
        Diagnosis { message, details }
    }

    /// Weights that are not finite after the last step, which no pass showed.
    pub(super) fn diagnose_weights(&self, norm: f64) -> Diagnosis {
        let Progress { step, epoch, .. } = self.progress;
        let lr = self.last_rate();
        let message = format!(
            "the norm of the weights is {norm} after step {step} (epoch {}, learning rate {lr:e})",
            epoch + 1
        );
        let since =
            "found at the epoch's end; loss, embeddings and gradients of its steps were finite";
        Diagnosis { message, details: format!("{since}\n{}", self.tensors_seen()) }
    }

    /// A validation batch whose loss or embeddings are not finite.
    pub(super) fn diagnose_validation(&mut self, loss: f64, norm: f64, batch: &Batch) -> Diagnosis {
        let Progress { step, epoch, .. } = self.progress;
        let (kind, lr) = (self.plan.experiment.loss.kind(), self.last_rate());
        let message = format!(
            "in the validation after step {step} (epoch {}, learning rate {lr:e}) the loss `{kind}` is \
             {loss}, the mean norm of the embeddings {norm}",
            epoch + 1
        );
        let mut details = self.tensors_seen();
        if let Some(loader) = &self.validation {
            let dataset = loader.dataset();
            let origin = origin(&self.stepper, &mut self.model, batch, dataset, false);
            let _ = writeln!(details, "first operation not finite: {origin}");
            let images = images(dataset, &batch.indices);
            let _ = writeln!(details, "images of the batch ({}):\n{images}", batch.indices.len());
        }
        Diagnosis { message, details }
    }

    /// The learning rate of the last step.
    fn last_rate(&self) -> f64 {
        self.scheduler.lr(self.progress.step.saturating_sub(1) as usize)
    }

    /// Which weights and running statistics are not finite; a pass that is not finite leaves the
    /// latter so.
    fn tensors_seen(&self) -> String {
        let buffers = self.model.buffers();
        let mut weights = self.model.tensors();
        weights.retain(|name, _| !buffers.contains_key(name));
        let (weights, buffers) = (listed(&weights), listed(&buffers));
        format!("weights not finite: {weights}\nbuffers not finite after it: {buffers}\n")
    }
}

/// Lines with the names of images.
fn images(dataset: &Dataset, files: &[usize]) -> String {
    let line = |index: &usize| format!("  {}\n", dataset.items[*index].image.display());
    files.iter().map(line).collect()
}

/// Runs the forward pass of the batch again, operation by operation.
fn origin(
    stepper: &Stepper,
    model: &mut Model,
    batch: &Batch,
    dataset: &Dataset,
    train: bool,
) -> String {
    let inputs = Inputs::of(batch, dataset, model);
    let tensors = model.tensors();
    let found = nonfinite::origin(tensors.iter(), || {
        let _no_grad = tch::no_grad_guard();
        stepper.forward(model, &inputs, train).map(drop)
    });
    match found {
        Ok(Some(nonfinite::Origin { operation, parameter: Some(parameter) })) => {
            format!("{operation}, with or after {parameter}")
        }
        Ok(Some(nonfinite::Origin { operation, parameter: None })) => {
            format!("{operation}, before any weight")
        }
        Ok(None) if train => "none in the forward pass: it arose in the backward pass".to_string(),
        Ok(None) => "none when it was run again".to_string(),
        Err(error) => format!("not known: {error}"),
    }
}

/// The names of the tensors that are not finite, with their number.
fn listed(tensors: &BTreeMap<String, Tensor>) -> String {
    let finite = |tensor: &Tensor| {
        !tensor.is_floating_point() || tensor.isfinite().all().int64_value(&[]) != 0
    };
    let bad: Vec<&str> =
        tensors.iter().filter(|(_, t)| !finite(t)).map(|(name, _)| name.as_str()).collect();
    let more = if bad.len() > SHOWN { ", ..." } else { "" };
    match bad.len() {
        0 => "none".to_string(),
        count => {
            format!("{count} of {}: {}{more}", tensors.len(), bad[..count.min(SHOWN)].join(", "))
        }
    }
}
