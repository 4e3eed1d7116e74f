//! `train.on_nonfinite`: what follows when the loss, the embeddings or a gradient stop being finite.
//!
//! `rollback` is what Chowdhery et al., "PaLM", JMLR 2023, section 5.1, did by hand: back to a
//! checkpoint before the fault, and on with other data.

use super::diagnosis::Diagnosis;
use super::trainer::Trainer;
use crate::checkpoint::{self, Name, Named, Snapshot, find};
use crate::config::tables::OnNonFinite;
use crate::torch::{fused, scaler};
use crate::{Error, Result};
use std::io::Write as _;
use tch::Tensor;

/// What to do about a training that diverged.
const REMEDY: &str = "try a lower optimizer.lr, a warm-up (scheduler.warmup.epochs), or \
                      train.clip_grad_norm = 5.0";
const AT_ONCE: &str = "no weight has been moved yet: look at the keys of [loss] (scale, margin, \
                       temperature), at preprocess.mean and preprocess.std, and at pretrained \
                       weights";

/// What a forward pass moves, as it was before a step.
#[derive(Debug)]
pub(super) struct Before {
    buffers: Named,
    loss: serde_json::Value,
}

impl Trainer<'_> {
    /// What a step that is left out must put back; None where none is left out.
    pub(super) fn before_step(&self) -> Option<Before> {
        let skip = self.plan.experiment.train.on_nonfinite == OnNonFinite::Skip;
        skip.then(|| {
            let buffers = self.model.buffers().into_iter();
            let buffers = buffers.map(|(name, tensor)| (name, tensor.detach().copy())).collect();
            Before { buffers, loss: self.model.loss.state() }
        })
    }

    /// After a step that moved no weight, for something was not finite.
    ///
    /// # Errors
    /// `Diverged` where the policy is to stop, or its patience is used up.
    pub(super) fn after_nonfinite(
        &mut self,
        seen: Diagnosis,
        before: Option<Before>,
    ) -> Result<()> {
        let train = &self.plan.experiment.train;
        let (policy, most) = (train.on_nonfinite, train.max_nonfinite as u64);
        let count = &mut self.progress.nonfinite;
        count.in_row += 1;
        let (used, what) = match policy {
            OnNonFinite::Stop => return Err(self.diverged(seen, "")),
            OnNonFinite::Skip => (count.in_row, "steps in a row"),
            OnNonFinite::Rollback => {
                count.rollbacks += 1;
                (count.rollbacks, "times")
            }
        };
        if used > most {
            let note = format!("; train.max_nonfinite = {most} {what} is used up");
            return Err(self.diverged(seen, &note));
        }
        self.optimizer.slots_mut().clear_gradients()?;
        let Diagnosis { message, details } = seen;
        let done = match policy {
            OnNonFinite::Rollback => self.roll_back()?,
            _ => {
                if let Some(Before { buffers, loss }) = before {
                    self.model.load(&buffers);
                    self.model.loss.load_state(&loss)?;
                }
                "the step is left out".to_string()
            }
        };
        let text = format!("{message}: {done} ({used} of {most} {what})");
        let place = self.write_down(&text, &details)?;
        self.recorder.warning(format!("{text}; {place}"))
    }

    /// Adds what was seen to `nonfinite.txt`. Returns where it is to be found.
    fn write_down(&self, text: &str, details: &str) -> Result<String> {
        let path = self.run.join("nonfinite.txt");
        let file = std::fs::File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| {
            file.write_all(format!("{}\n{text}\n{details}\n", jiff::Timestamp::now()).as_bytes())
        })
        .map_err(|error| Error::io("write", &path, error))?;
        Ok(format!("{} tells what was seen", path.display()))
    }

    /// Puts the weights and all that was learnt with them back to the last checkpoint; the position
    /// in the data and the schedule stay. Says so.
    fn roll_back(&mut self) -> Result<String> {
        self.wait_for_checkpoint()?;
        let own = match self.ranks.leads() {
            true => Some(Box::new(checkpoint::read(&find(&self.run, Name::Latest)?)?)),
            false => None,
        };
        let Some(snapshot) = self.ranks.snapshot_of_first(own)? else {
            return Err(Error::failed("rank 0 has no checkpoint to go back to"));
        };
        let (epoch, step) = (snapshot.state.epoch, snapshot.state.step);
        self.put_back(*snapshot)?;
        Ok(format!("back to the weights of the checkpoint after step {step} (epoch {epoch})"))
    }

    /// Takes weights, optimizer, loss, scaler and average from a checkpoint.
    fn put_back(&mut self, snapshot: Snapshot) -> Result<()> {
        let Snapshot { mut tensors, state: snapshot_state } = snapshot;
        self.load_whole(tensors.remove("model").unwrap_or_default());
        let slots = self.optimizer.slots_mut();
        let state = self.divided.own(tensors.remove("optimizer").unwrap_or_default());
        slots.load_state(&state)?;
        self.model.loss.load_state(&snapshot_state.loss)?;
        if let (Some(scaler), Some(value)) = (&mut self.stepper.scaler, snapshot_state.scaler) {
            scaler.set_state(read_scaler(value)?);
        }
        if let Some(average) = &mut self.average {
            let tensors = self.divided.own(tensors.remove("ema").unwrap_or_default());
            average.load(snapshot_state.ema_updates, &tensors)?;
        }
        Ok(())
    }

    pub(super) fn diverged(&mut self, seen: Diagnosis, note: &str) -> Error {
        let Diagnosis { message, details } = seen;
        let help = if self.progress.step == 0 { AT_ONCE } else { REMEDY };
        self.details = Some(format!("{help}\n\n{details}"));
        Error::diverged(format!("{message}{note}")).help(help)
    }

    /// The norm of weights that the last steps left not finite: such a state is not worth a checkpoint,
    /// least of all the one of least loss.
    fn broken_weights(&self) -> Result<Option<f64>> {
        let weights: Vec<Tensor> =
            self.model.parameters().into_values().map(|weight| weight.detach()).collect();
        let norm = fused::grad_norm(&weights)?.double_value(&[]);
        // Where a rank has a weight that is not finite, all of them say so.
        let norm = self.ranks.sum(&[norm])?[0];
        Ok((!norm.is_finite()).then_some(norm))
    }

    /// # Errors
    /// `Diverged` where the weights are not finite.
    pub(super) fn check_weights(&mut self) -> Result<()> {
        match self.broken_weights()? {
            None => Ok(()),
            Some(norm) => {
                let seen = self.diagnose_weights(norm);
                Err(self.diverged(seen, ""))
            }
        }
    }

    /// The weights are finite, or made so where the policy is to go back.
    pub(super) fn mend_weights(&mut self) -> Result<()> {
        let Some(norm) = self.broken_weights()? else { return Ok(()) };
        let seen = self.diagnose_weights(norm);
        match self.plan.experiment.train.on_nonfinite {
            OnNonFinite::Rollback => self.after_nonfinite(seen, None),
            // A step that is to be left out is none of those that were made.
            OnNonFinite::Stop | OnNonFinite::Skip => Err(self.diverged(seen, "")),
        }
    }
}

/// # Errors
/// A checkpoint of another kind of scaler.
pub(super) fn read_scaler(value: serde_json::Value) -> Result<scaler::State> {
    serde_json::from_value(value)
        .map_err(|e| Error::input(format!("the checkpoint's scaler state: {e}")))
}
