//! CSV files (RFC 4180) that are appended to, and cut back when a run goes on from a checkpoint.

use crate::checkpoint::durable;
use crate::{Error, Result};
use csv::StringRecord;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The shortest text that reads back as the same number; `NaN` and `inf` as they are.
pub fn number(value: f64) -> String {
    format!("{value:?}")
}

/// Nothing for nothing.
pub fn optional(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

/// A CSV file open for appending.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    writer: csv::Writer<File>,
    rows: u64,
}

impl Appender {
    /// Opens `path` for more rows under `header`; creates it where it is missing or empty.
    ///
    /// # Errors
    /// `Error::Input` where the file has another header: its rows would not line up.
    pub fn open(path: &Path, header: &[String]) -> Result<Appender> {
        let failed = |e| Error::io("open", path, e);
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(failed(e)),
        };
        let fresh = content.is_empty();
        let mut rows = 0;
        if !fresh {
            let mut reader = reader(&content);
            let found = reader.headers().map_err(|e| failed(e.into()))?;
            if !found.iter().eq(header) {
                return Err(Error::input(format!(
                    "{} has the columns {}; this run would write {}",
                    path.display(),
                    found.iter().collect::<Vec<_>>().join(","),
                    header.join(",")
                ))
                .help("continue with the same loss and evaluation sets, or start a new run"));
            }
            rows = reader.records().count() as u64;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let writer = csv::WriterBuilder::new().has_headers(false).from_writer(file);
        let mut appender = Appender { path: path.to_owned(), writer, rows };
        if fresh {
            appender.write(header)?;
            appender.flush()?;
            appender.rows = 0;
        }
        Ok(appender)
    }

    pub fn write(&mut self, row: &[String]) -> Result<()> {
        self.writer.write_record(row).map_err(|e| Error::io("write", &self.path, e.into()))?;
        self.rows += 1;
        Ok(())
    }

    /// Hands the rows to the operating system: they survive the end of the process.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(|e| Error::io("write", &self.path, e))
    }

    /// Hands the rows to the disk: they survive a power cut.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.writer.get_ref().sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }

    /// Rows in the file, without the header.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// The columns behind the `fixed` ones of a file that a run goes on with; none where its header was not
/// written whole yet.
///
/// # Errors
/// `Error::Input` where it begins with others.
pub fn extras(path: &Path, fixed: &[&str]) -> Result<Vec<String>> {
    let failed = |e| Error::io("read", path, e);
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let end = content.iter().position(|&byte| byte == b'\n').map_or(0, |line| line + 1);
    if end == 0 {
        return Ok(Vec::new());
    }
    let mut reader = reader(&content[..end]);
    let found = reader.headers().map_err(|e| failed(e.into()))?;
    if !found.iter().take(fixed.len()).eq(fixed.iter().copied()) {
        let found = found.iter().collect::<Vec<_>>().join(",");
        let message = format!(
            "{} has the columns {found}, where those of a run begin with {}",
            path.display(),
            fixed.join(",")
        );
        return Err(Error::input(message)
            .help("bring the file back as it was, or start a new run from a checkpoint's folder"));
    }
    Ok(found.iter().skip(fixed.len()).map(String::from).collect())
}

/// Gives every row of a file the columns of `header`, which begins with its own; those that it had not
/// are empty. All at once or not at all.
pub fn widen(path: &Path, header: &[String]) -> Result<()> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let failed = |e: csv::Error| Error::io("widen", path, e.into());
    let mut reader = reader(&content);
    let has = reader.headers().map_err(failed)?.len();
    if content.is_empty() || has >= header.len() {
        return Ok(());
    }
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    for row in reader.records() {
        let mut row = row.map_err(failed)?;
        (row.len()..header.len()).for_each(|_| row.push_field(""));
        writer.write_record(&row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::io("widen", path, e.into_error()))?;
    durable::write_file(path, |out| out.write_all(&bytes))
}

fn reader(content: &[u8]) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().flexible(true).from_reader(content)
}

/// Keeps the header and the rows up to the first that `keep` refuses, and returns how many rows
/// are left. A last line that a kill cut short is dropped. A missing file has none.
pub fn truncate_after(path: &Path, mut keep: impl FnMut(&StringRecord) -> bool) -> Result<u64> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let mut reader = reader(&content[..whole]);
    let failed = |e: csv::Error| Error::io("read", path, e.into());
    let columns = reader.headers().map_err(failed)?.len();
    let mut end = reader.position().byte() as usize;
    let mut rows = 0;
    let mut row = StringRecord::new();
    while reader.read_record(&mut row).map_err(failed)? {
        if row.len() != columns || !keep(&row) {
            break;
        }
        end = reader.position().byte() as usize;
        rows += 1;
    }
    if end < content.len() {
        durable::write_file(path, |out| out.write_all(&content[..end]))?;
    }
    Ok(rows)
}

/// Cuts a CSV file to its first `rows` rows; see [`truncate_after`].
pub fn truncate_rows(path: &Path, rows: u64) -> Result<u64> {
    let mut left = rows;
    truncate_after(path, |_| {
        let keep = left > 0;
        left = left.saturating_sub(1);
        keep
    })
}

/// Cuts a file whose rows carry a count (step or epoch) in the column `column`, after `last`.
pub fn truncate_at(path: &Path, column: usize, last: u64) -> Result<u64> {
    truncate_after(path, |row| {
        row.get(column).and_then(|text| text.parse::<u64>().ok()).is_some_and(|n| n <= last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(row: &[&str]) -> Vec<String> {
        row.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn numbers_are_short_and_exact() {
        for (value, text) in
            [(0.1, "0.1"), (1.0, "1.0"), (1e-10, "1e-10"), (1.0 / 3.0, "0.3333333333333333")]
        {
            assert_eq!(number(value), text);
            assert_eq!(text.parse::<f64>().unwrap(), value);
        }
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(optional(None), "");
    }

    #[test]
    fn rows_are_quoted_appended_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let header = strings(&["step", "name, \"quoted\""]);
        let mut file = Appender::open(&path, &header).unwrap();
        file.write(&strings(&["1", "a\nb"])).unwrap();
        file.sync().unwrap();
        drop(file);
        let mut file = Appender::open(&path, &header).unwrap();
        assert_eq!(file.rows(), 1);
        file.write(&strings(&["2", ""])).unwrap();
        assert_eq!(file.rows(), 2);
        drop(file);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "step,\"name, \"\"quoted\"\"\"\n1,\"a\nb\"\n2,\n"
        );
        let error = Appender::open(&path, &strings(&["step", "loss"])).unwrap_err();
        assert!(error.to_string().contains("step,loss"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn cut_after_a_position() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let write = |text: &str| fs::write(&path, text).unwrap();
        let text = || fs::read_to_string(&path).unwrap();

        write("step,x\n1,a\n2,\"b\nb\"\n3,c\n4,d");
        assert_eq!(truncate_at(&path, 0, 9).unwrap(), 3);
        assert_eq!(text(), "step,x\n1,a\n2,\"b\nb\"\n3,c\n");
        assert_eq!(truncate_at(&path, 0, 2).unwrap(), 2);
        assert_eq!(text(), "step,x\n1,a\n2,\"b\nb\"\n");
        assert_eq!(truncate_at(&path, 0, 0).unwrap(), 0);
        assert_eq!(text(), "step,x\n");
        // Not even the header was whole.
        write("ste");
        assert_eq!(truncate_at(&path, 0, 0).unwrap(), 0);
        assert_eq!(text(), "");
        assert_eq!(truncate_at(&folder.path().join("missing.csv"), 0, 3).unwrap(), 0);
    }
}
