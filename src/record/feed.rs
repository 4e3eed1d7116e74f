//! What a trial of a sweep tells the runner that started it: one JSON object a line, on standard
//! output.

use super::{EpochRow, Event, Sink, Status};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// The variable that a runner sets for its trials: the runner's process id.
pub const VARIABLE: &str = "ARCRUN_TRIAL_OF";
/// First characters of a line, by which it is told from other output.
const PREFIX: &str = "{\"feed\":";
/// Between two lines about steps.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "feed", rename_all = "snake_case")]
pub enum Feed {
    Epoch {
        epoch: u64,
        epochs: u64,
        batches: u64,
        first_batch: u64,
    },
    Step {
        step: u64,
        #[serde(deserialize_with = "super::number")]
        loss: f64,
        #[serde(deserialize_with = "super::number")]
        images_per_second: f64,
    },
    /// Columns of epochs.csv.
    EpochEnded {
        epoch: u64,
        values: BTreeMap<String, Option<f64>>,
    },
    Evaluated {
        epoch: u64,
        checkpoint: String,
        set: String,
        metrics: BTreeMap<String, Option<f64>>,
    },
    Ended {
        status: Status,
        note: Option<String>,
    },
}

impl Feed {
    /// None where the line is other output.
    pub fn parse(line: &str) -> Option<Feed> {
        if line.starts_with(PREFIX) { serde_json::from_str(line).ok() } else { None }
    }
}

/// Columns of epochs.csv by name.
pub fn epoch_values(row: &EpochRow) -> BTreeMap<String, Option<f64>> {
    let EpochRow {
        epoch: _,
        train_loss,
        train_accuracy,
        val_loss,
        val_accuracy,
        lr,
        seconds,
        images_per_second,
        extras,
    } = row;
    let own = [
        ("train_loss", Some(*train_loss)),
        ("train_accuracy", *train_accuracy),
        ("val_loss", *val_loss),
        ("val_accuracy", *val_accuracy),
        ("lr", Some(*lr)),
        ("seconds", Some(*seconds)),
        ("images_per_second", Some(*images_per_second)),
    ];
    let own = own.into_iter().filter(|(_, value)| value.is_some());
    let own = own.map(|(name, value)| (name.to_owned(), value));
    own.chain(extras.iter().map(|(name, value)| (name.clone(), Some(*value)))).collect()
}

/// The sink in the trial's process.
pub struct FeedSink {
    out: Box<dyn Write + Send>,
    last_step: Option<Instant>,
}

impl FeedSink {
    /// Where a runner of sweeps started this process.
    pub fn of_process() -> Option<FeedSink> {
        std::env::var_os(VARIABLE)?;
        Some(FeedSink { out: Box::new(std::io::stdout()), last_step: None })
    }

    fn tell(&mut self, feed: &Feed) {
        if let Ok(line) = serde_json::to_string(feed) {
            // The runner may be gone; that is no reason to stop before its signal comes.
            let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        }
    }
}

impl Sink for FeedSink {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::EpochStarted { epoch, epochs, batches, first_batch } => {
                let (epoch, epochs) = (*epoch, *epochs);
                let (batches, first_batch) = (*batches, *first_batch);
                self.tell(&Feed::Epoch { epoch, epochs, batches, first_batch });
            }
            Event::Step(row) if self.last_step.is_none_or(|last| last.elapsed() >= INTERVAL) => {
                self.last_step = Some(Instant::now());
                let (step, loss, images_per_second) = (row.step, row.loss, row.images_per_second);
                self.tell(&Feed::Step { step, loss, images_per_second });
            }
            Event::EpochEnded(row) => {
                self.tell(&Feed::EpochEnded { epoch: row.epoch, values: epoch_values(row) });
            }
            Event::Evaluated { epoch, checkpoint, set, metrics } => {
                let metrics = metrics.iter().map(|m| (m.name.clone(), Some(m.value))).collect();
                let (checkpoint, set) = (checkpoint.clone(), set.clone());
                self.tell(&Feed::Evaluated { epoch: *epoch, checkpoint, set, metrics });
            }
            Event::RunEnded { status, note, .. } => {
                self.tell(&Feed::Ended { status: *status, note: note.clone() });
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_other_output_is_not() {
        let row =
            EpochRow { epoch: 3, train_loss: f64::NAN, val_loss: Some(0.5), ..EpochRow::default() };
        let feed = Feed::EpochEnded { epoch: 3, values: epoch_values(&row) };
        let line = serde_json::to_string(&feed).unwrap();
        assert!(line.starts_with(PREFIX), "{line}");
        let Some(Feed::EpochEnded { epoch, values }) = Feed::parse(&line) else { panic!("{line}") };
        assert_eq!((epoch, values["train_loss"], values["val_loss"]), (3, None, Some(0.5)));
        assert!(!values.contains_key("val_accuracy"));
        assert_eq!(Feed::parse("quickstart finished after 2 s"), None);
    }
}
