//! The leaderboard: which settings do best, over their seeds.
//!
//! Trials whose settings are equal but for `seed` are one group. Groups are ranked by the mean of
//! their trials' values; a trial without a finite value counts in no mean. The rest of the folder
//! writes it down: `sweep.csv` ([`sheet`]), `best.toml` ([`best`]), a table for the terminal
//! ([`text`]).

pub mod best;
mod columns;
pub mod sheet;
pub mod text;

pub use best::best_experiment;
pub use sheet::{Sheet, write_csv};
pub use text::text_table;

use super::journal::Outcome;
use super::{Manifest, Objective, Phase, Sets, State, Trial, TrialState};
use std::collections::HashMap;

const SEED: &str = "seed";

/// Trials ranked by their objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaderboard {
    pub objective: Objective,
    /// Best first; what has no value stands last, of that what ended last.
    pub groups: Vec<Group>,
    /// The trials of the first group, then of the second ...; in a group as in the manifest.
    pub rows: Vec<Row>,
}

/// Trials that differ in nothing but their seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their places in the manifest.
    pub trials: Vec<usize>,
    /// Over those that have a finite value.
    pub mean: Option<f64>,
    /// Sample standard deviation (divided by n - 1), of two at least.
    pub std: Option<f64>,
    /// How many have a finite value.
    pub count: usize,
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its place in the manifest.
    pub trial: usize,
    pub name: String,
    /// Of its group, from 1.
    pub rank: usize,
    /// The objective, as it was logged; what is not finite has no rank.
    pub value: Option<f64>,
    /// Epochs that were reported.
    pub epoch: u64,
    pub status: String,
}

/// Ranks the trials as they stand.
pub fn rank(manifest: &Manifest, state: &State, objective: &Objective) -> Leaderboard {
    let values: Vec<Option<f64>> =
        state.trials.iter().map(|trial| objective.of(&trial.observations)).collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, (trial, state)) in manifest.trials.iter().zip(&state.trials).enumerate() {
        let place = *places.entry(without_seed(trial, state)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    // What is no longer asked for was trained on another base perhaps: it has no rank.
    let asked = |at: usize| values[at].filter(|_| !manifest.trials[at].dropped);
    let ranked: Vec<Option<f64>> = (0..values.len()).map(asked).collect();
    let mut groups: Vec<Group> = groups.into_iter().map(|t| summary(t, &ranked)).collect();
    let ended = |group: &Group| {
        let over = |at: &usize| matches!(state.trials[*at].phase, Phase::Pruned | Phase::Failed);
        group.trials.iter().all(over)
    };
    // Stable: what is equal stays in the order of the manifest.
    groups.sort_by(|a, b| match (a.mean, b.mean) {
        (Some(a), Some(b)) => objective.score(b).total_cmp(&objective.score(a)),
        (None, None) => ended(a).cmp(&ended(b)),
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
    let row = |(rank, at): (usize, usize)| Row {
        trial: at,
        name: manifest.trials[at].name.clone(),
        rank: rank + 1,
        value: values[at],
        epoch: state.trials[at].epoch(),
        status: match manifest.trials[at].dropped {
            true => format!("{}, left out", status(&state.trials[at])),
            false => status(&state.trials[at]),
        },
    };
    let rows = groups.iter().enumerate().flat_map(|(n, g)| g.trials.iter().map(move |at| (n, *at)));
    let rows = rows.map(row).collect();
    Leaderboard { objective: objective.clone(), groups, rows }
}

/// Where a trial stands, in words; of one that failed also how.
pub fn status(trial: &TrialState) -> String {
    let word = match trial.phase {
        Phase::Waiting => "waiting",
        Phase::Running => "running",
        Phase::Interrupted => "interrupted",
        Phase::Pruned => "pruned",
        Phase::Finished => "finished",
        Phase::Failed => match trial.last {
            Some(Outcome::Input) => "failed: wrong input",
            Some(Outcome::Diverged) => "failed: diverged",
            Some(Outcome::OutOfMemory) => "failed: out of memory",
            Some(Outcome::Killed) => "failed: killed",
            Some(Outcome::Timeout) => "failed: timeout",
            Some(Outcome::Failed | Outcome::Finished | Outcome::Interrupted | Outcome::Pruned)
            | None => "failed",
        },
    };
    word.to_owned()
}

/// All that a trial sets over the base, with what was proposed for it.
pub fn settings(trial: &Trial, state: &TrialState) -> Sets {
    let mut sets = trial.set.clone();
    sets.extend(state.proposed.clone().unwrap_or_default());
    sets
}

/// Equal for the trials of a group. Of a trial that has no settings yet, or that is no longer asked for,
/// it is its own.
fn without_seed(trial: &Trial, state: &TrialState) -> String {
    let mut entries: Vec<(String, String)> = settings(trial, state)
        .into_iter()
        .filter(|(key, _)| key != SEED)
        .map(|(key, value)| (key, value.to_string()))
        .collect();
    if trial.dropped || trial.proposed.is_some() && state.proposed.is_none() {
        entries.push((String::new(), trial.id.clone()));
    }
    entries.sort();
    format!("{entries:?}")
}

fn summary(trials: Vec<usize>, values: &[Option<f64>]) -> Group {
    let finite: Vec<f64> =
        trials.iter().filter_map(|at| values[*at]).filter(|value| value.is_finite()).collect();
    let count = finite.len();
    let mean = (count > 0).then(|| finite.iter().sum::<f64>() / count as f64);
    let std = mean.filter(|_| count > 1).map(|mean| {
        let squares: f64 = finite.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (count - 1) as f64).sqrt()
    });
    Group { trials, mean, std, count }
}

#[cfg(test)]
mod tests;
