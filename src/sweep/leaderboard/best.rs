//! `best.toml`: the best settings as an experiment to train again.

use super::text::{mean_and_spread, shown};
use super::{rank, settings};
use crate::Result;
use crate::checkpoint::durable;
use crate::config::Experiment;
use crate::sweep::{Manifest, Objective, Sets, State};
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub const FILE: &str = "best.toml";

/// Writes the first trial of the best group as a whole experiment; none where no trial has a value.
/// `resolve` makes the experiment of a trial's settings.
///
/// # Errors
/// Those of `resolve`; the file cannot be written.
pub fn best_experiment(
    folder: &Path,
    manifest: &Manifest,
    state: &State,
    objective: &Objective,
    resolve: impl Fn(&Sets) -> Result<Experiment>,
) -> Result<Option<PathBuf>> {
    let board = rank(manifest, state, objective);
    let Some(group) = board.groups.first().filter(|group| group.mean.is_some()) else {
        return Ok(None);
    };
    // One of the seeds may have failed.
    let mut rows = board.rows.iter().take(group.trials.len());
    let Some(first) = rows.find(|row| row.value.is_some_and(f64::is_finite)) else {
        return Ok(None);
    };
    let trial = &manifest.trials[first.trial];
    let sets = settings(trial, &state.trials[first.trial]);
    let experiment = resolve(&sets)?;
    let path = folder.join(FILE);
    let mut head = String::new();
    let mut say = |text: String| {
        // A name must not end the comment.
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(head, "# {line}");
    };
    let of = match group.trials.len() {
        1 => String::new(),
        all => format!(", mean over {} of {all} seeds", group.count),
    };
    say(format!("Best of sweep {}: trial {}", manifest.name, trial.name));
    say(format!("{}: {}{of}", objective.metric, mean_and_spread(group)));
    say(format!(
        "this trial: {}, epoch {}, {}",
        first.value.map_or_else(|| "no value".into(), shown),
        first.epoch,
        first.status
    ));
    say("Over the base of the sweep it sets:".into());
    for (key, value) in &sets {
        say(format!("  {key} = {value}"));
    }
    let quoted = path.display().to_string().replace('\'', r"'\''");
    say(format!("Train it: run '{quoted}'"));
    durable::write_file(&path, |out| write!(out, "{head}\n{}", experiment.to_toml()))?;
    Ok(Some(path))
}
