//! `sweep.csv`: a row for each trial, best first; `docs/sweeps.md` lists the columns.

use super::columns::{Numbers, parameters};
use super::{Leaderboard, rank};
use crate::checkpoint::durable;
use crate::sweep::{Manifest, Objective, State};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub const FILE: &str = "sweep.csv";
const TRIAL: [&str; 7] = ["trial", "name", "status", "run", "attempts", "epoch", "rank"];

/// Writes `sweep.csv` into a sweep's folder, whole or not at all.
///
/// Reads the run folder of every trial: whoever writes it more than once keeps a [`Sheet`].
///
/// # Errors
/// The file cannot be written.
pub fn write_csv(
    folder: &Path,
    manifest: &Manifest,
    state: &State,
    objective: &Objective,
) -> Result<PathBuf> {
    Sheet::default().write(folder, manifest, state, objective)
}

/// `sweep.csv` as it is written again and again: remembers what the run folders said, by the size
/// and the time of their files.
#[derive(Debug, Default)]
pub struct Sheet {
    numbers: Numbers,
}

impl Sheet {
    /// Writes the file; its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &mut self,
        folder: &Path,
        manifest: &Manifest,
        state: &State,
        objective: &Objective,
    ) -> Result<PathBuf> {
        let board = rank(manifest, state, objective);
        let table = self.table(folder, manifest, state, &board);
        let path = folder.join(FILE);
        let mut writer = csv::Writer::from_writer(Vec::new());
        let wrong = |e: csv::Error| Error::io("write", &path, e.into());
        for row in &table {
            writer.write_record(row).map_err(wrong)?;
        }
        let bytes = writer.into_inner().map_err(|e| Error::io("write", &path, e.into_error()))?;
        durable::write_file(&path, |out| out.write_all(&bytes))?;
        Ok(path)
    }

    /// The head, then the trials.
    fn table(
        &mut self,
        folder: &Path,
        manifest: &Manifest,
        state: &State,
        board: &Leaderboard,
    ) -> Vec<Vec<String>> {
        let parameters = parameters(manifest, state);
        let metric = &board.objective.metric;
        let own = ["", "_mean", "_std", "_seeds"].map(|end| format!("{metric}{end}"));
        let mut others: Vec<String> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut found: Vec<Vec<(usize, String)>> = Vec::new();
        for row in &board.rows {
            let started = state.trials[row.trial].sessions > 0;
            let run = Manifest::run_dir(folder, &manifest.trials[row.trial]);
            let numbers = if started { self.numbers.of(&run) } else { Vec::new() };
            let of_row = numbers.into_iter().filter(|(name, _)| !own.contains(name));
            let placed = of_row.map(|(name, text)| {
                let next = others.len();
                let place = *places.entry(name).or_insert_with_key(|name| {
                    others.push(name.clone());
                    next
                });
                (place, text)
            });
            found.push(placed.collect());
        }
        let mut head: Vec<String> = TRIAL.iter().map(|name| (*name).to_owned()).collect();
        head.extend(parameters.iter().map(|(name, _)| format!("parameter_{name}")));
        head.push("seconds".into());
        head.extend(own);
        head.extend_from_slice(&others);
        let mut table = vec![head];
        for (row, numbers) in board.rows.iter().zip(found) {
            let trial = &state.trials[row.trial];
            let group = &board.groups[row.rank - 1];
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            let started = trial.sessions > 0;
            let run = format!("trials/{}", row.name);
            let mut cells = vec![
                manifest.trials[row.trial].id.clone(),
                row.name.clone(),
                row.status.clone(),
                if started { run } else { String::new() },
                trial.sessions.to_string(),
                row.epoch.to_string(),
                group.mean.map_or_else(String::new, |_| row.rank.to_string()),
            ];
            cells.extend(parameters.iter().map(|(_, texts)| texts[row.trial].clone()));
            cells.push(number(started.then_some(trial.seconds)));
            cells.extend([
                number(row.value),
                number(group.mean),
                number(group.std),
                group.count.to_string(),
            ]);
            let mut rest = vec![String::new(); others.len()];
            for (place, text) in numbers {
                rest[place] = text;
            }
            cells.extend(rest);
            table.push(cells);
        }
        table
    }
}
