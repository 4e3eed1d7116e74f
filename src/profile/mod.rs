//! `--profile`: what a run spends its time on, as a trace that Perfetto and chrome://tracing open and as
//! shares of a step.
//!
//! The code is marked by spans of the crate `tracing`; where nobody listens, one costs about a nanosecond.
//! Two levels: what comes seldom (checkpoints, validation, evaluation, what sinks do after an epoch) is
//! INFO and is kept for the whole run; the parts of a step and the loader's work are DEBUG, kept for
//! [`Options::steps`] steps only, so that the trace of a long run stays small.

mod layer;
mod shares;

use crate::{Error, Result};
use layer::{Spans, Writer};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use tch::Device;
use tracing::level_filters::LevelFilter;
use tracing::span::EnteredSpan;
use tracing::{Level, debug_span};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt;

/// Name of the trace in a run folder.
pub const FILE: &str = "profile.json";
/// Steps before the first that is recorded: libtorch and the loader warm up.
pub const WARM_UP: u64 = 3;
/// Prefix of this crate's targets: other crates have spans too.
const TARGET: &str = "arcrun";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the trace goes; None: [`FILE`] in the run folder, or beside it.
    pub file: Option<PathBuf>,
    /// Steps whose parts are recorded, after [`WARM_UP`].
    pub steps: u64,
}

/// The profile of this process; one is all that can be asked for.
static PROFILE: OnceLock<Profile> = OnceLock::new();
/// Steps are being recorded.
static DETAIL: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Profile {
    path: PathBuf,
    trace: Arc<Writer>,
    steps: u64,
    /// Steps begun.
    begun: AtomicU64,
    /// The shares have been told.
    told: AtomicBool,
    /// Why the trace could not be written.
    failure: Mutex<Option<String>>,
}

/// An open file for a trace.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    file: File,
}

/// Starts recording. Once in a process.
///
/// # Errors
/// Something else in this process listens to spans already.
pub fn start(trace: Trace, steps: u64) -> Result<()> {
    let Trace { path, file } = trace;
    let trace = Arc::new(Writer::new(file));
    let wanted = |metadata: &tracing::Metadata<'_>| {
        metadata.target().starts_with(TARGET)
            && (*metadata.level() <= Level::INFO || DETAIL.load(Relaxed))
    };
    let filter = dynamic_filter_fn(move |metadata, _| wanted(metadata))
        .with_max_level_hint(LevelFilter::DEBUG);
    let subscriber = tracing_subscriber::registry().with(filter).with(Spans(trace.clone()));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| Error::failed("this process is being traced already"))?;
    let profile = Profile {
        path,
        trace,
        steps,
        begun: AtomicU64::new(0),
        told: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    // The subscriber could be set, so no profile was.
    let _ = PROFILE.set(profile);
    Ok(())
}

/// Makes the file of a trace, or empties it.
///
/// # Errors
/// `Input`: it can't be written.
pub fn create(path: &Path) -> Result<Trace> {
    let file = File::create(path).map_err(|error| unwritable(path, &error))?;
    Ok(Trace { path: path.to_path_buf(), file })
}

/// Makes the file of a trace in a run folder: [`FILE`], or beside those of earlier sessions
/// `profile-2.json` and so on.
///
/// # Errors
/// `Input`: it can't be written.
pub fn create_in(run: &Path) -> Result<Trace> {
    let later = (2..).map(|n| run.join(FILE.replace('.', &format!("-{n}."))));
    let mut paths = std::iter::once(run.join(FILE)).chain(later);
    loop {
        let path = paths.next().unwrap_or_default();
        match File::create_new(&path) {
            Ok(file) => return Ok(Trace { path, file }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unwritable(&path, &error)),
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::input(format!("cannot write the profile {}: {error}", path.display()))
        .help("--profile=FILE names another file")
}

/// A span around one training step with the wait for its batch; `number` is that of the step. Decides
/// whether this step is recorded.
pub fn step(number: u64) -> EnteredSpan {
    if let Some(profile) = PROFILE.get() {
        let begun = profile.begun.fetch_add(1, Relaxed);
        DETAIL.store((WARM_UP..WARM_UP + profile.steps).contains(&begun), Relaxed);
    }
    debug_span!("step", step = number).entered()
}

/// To be called after each step: once the last one is recorded, what to tell of it.
pub fn told() -> Option<String> {
    let profile = PROFILE.get()?;
    let over = profile.begun.load(Relaxed) >= WARM_UP + profile.steps;
    if !over || profile.told.swap(true, Relaxed) {
        return None;
    }
    DETAIL.store(false, Relaxed);
    profile.write();
    Some(profile.shares())
}

/// At the end of a run: what is left to tell, and where the trace is.
pub fn summary() -> Option<String> {
    let profile = PROFILE.get()?;
    DETAIL.store(false, Relaxed);
    let told = profile.told.swap(true, Relaxed);
    let shares = if told { String::new() } else { profile.shares() + "\n" };
    Some(format!("{shares}profile: {}, for https://ui.perfetto.dev", profile.path.display()))
}

/// Ends the trace, after the last of the run.
///
/// # Errors
/// It could not be written whole.
pub fn end() -> Result<()> {
    let Some(profile) = PROFILE.get() else { return Ok(()) };
    if let Err(error) = profile.trace.close() {
        profile.note(error.to_string());
    }
    match profile.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(reason) => {
            let path = profile.path.display();
            Err(Error::failed(format!("the profile {path} is not whole: {reason}")))
        }
        None => Ok(()),
    }
}

impl Profile {
    /// Brings what was recorded so far to the disk, so that a kill leaves a trace that opens.
    fn write(&self) {
        if let Err(error) = self.trace.write() {
            self.note(error.to_string());
        }
    }

    fn note(&self, reason: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    fn shares(&self) -> String {
        match shares::table(&self.trace.sums()) {
            Some(table) => table,
            None => format!(
                "the profile has no step: the first {WARM_UP} of a training are not recorded, and no \
                 more were made"
            ),
        }
    }
}

/// Runs `body` as a part of a step.
pub fn timed<T>(span: tracing::Span, device: Device, body: impl FnOnce() -> T) -> T {
    let _stage = Stage::new(span, device);
    body()
}

/// A part of a step on `device`. While it is recorded, the part ends when the device has done what it was
/// asked for, without which a GPU's work would be counted where the host waits for it first.
#[must_use = "the part ends when the guard is dropped"]
pub struct Stage {
    span: EnteredSpan,
    device: Device,
}

impl Stage {
    /// `span` is entered.
    pub fn new(span: tracing::Span, device: Device) -> Stage {
        Stage { span: span.entered(), device }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let (Device::Cuda(index), false) = (self.device, self.span.is_disabled()) {
            tch::Cuda::synchronize(index as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_session_keeps_the_traces_before() {
        let run = tempfile::tempdir().unwrap();
        for name in ["profile.json", "profile-2.json", "profile-3.json"] {
            assert_eq!(create_in(run.path()).unwrap().path, run.path().join(name));
        }
        let missing = create_in(&run.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("cannot write the profile"), "{missing}");
    }
}
