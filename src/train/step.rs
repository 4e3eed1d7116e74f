//! One optimizer step: forward, backward, clip, update.

use super::clip::Clip;
use super::divided::Divided;
use super::embedder::Inputs;
use super::model::Model;
use crate::config::tables::Train;
use crate::distributed::{Reducer, Reduction};
use crate::loss::{LossInput, LossOutput};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::profile::timed;
use crate::torch::autocast;
use crate::torch::fused;
use crate::torch::layout;
use crate::torch::memory;
use crate::torch::scaler::GradScaler;
use crate::{Error, Result};
use tch::{Kind, Tensor};
use tracing::debug_span;

/// What one step measured.
#[derive(Clone, Debug, Default)]
pub struct StepOutcome {
    /// Mean loss over the samples.
    pub loss: f64,
    /// What `min-loss` compares: the loss, of an annealed loss that at its final difficulty.
    pub monitored: f64,
    /// What the loss says of itself, by [`Loss::columns`](crate::loss::Loss::columns).
    pub values: Vec<f64>,
    /// Mean L2 norm of the embeddings.
    pub embedding_norm: f64,
    /// Samples whose highest margin-free score is their own class.
    pub correct: usize,
    /// L2 norm of all gradients before clipping.
    pub grad_norm: f64,
    /// The scaler found an infinite or NaN gradient and left the weights alone (fp16 only).
    pub skipped: bool,
}

/// Below this scale a float16 gradient that is still not finite is no matter of range: the largest
/// float16 over the smallest normal one.
const SMALLEST_SCALE: f64 = 1.0 / 65536.0;

impl StepOutcome {
    /// The loss, the embeddings (which a loss over pairs can hide) or a gradient that no scaler
    /// watches over stopped being finite.
    pub fn diverged(&self, scale: Option<f64>) -> bool {
        let in_vain = scale.is_some_and(|scale| scale < SMALLEST_SCALE);
        !self.loss.is_finite()
            || !self.embedding_norm.is_finite()
            || (!self.grad_norm.is_finite() && (!self.skipped || in_vain))
    }
}

/// What the batches of one optimizer step measured, as means over their samples.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// None before the first batch.
    means: Option<Scalars>,
    pub batches: u64,
    pub samples: u64,
}

impl Window {
    /// Counts a batch of `samples`. A single batch stays bit for bit as it is.
    pub fn add(&mut self, scalars: Scalars, samples: u64) {
        self.batches += 1;
        self.samples += samples;
        let share = samples as f64 / self.samples as f64;
        let towards = |mean: &mut f64, value: f64| *mean += (value - *mean) * share;
        match &mut self.means {
            None => self.means = Some(scalars),
            Some(means) => {
                towards(&mut means.loss, scalars.loss);
                towards(&mut means.monitored, scalars.monitored);
                towards(&mut means.embedding_norm, scalars.embedding_norm);
                means.correct += scalars.correct;
                for (mean, value) in means.values.iter_mut().zip(scalars.values) {
                    towards(mean, value);
                }
            }
        }
    }

    /// Means over the batches so far; None before the first.
    pub fn means(&self) -> Option<&Scalars> {
        self.means.as_ref()
    }

    /// The batches so far are finite.
    pub fn is_finite(&self) -> bool {
        let finite = |means: &Scalars| means.loss.is_finite() && means.embedding_norm.is_finite();
        self.means.as_ref().is_none_or(finite)
    }

    /// With what the update measured.
    pub fn outcome(self, grad_norm: f64, skipped: bool) -> StepOutcome {
        let Some(means) = self.means else { return StepOutcome::default() };
        let Scalars { loss, monitored, correct, embedding_norm, values } = means;
        StepOutcome { loss, monitored, values, embedding_norm, correct, grad_norm, skipped }
    }
}

/// What the forward pass of one batch gave.
#[derive(Debug)]
pub struct Forward {
    pub output: LossOutput,
    /// Mean L2 norm of the embeddings, a scalar.
    pub embedding_norm: Tensor,
}

/// The scalars of a forward pass, as numbers.
#[derive(Clone, Debug)]
pub struct Scalars {
    pub loss: f64,
    pub monitored: f64,
    pub correct: usize,
    pub embedding_norm: f64,
    pub values: Vec<f64>,
}

impl Forward {
    /// Fetches all numbers at once: on a GPU each fetch waits for the device.
    pub fn scalars(&self) -> Scalars {
        let LossOutput { loss, correct, monitored, values } = &self.output;
        let monitored = monitored.as_ref().unwrap_or(loss);
        let all: Vec<Tensor> = [loss, monitored, correct, &self.embedding_norm]
            .into_iter()
            .chain(values)
            .map(|scalar| scalar.detach().to_kind(Kind::Double))
            .collect();
        let all = Vec::<f64>::try_from(Tensor::stack(&all, 0)).unwrap_or_default();
        let mut numbers = all.into_iter();
        let mut next = || numbers.next().unwrap_or(f64::NAN);
        let (loss, monitored, correct, embedding_norm) = (next(), next(), next() as usize, next());
        Scalars { loss, monitored, correct, embedding_norm, values: numbers.collect() }
    }
}

/// How a step is done, the same for the whole run.
#[derive(Debug)]
pub struct Stepper {
    /// Half precision of the forward pass; None: float32.
    pub amp: Option<Kind>,
    /// Present for fp16.
    pub scaler: Option<GradScaler>,
    pub clip: Clip,
    /// Images as N, H, W, C in memory, which convolutions are faster on where they can choose.
    pub channels_last: bool,
    /// Parameters that several ranks divide among themselves.
    pub divided: Divided,
}

impl Stepper {
    pub fn new(plan: &Plan) -> Self {
        let Train { clip_grad_norm, clip_grad_value, channels_last, .. } = plan.experiment.train;
        let clip = Clip { norm: clip_grad_norm, value: clip_grad_value };
        let scaler = (plan.amp == Some(Kind::Half)).then(GradScaler::default);
        Stepper { amp: plan.amp, scaler, clip, channels_last, divided: Divided::default() }
    }

    /// Images to embeddings as they are evaluated: without gradients, and without autocast.
    ///
    /// # Shapes
    /// uint8 [B, 3, H, W] -> [B, D]
    pub fn embed(&self, model: &Model, pixels: &Tensor) -> Result<Tensor> {
        let mut images = model.normalize(pixels);
        if self.channels_last {
            images = layout::channels_last(&images)?;
        }
        Ok(tch::no_grad(|| model.embed(&images, false)))
    }

    /// # Errors
    /// A loss over captions without any.
    pub fn forward(&self, model: &mut Model, inputs: &Inputs, train: bool) -> Result<Forward> {
        let Inputs { pixels, labels, tokens } = inputs;
        let mut images = model.normalize(pixels);
        if self.channels_last {
            images = layout::channels_last(&images)?;
        }
        let embed = || {
            let text = tokens.as_ref().and_then(|tokens| model.embed_tokens(tokens, train));
            (model.embed(&images, train), text)
        };
        let (embedding, text) = autocast::with(model.device(), self.amp, embed)?;
        let norm = crate::loss::norm(&crate::loss::widen(&embedding.detach()));
        let input = LossInput { embedding: &embedding, labels, text: text.as_ref(), train };
        let output = model.loss.forward(&input)?;
        Ok(Forward { output, embedding_norm: norm.mean(norm.kind()) })
    }

    /// A step over one batch.
    ///
    /// # Errors
    /// As [`Stepper::forward`]; what the optimizer can't do.
    pub fn step(
        &mut self,
        model: &mut Model,
        optimizer: &mut dyn Optimizer,
        lr: f64,
        inputs: &Inputs,
    ) -> Result<StepOutcome> {
        let mut window = Window::default();
        let scalars = self.accumulate(model, inputs, 1.0, None)?;
        window.add(scalars, inputs.labels.size()[0] as u64);
        let (grad_norm, skipped) =
            timed(debug_span!("optimizer"), model.device(), || self.update(optimizer, lr, 1.0))?;
        model.loss.after_step();
        Ok(window.outcome(grad_norm, skipped))
    }

    /// Forward and backward pass of one of the batches of a step: adds `share` times the gradients of
    /// its mean loss to those of the batches before it; with `reducer` they are averaged over the ranks,
    /// as the last of a step's batches does it.
    ///
    /// # Errors
    /// As [`Stepper::forward`].
    pub fn accumulate(
        &mut self,
        model: &mut Model,
        inputs: &Inputs,
        share: f64,
        reducer: Option<&mut Reducer>,
    ) -> Result<Scalars> {
        let device = model.device();
        let forward = timed(debug_span!("forward"), device, || self.forward(model, inputs, true))?;
        if let Some(reducer) = reducer {
            reducer.prepare(&forward.output.loss)?;
        }
        timed(debug_span!("backward"), device, || match share {
            1.0 => self.backward(&forward.output.loss),
            share => self.backward(&(&forward.output.loss * share)),
        })?;
        Ok(timed(debug_span!("numbers"), device, || forward.scalars()))
    }

    /// # Errors
    /// What libtorch says, such as that another rank is gone.
    pub fn backward(&self, loss: &Tensor) -> Result<()> {
        let done = match &self.scaler {
            Some(scaler) => scaler.scale(loss).f_backward(),
            None => loss.f_backward(),
        };
        done.map_err(|error| {
            let text = error.to_string();
            if let Some(error) = memory::exhausted(&text) {
                return error;
            }
            let text = text.lines().next().unwrap_or_default().to_string();
            crate::distributed::current().map_or_else(
                || Error::failed(format!("the backward pass failed: {text}")),
                |group| group.failed("go backward", &text),
            )
        })
    }

    /// Unscales the gradients, multiplies them by `factor`, clips them, moves the weights and forgets
    /// the gradients. Returns the norm of the gradients and whether the scaler skipped the step. What
    /// is not finite and no matter of the scaler moves nothing, and is left to be looked at.
    pub fn update(
        &mut self,
        optimizer: &mut dyn Optimizer,
        lr: f64,
        factor: f64,
    ) -> Result<(f64, bool)> {
        let mut gradients = optimizer.slots().gradients();
        let skipped = match &mut self.scaler {
            Some(scaler) => {
                let mut non_finite = scaler.unscale(&mut gradients, factor)?;
                let group = crate::distributed::current().filter(|_| !self.divided.is_empty());
                if let Some(group) = group {
                    // What is divided can overflow on one rank alone.
                    let flag = f64::from(u8::from(non_finite));
                    non_finite = group.reduce_numbers(&[flag], Reduction::Max)?[0] > 0.0;
                }
                scaler.update(non_finite);
                non_finite
            }
            None => {
                if factor != 1.0 {
                    gradients.iter_mut().for_each(|gradient| drop(gradient.g_mul_scalar_(factor)));
                }
                false
            }
        };
        let norm = self.norm(optimizer, &gradients)?;
        if norm.is_finite() && !skipped {
            self.clip.apply(&mut gradients, norm);
            optimizer.step(lr)?;
        }
        if norm.is_finite() || skipped {
            optimizer.slots_mut().clear_gradients()?;
        }
        Ok((norm, skipped))
    }

    /// L2 norm of all gradients together, those of parameters that the ranks divide over all ranks.
    fn norm(&self, optimizer: &dyn Optimizer, gradients: &[Tensor]) -> Result<f64> {
        let Some(group) = crate::distributed::current().filter(|_| !self.divided.is_empty()) else {
            return Ok(fused::grad_norm(gradients)?.double_value(&[]));
        };
        let (own, shared): (Vec<_>, Vec<_>) = (optimizer.slots().named_gradients().into_iter())
            .partition(|(name, _)| self.divided.contains(name));
        let square = |list: Vec<(String, Tensor)>| -> Result<f64> {
            let list: Vec<Tensor> = list.into_iter().map(|(_, gradient)| gradient).collect();
            Ok(fused::grad_norm(&list)?.double_value(&[]).powi(2))
        };
        let of_all = group.reduce_numbers(&[square(own)?], Reduction::Sum)?[0];
        Ok((square(shared)? + of_all).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(loss: f64, correct: usize) -> Scalars {
        Scalars { loss, monitored: loss, correct, embedding_norm: 1.0, values: vec![loss] }
    }

    #[test]
    fn a_window_weighs_batches_by_their_samples() {
        let mut window = Window::default();
        window.add(scalars(0.1 + 0.2, 1), 3);
        assert_eq!(window.clone().outcome(1.0, false).loss.to_bits(), (0.1f64 + 0.2).to_bits());
        window.add(scalars(2.3, 0), 1);
        let outcome = window.clone().outcome(2.0, false);
        assert!((outcome.loss - 0.8).abs() < 1e-15 && (outcome.values[0] - 0.8).abs() < 1e-15);
        assert_eq!((outcome.correct, window.batches, window.samples), (1, 2, 4));
        assert!(window.is_finite());
        window.add(scalars(f64::NAN, 0), 1);
        assert!(!window.is_finite() && window.outcome(1.0, false).diverged(None));
    }

    #[test]
    fn a_scaler_that_scales_in_vain_has_diverged() {
        let overflow =
            StepOutcome { grad_norm: f64::INFINITY, skipped: true, ..Default::default() };
        assert!(!overflow.diverged(Some(65536.0)));
        assert!(overflow.diverged(Some(1e-9)));
        let plain = StepOutcome { skipped: false, ..overflow };
        assert!(plain.diverged(None));
    }
}
