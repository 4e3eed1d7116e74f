//! Runs the trials of a sweep as child processes of this program.
//!
//! Any number of runners may work on one sweep. A trial is claimed by a lock ([`claim`]), what
//! happens is written to the journal before and after, and so a runner that dies leaves nothing
//! that the next one can't see: a trial whose journal says that it runs and whose lock is free was
//! lost, and goes on from its checkpoint.

pub mod child;
pub mod choose;
pub mod claim;
mod engine;
pub mod outcome;
pub mod slots;
mod trial;
pub mod view;

use super::Ledger;
use super::file::SweepFile;
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// How a sweep is run, besides what its file says.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Trials at a time; none: as the file says.
    pub jobs: Option<usize>,
    /// CPU threads of a trial; none: as the file says.
    pub threads: Option<usize>,
    /// These trials alone, by their place in the manifest, and those that are promoted meanwhile;
    /// nobody is waited for.
    pub only: Option<Vec<usize>>,
    pub verbosity: Verbosity,
    /// The cluster's job, for the journal.
    pub job: Option<String>,
    /// What is started instead of this program.
    pub program: Option<PathBuf>,
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub finished: usize,
    /// Left after their attempts.
    pub failed: usize,
    pub pruned: usize,
    /// To go on later.
    pub interrupted: usize,
    pub waiting: usize,
    /// Of others.
    pub running: usize,
}

impl Summary {
    /// `12 finished, 1 failed`
    pub fn words(&self) -> String {
        let Summary { finished, failed, pruned, interrupted, waiting, running } = *self;
        let counts = [
            (finished, "finished"),
            (failed, "failed"),
            (pruned, "pruned"),
            (interrupted, "interrupted"),
            (waiting, "waiting"),
            (running, "running"),
        ];
        let shown = counts.iter().filter(|(count, word)| *count > 0 || *word == "finished");
        shown.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

/// Runs what is left of the sweep in `folder` until nothing is left that may be started.
///
/// # Errors
/// `Input` where the sweep can't be opened, `Stopped` after a signal, `Failed` where the sweep's own
/// files can't be written. Trials that failed are counted in the summary.
pub fn run(folder: &Path, options: &RunOptions, stop: &StopFlag) -> Result<Summary> {
    let ledger = Ledger::open(folder)?;
    let file = SweepFile::parse(&ledger.manifest.file, &ledger.manifest.text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::failed(format!("cannot start the runner: {e}")))?;
    runtime.block_on(engine::Engine::new(ledger, file, options.clone(), stop.clone())?.run())
}
