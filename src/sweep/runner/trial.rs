//! A trial's folder before its process starts.

use crate::checkpoint::durable;
use crate::config::Experiment;
use crate::record::{RunInfo, Status};
use crate::sweep::journal::Outcome;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The trial's experiment, which its process is started on.
pub const EXPERIMENT: &str = "experiment.toml";

/// Writes the trial's resolved experiment into its folder.
pub fn write(run_dir: &Path, experiment: &Experiment, title: &str) -> Result<PathBuf> {
    let path = run_dir.join(EXPERIMENT);
    std::fs::create_dir_all(run_dir).map_err(|e| Error::io("make", run_dir, e))?;
    let text = experiment.to_toml();
    durable::write_file(&path, |out| write!(out, "# {title}\n\n{text}"))?;
    Ok(path)
}

/// Whether its run left a checkpoint to go on from.
pub fn has_checkpoint(run_dir: &Path) -> bool {
    run_dir.join("checkpoints/latest").exists()
}

/// What became of a trial whose runner is gone, by what its run says of itself.
pub fn lost(run_dir: &Path) -> (Outcome, Option<String>, f64) {
    let Ok(info) = RunInfo::read(run_dir) else {
        // It never got as far as a run of its own.
        return (Outcome::Interrupted, Some("its runner was lost".into()), 0.0);
    };
    let seconds = info.seconds.get("total").copied().unwrap_or(0.0);
    let outcome = match info.status {
        Status::Finished => Outcome::Finished,
        Status::Failed => Outcome::Failed,
        Status::Diverged => Outcome::Diverged,
        Status::Running | Status::Stopped => Outcome::Interrupted,
    };
    let note = match outcome {
        Outcome::Finished => None,
        _ => Some(info.note.unwrap_or_else(|| "its runner was lost".into())),
    };
    (outcome, note, seconds)
}
