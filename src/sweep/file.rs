//! The sweep file: a base experiment, what to try over it, and how.
//!
//! It is read alone: neither the environment's `ARCRUN_SET_*` nor `--set` change it, they go for the
//! base experiment. `${VAR}` in its texts expands as in an experiment.

mod axes;
mod search;
mod tables;

use super::condition::Condition;
use super::distribution::Distribution;
use super::pruning::PruningConfig;
use super::settings::{Objective, Retry, Running};
use super::slurm::Launcher;
use crate::config::{
    Context, Diagnostic, Diagnostics, Field, Place, Provenance, Reader, document, read_file,
};
use crate::{Error, Result};
use serde_json::Value;
use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A sweep file, checked by itself; whether its keys exist shows when it is expanded.
#[derive(Clone, Debug)]
pub struct SweepFile {
    pub path: PathBuf,
    pub text: String,
    /// Name of the sweep and of its folder of results.
    pub name: String,
    /// The base experiment.
    pub base: PathBuf,
    pub objective: Objective,
    pub run: Running,
    pub retry: Retry,
    pub pruning: PruningConfig,
    pub launcher: Launcher,
    /// Goes for every trial.
    pub set: Vec<Statement>,
    /// Their trials together are the sweep's.
    pub blocks: Vec<Block>,
    /// Folder of the file, where its relative paths start.
    pub folder: PathBuf,
}

/// A key with its value, as stated.
#[derive(Clone, Debug)]
pub struct Statement {
    /// In full or its last parts.
    pub key: String,
    pub value: Value,
    pub place: Place,
    /// The key, in the same text.
    pub key_span: Range<usize>,
}

/// Combinations to try: grid x zip groups x samples x seeds, the first axis slowest.
#[derive(Clone, Debug)]
pub struct Block {
    pub set: Vec<Statement>,
    pub grid: Vec<Axis>,
    /// Of each group the first values go together, the second ones and so on.
    pub zips: Vec<Vec<Axis>>,
    pub search: Option<Search>,
    /// An axis over `seed`.
    pub seeds: Option<Axis>,
    /// A trial for which one of these holds is left out.
    pub skip_if: Vec<Condition>,
}

/// A key and the values that it takes.
#[derive(Clone, Debug)]
pub struct Axis {
    pub key: String,
    pub values: Vec<Value>,
    /// Place of each value.
    pub places: Vec<Place>,
    pub when: Option<Condition>,
    /// The key.
    pub place: Place,
}

/// A key and the distribution that its values come from.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub key: String,
    pub distribution: Distribution,
    pub when: Option<Condition>,
    /// The key.
    pub place: Place,
}

/// Samples of a space.
#[derive(Clone, Debug)]
pub struct Search {
    pub method: Method,
    pub count: usize,
    pub seed: u64,
    pub space: Vec<Parameter>,
}

/// How samples are drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    Random,
    Sobol,
    Tpe(Tpe),
}

/// Settings of TPE.
#[derive(Clone, Debug, PartialEq)]
pub struct Tpe {
    /// Scored trials before which samples are random.
    pub startup: usize,
    /// Share of the trials that count as good.
    pub gamma: f64,
    /// Candidates drawn for each proposal.
    pub candidates: usize,
}

impl SweepFile {
    /// # Errors
    /// `Error::Input`: no such file. `Error::Config`: all mistakes of the file by itself.
    pub fn read(path: &Path) -> Result<SweepFile> {
        SweepFile::parse(path, &read_file(path)?)
    }

    /// Reads a text as if it were the file `path`.
    pub fn parse(path: &Path, text: &str) -> Result<SweepFile> {
        let provenance = document(path, text).map_err(longer_key)?;
        let shown = path.display().to_string();
        if is_experiment(&provenance) {
            let message = format!("{shown} is an experiment, not a sweep");
            let help = format!("start it with `run {shown}`; a sweep file names it as its `base`");
            return Err(Error::input(message).help(help));
        }
        let keys: Vec<String> = tables::KEYS.iter().map(|key| key.to_string()).collect();
        let variables = std::env::vars_os();
        let text_of = |s: std::ffi::OsString| s.into_string().ok();
        let environment: Vec<(String, String)> =
            variables.filter_map(|(k, v)| text_of(k).zip(text_of(v))).collect();
        let context = Context {
            provenance: &provenance,
            environment: &environment,
            datasets: provenance.current.join("datasets"),
            keys: &keys,
            found: RefCell::default(),
        };
        let read = read(&context, path, text);
        let list = context.found.into_inner();
        match read {
            Some(file) if list.is_empty() => Ok(file),
            _ => Err(Diagnostics { file: shown, list }.into()),
        }
    }
}

fn read(context: &Context<'_>, path: &Path, text: &str) -> Option<SweepFile> {
    let root = &context.provenance.merged;
    let head = tables::Head::read(Some(root), None, &Reader::at(context, ""));
    let set = axes::statements(context, root, "set");
    let blocks = tables::blocks(context, root);
    let head = head?;
    let mut name = head.name;
    if name.is_empty() {
        name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    let odd = |c: char| c == '/' || c == '\\' || c.is_control();
    if name.starts_with(['.', '-']) || name.contains(odd) || name.trim().is_empty() {
        let message = format!("`name` is {name:?}, which is no name for a folder");
        Reader::at(context, "name").report(message, None);
        return None;
    }
    Some(SweepFile {
        path: path.to_path_buf(),
        text: text.to_string(),
        name,
        base: head.base,
        objective: head.objective,
        run: head.run,
        retry: head.retry,
        pruning: head.pruning,
        launcher: head.launcher,
        set: set?,
        blocks: blocks?,
        folder: context.provenance.current.clone(),
    })
}

/// TOML takes `loss = [...]` and `loss.margin = ...` for a contradiction.
fn longer_key(error: Error) -> Error {
    let Error::Config(mut diagnostics) = error else { return error };
    for Diagnostic { message, help, .. } in &mut diagnostics.list {
        if message.contains("dotted key") || message.contains("duplicate key") {
            *help = Some(
                "beside an axis over a whole table write the longer key in quotes: \
                 \"loss.margin\" = [0.3, 0.5]"
                    .into(),
            );
        }
    }
    diagnostics.into()
}

fn is_experiment(provenance: &Provenance) -> bool {
    let stated = |key: &str| provenance.merged.find_ref(key).is_some();
    let sweep = ["grid", "zip", "random", "sobol", "tpe", "block", "seeds", "set", "objective"];
    let tables =
        ["data", "backbone", "head", "loss", "optimizer", "scheduler", "train", "evaluate"];
    !sweep.into_iter().any(stated) && tables.into_iter().any(stated)
}

#[cfg(test)]
mod tests;
