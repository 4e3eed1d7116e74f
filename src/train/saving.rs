//! Checkpoints during training: snapshots, what became of writing them, and the state that must not be
//! lost at the end.
//!
//! A checkpoint that can't be written (a full disk, a folder without permission) does not stop the
//! training: it is said aloud, and the next one tries again. Only at the end, when the last state is
//! not on the disk after another try, is the run a failure.

use super::progress::Progress;
use super::trainer::Trainer;
use crate::checkpoint::{Best, Name, Store, Writer, Written, find};
use crate::record::{Event, Recorder};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tracing::info_span;

/// Writes the checkpoints of a run.
#[derive(Debug)]
pub struct Saving {
    writer: Writer,
    /// The best values whose weights are on the disk.
    bests: Bests,
    /// The epoch and the step of the newest on the disk.
    newest: Option<(u64, u64)>,
    /// The last one, where it is not.
    failure: Option<Failure>,
    /// Epochs whose copy of the weights alone could not be written.
    lost: Vec<u64>,
}

/// A checkpoint that could not be written.
#[derive(Debug)]
struct Failure {
    step: u64,
    reason: String,
    /// The best values that it was the checkpoint of.
    bests: Bests,
}

/// What later checkpoints must beat: the least loss, and the best of each metric.
#[derive(Clone, Debug, Default)]
struct Bests {
    min_loss: Option<Best>,
    best: BTreeMap<String, Best>,
}

impl Bests {
    /// Those of `progress` that were reached at `step`.
    fn at(progress: &Progress, step: u64) -> Bests {
        let of = |best: &&Best| best.step == step;
        let best = progress.best.iter().filter(|(_, best)| of(best));
        Bests {
            min_loss: progress.min_loss.as_ref().filter(of).cloned(),
            best: best.map(|(metric, best)| (metric.clone(), best.clone())).collect(),
        }
    }

    /// Takes over what `newer` states.
    fn take(&mut self, newer: Bests) {
        self.min_loss = newer.min_loss.or(self.min_loss.take());
        self.best.extend(newer.best);
    }

    /// Puts these in the place of `lost` ones.
    fn put_back(&self, lost: &Bests, progress: &mut Progress) {
        if lost.min_loss.is_some() {
            progress.min_loss.clone_from(&self.min_loss);
        }
        for metric in lost.best.keys() {
            match self.best.get(metric) {
                Some(best) => drop(progress.best.insert(metric.clone(), best.clone())),
                None => drop(progress.best.remove(metric)),
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.min_loss.is_none() && self.best.is_empty()
    }
}

impl Saving {
    /// `progress` is what the run in the folder `run` goes on from.
    pub fn new(store: Store, background: bool, run: &Path, progress: &Progress) -> Saving {
        let has = |name| find(run, name).is_ok();
        Saving {
            writer: Writer::new(store, background),
            bests: Bests {
                min_loss: progress.min_loss.clone().filter(|_| has(Name::MinLoss)),
                best: (progress.best.iter())
                    .filter(|(metric, _)| has(Name::Best(metric.to_string())))
                    .map(|(metric, best)| (metric.clone(), best.clone()))
                    .collect(),
            },
            newest: has(Name::Latest).then_some((progress.epoch, progress.step)),
            failure: None,
            lost: Vec::new(),
        }
    }

    /// Takes note of what became of a checkpoint and tells the sinks.
    fn note(
        &mut self,
        written: Written,
        progress: &mut Progress,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let Written { epoch, batch, step, saved, weights, seconds } = written;
        if let Some(Err(error)) = weights {
            self.lost.push(epoch);
            recorder.warning(format!("the weights of epoch {epoch} are not kept: {error}"))?;
        }
        match saved {
            Ok(saved) => {
                self.bests.take(Bests::at(progress, step));
                self.newest = Some((epoch, step));
                if self.failure.take().is_some() {
                    recorder
                        .notice(format!("checkpoints are written again, from step {step} on"))?;
                }
                for text in saved.warnings {
                    recorder.warning(text)?;
                }
                recorder.emit(&Event::CheckpointSaved {
                    names: saved.names.iter().map(ToString::to_string).collect(),
                    path: saved.path,
                    epoch,
                    step,
                    seconds,
                })
            }
            Err(error) => {
                // Weights that are lost can't be what later ones must beat.
                let bests = Bests::at(progress, step);
                self.bests.put_back(&bests, progress);
                let failure = Failure { step, reason: error.to_string(), bests };
                // With a checkpoint every few steps, once for the first and at each epoch's end.
                let before = self.failure.replace(failure);
                match before.is_some_and(|before| batch > 0 || before.step == step) {
                    true => Ok(()),
                    false => recorder.warning(format!(
                        "no checkpoint of step {step}: {error}; training goes on, and the next \
                         checkpoint tries again"
                    )),
                }
            }
        }
    }

    /// # Errors
    /// Something that was to be kept is not.
    fn check(&self, progress: &Progress) -> Result<()> {
        if let Some(Failure { reason, .. }) = &self.failure {
            let Progress { epoch, step, .. } = progress;
            let help = match self.newest {
                Some((epoch, step)) => format!(
                    "latest is that of epoch {epoch}, step {step}; mend the cause and continue the run \
                     from there"
                ),
                None => "there is no checkpoint; mend the cause and start again".to_string(),
            };
            let message =
                format!("the last state (epoch {epoch}, step {step}) is not saved: {reason}");
            return Err(Error::failed(message).help(help));
        }
        if !self.lost.is_empty() {
            let list: Vec<String> = self.lost.iter().map(ToString::to_string).collect();
            let message = format!("the weights of epoch {} could not be written", list.join(", "));
            return Err(Error::failed(message).help("the checkpoints are whole"));
        }
        Ok(())
    }
}

impl Trainer<'_> {
    /// Begins to write a checkpoint, and where wanted a copy of the weights alone, after the one before
    /// is written. Rows that it counts are on the disk before.
    pub(super) fn save(&mut self, weights: bool) -> Result<()> {
        self.check_weights()?;
        self.count_loading();
        if self.saving.is_none() {
            // Rank 0 writes; what is divided over the ranks is gathered from all.
            return self.whole_tensors().map(drop);
        }
        let _span = info_span!("checkpoint", step = self.progress.step).entered();
        self.wait_for_checkpoint()?;
        self.recorder.flush()?;
        let begun = Instant::now();
        let snapshot = self.snapshot()?;
        let saving = self.saving.as_mut();
        let written = saving.and_then(|saving| saving.writer.begin(snapshot, weights, begun));
        self.note(written)
    }

    fn note(&mut self, written: Option<Written>) -> Result<()> {
        let (Some(written), Some(saving)) = (written, &mut self.saving) else { return Ok(()) };
        self.reserve.save(written.seconds);
        saving.note(written, &mut self.progress, &mut self.recorder)
    }

    /// Takes note of a checkpoint that has been written meanwhile.
    pub(super) fn hear_of_checkpoint(&mut self) -> Result<()> {
        let written = self.saving.as_mut().and_then(|saving| saving.writer.poll());
        self.note(written)
    }

    /// Waits until the checkpoint under way, if there is one, is on the disk or has failed.
    pub(super) fn wait_for_checkpoint(&mut self) -> Result<()> {
        let written = self.saving.as_mut().and_then(|saving| saving.writer.wait());
        self.note(written)
    }

    /// Waits for the last checkpoint, and tries once more if it could not be written.
    ///
    /// # Errors
    /// The state as it is is not on the disk.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.wait_for_checkpoint()?;
        // All ranks save again or none: the weights of all are looked at, and what is divided is gathered.
        let failed = self.saving.as_ref().is_some_and(|saving| saving.failure.is_some());
        if self.ranks.of_first(failed)? {
            let failure = self.saving.as_mut().and_then(|saving| saving.failure.as_mut());
            if let Some(failure) = failure
                && failure.step == self.progress.step
                && !failure.bests.is_empty()
            {
                let Bests { min_loss, best } = std::mem::take(&mut failure.bests);
                self.progress.min_loss = min_loss.or(self.progress.min_loss.take());
                self.progress.best.extend(best);
            }
            self.save(false)?;
            self.wait_for_checkpoint()?;
        }
        self.saving.as_ref().map_or(Ok(()), |saving| saving.check(&self.progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Policy, Saved};
    use crate::record::Sink;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl Sink for Told {
        fn on(&mut self, event: &Event) -> Result<()> {
            self.0.lock().unwrap().push(match event {
                Event::Warning(text) | Event::Notice(text) => text.clone(),
                Event::CheckpointSaved { step, .. } => format!("saved {step}"),
                other => format!("{other:?}"),
            });
            Ok(())
        }
    }

    fn written(step: u64, batch: u64, whole: bool) -> Written {
        let saved = Saved {
            path: PathBuf::from("c"),
            names: vec![Name::Latest],
            hash: String::new(),
            size: 1,
            warnings: Vec::new(),
        };
        let saved = if whole { Ok(saved) } else { Err(Error::failed("the disk is full")) };
        Written { epoch: step / 10, batch, step, saved, weights: None, seconds: 0.0 }
    }

    #[test]
    fn a_minimum_that_is_not_on_the_disk_is_not_the_one_to_beat() {
        let run = tempfile::tempdir().unwrap();
        let store = Store::open(run.path(), Policy::default()).unwrap();
        let mut progress = Progress::default();
        let mut saving = Saving::new(store, false, run.path(), &progress);
        let told = Told::default();
        let mut recorder = Recorder::new().with(told.clone());
        let best = |step: u64| Some(Best { value: 1.0 / step as f64, epoch: step / 10, step });
        let mut note = |least: u64, written: Written| {
            progress.min_loss = best(least);
            (progress.epoch, progress.step) = (written.epoch, written.step);
            saving.note(written, &mut progress, &mut recorder).unwrap();
            (progress.min_loss.clone(), saving.check(&progress).map_err(|e| e.to_string()))
        };
        assert_eq!(note(10, written(10, 0, true)), (best(10), Ok(())));
        let (least, failure) = note(20, written(20, 0, false));
        assert_eq!(least, best(10));
        let says = "the last state (epoch 2, step 20) is not saved: the disk is full";
        assert_eq!(failure.unwrap_err(), says);
        // Not of this checkpoint, so not lost with it.
        assert_eq!(note(10, written(23, 3, false)).0, best(10));
        assert_eq!(note(10, written(30, 0, false)).0, best(10));
        assert_eq!(note(40, written(40, 0, true)), (best(40), Ok(())));
        let told = told.0.lock().unwrap().join("\n");
        for (text, times) in [("no checkpoint of step", 2), ("step 23", 0), ("saved", 2)] {
            assert_eq!(told.matches(text).count(), times, "{text}: {told}");
        }
        assert!(told.contains("checkpoints are written again, from step 40 on"), "{told}");
    }
}
