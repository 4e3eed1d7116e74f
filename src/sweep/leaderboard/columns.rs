//! What a table of trials says of each: its parameters, and the last numbers of its run.

use super::settings;
use crate::report::table::{Problems, Table};
use crate::sweep::{Manifest, State};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Which checkpoint's scores are shown: as those of the objective.
const CHECKPOINT: &str = "latest";

/// Parameters by name, each with its text for every trial; empty where a trial has none.
///
/// An axis over whole tables is its `kind`, and the keys inside where they differ.
pub fn parameters(manifest: &Manifest, state: &State) -> Vec<(String, Vec<String>)> {
    let all: Vec<_> =
        manifest.trials.iter().zip(&state.trials).map(|(t, s)| settings(t, s)).collect();
    let mut columns: Vec<(String, Vec<String>)> = Vec::new();
    let add = |columns: &mut Vec<_>, name: String, texts: Vec<String>| {
        if !columns.iter().any(|(other, _): &(String, _)| *other == name) {
            columns.push((name, texts));
        }
    };
    for axis in &manifest.axes {
        let texts = all.iter().map(|sets| sets.get(axis).map_or_else(String::new, text));
        add(&mut columns, axis.clone(), texts.collect());
    }
    for axis in &manifest.axes {
        let mut inner: Vec<&String> = Vec::new();
        for table in all.iter().filter_map(|sets| sets.get(axis)?.as_object()) {
            for key in table.keys().filter(|key| *key != "kind") {
                if !inner.contains(&key) {
                    inner.push(key);
                }
            }
        }
        for key in inner {
            let of = |value: &Value| value.as_object()?.get(key).map(text);
            let texts: Vec<String> =
                all.iter().map(|sets| sets.get(axis).and_then(of).unwrap_or_default()).collect();
            if texts.iter().any(|text| *text != texts[0]) {
                add(&mut columns, format!("{axis}.{key}"), texts);
            }
        }
    }
    columns
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(table) => match table.get("kind") {
            Some(Value::String(kind)) => kind.clone(),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// The last numbers of runs, read again only where a file has changed.
#[derive(Debug, Default)]
pub struct Numbers {
    files: HashMap<PathBuf, (Stamp, Vec<(String, String)>)>,
}

type Stamp = (u64, Option<SystemTime>);

impl Numbers {
    /// Columns and texts of a run folder: the last of each column of epochs.csv, then SET/METRIC of
    /// eval.csv. Nothing where there is no such file yet.
    pub fn of(&mut self, run: &Path) -> Vec<(String, String)> {
        let mut numbers = self.read(&run.join("epochs.csv"), of_epochs).to_vec();
        numbers.extend_from_slice(self.read(&run.join("eval.csv"), of_evaluation));
        numbers
    }

    fn read(
        &mut self,
        path: &Path,
        take: fn(&Table) -> Vec<(String, String)>,
    ) -> &[(String, String)] {
        let Ok(data) = std::fs::metadata(path) else {
            self.files.remove(path);
            return &[];
        };
        let stamp = (data.len(), data.modified().ok());
        let known = self.files.get(path).is_some_and(|(old, _)| *old == stamp);
        if !known {
            // What is damaged is left out here and named by the run's own report.
            let table = Table::read(path, "", &mut Problems::default()).unwrap_or_default();
            self.files.insert(path.to_owned(), (stamp, take(&table)));
        }
        self.files.get(path).map_or(&[], |(_, numbers)| numbers)
    }
}

fn of_epochs(table: &Table) -> Vec<(String, String)> {
    let last = |(at, name): (usize, &String)| {
        let held = table.rows.iter().rev().map(|(_, row)| &row[at]).find(|text| is_number(text));
        held.map(|text| (name.clone(), text.clone()))
    };
    let told = |name: &str| !matches!(name, "epoch" | "seconds");
    table.columns.iter().enumerate().filter(|(_, name)| told(name)).filter_map(last).collect()
}

fn of_evaluation(table: &Table) -> Vec<(String, String)> {
    let names = ["checkpoint", "set", "metric", "value"];
    let Some([checkpoint, set, metric, value]) = table.columns(names, "", &mut Problems::default())
    else {
        return Vec::new();
    };
    let mut numbers: Vec<(String, String)> = Vec::new();
    for (_, row) in table.rows.iter().filter(|(_, row)| row[checkpoint] == CHECKPOINT) {
        if !is_number(&row[value]) {
            continue;
        }
        let name = format!("{}/{}", row[set], row[metric]);
        match numbers.iter_mut().find(|(other, _)| *other == name) {
            Some((_, text)) => text.clone_from(&row[value]),
            None => numbers.push((name, row[value].clone())),
        }
    }
    numbers
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}
