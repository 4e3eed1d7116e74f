//! What the double knows: runs, requests, violations of the protocol.

use super::fault::{Fault, Where};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

/// A run as the server holds it.
#[derive(Clone, Debug, Default)]
pub struct RunState {
    pub entity: String,
    pub project: String,
    /// The id that clients choose (`name` in GraphQL).
    pub id: String,
    /// The server's own id.
    pub storage_id: String,
    /// Runs are numbered from 0 in the order of their creation.
    pub created: usize,
    /// `UpsertBucket` requests applied.
    pub upserts: usize,
    /// `file_stream` requests applied.
    pub streams: usize,
    pub display_name: String,
    pub notes: Option<String>,
    pub tags: Vec<String>,
    pub group: Option<String>,
    pub job_type: Option<String>,
    pub commit: Option<String>,
    pub host: Option<String>,
    pub program: Option<String>,
    pub repo: Option<String>,
    pub state: Option<String>,
    /// As sent: `{"lr": {"value": 0.1}, "_wandb": {"value": {...}}}`.
    pub config: Map<String, Value>,
    /// Raw lines of wandb-history.jsonl, by offset.
    pub history: Vec<String>,
    pub events: Vec<String>,
    /// Lines of output.log, by offset.
    pub output: Vec<String>,
    /// From the last line of wandb-summary.json, or `summaryMetrics` of an upsert.
    pub summary: Map<String, Value>,
    pub(super) summary_lines: Vec<String>,
    /// The text that `summary` and `config` were read from, which may hold bare NaN.
    pub(super) summary_text: Option<String>,
    pub(super) config_text: Option<String>,
    /// Every `preempting` that came, in order.
    pub preempting: Vec<bool>,
    pub complete: bool,
    pub exitcode: Option<i64>,
    /// Names that `uploaded` of file_stream listed, in order.
    pub uploaded: Vec<String>,
    /// Bytes that were PUT, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl RunState {
    /// The config without its wrapping and without `_wandb`.
    pub fn plain_config(&self) -> Map<String, Value> {
        let plain = self.config.iter().filter(|(key, _)| *key != "_wandb");
        plain.map(|(key, item)| (key.clone(), item["value"].clone())).collect()
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Where,
    /// Operation or root field for GraphQL, else the path.
    pub what: String,
    /// The run's id, where the request names one.
    pub run: Option<String>,
    pub at: Instant,
    /// None: none was sent (reset, hung, or the client went).
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    /// Empty for a PUT; `RunState::files` has the bytes.
    pub body: String,
}

/// A signed URL that was handed out.
#[derive(Clone, Debug)]
pub struct Signed {
    pub run: usize,
    pub name: String,
    /// Path and query, exactly.
    pub target: String,
}

#[derive(Default)]
pub struct State {
    pub runs: Vec<RunState>,
    pub seen: Vec<Seen>,
    pub violations: Vec<String>,
    pub(super) faults: VecDeque<(Where, Fault)>,
    pub(super) key: Option<String>,
    /// None: every entity exists.
    pub(super) entities: Option<Vec<String>>,
    pub(super) stopped: bool,
    pub(super) signed: Vec<Signed>,
    /// file_stream requests in progress by path.
    pub(super) in_flight: HashMap<String, usize>,
    pub(super) base: String,
}

impl State {
    pub fn run(&self, id: &str) -> Option<&RunState> {
        self.runs.iter().find(|run| run.id == id)
    }

    pub fn count(&self, kind: Where) -> usize {
        self.seen.iter().filter(|seen| kind == Where::Any || seen.kind == kind).count()
    }

    pub(super) fn find(&self, entity: &str, project: &str, id: &str) -> Option<usize> {
        let same =
            |run: &RunState| (&*run.entity, &*run.project, &*run.id) == (entity, project, id);
        self.runs.iter().position(same)
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    pub(super) fn take_fault(&mut self, kind: Where) -> Option<Fault> {
        let due = |(place, _): &(Where, Fault)| *place == Where::Any || *place == kind;
        let at = self.faults.iter().position(due)?;
        self.faults.remove(at).map(|(_, fault)| fault)
    }
}
