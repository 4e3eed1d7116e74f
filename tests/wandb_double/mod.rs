//! A server that speaks W&B's protocol (`POST /graphql`, `POST .../file_stream`, PUT to signed
//! URLs), keeps what it is sent, notes what a client does wrong, and fails as a test tells it to.
//! `tests/wandb_official_client.rs` holds it against the official client.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod fault;
mod graphql;
pub mod lenient;
pub mod raw;
mod reply;
mod schema;
mod server;
mod state;
mod stream;

pub use fault::{Fault, Where};
use serde_json::{Map, Value};
use server::{Command, Shared};
pub use state::{RunState, Seen, State};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Name of the user behind every key, and the entity of runs that name none.
pub const VIEWER: &str = "tester";

/// A running server; stops when dropped.
pub struct Double {
    shared: Arc<Shared>,
    address: SocketAddr,
    commands: tokio::sync::mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.change(|state| state.base = format!("http://{address}"));
        let (commands, inbox) = tokio::sync::mpsc::unbounded_channel();
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || server::serve(listener, address, inbox, theirs));
        Self { shared, address, commands, thread: Some(thread) }
    }

    /// For `WANDB_BASE_URL`; without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers 401 to every other key. Without it any key will do.
    pub fn require_key(&self, key: &str) {
        self.shared.change(|state| state.key = Some(key.into()));
    }

    /// Answers 404 to `upsertBucket` with another entity. Without it every entity exists.
    pub fn only_entities(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_string()).collect();
        self.shared.change(|state| state.entities = Some(names));
    }

    /// Queues a fault for the next `times` requests of the kind. Of the faults that fit a request
    /// it gets the one queued first.
    pub fn fault(&self, place: Where, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n((place, fault), times);
        self.shared.change(|state| state.faults.extend(faults));
    }

    pub fn faults_left(&self) -> usize {
        self.look(|state| state.faults.len())
    }

    /// Lets hanging requests go on: those of now, not those to come.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Closes every connection and the port.
    pub fn down(&self) {
        self.command(Command::Down);
    }

    /// Listens on the same port again.
    pub fn up(&self) {
        self.command(Command::Up);
    }

    /// Answers of file_stream tell the client to stop from now on.
    pub fn press_stop(&self) {
        self.shared.change(|state| state.stopped = true);
    }

    /// A copy of the run with this id.
    pub fn run(&self, id: &str) -> Option<RunState> {
        self.look(|state| state.run(id).cloned())
    }

    /// Every run, in the order of creation.
    pub fn runs(&self) -> Vec<RunState> {
        self.look(|state| state.runs.clone())
    }

    /// The run's history, where NaN and infinities are strings of that name.
    ///
    /// # Panics
    /// On a line that is no object, and when there is no such run.
    pub fn history_rows(&self, id: &str) -> Vec<Map<String, Value>> {
        rows(&self.run(id).unwrap_or_else(|| panic!("no run {id}")).history)
    }

    /// The same for wandb-events.jsonl.
    ///
    /// # Panics
    /// As `history_rows`.
    pub fn event_rows(&self, id: &str) -> Vec<Map<String, Value>> {
        rows(&self.run(id).unwrap_or_else(|| panic!("no run {id}")).events)
    }

    /// Requests of a kind (`Any`: all), in order of arrival.
    pub fn requests(&self, kind: Where) -> Vec<Seen> {
        let fits = |seen: &&Seen| kind == Where::Any || seen.kind == kind;
        self.look(|state| state.seen.iter().filter(fits).cloned().collect())
    }

    pub fn count(&self, kind: Where) -> usize {
        self.look(|state| state.count(kind))
    }

    /// When requests of a kind arrived.
    pub fn times(&self, kind: Where) -> Vec<Instant> {
        self.requests(kind).iter().map(|seen| seen.at).collect()
    }

    pub fn violations(&self) -> Vec<String> {
        self.look(|state| state.violations.clone())
    }

    /// # Panics
    /// When the client broke the protocol.
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "protocol violations: {violations:#?}");
    }

    pub fn look<T>(&self, what: impl FnOnce(&State) -> T) -> T {
        what(&self.shared.state.lock().unwrap())
    }

    /// Waits for a state; false when it did not come in time.
    pub fn wait_until(&self, timeout: Duration, mut done: impl FnMut(&State) -> bool) -> bool {
        let state = self.shared.state.lock().unwrap();
        let waited =
            self.shared.changed.wait_timeout_while(state, timeout, |state| !done(state)).unwrap();
        !waited.1.timed_out()
    }

    fn command(&self, make: impl FnOnce(std::sync::mpsc::Sender<()>) -> Command) {
        let (done, wait) = std::sync::mpsc::channel();
        assert!(self.commands.send(make(done)).is_ok(), "the double's thread has ended");
        wait.recv().expect("the double's thread answers");
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let ended = self.thread.take().map(JoinHandle::join);
        // A panic in the server is a bug of the double and must not pass unseen.
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the double's thread panicked");
        }
    }
}

fn rows(lines: &[String]) -> Vec<Map<String, Value>> {
    let row = |line: &String| match lenient::parse(line) {
        Ok(Value::Object(row)) => row,
        other => panic!("{line}: {other:?}"),
    };
    lines.iter().map(row).collect()
}
