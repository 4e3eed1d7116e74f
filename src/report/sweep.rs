//! `sweep.csv`: the trials of a sweep, and what its parameters have to do with its metrics.

use super::importance::{self, Importance};
use super::run::{self, Detail};
use super::table::{Problems, Table};
use super::thin::number;
use crate::record::RunInfo;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::{Component, Path, PathBuf};

pub const FILE: &str = "sweep.csv";
const PARAMETER: &str = "parameter_";
/// Fewer trials than this say nothing about a parameter.
const LEAST_TRIALS: usize = 3;
/// Trials whose curves are shown, and the points of each curve.
const CURVES: usize = 8;
const POINTS: usize = 300;

/// Reads the sweep of a folder. Columns `parameter_NAME` are parameters, columns of numbers after
/// the last of them metrics, and the others belong to the trial. Column `run` is a trial's run
/// folder; those of the first rows, the best ones in what a sweep writes, give curves. Links start
/// from `place`.
///
/// # Errors
/// A sweep.csv without a header or without a parameter.
pub fn page_data(folder: &Path, place: &Path) -> Result<Value> {
    let mut problems = Problems::default();
    let path = folder.join(FILE);
    let table = Table::read(&path, FILE, &mut problems).unwrap_or_default();
    let is_parameter = |name: &String| name.starts_with(PARAMETER);
    let Some(last) = table.columns.iter().rposition(is_parameter) else {
        let message = format!("{} has no column {PARAMETER}NAME", path.display());
        return Err(Error::input(message).help("a sweep's table has one for each parameter"));
    };
    let columns: Vec<Column> =
        (0..table.columns.len()).map(|n| Column::of(&table, n, last)).collect();
    let metrics = || columns.iter().filter(|column| column.role == "metric");
    let parameters = || columns.iter().filter(|column| column.role == "parameter");
    let mut importances = Vec::new();
    for metric in metrics() {
        let mut of: Vec<Value> = parameters().map(|p| relation(p, metric)).collect();
        let size = |v: &Value| v["value"].as_f64().map_or(-1.0, f64::abs);
        of.sort_by(|a, b| size(b).total_cmp(&size(a)));
        importances.push(json!({ "metric": metric.name, "parameters": of }));
    }
    let described: Vec<Value> = columns
        .iter()
        .map(|c| json!({ "name": c.name, "role": c.role, "numeric": c.numbers.is_some() }))
        .collect();
    let rows: Vec<Vec<Value>> = (0..table.rows.len())
        .map(|row| columns.iter().map(|column| column.cell(row)).collect())
        .collect();
    let runs: Vec<Option<PathBuf>> = match table.column("run") {
        Some(at) => table.rows.iter().map(|(_, row)| run_folder(folder, &row[at])).collect(),
        None => vec![None; table.rows.len()],
    };
    let links: Vec<Option<String>> = runs.iter().map(|run| link(place, run.as_deref()?)).collect();
    let detail = Detail { points: POINTS, pictures: false };
    let mut curves = Vec::new();
    for run in runs.iter().flatten().filter(|run| RunInfo::is_in(run)).take(CURVES) {
        match run::page_data(run, detail, &mut || {}) {
            Ok(mut data) => {
                data["trial"] = json!(run.file_name().unwrap_or_default().to_string_lossy());
                data["points"] = json!(POINTS);
                // The rest is on the run's own page.
                data["embeddings"] = Value::Null;
                data["scores"] = json!([]);
                curves.push(data);
            }
            Err(e) => problems.add(format!("the curves of {} are left out: {e}", run.display())),
        }
    }
    Ok(json!({
        "folder": folder.display().to_string(),
        "links": links,
        "runs": curves,
        "columns": described,
        "rows": rows,
        "importance": importances,
        "problems": problems.0,
    }))
}

/// A run folder inside the sweep's that is there.
fn run_folder(folder: &Path, text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let run = folder.join(path);
    (!text.is_empty() && plain && run.is_dir()).then_some(run)
}

/// The way from a folder to a run: to its report, where there is one.
fn link(place: &Path, run: &Path) -> Option<String> {
    let (from, to) = (place.canonicalize().ok()?, run.canonicalize().ok()?);
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared);
    let down = down.map(|part| part.as_os_str().to_string_lossy().into_owned());
    let mut way: Vec<String> = up.chain(down).collect();
    let report = to.join("report.html").is_file();
    way.push(if report { "report.html".into() } else { String::new() });
    Some(way.join("/"))
}

struct Column {
    name: String,
    role: &'static str,
    texts: Vec<String>,
    /// Where every cell that holds something holds a number.
    numbers: Option<Vec<Option<f64>>>,
}

impl Column {
    fn of(table: &Table, at: usize, last_parameter: usize) -> Column {
        let name = &table.columns[at];
        let texts: Vec<String> = table.rows.iter().map(|(_, row)| row[at].clone()).collect();
        let held = || texts.iter().filter(|text| !text.is_empty());
        let all = held().all(|text| text.parse::<f64>().is_ok()) && held().next().is_some();
        let numbers = all.then(|| texts.iter().map(|text| text.parse().ok()).collect());
        let role = match name.strip_prefix(PARAMETER) {
            Some(_) => "parameter",
            None if at > last_parameter && numbers.is_some() => "metric",
            None => "trial",
        };
        let name = name.strip_prefix(PARAMETER).unwrap_or(name).to_owned();
        Column { name, role, texts, numbers }
    }

    fn cell(&self, row: usize) -> Value {
        match &self.numbers {
            Some(numbers) => numbers[row].map_or(Value::Null, number),
            None => json!(self.texts[row]),
        }
    }
}

/// Over the trials with a finite metric and a value of the parameter.
fn relation(parameter: &Column, metric: &Column) -> Value {
    let of = metric.numbers.as_deref().unwrap_or_default();
    let held = |row: usize| {
        let value = of[row].filter(|value| value.is_finite())?;
        (!parameter.texts[row].is_empty()).then_some((row, value))
    };
    let rows: Vec<(usize, f64)> = (0..of.len()).filter_map(held).collect();
    let metric: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
    let found = match &parameter.numbers {
        _ if rows.len() < LEAST_TRIALS => None,
        Some(numbers) => {
            let values: Vec<f64> = rows.iter().filter_map(|(row, _)| numbers[*row]).collect();
            importance::numeric(&values, &metric)
        }
        None => {
            let values: Vec<&str> =
                rows.iter().map(|(row, _)| parameter.texts[*row].as_str()).collect();
            importance::categorical(&values, &metric)
        }
    };
    let (measure, value) = match found {
        Some(Importance::Rho(value)) => ("rho", Some(value)),
        Some(Importance::Eta(value)) => ("eta", Some(value)),
        None => ("none", None),
    };
    json!({
        "parameter": parameter.name, "measure": measure, "value": value, "trials": rows.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_relations() {
        let folder = tempfile::tempdir().unwrap();
        let text = "trial,status,run,parameter_lr,parameter_loss.kind,parameter_seed,seconds,acc\n\
            1,finished,a,0.1,cosface,1,10,0.9\n2,finished,b,0.01,arcface,1,11,0.8\n\
            3,failed,c,1.0,arcface,1,,\n4,diverged,d,10,cosface,1,3,NaN\n\
            5,finished,e,0.001,cosface,1,12,0.7\n";
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let data = page_data(folder.path(), folder.path()).unwrap();
        let roles: Vec<&str> = data["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["role"].as_str().unwrap())
            .collect();
        assert_eq!(
            roles,
            ["trial", "trial", "trial", "parameter", "parameter", "parameter", "metric", "metric"]
        );
        assert_eq!(data["rows"][3][7], "NaN");
        let acc = &data["importance"][1];
        assert_eq!(acc["metric"], "acc");
        assert_eq!(
            acc["parameters"][0],
            json!({ "parameter": "lr", "measure": "rho", "value": 1.0, "trials": 3 })
        );
        // Ranks 3, 1 of cosface and 2 of arcface: the means are equal.
        assert_eq!(acc["parameters"][1]["value"], 0.0);
        assert_eq!(acc["parameters"][2]["measure"], "none");
    }

    #[test]
    fn a_table_without_parameters_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "trial,acc\n1,2\n").unwrap();
        let error = page_data(folder.path(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("no column parameter_NAME"), "{error}");
    }
}
