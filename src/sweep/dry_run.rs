//! What a sweep would do: its trials as a table, and what they cost.

use super::expand::Expansion;
use super::file::SweepFile;
use super::manifest::Trial;
use super::names::{compact, differing, labels};
use super::resolve::Resolver;
use crate::Result;
use crate::config::{Experiment, load_str};
use crate::record::{RunInfo, Status};
use crate::report::table::{Problems, Table};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// More trials than this are shown in part, unless all are asked for.
const ALL: usize = 40;
const FIRST: usize = 30;
const LAST: usize = 5;

/// The table of trials, notes and the estimated cost with `jobs` trials at a time.
///
/// # Errors
/// `Error::Config`: the expansion's base is no experiment.
pub fn dry_run(file: &SweepFile, expansion: &Expansion, jobs: usize) -> Result<String> {
    render(file, expansion, jobs, false)
}

/// The same with every trial in the table, for `-v`.
pub fn dry_run_all(file: &SweepFile, expansion: &Expansion, jobs: usize) -> Result<String> {
    render(file, expansion, jobs, true)
}

fn render(file: &SweepFile, expansion: &Expansion, jobs: usize, all: bool) -> Result<String> {
    let trials = &expansion.trials;
    let mut lines = table(trials, all);
    lines.push(String::new());
    lines.extend(expansion.notes.iter().cloned());
    let name = file.path.to_string_lossy();
    let base: Experiment = load_str(&name, &expansion.base, &[])?.experiment;
    let epochs = epochs(&Resolver::new(&name, &expansion.base)?, &base, trials)?;
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    lines.push(format!("{}, {} in all", count(trials.len(), "trial"), count(epochs, "epoch")));
    let jobs = jobs.max(1);
    lines.push(match seconds_per_epoch(file, &base) {
        Some((seconds, whence)) => {
            let all = seconds * epochs as f64;
            format!(
                "about {} with {} at a time: {} an epoch, as in {whence}",
                duration(all / jobs.min(trials.len().max(1)) as f64),
                count(jobs, "trial"),
                duration(seconds)
            )
        }
        None => "how long that takes is not known yet: no finished run or trial has these data, \
                 network and batch size; ask again when the first trial has ended"
            .to_owned(),
    });
    if file.pruning.kind() != "none" {
        lines.push(format!("pruning by {} will stop some of them earlier", file.pruning.kind()));
    }
    Ok(lines.join("\n") + "\n")
}

/// Number, id and the value of each axis that differs.
fn table(trials: &[Trial], all: bool) -> Vec<String> {
    let keys = differing(trials);
    let mut header = vec!["#".to_string(), "id".to_string()];
    header.extend(labels(&keys));
    let proposed = trials.iter().any(|trial| trial.proposed.is_some());
    if proposed {
        header.push("proposed".into());
    }
    let left_out = if all || trials.len() <= ALL { 0 } else { trials.len() - FIRST - LAST };
    let shown = |index: &usize| left_out == 0 || *index < FIRST || *index >= FIRST + left_out;
    let row = |(index, trial): (usize, &Trial)| {
        let mut row = vec![(index + 1).to_string(), trial.id.clone()];
        let value = |key: &String| trial.set.get(key).map_or("-".into(), cell);
        row.extend(keys.iter().map(value));
        if proposed {
            row.push(trial.proposed.map_or("-".into(), |p| format!("tpe-{:04}", p.number)));
        }
        row
    };
    let numbered = trials.iter().enumerate().filter(|(index, _)| shown(index));
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(numbered.map(row)).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        cells.join("  ").trim_end().to_string()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if left_out > 0 {
        lines.insert(1 + FIRST, format!("... {left_out} more (-v shows all)"));
    }
    lines
}

/// Whole tables as in names, texts as they are.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => compact(other),
    }
}

/// Epochs of all trials.
fn epochs(resolver: &Resolver, base: &Experiment, trials: &[Trial]) -> Result<usize> {
    let mut all = 0_usize;
    for trial in trials {
        let length = |key: &str| key == "train" || key == "train.epochs";
        let epochs = match trial.set.keys().any(|key| length(key)) {
            true => resolver.trial(&trial.set)?.train.epochs,
            false => base.train.epochs,
        };
        all = all.saturating_add(epochs);
    }
    Ok(all)
}

/// Seconds per epoch of the newest finished run like these, and where they were measured.
fn seconds_per_epoch(file: &SweepFile, base: &Experiment) -> Option<(f64, String)> {
    let results = &base.paths.results;
    let trials = results.join("sweeps").join(&file.name).join("trials");
    let known = measured(&trials, base).map(|seconds| (seconds, "the trials so far".to_string()));
    known.or_else(|| {
        let runs = results.join(&base.name);
        let seconds = measured(&runs, base)?;
        Some((seconds, format!("the newest finished run of {}", base.name)))
    })
}

fn measured(folder: &Path, base: &Experiment) -> Option<f64> {
    let mut runs: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let run = entry.ok()?.path();
            let info = RunInfo::read(&run).ok()?;
            (info.status == Status::Finished).then_some((info.ended?, run))
        })
        .collect();
    runs.sort();
    runs.iter().rev().find_map(|(_, run)| {
        let text = std::fs::read_to_string(run.join("config.toml")).ok()?;
        let name = run.join("config.toml").to_string_lossy().into_owned();
        let of_run: Experiment = load_str(&name, &text, &[]).ok()?.experiment;
        alike(&of_run, base).then(|| mean_seconds(run))?
    })
}

/// Whether an epoch of both takes the same time, but for what a trial varies within one kind.
fn alike(one: &Experiment, two: &Experiment) -> bool {
    one.data == two.data
        && one.preprocess == two.preprocess
        && one.backbone == two.backbone
        && one.train.batch_size == two.train.batch_size
        && one.train.amp == two.train.amp
        && one.train.device == two.train.device
}

/// Mean of the column `seconds` of epochs.csv.
fn mean_seconds(run: &Path) -> Option<f64> {
    let mut problems = Problems::default();
    let table = Table::read(&run.join("epochs.csv"), "epochs.csv", &mut problems)?;
    let seconds = table.numbers(table.column("seconds")?, "epochs.csv", &mut problems);
    let seconds: Vec<f64> = seconds.into_iter().flatten().filter(|s| s.is_finite()).collect();
    (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
}

/// `12 s`, `3 min 20 s`, `5 h 10 min`, `2 d 4 h`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        7200..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests;
