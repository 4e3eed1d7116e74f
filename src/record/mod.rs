//! The record of a run: its folder, what happens in it, and who is told.
//!
//! Training emits [`Event`]s into a [`Recorder`], which hands each to every [`Sink`]: the CSV files
//! (the record), `log.txt`, the console, the crash note, pictures,
//! TensorBoard. `results/README.md` documents the files.

mod charts;
mod console;
pub mod crash;
pub mod csv_file;
mod csv_sink;
pub mod embeddings;
mod event;
pub mod feed;
mod history;
mod log_file;
pub mod plots;
mod run_dir;
mod run_info;
mod tensorboard;
pub mod tfevents;

pub(crate) use console::{AVERAGE, duration};
pub use console::{Console, Verbosity};
pub use crash::{CrashNote, note as crash_note};
pub use csv_sink::{Columns, CsvSink};
pub(crate) use csv_sink::{EMA_LOSS, EPOCH_COLUMNS};
pub(crate) use event::number;
pub use event::{EpochRow, Event, StepRow};
pub use history::{History, Thinned};
pub use log_file::LogFile;
pub(crate) use log_file::line as log_line;
pub use plots::Plots;
pub use run_dir::RunDir;
pub use run_info::{Git, Parent, RunInfo, Status};
pub use tensorboard::TensorBoard;

use crate::Result;
use std::collections::BTreeMap;
use tracing::{Span, debug_span, info_span};

/// Someone who is told what happens. Opened before the first step.
pub trait Sink: Send {
    fn on(&mut self, event: &Event) -> Result<()>;

    /// Brings everything so far to the disk: called before each checkpoint, which counts on it.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Rows written so far, by file.
    fn rows(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// What it has to say to all sinks since the last call.
    fn heard(&mut self) -> Vec<Event> {
        Vec::new()
    }

    /// Called once, after the last event.
    fn close(&mut self) -> Result<()> {
        self.flush()
    }
}

/// Hands every event to every sink.
#[derive(Default)]
pub struct Recorder {
    /// With their names in a profile.
    sinks: Vec<(&'static str, Box<dyn Sink>)>,
}

impl Recorder {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with<S: Sink + 'static>(mut self, sink: S) -> Self {
        let path = std::any::type_name::<S>();
        self.sinks.push((path.rsplit("::").next().unwrap_or(path), Box::new(sink)));
        self
    }

    /// Tells every sink, also after one has failed.
    ///
    /// # Errors
    /// The first sink's that failed.
    pub fn emit(&mut self, event: &Event) -> Result<()> {
        let told = self.tell(event);
        told.and(self.pass_on())
    }

    /// Tells every sink what the sinks themselves have to say.
    fn pass_on(&mut self) -> Result<()> {
        let heard: Vec<Event> = self.sinks.iter_mut().flat_map(|(_, sink)| sink.heard()).collect();
        heard.iter().map(|event| self.tell(event)).fold(Ok(()), Result::and)
    }

    pub fn notice(&mut self, text: impl Into<String>) -> Result<()> {
        self.emit(&Event::Notice(text.into()))
    }

    pub fn warning(&mut self, text: impl Into<String>) -> Result<()> {
        self.emit(&Event::Warning(text.into()))
    }

    pub fn flush(&mut self) -> Result<()> {
        self.each(|name| info_span!("sink", name), |sink| sink.flush())
    }

    /// Rows in each file: the positions that a checkpoint carries.
    pub fn rows(&self) -> BTreeMap<String, u64> {
        self.sinks.iter().flat_map(|(_, sink)| sink.rows()).collect()
    }

    pub fn close(mut self) -> Result<()> {
        let closed = self.each(|name| info_span!("sink", name), |sink| sink.close());
        closed.and(self.pass_on())
    }

    fn tell(&mut self, event: &Event) -> Result<()> {
        let span = |name| match event {
            // In a profile it is a part of the step.
            Event::Step(_) => debug_span!("sink", name),
            _ => info_span!("sink", name),
        };
        self.each(span, |sink| sink.on(event))
    }

    fn each(
        &mut self,
        span: impl Fn(&'static str) -> Span,
        mut tell: impl FnMut(&mut dyn Sink) -> Result<()>,
    ) -> Result<()> {
        let each = |(name, sink): &mut (&'static str, Box<dyn Sink>)| {
            span(name).in_scope(|| tell(sink.as_mut()))
        };
        self.sinks.iter_mut().map(each).fold(Ok(()), Result::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::{Arc, Mutex};

    struct Probe(Arc<Mutex<Vec<String>>>, bool);

    impl Sink for Probe {
        fn on(&mut self, event: &Event) -> Result<()> {
            self.0.lock().unwrap().push(format!("{event:?}"));
            if self.1 { Err(Error::failed("full")) } else { Ok(()) }
        }

        fn rows(&self) -> Vec<(String, u64)> {
            vec![("steps.csv".into(), 7)]
        }
    }

    #[test]
    fn a_failing_sink_does_not_keep_the_others_from_hearing() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut recorder =
            Recorder::new().with(Probe(heard.clone(), true)).with(Probe(heard.clone(), false));
        assert_eq!(recorder.notice("a").unwrap_err().to_string(), "full");
        assert_eq!(*heard.lock().unwrap(), ["Notice(\"a\")", "Notice(\"a\")"]);
        assert_eq!(recorder.rows()["steps.csv"], 7);
        recorder.close().unwrap();
    }
}
