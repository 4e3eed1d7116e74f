//! From a sweep file to its trials: each combination resolved, checked and named.

pub mod bind;
mod combine;
mod mistakes;

use super::condition::Evaluator;
use super::file::SweepFile;
use super::manifest::Trial;
use super::names;
use super::resolve::{Resolver, plain};
use crate::config::{DEFAULTS, Experiment, Over, Request, Stated, load_over, read_file};
use crate::{Error, Result};
use bind::{Bound, bind};
pub use combine::evaluate;
use combine::{Combinations, Made};
use mistakes::Mistakes;
use rayon::prelude::*;
use std::collections::HashSet;

/// The trials of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expansion {
    /// The base experiment, resolved, with the file's `[set]` and `--set`.
    pub base: String,
    /// Full keys of the axes, in the order of the file, `seed` last.
    pub axes: Vec<String>,
    pub trials: Vec<Trial>,
    /// To be said: how many combinations are left out, and why.
    pub notes: Vec<String>,
}

/// Expands a sweep file; `sets` are the `--set` of the command line, for the base.
///
/// # Errors
/// `Error::Config` and `Error::Input`: a base that does not load, unknown keys, and trials whose
/// configuration is wrong, each mistake once; no trial left.
pub fn expand(file: &SweepFile, sets: &[String]) -> Result<Expansion> {
    let base = base(file, sets)?;
    let resolver = Resolver::new(&file.path.to_string_lossy(), &base)?;
    let bounds = bind(file, &resolver)?;
    refuse_overridden(&bounds, &resolver, sets)?;

    let blocks: Vec<Combinations<'_>> =
        bounds.iter().map(Combinations::new).collect::<Result<_>>()?;
    combine::refuse_too_many(file, &blocks)?;
    let mut mistakes = Mistakes::default();
    let mut expansion = Expansion { base, axes: axes(&bounds), ..Expansion::default() };
    let (mut skipped, mut repeated) = (0, 0);
    let mut known = HashSet::new();
    for combinations in &blocks {
        let make =
            |evaluator: &mut Evaluator, index| combinations.make(&resolver, evaluator, index);
        let made: Vec<Made> =
            (0..combinations.len()).into_par_iter().map_init(Evaluator::default, make).collect();
        for made in made {
            match made {
                Made::Trial(trial) if known.insert(trial.id.clone()) => {
                    expansion.trials.push(trial)
                }
                Made::Trial(_) => repeated += 1,
                Made::Skipped => skipped += 1,
                Made::Wrong { set, diagnostics } => {
                    mistakes.add(combinations.bound, &set, diagnostics);
                }
            }
        }
    }
    mistakes.into_result(file)?;
    if expansion.trials.is_empty() {
        let path = file.path.display();
        return Err(Error::input(format!("{path}: `skip_if` leaves out every trial"))
            .help(format!("{skipped} combinations were tried; loosen a condition")));
    }
    names::name(&mut expansion.trials);
    let plural = |count: usize| if count == 1 { " is" } else { "s are" };
    if skipped > 0 {
        expansion
            .notes
            .push(format!("{skipped} combination{} left out by `skip_if`", plural(skipped)));
    }
    if repeated > 0 {
        let note = "configured as another trial: each configuration runs once";
        expansion.notes.push(format!("{repeated} combination{} {note}", plural(repeated)));
    }
    Ok(expansion)
}

/// The resolved base experiment with the file's `[set]` and `--set`, which has the last word.
fn base(file: &SweepFile, sets: &[String]) -> Result<String> {
    let request = Request { sets: sets.to_vec(), ..Request::new(&file.base) };
    let text = read_file(&file.base).map_err(|error| match error {
        Error::Input { message, help } => {
            let message = format!("{}: `base`: {message}", file.path.display());
            Error::Input { message, help }
        }
        other => other,
    })?;
    let settings: Vec<Stated> = (file.set.iter())
        .map(|statement| Stated {
            key: statement.key.clone(),
            value: plain(&statement.value),
            place: statement.place.clone(),
            key_span: statement.key_span.clone(),
        })
        .collect();
    let over = Over { name: "the sweep file", folder: &file.folder, settings: &settings };
    let loaded = load_over::<Experiment>(&request, &text, DEFAULTS, Some(over))?;
    let mut experiment = loaded.experiment;
    if experiment.name.is_empty() {
        experiment.name = file.base.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    Ok(experiment.to_toml())
}

/// A `--set` of an axis would do nothing.
fn refuse_overridden(bounds: &[Bound<'_>], resolver: &Resolver, sets: &[String]) -> Result<()> {
    let inside = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    for set in sets {
        let key = set.split('=').next().unwrap_or_default().trim();
        let Ok(full) = resolver.key(key) else { continue };
        let axes = bounds.iter().flat_map(Bound::keys).map(|(key, _)| key);
        let fixed = bounds.iter().flat_map(|bound| bound.fixed.keys()).map(String::as_str);
        if let Some(axis) = axes.chain(fixed).find(|axis| inside(&full, axis)) {
            let message = format!("`--set {set}`: the sweep file sets `{axis}` for its trials");
            return Err(
                Error::input(message).help("take it out of the file or off the command line")
            );
        }
    }
    Ok(())
}

fn axes(bounds: &[Bound<'_>]) -> Vec<String> {
    let mut axes: Vec<String> = Vec::new();
    for bound in bounds {
        let fixed = bound.fixed.keys().map(String::as_str);
        for key in fixed.chain(bound.keys().map(|(key, _)| key)) {
            if !axes.iter().any(|known| known == key) {
                axes.push(key.to_string());
            }
        }
    }
    axes.sort_by_key(|key| key == "seed");
    axes
}

#[cfg(test)]
mod tests;
