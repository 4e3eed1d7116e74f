//! Results of a retrieval, posted to a competition's server.
//!
//! What is posted is on the disk before it is sent (`submissions/CHECKPOINT.json`), an answer before
//! it is understood (`submissions/CHECKPOINT.answer.txt`), and each submission is a row of
//! `submission_accuracy.csv` whatever came of it. The SHA-256 of what is posted is its
//! `Idempotency-Key`: a server that heeds it counts a repetition once. Where a kill falls between
//! the answer and the row, the next `run submit` makes up for the row instead of posting again.

mod accuracy_csv;
mod answer;
mod body;
mod client;
mod config;
mod kept;

pub use accuracy_csv::{FILE as ACCURACY_FILE, Row, rows};
pub use body::{Named, body, names};
pub use client::Client;
pub use config::Submit;

use crate::checkpoint::durable;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use client::Reply;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Folder of a run for what was posted and answered.
pub const FOLDER: &str = "submissions";

/// The results of one checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    pub epoch: u64,
    /// `latest`, `min-loss` or an epoch's name; names the files.
    pub checkpoint: &'a str,
    /// What is posted: see [`body`].
    pub body: &'a [u8],
}

/// What came of a submission that the server took.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The accuracy of the answer; now in the table.
    Scored(f64),
    /// It had been answered with this accuracy before: nothing was posted.
    Known(f64),
    /// Posted and taken, but the answer holds no accuracy: why. The row has an empty cell.
    Unusable(String),
}

/// The submissions of a run, which no other process adds to meanwhile.
#[derive(Debug)]
pub struct Submissions {
    run: PathBuf,
    _lock: File,
}

impl Submissions {
    /// # Errors
    /// Another process submits results of this run; a folder that can't be written; a
    /// `submission_accuracy.csv` with other columns.
    pub fn open(run: &Path) -> Result<Submissions> {
        let folder = run.join(FOLDER);
        let io = |action, path: &Path, e| Error::io(action, path, e).into_input();
        std::fs::create_dir_all(&folder).map_err(|e| io("make", &folder, e))?;
        let path = folder.join(".lock");
        let lock = File::create(&path).map_err(|e| io("open", &path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process submits results of {}", run.display());
                return Err(Error::input(message).help("wait for it to end or stop it"));
            }
            Err(TryLockError::Error(e)) => return Err(io("lock", &path, e)),
        }
        durable::clean(&folder)?;
        rows(run).map_err(Error::into_input)?;
        Ok(Submissions { run: run.to_owned(), _lock: lock })
    }

    fn file(&self, checkpoint: &str, ending: &str) -> PathBuf {
        self.run.join(FOLDER).join(format!("{checkpoint}.{ending}"))
    }

    /// Writes what would be posted to `CHECKPOINT.dry-run.json`, beside what was posted, and returns
    /// where.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn rehearse(&self, submission: &Submission<'_>) -> Result<PathBuf> {
        let path = self.file(submission.checkpoint, "dry-run.json");
        durable::write_file(&path, |out| out.write_all(submission.body))?;
        Ok(path)
    }

    /// Writes what is about to be posted.
    fn write(&self, submission: &Submission<'_>) -> Result<PathBuf> {
        let path = self.file(submission.checkpoint, "json");
        durable::write_file(&path, |out| out.write_all(submission.body))?;
        Ok(path)
    }

    /// Posts the results, unless the server has scored the same of this epoch before and not
    /// `force`. `tell` is told of waits, repetitions and what can't be kept.
    ///
    /// # Errors
    /// The server refuses, can't be reached or asks for too long a wait: the row is written all the
    /// same. What was answered can't be written: the message says it.
    pub fn post(
        &self,
        client: &Client,
        submission: &Submission<'_>,
        force: bool,
        tell: &dyn Fn(&str),
        stop: &StopFlag,
    ) -> Result<Outcome> {
        let Submission { epoch, checkpoint, body } = *submission;
        self.write(submission)?;
        let row = Row {
            epoch,
            accuracy: None,
            time: now(),
            checkpoint: checkpoint.to_owned(),
            status: String::new(),
            sha256: durable::sha256(body),
            url: client.url().to_owned(),
        };
        if !force && let Some(accuracy) = self.known(client, &row, tell)? {
            return Ok(Outcome::Known(accuracy));
        }
        let (mut answers_seen, mut answered) = (0, row.time.clone());
        let answers = self.file(checkpoint, "answer.txt");
        // Asked for anew, it is another submission to the server too.
        let key = match force {
            true => format!("{}-{}", row.sha256, row.time),
            false => row.sha256.clone(),
        };
        let reply = client.post(body, &key, tell, stop, |status, bytes, whole| {
            answers_seen += 1;
            answered = now();
            let entry = kept::Entry {
                time: answered.clone(),
                epoch,
                number: answers_seen,
                sha256: row.sha256.clone(),
                url: row.url.clone(),
                status,
                whole,
                body: bytes.to_vec(),
            };
            if let Err(error) = kept::append(&answers, &entry) {
                tell(&format!("the server's answer is not kept: {error}"));
            }
        });
        let (accuracy, status) = match &reply {
            Reply::Accuracy(accuracy) => (Some(*accuracy), answer::note(*accuracy)),
            Reply::Unusable(why) => (None, why.clone()),
            Reply::Failed { why, .. } => (None, why.clone()),
            Reply::Stopped => (None, "stopped by a signal".into()),
        };
        let time = if accuracy.is_some() { answered } else { now() };
        self.record(Row { accuracy, status, time, ..row })?;
        match reply {
            Reply::Accuracy(accuracy) => {
                if let Some(note) = answer::unusual(accuracy) {
                    tell(&format!("{note}: written as it came"));
                }
                Ok(Outcome::Scored(accuracy))
            }
            Reply::Unusable(why) => Ok(Outcome::Unusable(why)),
            Reply::Failed { why, help } => {
                Err(Error::failed(format!("{}: {why}", client.url())).help(help))
            }
            Reply::Stopped => Err(Error::stopped("stopped by a signal before the server answered")
                .help("run the same command again: what was posted keeps its Idempotency-Key")),
        }
    }

    /// The accuracy that the server gave to the same before. Where a kill kept it out of the table,
    /// it is in there now.
    fn known(&self, client: &Client, row: &Row, tell: &dyn Fn(&str)) -> Result<Option<f64>> {
        let same = |other: &Row| {
            (other.epoch, &other.sha256, &other.url) == (row.epoch, &row.sha256, &row.url)
        };
        let rows = rows(&self.run)?;
        if let Some(accuracy) = rows.iter().rev().filter(|r| same(r)).find_map(|r| r.accuracy) {
            return Ok(Some(accuracy));
        }
        let entries = kept::entries(&self.file(&row.checkpoint, "answer.txt"))?;
        let same = |entry: &&kept::Entry| {
            (entry.epoch, &entry.sha256, &entry.url) == (row.epoch, &row.sha256, &row.url)
                && entry.whole
                && (200..300).contains(&entry.status)
        };
        let last = entries.iter().rev().find(same);
        let Some((entry, accuracy)) =
            last.and_then(|entry| Some((entry, client.accuracy(&entry.body).ok()?)))
        else {
            return Ok(None);
        };
        tell(&format!("an answer of {} was kept but had no row: it has one now", entry.time));
        let status = answer::note(accuracy);
        let (time, accuracy) = (entry.time.clone(), Some(accuracy));
        self.record(Row { time, accuracy, status, ..row.clone() })?;
        Ok(accuracy)
    }

    /// A row that can't be written is at least said.
    fn record(&self, row: Row) -> Result<()> {
        accuracy_csv::append(&self.run, &row).map_err(|error| {
            let accuracy = row.accuracy.map(|a| format!("accuracy {a}"));
            let answer = accuracy.unwrap_or(row.status);
            let epoch = row.epoch;
            Error::failed(format!("{error}; the answer for epoch {epoch} was: {answer}"))
        })
    }
}

/// This second, in UTC.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
