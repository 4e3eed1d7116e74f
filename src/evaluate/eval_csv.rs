//! `eval.csv`: every number of every evaluation, one per row.

use super::verification::Metric;
use crate::{Error, Result};
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

const HEADER: &str = "epoch,checkpoint,set,metric,value,std\n";

/// Appends the rows of one evaluation: all metrics of each set, with the header where the file is
/// new. They are written with one call and synced, so that a crash leaves all or none of them
/// but for a full disk.
///
/// `checkpoint` is `latest`, `min-loss`, `untrained` (the score before training) or an epoch's.
/// Rates are fractions; `std` (ddof 0, over folds) is empty where a metric has none.
///
/// # Errors
/// A file with other columns, and a file that can't be written.
pub fn append(
    path: &Path,
    epoch: usize,
    checkpoint: &str,
    sets: &[(&str, &[Metric])],
) -> Result<()> {
    let io = |action: &'static str| move |e| Error::io(action, path, e);
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path);
    let file =
        file.as_mut().map_err(|e| Error::failed(format!("cannot open {}: {e}", path.display())))?;
    let mut head = String::new();
    file.take(HEADER.len() as u64).read_to_string(&mut head).map_err(io("read"))?;
    if !head.is_empty() && head != HEADER {
        return Err(Error::failed(format!("{} has other columns than {HEADER}", path.display())));
    }
    let mut writer = csv::Writer::from_writer(if head.is_empty() { HEADER.into() } else { vec![] });
    let mut rows = || -> csv::Result<()> {
        for (set, metrics) in sets {
            for Metric { name, value, std, unresolved: _ } in *metrics {
                let std = std.map(|std| std.to_string()).unwrap_or_default();
                writer.write_record([
                    &epoch.to_string(),
                    checkpoint,
                    set,
                    name,
                    &value.to_string(),
                    &std,
                ])?;
            }
        }
        Ok(writer.flush()?)
    };
    rows().map_err(|e| Error::failed(format!("cannot form rows of {}: {e}", path.display())))?;
    let mut rows = writer.into_inner().map_err(|e| io("write")(e.into_error()))?;
    // A last line that was cut short stays a line of its own.
    let mut last = [b'\n'];
    if !head.is_empty() {
        file.seek(SeekFrom::End(-1))
            .and_then(|_| file.read_exact(&mut last))
            .map_err(io("read"))?;
    }
    if last != [b'\n'] && !rows.is_empty() {
        rows.insert(0, b'\n');
    }
    file.write_all(&rows).and_then(|()| file.sync_data()).map_err(io("write"))
}

/// What a row of the file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// None where the cell is no number.
    pub epoch: Option<u64>,
    pub checkpoint: String,
    pub set: String,
    pub metric: String,
}

/// What every row is about, in order; empty where there is no file. A last line that a kill cut short
/// counts.
///
/// # Errors
/// A file that can't be read.
pub fn rows(path: &Path) -> Result<Vec<Row>> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content.as_slice());
    let rows = reader.byte_records().map(|row| {
        let row = row.map_err(|e| Error::io("read", path, e.into()))?;
        let text = |column: usize| {
            String::from_utf8_lossy(row.get(column).unwrap_or_default()).into_owned()
        };
        Ok(Row { epoch: text(0).parse().ok(), checkpoint: text(1), set: text(2), metric: text(3) })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_append_in_long_form() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.csv");
        let first = [Metric::new("accuracy", 0.5, Some(0.25)), Metric::new("auc", 0.75, None)];
        let second = [Metric::new("accuracy", 1.0, Some(0.0))];
        append(&path, 0, "untrained", &[("lfw", &first), ("a,b", &second)]).unwrap();
        append(&path, 3, "latest", &[("lfw", &second)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let rows = "0,untrained,lfw,accuracy,0.5,0.25\n0,untrained,lfw,auc,0.75,\n\
                    0,untrained,\"a,b\",accuracy,1,0\n3,latest,lfw,accuracy,1,0\n";
        assert_eq!(text, format!("{HEADER}{rows}"));
        let read = super::rows(&path).unwrap();
        let (checkpoint, metric) = ("untrained".into(), "accuracy".into());
        let third = Row { epoch: Some(0), checkpoint, set: "a,b".into(), metric };
        assert_eq!((read.len(), &read[2]), (4, &third));
    }

    #[test]
    fn a_line_that_was_cut_short_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.csv");
        std::fs::write(&path, format!("{HEADER}1,latest,lfw,accu")).unwrap();
        append(&path, 2, "latest", &[("lfw", &[Metric::new("auc", 0.75, None)])]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEADER}1,latest,lfw,accu\n2,latest,lfw,auc,0.75,\n"));
    }

    #[test]
    fn a_file_of_other_columns_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.csv");
        std::fs::write(&path, "epoch,accuracy\n1,0.5\n").unwrap();
        let error = append(&path, 1, "latest", &[]).unwrap_err();
        assert!(error.to_string().contains("other columns"), "{error}");
        assert!(append(folder.path(), 1, "latest", &[]).is_err(), "a folder is not a file");
    }
}
