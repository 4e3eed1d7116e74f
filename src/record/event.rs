//! What can happen in a run.

use super::Status;
use crate::evaluate::Metric;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    RunStarted {
        experiment: String,
        run: PathBuf,
        /// Device in words.
        device: String,
        /// Trainable parameters.
        parameters: u64,
        /// Optimizer steps done before; 0 for a fresh run.
        step: u64,
    },
    EpochStarted {
        /// Counted from 1.
        epoch: u64,
        epochs: u64,
        /// Steps in the epoch.
        batches: u64,
        /// Steps of it done before a resume.
        first_batch: u64,
    },
    Step(StepRow),
    EpochEnded(EpochRow),
    Evaluated {
        /// Epochs completed; 0 before training.
        epoch: u64,
        /// `untrained`, `latest`, `min-loss` ...
        checkpoint: String,
        /// Name of the evaluation set.
        set: String,
        metrics: Vec<Metric>,
    },
    CheckpointSaved {
        names: Vec<String>,
        path: PathBuf,
        epoch: u64,
        step: u64,
        /// Time it took.
        seconds: f64,
    },
    /// A picture of the step before.
    Image {
        key: String,
        caption: String,
        /// Pixels.
        width: u32,
        height: u32,
        png: Vec<u8>,
    },
    /// Counts between edges, of which there is one more; of the step before.
    Histogram {
        key: String,
        counts: Vec<u64>,
        edges: Vec<f64>,
    },
    Notice(String),
    Warning(String),
    RunEnded {
        status: Status,
        /// Why, where it did not finish.
        note: Option<String>,
        /// Epoch and value of the least monitored loss.
        best: Option<(u64, f64)>,
        /// The checkpoint to use.
        checkpoint: Option<PathBuf>,
        /// Duration of this session of the run.
        seconds: f64,
    },
}

/// One optimizer step: a row of `steps.csv`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepRow {
    /// Counted from 1 over the whole run.
    pub step: u64,
    /// The epoch it belongs to, counted from 1.
    pub epoch: u64,
    /// Mean over the batch.
    pub loss: f64,
    pub lr: f64,
    pub images_per_second: f64,
    /// Of the training batch, a fraction.
    pub accuracy: Option<f64>,
    /// Global L2 norm of the gradients before clipping.
    pub grad_norm: Option<f64>,
    /// What the loss and the scaler add, by column.
    pub extras: BTreeMap<String, f64>,
    /// Share of the epoch's time so far in which the network waited for images. For the screen:
    /// `epochs.csv` has the seconds.
    pub wait: f64,
}

/// One epoch: a row of `epochs.csv`, kept in each checkpoint's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: u64,
    /// Mean over the samples.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    pub train_accuracy: Option<f64>,
    pub val_loss: Option<f64>,
    pub val_accuracy: Option<f64>,
    /// At the last step of the epoch.
    #[serde(deserialize_with = "number")]
    pub lr: f64,
    /// Training and validation.
    #[serde(deserialize_with = "number")]
    pub seconds: f64,
    /// Of training alone.
    #[serde(deserialize_with = "number")]
    pub images_per_second: f64,
    #[serde(deserialize_with = "numbers")]
    pub extras: BTreeMap<String, f64>,
}

/// JSON has no NaN: serde_json writes null.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let numbers = BTreeMap::<String, Option<f64>>::deserialize(d)?;
    Ok(numbers.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}
