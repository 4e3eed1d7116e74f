//! `tensorboard/`: event files that TensorBoard shows.
//!
//! Scalars are `simple_value`s: of the forms that TensorBoard has had, the one that its pages turn into
//! the newer tensors while reading, and the only one that its `EventAccumulator` returns from
//! `Scalars`, which scripts use. Both hold float32.

use super::tfevents::{self, FILE_VERSION, START, SessionLog, Summary, Value, What};
use super::{EpochRow, Event, Sink, Status, StepRow};
use crate::checkpoint::durable;
use crate::{Error, Result};
use prost::Message;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The folder in a run folder.
pub const FOLDER: &str = "tensorboard";

/// Writes an event file per session of the run. It reaches the disk every `flush_steps` steps and at
/// the end of each epoch.
pub struct TensorBoard {
    path: PathBuf,
    file: BufWriter<File>,
    config: String,
    /// Optimizer steps done.
    step: u64,
    flush_steps: u64,
    unflushed: u64,
    /// Scores since the last checkpoint: a run that goes on from there takes them again.
    unsaved: Vec<tfevents::Event>,
}

impl TensorBoard {
    /// Opens a new event file in the run folder. `config`: the resolved experiment.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn open(run: &Path, host: &str, config: &str, flush_steps: u64) -> Result<TensorBoard> {
        let folder = run.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        let host: String = host
            .chars()
            .map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' })
            .collect();
        let (seconds, pid) = (jiff::Timestamp::now().as_second(), std::process::id());
        let name = |n| format!("events.out.tfevents.{seconds}.{host}.{pid}.{n}");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut tries = (0..100).map(|n| folder.join(name(n)));
        let opened = tries.find_map(|path| match options.open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => None,
            other => Some((path, other)),
        });
        let (path, file) = opened.unwrap_or_else(|| {
            (folder.join(name(0)), Err(std::io::ErrorKind::AlreadyExists.into()))
        });
        let file = file.map_err(|e| Error::io("create", &path, e))?;
        durable::sync_folder(&folder)?;
        Ok(TensorBoard {
            path,
            file: BufWriter::new(file),
            config: config.to_string(),
            step: 0,
            flush_steps,
            unflushed: 0,
            unsaved: Vec::new(),
        })
    }

    fn write(&mut self, event: &tfevents::Event) -> Result<()> {
        tfevents::append(&mut self.file, &event.encode_to_vec())
            .map_err(|e| Error::io("write", &self.path, e))
    }

    /// Writes the scores up to a step that is saved.
    fn write_saved(&mut self, step: u64) -> Result<()> {
        let (saved, unsaved) = std::mem::take(&mut self.unsaved)
            .into_iter()
            .partition(|event| u64::try_from(event.step).is_ok_and(|at| at <= step));
        self.unsaved = unsaved;
        let saved: Vec<tfevents::Event> = saved;
        saved.iter().try_for_each(|event| self.write(event))?;
        self.hand_over()
    }

    /// To the operating system: it survives the end of the process.
    fn hand_over(&mut self) -> Result<()> {
        self.unflushed = 0;
        self.file.flush().map_err(|e| Error::io("write", &self.path, e))
    }

    /// The head of the file. What an earlier session wrote about the steps after `step` is void: the
    /// run has gone back behind it.
    fn start(&mut self, step: u64) -> Result<()> {
        self.step = step;
        let first = if step == 0 { 0 } else { step + 1 };
        self.write(&event(0, What::FileVersion(FILE_VERSION.into())))?;
        self.write(&event(first, What::SessionLog(SessionLog { status: START })))?;
        let config = Value::text("config/text_summary", format!("```toml\n{}\n```", self.config));
        self.write(&event(first, What::Summary(Summary { value: vec![config] })))?;
        self.flush()
    }
}

fn event(step: u64, what: What) -> tfevents::Event {
    let now = jiff::Timestamp::now();
    tfevents::Event {
        wall_time: now.as_microsecond() as f64 / 1e6,
        step: step as i64,
        what: Some(what),
    }
}

fn scalars(step: u64, values: Vec<(String, Option<f64>)>) -> tfevents::Event {
    let known = values.into_iter().filter_map(|(tag, value)| Some(Value::scalar(tag, value?)));
    event(step, What::Summary(Summary { value: known.collect() }))
}

fn of_step(row: &StepRow) -> tfevents::Event {
    let StepRow {
        step,
        epoch: _,
        loss,
        lr,
        images_per_second,
        accuracy,
        grad_norm,
        extras,
        wait: _,
    } = row;
    let mut values = vec![
        ("train/loss".to_string(), Some(*loss)),
        ("train/lr".into(), Some(*lr)),
        ("train/images_per_second".into(), Some(*images_per_second)),
        ("train/accuracy".into(), *accuracy),
        ("train/grad_norm".into(), *grad_norm),
    ];
    values.extend(extras.iter().map(|(name, value)| (format!("train/{name}"), Some(*value))));
    scalars(*step, values)
}

fn of_epoch(step: u64, row: &EpochRow) -> tfevents::Event {
    let EpochRow {
        epoch,
        train_loss,
        train_accuracy,
        val_loss,
        val_accuracy,
        lr,
        seconds,
        images_per_second,
        extras,
    } = row;
    let mut values = vec![
        ("epoch/epoch".to_string(), Some(*epoch as f64)),
        ("epoch/train_loss".into(), Some(*train_loss)),
        ("epoch/train_accuracy".into(), *train_accuracy),
        ("epoch/val_loss".into(), *val_loss),
        ("epoch/val_accuracy".into(), *val_accuracy),
        ("epoch/lr".into(), Some(*lr)),
        ("epoch/seconds".into(), Some(*seconds)),
        ("epoch/images_per_second".into(), Some(*images_per_second)),
    ];
    values.extend(extras.iter().map(|(name, value)| (format!("epoch/{name}"), Some(*value))));
    scalars(step, values)
}

impl Sink for TensorBoard {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::RunStarted { step, .. } => self.start(*step),
            Event::Step(row) => {
                self.step = row.step;
                self.write(&of_step(row))?;
                self.unflushed += 1;
                if self.unflushed >= self.flush_steps { self.hand_over() } else { Ok(()) }
            }
            Event::EpochEnded(row) => {
                self.write(&of_epoch(self.step, row))?;
                self.hand_over()
            }
            Event::Evaluated { epoch, checkpoint, set, metrics } => {
                // The curve of a set is that of the weights as they were: first the initial ones.
                let (part, step) = match checkpoint.as_str() {
                    "latest" => (String::new(), self.step),
                    _ if *epoch == 0 => (String::new(), 0),
                    other => (format!("{other}/"), self.step),
                };
                let tag = |name: &str| format!("eval/{set}/{part}{name}");
                let values = metrics.iter().map(|m| (tag(&m.name), Some(m.value))).collect();
                self.unsaved.push(scalars(step, values));
                Ok(())
            }
            // It may be heard of when later scores wait already: those are of the next one.
            Event::CheckpointSaved { step, .. } => self.write_saved(*step),
            Event::RunEnded { status: Status::Finished, .. } => self.write_saved(u64::MAX),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.hand_over()?;
        self.file.get_ref().sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Metric;

    fn sink(run: &Path) -> TensorBoard {
        TensorBoard::open(run, "my host.lan", "seed = 1", 2).unwrap()
    }

    fn started(step: u64) -> Event {
        let (experiment, run, device) = ("x".into(), "x".into(), "cpu".into());
        Event::RunStarted { experiment, run, device, parameters: 1, step }
    }

    fn step(step: u64) -> Event {
        let extras = [("lambda".to_string(), 5.0)].into();
        let accuracy = Some(f64::NAN);
        Event::Step(StepRow { step, loss: 0.25, accuracy, extras, ..StepRow::default() })
    }

    fn evaluated(checkpoint: &str, epoch: u64) -> Event {
        let metrics = vec![Metric::new("auc", 0.5, Some(0.1))];
        Event::Evaluated { epoch, checkpoint: checkpoint.into(), set: "a/b".into(), metrics }
    }

    fn saved() -> Event {
        Event::CheckpointSaved { names: vec![], path: "c".into(), epoch: 1, step: 2, seconds: 0.0 }
    }

    fn read(sink: &TensorBoard) -> Vec<(i64, String, f32)> {
        let events = tfevents::read(&fs::read(&sink.path).unwrap()).unwrap();
        let mut values = Vec::new();
        for event in &events {
            assert!(event.wall_time > 1.7e9, "{event:?}");
            if let Some(What::Summary(summary)) = &event.what {
                let scalars = summary.value.iter().filter_map(|v| Some((v, v.simple_value?)));
                values.extend(scalars.map(|(v, scalar)| (event.step, v.tag.clone(), scalar)));
            }
        }
        values
    }

    #[test]
    fn what_is_written_and_when() {
        let run = tempfile::tempdir().unwrap();
        let mut sink = sink(run.path());
        sink.on(&started(0)).unwrap();
        let head = tfevents::read(&fs::read(&sink.path).unwrap()).unwrap();
        assert_eq!(head[0].what, Some(What::FileVersion("brain.Event:2".into())));
        assert_eq!((head.len(), head[1].step), (3, 0));
        sink.on(&step(1)).unwrap();
        assert_eq!(read(&sink).len(), 0, "flushed every second step");
        sink.on(&step(2)).unwrap();
        let steps = read(&sink);
        let tags: Vec<&str> = steps[..6].iter().map(|(_, tag, _)| tag.as_str()).collect();
        assert_eq!(
            tags,
            [
                "train/loss",
                "train/lr",
                "train/images_per_second",
                "train/accuracy",
                "train/lambda",
                "train/loss"
            ]
        );
        assert_eq!((steps[5].0, steps[5].2), (2, 0.25));
        assert!(steps[3].2.is_nan());

        for event in [evaluated("untrained", 0), evaluated("latest", 1), evaluated("min-loss", 1)] {
            sink.on(&event).unwrap();
        }
        sink.on(&Event::EpochEnded(EpochRow { epoch: 1, ..EpochRow::default() })).unwrap();
        let count = read(&sink).len();
        sink.on(&saved()).unwrap();
        let scores = read(&sink).split_off(count);
        let expected =
            [(0, "eval/a/b/auc", 0.5), (2, "eval/a/b/auc", 0.5), (2, "eval/a/b/min-loss/auc", 0.5)];
        assert_eq!(scores, expected.map(|(step, tag, value)| (step, tag.to_string(), value)));
        let name = sink.path.file_name().unwrap().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('.').collect();
        assert_eq!((parts.len(), parts[4], parts[6]), (7, "my-host-lan", "0"), "{name}");
    }

    /// What comes after the last checkpoint is scored again: it must not be there twice.
    #[test]
    fn scores_that_a_resume_repeats_are_not_kept() {
        let run = tempfile::tempdir().unwrap();
        let ended = |status| Event::RunEnded {
            status,
            note: None,
            best: None,
            checkpoint: None,
            seconds: 1.0,
        };
        for (status, kept) in [(Status::Stopped, 0), (Status::Finished, 1)] {
            let mut sink = sink(run.path());
            for event in [started(4), evaluated("latest", 1), ended(status)] {
                sink.on(&event).unwrap();
            }
            sink.close().unwrap();
            assert_eq!(read(&sink).len(), kept);
            let events = tfevents::read(&fs::read(&sink.path).unwrap()).unwrap();
            let start = What::SessionLog(SessionLog { status: START });
            assert_eq!((events[1].step, events[1].what.clone()), (5, Some(start)));
        }
        // Two files of one second and one process.
        assert_eq!(fs::read_dir(run.path().join(FOLDER)).unwrap().count(), 2);
    }
}
