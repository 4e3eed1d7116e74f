//! The loss on images that are not trained on.

use super::embedder::Inputs;
use super::step::Window;
use super::trainer::{Trainer, on_cpu};
use crate::cli::progress::Counter;
use crate::random::{Stream, derive};
use crate::record::crash;
use crate::{Error, Result};
use tracing::info_span;

impl Trainer<'_> {
    /// Mean loss and accuracy on the validation images; None where there are none.
    pub(super) fn validate(&mut self) -> Result<Option<(f64, f64)>> {
        let Some(loader) = &self.validation else { return Ok(None) };
        let _span = info_span!("validation").entered();
        // A loss that draws at random draws the same after a resume right before the validation.
        tch::manual_seed(
            derive(self.plan.experiment.seed, Stream::Step, 1, self.progress.step) as i64
        );
        let (mut loss, mut correct, mut seen) = (0.0, 0, 0);
        let counter = Counter::new("validating", self.evaluation.quiet);
        for batch in loader.epoch(0, 0) {
            // Several ranks agree on a stop after a step.
            if self.stop.is_set() && !self.ranks.are_several() {
                let by = self.stop.by();
                return Err(Error::stopped(format!("stopped by {by} during validation")));
            }
            let batch = batch?;
            if batch.whole == 1 && !loader.dataset().captions.is_empty() {
                // A caption alone is told apart from nothing: its loss is 0 whatever the weights.
                continue;
            }
            let inputs = Inputs::of(&batch, loader.dataset(), &self.model);
            let _no_grad = tch::no_grad_guard();
            let forward = self.stepper.forward(&mut self.model, &inputs, false)?;
            let (own, whole) = (batch.len() as u64, batch.whole as u64);
            let mut window = Window::default();
            self.ranks.add(&mut window, forward.scalars(), own, whole)?;
            let Some(scalars) = window.means() else { continue };
            if !scalars.monitored.is_finite() || !scalars.embedding_norm.is_finite() {
                let norm = scalars.embedding_norm;
                let seen = self.diagnose_validation(scalars.loss, norm, &batch);
                crash::spoil(self.progress.step);
                return Err(self.diverged(seen, ""));
            }
            loss += scalars.monitored * batch.whole as f64;
            correct += scalars.correct;
            seen += batch.whole;
            counter.set(seen, loader.dataset().len());
        }
        counter.finish();
        if seen == 0 {
            return Ok(None);
        }
        Ok(Some((loss / seen as f64, correct as f64 / seen as f64)))
    }

    /// Does `body` with the averaged weights in the model's place; None where none are kept.
    pub(super) fn with_average<T>(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(average) = &self.average else { return Ok(None) };
        let averaged = average.tensors(&self.model);
        let own = on_cpu(self.model.tensors());
        self.model.load(&averaged);
        let result = body(self);
        self.model.load(&own);
        result.map(Some)
    }
}
