//! `eval-all.csv`: one row per checkpoint of a run, the best one marked.

use super::verification::Metric;
use crate::checkpoint::durable;
use crate::train::evaluation::Scored;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The metrics worth a column, where a set has them; the first decides which row is best.
const COLUMNS: [&str; 12] = [
    "accuracy",
    "auc",
    "eer",
    "recall@1",
    "recall@5",
    "recall@10",
    "map@r",
    "precision@1",
    "image_to_text/recall@1",
    "image_to_text/recall@10",
    "text_to_image/recall@1",
    "text_to_image/recall@10",
];

/// Scores of one checkpoint.
#[derive(Clone, Debug)]
pub struct Row {
    pub epoch: u64,
    /// All names of the checkpoint, by spaces.
    pub checkpoint: String,
    /// `SET/METRIC` and value, of the metrics worth a column.
    pub values: Vec<(String, f64)>,
}

impl Row {
    pub fn new(epoch: u64, checkpoint: &str, scored: &[Scored]) -> Row {
        let of_set = |Scored { set, metrics, .. }: &Scored| -> Vec<(String, f64)> {
            let worth = COLUMNS.iter().filter_map(|name| metrics.iter().find(|m| m.name == *name));
            worth.map(|Metric { name, value, .. }| (format!("{set}/{name}"), *value)).collect()
        };
        let values = scored.iter().flat_map(of_set).collect();
        Row { epoch, checkpoint: checkpoint.into(), values }
    }
}

/// Writes the rows to `path`, whole or not at all: `epoch,checkpoint,loss,SET/METRIC...,best`. The loss
/// is that of the epoch in `epochs.csv` of the run folder `run`: of the validation, else of the
/// training. The best row has the highest first value, of equal ones the earliest epoch. Returns a
/// table for people.
///
/// # Errors
/// A file that can't be written.
pub fn write(path: &Path, run: &Path, mut rows: Vec<Row>) -> Result<String> {
    rows.sort_by_key(|row| row.epoch);
    let losses = losses(&run.join("epochs.csv"))?;
    let columns: Vec<String> = rows
        .first()
        .map_or_else(Vec::new, |row| row.values.iter().map(|(name, _)| name.clone()).collect());
    let mut best: Option<(usize, f64)> = None;
    for (at, row) in rows.iter().enumerate() {
        let first = row.values.first().map(|(_, value)| *value).filter(|value| !value.is_nan());
        if let Some(value) = first.filter(|v| best.is_none_or(|(_, highest)| *v > highest)) {
            best = Some((at, value));
        }
    }
    let header = ["epoch", "checkpoint", "loss"].map(String::from).into_iter();
    let header: Vec<String> = header.chain(columns).chain(["best".to_string()]).collect();
    let mut table = vec![header];
    for (at, row) in rows.iter().enumerate() {
        let loss = losses.get(&row.epoch).map(f64::to_string).unwrap_or_default();
        let mut cells = vec![row.epoch.to_string(), row.checkpoint.clone(), loss];
        cells.extend(row.values.iter().map(|(_, value)| value.to_string()));
        cells.push(if best.is_some_and(|(b, _)| b == at) { "*".into() } else { String::new() });
        table.push(cells);
    }
    durable::write_file(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        for cells in &table {
            writer.write_record(cells)?;
        }
        writer.flush()
    })?;
    Ok(text(&table))
}

/// Columns under each other, numbers to four digits.
fn text(table: &[Vec<String>]) -> String {
    let shown = |cell: &String| match cell.contains('.').then(|| cell.parse::<f64>()) {
        Some(Ok(number)) => format!("{number:.4}"),
        _ => cell.clone(),
    };
    let cells: Vec<Vec<String>> = table.iter().map(|row| row.iter().map(shown).collect()).collect();
    let width = |column: usize| {
        cells.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
    };
    let mut text = String::new();
    for row in &cells {
        let padded: Vec<String> = (row.iter().enumerate())
            .map(|(column, cell)| format!("{cell:<0$}", width(column).unwrap_or(0)))
            .collect();
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", padded.join("  ").trim_end());
    }
    text
}

/// Epoch -> validation loss, or where there is none training loss; empty where there is no file.
fn losses(path: &Path) -> Result<BTreeMap<u64, f64>> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content.as_slice());
    let wrong = |e: csv::Error| Error::input(format!("{}: {e}", path.display()));
    let header = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| header.iter().position(|column| column == name);
    let (epoch, train, validation) = (column("epoch"), column("train_loss"), column("val_loss"));
    let mut losses = BTreeMap::new();
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        let number = |at: Option<usize>| at.and_then(|at| row.get(at)?.parse::<f64>().ok());
        let at = epoch.and_then(|at| row.get(at)?.parse().ok());
        if let (Some(epoch), Some(loss)) = (at, number(validation).or_else(|| number(train))) {
            losses.insert(epoch, loss);
        }
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Detail;

    #[test]
    fn the_best_row_is_marked_once() {
        let run = tempfile::tempdir().unwrap();
        let epochs =
            "epoch,train_loss,train_accuracy,val_loss\n1,3.5,0,\n2,2.5,0,1.25\n3,1,0,1.5\n";
        std::fs::write(run.path().join("epochs.csv"), epochs).unwrap();
        let row = |epoch, name: &str, accuracy, recall| {
            let scored = |set: &str, metrics: &[(&str, f64)]| Scored {
                epoch,
                checkpoint: name.into(),
                set: set.into(),
                metrics: metrics.iter().map(|(n, v)| Metric::new(*n, *v, None)).collect(),
                detail: Detail::Distances(Vec::new()),
            };
            let lfw = scored("lfw", &[("accuracy", accuracy), ("threshold", 1.0)]);
            Row::new(epoch, name, &[lfw, scored("r", &[("recall@1", recall)])])
        };
        let rows = vec![
            row(3, "latest", 0.75, 0.5),
            row(1, "epoch-0001", 0.5, 0.25),
            row(2, "min-loss epoch-0002", 0.75, 0.125),
        ];
        let path = run.path().join("eval-all.csv");
        let text = write(&path, run.path(), rows).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "epoch,checkpoint,loss,lfw/accuracy,r/recall@1,best\n1,epoch-0001,3.5,0.5,0.25,\n\
             2,min-loss epoch-0002,1.25,0.75,0.125,*\n3,latest,1.5,0.75,0.5,\n"
        );
        assert!(text.contains("2      min-loss epoch-0002  1.2500  0.7500"), "{text}");
    }
}
