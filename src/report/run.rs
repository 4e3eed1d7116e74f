//! One run folder as the data of a page.

use super::pictures::Pictures;
use super::table::{Problems, Table};
use super::thin::{self, number, optional};
use super::{scores, settings};
use crate::Result;
use crate::plot::embeddings;
use crate::record::{RunInfo, Status};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

const STEPS: &str = "steps.csv";
const EPOCHS: &str = "epochs.csv";
const EVAL: &str = "eval.csv";

/// How much of a run a page holds.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// Points of a curve over steps.
    pub points: usize,
    /// Whether pairs are shown as pictures.
    pub pictures: bool,
}

/// Reads a run folder; `each` is called after each of its three stages.
///
/// # Errors
/// A run.json that is missing or damaged. What else is damaged is said on the page.
pub fn page_data(run: &Path, detail: Detail, each: &mut dyn FnMut()) -> Result<Value> {
    let info = RunInfo::read(run)?;
    let mut problems = Problems::default();
    let settings: Vec<Value> = settings::read(run, &mut problems)
        .into_iter()
        .map(|s| json!({ "key": s.key, "value": s.value, "default": s.default }))
        .collect();
    let epochs = epochs(run, &mut problems);
    let steps = steps(run, detail.points, &mut problems);
    let evaluations = evaluations(run, &mut problems);
    each();
    let scores = scores::read(run, &mut problems);
    let curves: Vec<Value> = scores.iter().map(scores::Scores::page_data).collect();
    each();
    let mut pictures = Pictures::default();
    let mut pairs = Vec::new();
    let mut seen = BTreeSet::new();
    // Of each set the checkpoint to look at first comes first.
    for of in scores.iter().filter(|of| detail.pictures && seen.insert(of.set.clone())) {
        let groups = of.ends(&mut pictures);
        pairs.push(json!({ "set": of.set, "checkpoint": of.checkpoint, "groups": groups }));
    }
    let embeddings = embeddings::page_data(run).unwrap_or_else(|error| {
        problems.add(error.to_string());
        None
    });
    each();
    let killed = info.status == Status::Running && is_free(run);
    Ok(json!({
        "folder": run.display().to_string(),
        "killed": killed,
        "info": info,
        "settings": settings,
        "best": best(&epochs),
        "epochs": epochs,
        "steps": steps,
        "evaluations": evaluations,
        "scores": curves,
        "pairs": pairs,
        "pictures": pictures.into_value(),
        "embeddings": embeddings,
        "problems": problems.0,
    }))
}

/// No process holds the run: one that says it is running was killed.
fn is_free(run: &Path) -> bool {
    File::open(run.join(".lock")).is_ok_and(|lock| lock.try_lock_shared().is_ok())
}

/// `{x, columns: [{name, values}]}`, or null without a row.
fn epochs(run: &Path, problems: &mut Problems) -> Value {
    let Some(table) = Table::read(&run.join(EPOCHS), EPOCHS, problems) else {
        problems.add(format!("{EPOCHS} is missing"));
        return Value::Null;
    };
    let Some((x, table)) = counted(table, "epoch", EPOCHS, problems) else { return Value::Null };
    let mut columns = Vec::new();
    for (n, name) in table.columns.iter().enumerate().filter(|(_, name)| *name != "epoch") {
        let values: Vec<Value> =
            table.numbers(n, EPOCHS, problems).into_iter().map(optional).collect();
        columns.push(json!({ "name": name, "values": values }));
    }
    json!({ "x": x, "columns": columns })
}

/// `{rows, every, first, x, epoch, columns: [{name, y, low, high, odd, odd_count}]}`, or null
/// without a row; see [`thin::column`].
fn steps(run: &Path, most: usize, problems: &mut Problems) -> Value {
    let Some(table) = Table::read(&run.join(STEPS), STEPS, problems) else {
        problems.add(format!("{STEPS} is missing"));
        return Value::Null;
    };
    let Some((x, table)) = counted(table, "step", STEPS, problems) else { return Value::Null };
    let every = thin::rows_per_point(x.len(), most);
    let (first, last) = thin::spans(&x, every);
    let mut columns = Vec::new();
    let mut epoch = Value::Null;
    for (n, name) in table.columns.iter().enumerate().filter(|(_, name)| *name != "step") {
        let values = table.numbers(n, STEPS, problems);
        if name == "epoch" {
            epoch = values.chunks(every).map(|rows| optional(rows[rows.len() - 1])).collect();
            continue;
        }
        let mut column = thin::column(&x, &values, every);
        column["name"] = json!(name);
        columns.push(column);
    }
    json!({
        "rows": x.len(), "every": every, "first": first, "x": last, "epoch": epoch,
        "columns": columns,
    })
}

/// The counting column, and the table without the rows that lack it; None where no row is left.
fn counted(
    mut table: Table,
    name: &str,
    file: &str,
    problems: &mut Problems,
) -> Option<(Vec<f64>, Table)> {
    if table.columns.is_empty() {
        return None;
    }
    let [column] = table.columns([name], file, problems)?;
    let x = table.numbers(column, file, problems);
    let mut whole = x.iter().map(|x| x.is_some_and(f64::is_finite));
    table.rows.retain(|_| whole.next().unwrap_or(false));
    let x: Vec<f64> = x.into_iter().flatten().filter(|x| x.is_finite()).collect();
    (!x.is_empty()).then_some((x, table))
}

/// The rows of eval.csv, as they are.
fn evaluations(run: &Path, problems: &mut Problems) -> Vec<Value> {
    let Some(table) = Table::read(&run.join(EVAL), EVAL, problems) else { return Vec::new() };
    let names = ["epoch", "checkpoint", "set", "metric", "value", "std"];
    if table.columns.is_empty() {
        return Vec::new();
    }
    let Some([epoch, checkpoint, set, metric, value, std]) = table.columns(names, EVAL, problems)
    else {
        return Vec::new();
    };
    let [epochs, values, stds] =
        [epoch, value, std].map(|column| table.numbers(column, EVAL, problems));
    let rows = table.rows.iter().enumerate().filter(|(n, _)| values[*n].is_some());
    rows.map(|(n, (_, row))| {
        json!({
            "epoch": optional(epochs[n]),
            "checkpoint": row[checkpoint],
            "set": row[set],
            "metric": row[metric],
            "value": optional(values[n]),
            "std": optional(stds[n]),
        })
    })
    .collect()
}

/// The epoch of the least validation loss; without validation, of the least training loss.
fn best(epochs: &Value) -> Value {
    let column = |name: &str| -> Option<&Vec<Value>> {
        let mut columns = epochs["columns"].as_array()?.iter();
        columns.find(|column| column["name"] == name)?["values"].as_array()
    };
    for name in ["val_loss", "train_loss"] {
        let values = column(name).into_iter().flatten().enumerate();
        let least = values
            .filter_map(|(n, value)| value.as_f64().map(|value| (n, value)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((n, value)) = least {
            let fields = [
                ("at".to_owned(), json!(n)),
                ("epoch".to_owned(), epochs["x"][n].clone()),
                ("column".to_owned(), json!(name)),
                ("value".to_owned(), number(value)),
            ];
            return Value::Object(Map::from_iter(fields));
        }
    }
    Value::Null
}
