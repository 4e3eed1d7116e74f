//! Listens to spans, adds them up, and writes them as "complete events" of Chrome's trace format.

use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// How often and how long something was in something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub count: u64,
    pub time: Duration,
}

/// Sums of DEBUG spans by the names of their parents, "" where there is none, and their own.
pub type Sums = BTreeMap<(String, String), Sum>;

/// What is recorded, on its way to the file.
#[derive(Debug)]
pub struct Writer {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    out: BufWriter<File>,
    /// Not yet written.
    events: Vec<Value>,
    /// The file has an event.
    opened: bool,
    closed: bool,
    sums: Sums,
}

thread_local! {
    /// Number of the thread in the trace.
    static THREAD: Cell<Option<u64>> = const { Cell::new(None) };
}
static THREADS: AtomicU64 = AtomicU64::new(1);

impl Writer {
    pub fn new(file: File) -> Writer {
        let state = State {
            out: BufWriter::new(file),
            events: Vec::new(),
            opened: false,
            closed: false,
            sums: Sums::new(),
        };
        Writer { begun: Instant::now(), state: Mutex::new(state) }
    }

    pub fn sums(&self) -> Sums {
        self.lock().sums.clone()
    }

    /// Writes what came since the last time.
    pub fn write(&self) -> io::Result<()> {
        let mut state = self.lock();
        let State { out, events, opened, closed, .. } = &mut *state;
        if *closed {
            return Ok(());
        }
        for event in take(events) {
            // The list's closing bracket may be missing: readers of the format expect kills.
            out.write_all(if *opened { b",\n" } else { b"[\n" })?;
            *opened = true;
            serde_json::to_writer(&mut *out, &event)?;
        }
        out.flush()
    }

    /// Ends the file; what comes afterwards is dropped.
    pub fn close(&self) -> io::Result<()> {
        self.write()?;
        let mut state = self.lock();
        state.closed = true;
        let end: &[u8] = if state.opened { b"\n]\n" } else { b"[]\n" };
        state.out.write_all(end)?;
        state.out.flush()
    }

    fn add(&self, span: &Entered, ended: Instant, parent: String) {
        let took = ended.saturating_duration_since(span.begun);
        let thread = thread();
        let micro = |time: Duration| time.as_nanos() as f64 / 1e3;
        let event = json!({
            "ph": "X", "pid": std::process::id(), "tid": thread.unwrap_or_else(|new| new),
            "name": span.name, "cat": span.target,
            "ts": micro(span.begun.saturating_duration_since(self.begun)), "dur": micro(took),
            "args": span.args,
        });
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if let Err(new) = thread {
            let name = std::thread::current().name().map_or(format!("thread {new}"), String::from);
            state.events.push(json!({
                "ph": "M", "pid": std::process::id(), "tid": new, "name": "thread_name",
                "args": { "name": name },
            }));
        }
        state.events.push(event);
        if span.level == Level::DEBUG {
            let sum = state.sums.entry((parent, span.name.clone())).or_default();
            sum.count += 1;
            sum.time += took;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This thread's number; as an error where the trace does not know it yet.
fn thread() -> Result<u64, u64> {
    THREAD.with(|number| match number.get() {
        Some(number) => Ok(number),
        None => {
            let new = THREADS.fetch_add(1, Relaxed);
            number.set(Some(new));
            Err(new)
        }
    })
}

/// What the registry keeps of a span.
#[derive(Debug)]
struct Entered {
    /// The field `name`, else the span's own.
    name: String,
    target: &'static str,
    level: Level,
    args: Map<String, Value>,
    begun: Instant,
}

/// The listener.
pub struct Spans(pub Arc<Writer>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let metadata = attributes.metadata();
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let entered = Entered {
            name: fields.name.unwrap_or_else(|| metadata.name().to_string()),
            target: metadata.target(),
            level: *metadata.level(),
            args: fields.others,
            begun: Instant::now(),
        };
        span.extensions_mut().insert(entered);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(entered) = span.extensions_mut().get_mut::<Entered>() {
            entered.begun = Instant::now();
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let ended = Instant::now();
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| {
            parent.extensions().get::<Entered>().map(|entered| entered.name.clone())
        });
        if let Some(entered) = span.extensions().get::<Entered>() {
            self.0.add(entered, ended, parent.unwrap_or_default());
        }
    }
}

/// The fields of a span: `name` replaces its name, the others are arguments.
#[derive(Default)]
struct Fields {
    name: Option<String>,
    others: Map<String, Value>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name().to_string(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "name" => self.name = Some(value.to_string()),
            other => drop(self.others.insert(other.to_string(), value.into())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.others.insert(field.name().to_string(), format!("{value:?}").into());
    }
}
