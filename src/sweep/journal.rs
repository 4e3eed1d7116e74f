//! `journal.jsonl`: what happened to the trials, appended line by line under a lock.
//!
//! A line is the CRC-32 of its JSON in eight hexadecimal digits, a space, and the JSON. A process
//! that dies while it appends leaves a torn line: readers pass over it, aloud, and the next line
//! starts on a fresh one.

use super::manifest::Sets;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub const FILE: &str = "journal.jsonl";

/// Who runs a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    pub host: String,
    pub pid: u32,
    /// The cluster's job, such as `slurm 12_3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// How an attempt at a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Finished,
    /// Stopped with a checkpoint, to go on later: by a signal, or because its runner was.
    Interrupted,
    /// Stopped with a checkpoint because others do better.
    Pruned,
    /// Its configuration or its data are wrong: exit code 2.
    Input,
    Failed,
    Diverged,
    OutOfMemory,
    /// Ended by a signal that its runner did not send.
    Killed,
    Timeout,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    /// The rest of a trial's settings.
    Proposed { trial: String, set: Sets },
    /// An attempt begins, or goes on after an interruption.
    Started { trial: String, runner: Runner },
    /// The objective after an epoch, as it was logged.
    Reported {
        trial: String,
        epoch: u64,
        #[serde(deserialize_with = "crate::record::number")]
        value: f64,
    },
    /// All its values, instead of those reported before: epoch and value, null where it is no
    /// number.
    Observed {
        trial: String,
        #[serde(deserialize_with = "values")]
        values: Vec<(u64, f64)>,
    },
    /// A pruned trial goes on.
    Promoted {
        trial: String,
        /// To its end, whatever the pruning says: the user asked.
        #[serde(default)]
        to_the_end: bool,
    },
    Ended {
        trial: String,
        outcome: Outcome,
        /// Exit code, where it exited by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// Of this session of it.
        seconds: f64,
        /// Why, in one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A failed trial may be tried again from now on.
    Retry { trial: String },
    /// The sweep was extended.
    Extended { added: usize, gone: usize },
    /// Trials were submitted to a cluster.
    Submitted {
        launcher: String,
        job: String,
        /// Index of the array's task 0 in the manifest's list, and how many tasks.
        first: usize,
        count: usize,
    },
}

/// A record and when it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// RFC 3339, UTC.
    pub time: String,
    #[serde(flatten)]
    pub record: Record,
}

/// What was new in the journal.
#[derive(Debug, Default)]
pub struct News {
    pub entries: Vec<Entry>,
    /// To be said: lines that are not whole.
    pub warnings: Vec<String>,
}

/// A sweep's journal; reading goes on where the last reading ended.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Bytes and lines read so far, up to the end of a whole line.
    read: u64,
    lines: usize,
}

impl Journal {
    /// The journal of a sweep's folder, which need not exist yet.
    pub fn of(folder: &Path) -> Journal {
        Journal { path: folder.join(FILE), read: 0, lines: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was appended since the last call, by anyone. A last line without its end is left for
    /// the next call: someone may be writing it.
    pub fn news(&mut self) -> Result<News> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(News::default()),
            Err(e) => return Err(Error::io("read", &self.path, e)),
        };
        self.read_from(&mut file).map(|(news, _)| news)
    }

    /// Reads what is new and appends what `decide` makes of it; nobody else writes in between.
    /// The appended records are returned, and count as read.
    pub fn exchange(
        &mut self,
        decide: impl FnOnce(News) -> Result<Vec<Record>>,
    ) -> Result<Vec<Entry>> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(|e| Error::io("open", &self.path, e))?;
        file.lock().map_err(|e| {
            Error::io("lock", &self.path, e).help("the file system must support flock")
        })?;
        let (news, torn) = self.read_from(&mut file)?;
        let time = jiff::Timestamp::now().to_string();
        let records = decide(news)?;
        let entries: Vec<Entry> =
            records.into_iter().map(|record| Entry { time: time.clone(), record }).collect();
        if entries.is_empty() {
            return Ok(entries);
        }
        // Nobody else writes: what has no end now was left by a process that died.
        let mut bytes = if torn > 0 { b"\n".to_vec() } else { Vec::new() };
        for entry in &entries {
            bytes.extend(line(entry));
        }
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.read += torn + bytes.len() as u64;
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        Ok(entries)
    }

    /// Appends one record.
    pub fn append(&mut self, record: Record) -> Result<()> {
        // Skipping what others wrote would lose it for this reader: it is read again.
        let mut other = Journal { path: self.path.clone(), ..*self };
        other.exchange(|_| Ok(vec![record])).map(drop)
    }

    /// What stands after the part that was read, and the bytes of a last line without its end.
    fn read_from(&mut self, file: &mut File) -> Result<(News, u64)> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(|e| Error::io("read", &self.path, e))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut news = News::default();
        for line in bytes[..end].split(|byte| *byte == b'\n') {
            match parse(line) {
                _ if line.is_empty() => continue,
                Ok(entry) => news.entries.push(entry),
                Err(why) => {
                    let (path, at) = (self.path.display(), self.lines + 1);
                    news.warnings.push(format!("{path}: line {at} is left out: {why}"));
                }
            }
            self.lines += 1;
        }
        self.read += end as u64;
        Ok((news, (bytes.len() - end) as u64))
    }
}

/// JSON has no NaN.
fn values<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(u64, f64)>, D::Error> {
    let values = Vec::<(u64, Option<f64>)>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(epoch, value)| (epoch, value.unwrap_or(f64::NAN))).collect())
}

fn line(entry: &Entry) -> Vec<u8> {
    let json = serde_json::to_string(entry).expect("string keys only");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

fn parse(line: &[u8]) -> Result<Entry, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "it is no text")?;
    let (sum, json) = text.split_once(' ').ok_or("it is torn")?;
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(json.as_bytes())) {
        return Err("it is torn or was changed: its checksum is another");
    }
    serde_json::from_str(json).map_err(|_| "it was written by a newer arcrun")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(trial: &str) -> Record {
        Record::Retry { trial: trial.into() }
    }

    fn names(news: &News) -> Vec<String> {
        let name = |entry: &Entry| match &entry.record {
            Record::Retry { trial } => trial.clone(),
            other => panic!("{other:?}"),
        };
        news.entries.iter().map(name).collect()
    }

    #[test]
    fn readers_see_what_others_append_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Journal::of(folder.path()), Journal::of(folder.path()));
        assert!(one.news().unwrap().entries.is_empty());
        one.append(retry("a")).unwrap();
        two.append(retry("b")).unwrap();
        assert_eq!(names(&one.news().unwrap()), ["a", "b"]);
        assert!(one.news().unwrap().entries.is_empty());
        let mut seen = Vec::new();
        two.exchange(|news| {
            seen = names(&news);
            Ok(vec![retry("c")])
        })
        .unwrap();
        assert_eq!(seen, ["a", "b"]);
        assert!(two.news().unwrap().entries.is_empty());
        assert_eq!(names(&one.news().unwrap()), ["c"]);
    }

    #[test]
    fn a_torn_line_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::of(folder.path());
        journal.append(retry("a")).unwrap();
        let whole = std::fs::read(journal.path()).unwrap();
        for torn in 1..whole.len() {
            let bytes = [&whole[..], &whole[..torn]].concat();
            std::fs::write(journal.path(), bytes).unwrap();
            let mut reader = Journal::of(folder.path());
            let news = reader.news().unwrap();
            assert_eq!((names(&news).len(), news.warnings.len()), (1, 0), "{torn}");
            Journal::of(folder.path()).append(retry("b")).unwrap();
            let news = reader.news().unwrap();
            // A line that lacks its end alone is whole.
            let (names, warned) = (names(&news), news.warnings.len());
            match torn == whole.len() - 1 {
                true => assert_eq!((names, warned), (vec!["a".to_string(), "b".into()], 0)),
                false => assert_eq!((names, warned), (vec!["b".to_string()], 1), "{torn}"),
            }
        }
    }

    #[test]
    fn the_writer_counts_on_after_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::of(folder.path());
        std::fs::write(journal.path(), "0123").unwrap();
        journal.exchange(|_| Ok(vec![retry("a")])).unwrap();
        assert!(journal.news().unwrap().entries.is_empty());
        journal.exchange(|_| Ok(vec![retry("b")])).unwrap();
        let news = Journal::of(folder.path()).news().unwrap();
        assert_eq!((names(&news).len(), news.warnings.len()), (2, 1));
        assert!(news.warnings[0].contains("line 1"), "{:?}", news.warnings);
    }
}
