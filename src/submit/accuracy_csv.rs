//! `submission_accuracy.csv`: a row for every submission, whatever came of it.

use crate::record::csv_file::number;
use crate::{Error, Result};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

pub const FILE: &str = "submission_accuracy.csv";

const HEADER: &str = "epoch,accuracy,time,checkpoint,status,sha256,url";

/// One submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub epoch: u64,
    /// What the server said; None where it said nothing usable: an empty cell.
    pub accuracy: Option<f64>,
    /// Of the answer, UTC.
    pub time: String,
    pub checkpoint: String,
    /// `ok`, or what was the matter.
    pub status: String,
    /// Of what was posted.
    pub sha256: String,
    pub url: String,
}

/// Every whole row of a run, oldest first; none where there is no file. What a kill cut short or
/// someone wrote by hand is passed over.
///
/// # Errors
/// A file that can't be read or has other columns.
pub fn rows(run: &Path) -> Result<Vec<Row>> {
    let path = run.join(FILE);
    let content = content(&path)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content.as_slice());
    let mut rows = Vec::new();
    for record in reader.byte_records() {
        let record = record.map_err(|e| Error::io("read", &path, e.into()))?;
        let text = |column: usize| {
            String::from_utf8_lossy(record.get(column).unwrap_or_default()).into_owned()
        };
        let Ok(epoch) = text(0).parse() else { continue };
        if record.len() != HEADER.split(',').count() {
            continue;
        }
        rows.push(Row {
            epoch,
            accuracy: text(1).parse().ok(),
            time: text(2),
            checkpoint: text(3),
            status: text(4),
            sha256: text(5),
            url: text(6),
        });
    }
    Ok(rows)
}

/// Appends a row, with the header where the file is new: one write, synced.
///
/// # Errors
/// A file with other columns, and one that can't be written.
pub(super) fn append(run: &Path, row: &Row) -> Result<()> {
    let path = run.join(FILE);
    let old = content(&path)?;
    let mut bytes = match old.last() {
        None => format!("{HEADER}\n").into_bytes(),
        // A kill cut the last line short: the row begins on a line of its own.
        Some(last) if *last != b'\n' => b"\n".to_vec(),
        Some(_) => Vec::new(),
    };
    let Row { epoch, accuracy, time, checkpoint, status, sha256, url } = row;
    let accuracy = accuracy.map(number).unwrap_or_default();
    let mut writer = csv::Writer::from_writer(&mut bytes);
    writer
        .write_record([&epoch.to_string(), &accuracy, time, checkpoint, status, sha256, url])
        .and_then(|()| Ok(writer.flush()?))
        .map_err(|e| Error::failed(format!("cannot form a row of {}: {e}", path.display())))?;
    drop(writer);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .map_err(|e| Error::io("write", &path, e))
}

/// The file's content, empty where there is none.
fn content(path: &Path) -> Result<Vec<u8>> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let head = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match content.is_empty() || head.strip_suffix(b"\r").unwrap_or(head) == HEADER.as_bytes() {
        true => Ok(content),
        false => Err(Error::failed(format!("{} has other columns than {HEADER}", path.display()))
            .help("move it away: a new one is begun")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u64, accuracy: Option<f64>, status: &str) -> Row {
        Row {
            epoch,
            accuracy,
            time: "2026-01-02T03:04:05Z".into(),
            checkpoint: "latest".into(),
            status: status.into(),
            sha256: "ab".into(),
            url: "http://x/".into(),
        }
    }

    #[test]
    fn rows_come_back_and_a_torn_line_costs_only_itself() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        assert_eq!(rows(run).unwrap(), []);
        let written = [row(1, Some(0.5), "ok"), row(2, None, "said \"no\", twice")];
        written.iter().for_each(|row| append(run, row).unwrap());
        let path = run.join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let first = "1,0.5,2026-01-02T03:04:05Z,latest,ok,ab,http://x/\n";
        assert!(text.starts_with(&format!("{HEADER}\n{first}2,,")), "{text}");
        std::fs::write(&path, format!("{text}3,0.7,2026-")).unwrap();
        append(run, &row(4, Some(1.0), "ok")).unwrap();
        let expected = [written.as_slice(), &[row(4, Some(1.0), "ok")]].concat();
        assert_eq!(rows(run).unwrap(), expected);
    }

    #[test]
    fn a_file_of_other_columns_is_left_alone() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(FILE);
        std::fs::write(&path, "epoch,accuracy\n1,0.5\n").unwrap();
        let error = append(run.path(), &row(1, None, "ok")).unwrap_err();
        assert!(error.to_string().contains("other columns"), "{error}");
        assert!(rows(run.path()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "epoch,accuracy\n1,0.5\n");
    }
}
