//! One optimizer step: forward, backward, clip, update.

use super::clip::Clip;
use super::embedder::Inputs;
use super::model::Model;
use crate::Result;
use crate::config::tables::Train;
use crate::loss::{LossInput, LossOutput};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::profile::timed;
use crate::torch::autocast;
use crate::torch::fused;
use crate::torch::layout;
use crate::torch::scaler::GradScaler;
use tch::{Kind, Tensor};
use tracing::debug_span;

/// What one step measured.
#[derive(Clone, Debug, Default)]
pub struct StepOutcome {
    /// Mean loss over the batch.
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

impl StepOutcome {
    /// The loss, the embeddings (which a loss over pairs can hide) or a gradient that no scaler
    /// watches over stopped being finite.
    pub fn diverged(&self) -> bool {
        !self.loss.is_finite()
            || !self.embedding_norm.is_finite()
            || (!self.grad_norm.is_finite() && !self.skipped)
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
}

impl Stepper {
    pub fn new(plan: &Plan) -> Self {
        let Train { clip_grad_norm, clip_grad_value, channels_last, .. } = plan.experiment.train;
        let clip = Clip { norm: clip_grad_norm, value: clip_grad_value };
        let scaler = (plan.amp == Some(Kind::Half)).then(GradScaler::default);
        Stepper { amp: plan.amp, scaler, clip, channels_last }
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

    /// # Errors
    /// As [`Stepper::forward`]; what the optimizer can't do.
    pub fn step(
        &mut self,
        model: &mut Model,
        optimizer: &mut dyn Optimizer,
        lr: f64,
        inputs: &Inputs,
    ) -> Result<StepOutcome> {
        let device = model.device();
        let forward = timed(debug_span!("forward"), device, || self.forward(model, inputs, true))?;
        timed(debug_span!("backward"), device, || self.backward(&forward.output.loss));
        let Scalars { loss, monitored, correct, embedding_norm, values } =
            timed(debug_span!("numbers"), device, || forward.scalars());
        let (grad_norm, skipped) =
            timed(debug_span!("optimizer"), device, || self.update(optimizer, lr))?;
        model.loss.after_step();
        Ok(StepOutcome { loss, monitored, correct, grad_norm, skipped, embedding_norm, values })
    }

    pub fn backward(&self, loss: &Tensor) {
        match &self.scaler {
            Some(scaler) => scaler.scale(loss).backward(),
            None => loss.backward(),
        }
    }

    /// Unscales and clips the gradients, moves the weights, forgets the gradients. Returns the
    /// norm of the gradients and whether the scaler skipped the step.
    pub fn update(&mut self, optimizer: &mut dyn Optimizer, lr: f64) -> Result<(f64, bool)> {
        let mut gradients = optimizer.slots().gradients();
        let skipped = match &mut self.scaler {
            Some(scaler) => {
                let non_finite = scaler.unscale(&mut gradients)?;
                scaler.update(non_finite);
                non_finite
            }
            None => false,
        };
        let norm = fused::grad_norm(&gradients)?.double_value(&[]);
        // A gradient that is not finite would make every weight so: leave them, the caller stops.
        if !skipped && norm.is_finite() {
            self.clip.apply(&mut gradients, norm);
            optimizer.step(lr)?;
        }
        optimizer.slots_mut().clear_gradients()?;
        Ok((norm, skipped))
    }
}
