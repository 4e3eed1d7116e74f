//! What a run logs to its segment: names, values, and the record that each becomes.

use super::proto::{
    self, Exit, FileItem, Files, History, Item, Kind, Output, Stats, StatsItem, Step, Summary,
    Timestamp,
};
use super::segment::SegmentWriter;
use std::collections::BTreeMap;
use std::time::Instant;

/// A value as JSON; W&B takes the bare words for what JSON has not.
pub fn json_number(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        // The shortest text that reads back the same.
        v => format!("{v:?}"),
    }
}

pub(super) fn item(name: &str, json: String) -> Item {
    Item { key: String::new(), nested: vec![name.to_owned()], json }
}

pub(super) fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The segment being written, shared by the training thread and the one that reads the machine.
#[derive(Debug)]
pub struct Log {
    writer: SegmentWriter,
    begun: Instant,
    /// Seconds of the run before this session.
    before: f64,
    /// Latest value of everything, and whether the file has it.
    summary: BTreeMap<String, (String, bool)>,
    /// A failed write ends the log: a hole would be taken for the whole.
    broken: bool,
    /// Why, until someone asked.
    failure: Option<String>,
}

impl Log {
    pub fn new(writer: SegmentWriter, before: f64) -> Log {
        Log {
            writer,
            begun: Instant::now(),
            before,
            summary: BTreeMap::new(),
            broken: false,
            failure: None,
        }
    }

    /// Seconds of the run over all sessions.
    pub fn runtime(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// Writes a record. After a failure nothing is written any more, and nothing fails: whoever asks
    /// [`Log::failure`] is told.
    pub fn write(&mut self, kind: Kind) {
        if self.broken {
            return;
        }
        if let Err(error) = self.writer.write(kind) {
            self.broken = true;
            self.failure = Some(error.to_string());
        }
    }

    /// Why the log ended too early; told once.
    pub fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// One line of the history.
    pub fn history(&mut self, step: u64, mut items: Vec<Item>, time: f64) {
        for item in &items {
            let Some(name) = item.nested.first() else { continue };
            match self.summary.get_mut(name) {
                Some(value) => *value = (item.json.clone(), false),
                None => {
                    self.summary.insert(name.clone(), (item.json.clone(), false));
                }
            }
        }
        items.push(item("_step", step.to_string()));
        items.push(item("_timestamp", json_number(time)));
        items.push(item("_runtime", json_number(self.runtime())));
        let step = Some(Step { num: step as i64 });
        self.write(Kind::History(History { item: items, step }));
    }

    /// A value that is of no step.
    pub fn set_summary(&mut self, name: &str, json: String) {
        self.summary.insert(name.to_owned(), (json, false));
    }

    /// Writes what changed of the summary: `wandb sync` knows it from such records alone.
    pub fn write_summary(&mut self) {
        let runtime = self.runtime();
        let changed = self.summary.iter_mut().filter(|(_, (_, written))| !written);
        let mut update: Vec<Item> = changed
            .map(|(name, (json, written))| {
                *written = true;
                item(name, json.clone())
            })
            .collect();
        if update.is_empty() {
            return;
        }
        let path = vec!["_wandb".to_owned(), "runtime".to_owned()];
        let json = (runtime as i64).to_string();
        update.push(Item { key: String::new(), nested: path, json });
        update.push(item("_runtime", json_number(runtime)));
        self.write(Kind::Summary(Summary { update }));
    }

    pub fn output(&mut self, stderr: bool, line: &str) {
        let timestamp = Some(Timestamp::from_seconds(now()));
        let line = format!("{line}\n");
        self.write(Kind::Output(Output { stream: i32::from(!stderr), timestamp, line }));
    }

    pub fn stats(&mut self, readings: Vec<(String, f64)>) {
        let reading = |(key, value)| StatsItem { key, json: json_number(value) };
        let item = readings.into_iter().map(reading).collect();
        let timestamp = Some(Timestamp::from_seconds(now()));
        self.write(Kind::Stats(Stats { kind: 0, timestamp, item }));
    }

    /// Names a file below the segment's `files/`.
    pub fn file(&mut self, path: &str, at_end: bool, kind: FileKind) {
        let item = FileItem { path: path.to_owned(), policy: i32::from(at_end), kind: kind as i32 };
        self.write(Kind::Files(Files { files: vec![item] }));
    }

    pub fn preempting(&mut self) {
        self.write(Kind::Preempting(proto::Empty {}));
    }

    /// The last record.
    pub fn exit(&mut self, code: u8) {
        let runtime = self.runtime() as i32;
        self.write(Kind::Exit(Exit { code: i32::from(code), runtime }));
        if let (false, Err(error)) = (self.broken, self.writer.sync()) {
            self.failure = Some(error.to_string());
        }
    }
}

/// What a file is to W&B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Other = 0,
    /// One of those that W&B itself reads.
    Wandb = 1,
    Media = 2,
}
