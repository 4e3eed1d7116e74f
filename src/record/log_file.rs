//! `log.txt`: what was said, with the time.

use super::{Event, Sink};
use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

pub struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Appends to `log.txt` of a run folder.
    pub fn open(run: &Path) -> Result<LogFile> {
        let path = run.join("log.txt");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, e))?;
        Ok(LogFile { path, file })
    }
}

/// The event in one line; steps have their own file.
pub(crate) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted { experiment, run, device, parameters, step } => {
            let verb =
                if *step == 0 { "started".into() } else { format!("continued at step {step}") };
            let run = run.display();
            format!("{experiment} {verb} in {run} on {device}, {parameters} parameters")
        }
        Event::EpochStarted { .. }
        | Event::Step(_)
        | Event::Image { .. }
        | Event::Histogram { .. } => return None,
        Event::EpochEnded(row) => super::console::epoch_line(row, None),
        Event::Evaluated { epoch, checkpoint, set, metrics } => {
            let scores = metrics.iter().map(super::console::score).collect::<Vec<_>>().join(", ");
            format!("evaluated {checkpoint} (epoch {epoch}) on {set}: {scores}")
        }
        Event::CheckpointSaved { names, path, epoch, step, seconds } => format!(
            "checkpoint {} at epoch {epoch}, step {step}: {} ({seconds:.2} s)",
            names.join(", "),
            path.display()
        ),
        Event::Notice(text) => text.clone(),
        Event::Warning(text) => format!("warning: {text}"),
        Event::RunEnded { status, note, seconds, .. } => {
            let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            format!("{status} after {seconds:.1} s{note}")
        }
    })
}

impl Sink for LogFile {
    fn on(&mut self, event: &Event) -> Result<()> {
        let Some(line) = line(event) else { return Ok(()) };
        let now = jiff::Timestamp::now();
        writeln!(self.file, "{now:.3} {line}").map_err(|e| Error::io("write", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{EpochRow, StepRow};

    #[test]
    fn lines_have_a_time_and_steps_none() {
        let run = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            let mut log = LogFile::open(run.path()).unwrap();
            log.on(&Event::Warning(text.into())).unwrap();
            log.on(&Event::Step(StepRow::default())).unwrap();
        }
        let mut log = LogFile::open(run.path()).unwrap();
        let row = EpochRow { epoch: 3, val_loss: Some(0.5), ..EpochRow::default() };
        log.on(&Event::EpochEnded(row)).unwrap();
        let text = std::fs::read_to_string(run.path().join("log.txt")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].ends_with("Z warning: two"), "{text}");
        assert!(lines[2].contains("epoch 3") && lines[2].contains("val loss 0.5"), "{text}");
        assert!(lines[0].split(' ').next().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
}
