//! The records of a `.wandb` file: the part of W&B's protobuf schema that is written and read here.
//!
//! Field numbers are those of the official client 0.31.0; a reader skips fields it does not know.

use prost::{Message, Oneof};

/// One entry of the file.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// Rises by one from 1.
    #[prost(int64, tag = "1")]
    pub num: i64,
    #[prost(oneof = "Kind", tags = "2, 3, 5, 6, 7, 12, 13, 17, 18, 21, 22, 23, 26")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    #[prost(message, tag = "2")]
    History(History),
    #[prost(message, tag = "3")]
    Summary(Summary),
    #[prost(message, tag = "5")]
    Config(Config),
    #[prost(message, tag = "6")]
    Files(Files),
    #[prost(message, tag = "7")]
    Stats(Stats),
    #[prost(message, tag = "12")]
    Metric(Metric),
    #[prost(message, tag = "13")]
    Output(Output),
    #[prost(message, tag = "17")]
    Run(Run),
    #[prost(message, tag = "18")]
    Exit(Exit),
    #[prost(message, tag = "21")]
    Header(Header),
    #[prost(message, tag = "22")]
    Footer(Empty),
    #[prost(message, tag = "23")]
    Preempting(Empty),
    #[prost(message, tag = "26")]
    Environment(Environment),
}

#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub struct Header {
    #[prost(message, optional, tag = "1")]
    pub version: Option<Version>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Version {
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The oldest official client that can read the file.
    #[prost(string, tag = "2")]
    pub min_consumer: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A value by its name: of a history, a summary, a configuration. `nested` is the path below
/// `key`, or the whole path where `key` is empty.
#[derive(Clone, PartialEq, Message)]
pub struct Item {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, repeated, tag = "2")]
    pub nested: Vec<String>,
    /// JSON, with the bare words `NaN`, `Infinity` and `-Infinity`.
    #[prost(string, tag = "16")]
    pub json: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct History {
    #[prost(message, repeated, tag = "1")]
    pub item: Vec<Item>,
    #[prost(message, optional, tag = "2")]
    pub step: Option<Step>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Step {
    #[prost(int64, tag = "1")]
    pub num: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub update: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Config {
    #[prost(message, repeated, tag = "1")]
    pub update: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Files {
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<FileItem>,
}

#[derive(Clone, PartialEq, Message)]
pub struct FileItem {
    /// Below the segment's `files/`.
    #[prost(string, tag = "1")]
    pub path: String,
    /// 0 at once, 1 at the end.
    #[prost(int32, tag = "2")]
    pub policy: i32,
    /// 0 other, 1 of W&B itself, 2 media.
    #[prost(int32, tag = "3")]
    pub kind: i32,
}

/// Readings of the machine.
#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "3")]
    pub item: Vec<StatsItem>,
}

#[derive(Clone, PartialEq, Message)]
pub struct StatsItem {
    /// Without the `system.` that it gets on the server.
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "16")]
    pub json: String,
}

/// How a metric is summarised and what it is drawn over.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub glob: String,
    #[prost(string, tag = "4")]
    pub step_metric: String,
    #[prost(message, optional, tag = "6")]
    pub options: Option<MetricOptions>,
    #[prost(message, optional, tag = "7")]
    pub summary: Option<MetricSummary>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MetricOptions {
    #[prost(bool, tag = "1")]
    pub step_sync: bool,
    #[prost(bool, tag = "2")]
    pub hidden: bool,
    #[prost(bool, tag = "3")]
    pub defined: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct MetricSummary {
    #[prost(bool, tag = "1")]
    pub min: bool,
    #[prost(bool, tag = "2")]
    pub max: bool,
}

/// What the console showed.
#[derive(Clone, PartialEq, Message)]
pub struct Output {
    /// 0 stderr, 1 stdout.
    #[prost(int32, tag = "1")]
    pub stream: i32,
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub line: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Run {
    #[prost(string, tag = "1")]
    pub run_id: String,
    #[prost(string, tag = "2")]
    pub entity: String,
    #[prost(string, tag = "3")]
    pub project: String,
    #[prost(message, optional, tag = "4")]
    pub config: Option<Config>,
    #[prost(string, tag = "6")]
    pub group: String,
    #[prost(string, tag = "7")]
    pub job_type: String,
    #[prost(string, tag = "8")]
    pub display_name: String,
    #[prost(string, tag = "9")]
    pub notes: String,
    #[prost(string, repeated, tag = "10")]
    pub tags: Vec<String>,
    #[prost(string, tag = "13")]
    pub host: String,
    /// The first step that this file can hold; 0 of a run that starts.
    #[prost(int64, tag = "14")]
    pub starting_step: i64,
    #[prost(message, optional, tag = "17")]
    pub start_time: Option<Timestamp>,
    #[prost(bool, tag = "18")]
    pub resumed: bool,
    /// Seconds of the run before this file.
    #[prost(int32, tag = "20")]
    pub runtime: i32,
    #[prost(message, optional, tag = "21")]
    pub git: Option<Git>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Git {
    #[prost(string, tag = "1")]
    pub remote_url: String,
    #[prost(string, tag = "2")]
    pub commit: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Exit {
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Seconds.
    #[prost(int32, tag = "2")]
    pub runtime: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Environment {
    #[prost(string, tag = "1")]
    pub os: String,
    #[prost(message, optional, tag = "3")]
    pub started_at: Option<Timestamp>,
    #[prost(string, repeated, tag = "5")]
    pub args: Vec<String>,
    #[prost(string, tag = "6")]
    pub program: String,
    #[prost(message, optional, tag = "9")]
    pub git: Option<Git>,
    #[prost(string, tag = "12")]
    pub host: String,
    #[prost(string, tag = "14")]
    pub executable: String,
    #[prost(uint32, tag = "16")]
    pub cpu_count: u32,
    #[prost(uint32, tag = "17")]
    pub cpu_count_logical: u32,
    #[prost(string, tag = "18")]
    pub gpu: String,
    #[prost(uint32, tag = "19")]
    pub gpu_count: u32,
    /// Tells environments of several writers of one run apart.
    #[prost(string, tag = "199")]
    pub writer_id: String,
}

impl Timestamp {
    /// From seconds since 1970.
    pub fn from_seconds(seconds: f64) -> Timestamp {
        let whole = seconds.floor();
        Timestamp { seconds: whole as i64, nanos: ((seconds - whole) * 1e9) as i32 }
    }

    pub fn to_seconds(&self) -> f64 {
        self.seconds as f64 + f64::from(self.nanos) * 1e-9
    }
}
