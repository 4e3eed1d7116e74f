//! HTTP: connections, keys, faults, and the way of a request to `stream`, `schema` and storage.

use super::fault::{Fault, Where};
use super::reply::{Reply, reply};
use super::schema::{Query, UPLOAD_HEADER};
use super::state::{Seen, State};
use super::stream;
use base64::Engine;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub enum Command {
    Down(std::sync::mpsc::Sender<()>),
    Up(std::sync::mpsc::Sender<()>),
    Stop,
}

#[derive(Default)]
pub struct Shared {
    pub state: Mutex<State>,
    pub changed: Condvar,
    pub released: watch::Sender<u64>,
}

impl Shared {
    pub fn change<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        let result = what(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }
}

/// Serves until told to stop; the body of the double's thread.
pub fn serve(
    listener: TcpListener,
    address: SocketAddr,
    mut commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let mut listener = Some(tokio::net::TcpListener::from_std(listener).unwrap());
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Down(done)) => {
                        listener = None;
                        connections.shutdown().await;
                        let _ = done.send(());
                    }
                    Some(Command::Up(done)) => {
                        let again = tokio::net::TcpListener::bind(address).await;
                        listener = Some(again.expect("the port is still free"));
                        let _ = done.send(());
                    }
                    Some(Command::Stop) | None => return,
                },
                Ok((stream, _)) = accepted => {
                    connections.spawn(converse(stream, shared.clone()));
                }
                Some(ended) = connections.join_next() => {
                    // A panic of a request is the test's failure: carry it to the thread's end.
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    });
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(move |request| {
        let shared = shared.clone();
        Box::pin(async move { answer(&shared, request).await })
    });
    let mut connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let end = std::future::poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let reset = |error: hyper::Error| error.source().is_some_and(|source| source.is::<Reset>());
    if end.is_err_and(reset) {
        let stream = connection.into_parts().io.into_inner();
        // Closing such a socket sends RST instead of FIN.
        let _ = stream.set_zero_linger();
    }
}

/// The connection shall be reset.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("reset")
    }
}

impl Error for Reset {}

/// Counts a file_stream request as in flight while it lives.
struct InFlight<'a>(&'a Shared, String);

impl<'a> InFlight<'a> {
    async fn begin(shared: &'a Shared, path: &str) -> Self {
        let busy = || shared.state.lock().unwrap().in_flight.get(path).is_some_and(|n| *n > 0);
        if busy() {
            // A client that gave up may be back before the end of its connection is noticed.
            tokio::time::sleep(Duration::from_millis(30)).await;
            if busy() {
                let what = format!("two requests in flight at once on {path}");
                shared.change(|state| state.violation(what));
            }
        }
        shared.change(|state| *state.in_flight.entry(path.into()).or_default() += 1);
        Self(shared, path.into())
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.change(|state| *state.in_flight.get_mut(&self.1).unwrap() -= 1);
    }
}

/// A request whose kind is known.
enum Asked {
    Query(Result<Query, String>),
    Stream([String; 3]),
    Put(String),
    Unknown(String),
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Reply>, Reset> {
    let at = Instant::now();
    // From now on, lest a release come between the request's being seen and its hanging.
    let mut released = shared.released.subscribe();
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_string();
    let parts: Vec<String> = path.split('/').skip(1).map(unescape).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let mut asked = match (&head.method, &parts[..]) {
        (&Method::POST, ["graphql"]) => Asked::Query(Err(String::new())),
        (&Method::POST, ["files", entity, project, id, "file_stream"]) => {
            Asked::Stream([entity, project, id].map(|part| (*part).to_string()))
        }
        (&Method::PUT, ["storage", ..]) => Asked::Put(head.uri.to_string()),
        _ => Asked::Unknown(format!("{} {path}", head.method)),
    };
    let _in_flight = match &asked {
        Asked::Stream(_) => Some(InFlight::begin(shared, &path).await),
        _ => None,
    };
    let bytes = body.collect().await.map_err(|_| Reset)?.to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (kind, what, run) = match &mut asked {
        Asked::Query(query) => {
            *query = Query::read(&text);
            match query {
                Ok(query) => (query.kind, query.what.clone(), query.run.clone()),
                Err(error) => (Where::Other, error.clone(), None),
            }
        }
        Asked::Stream([_, _, id]) => (Where::Stream, path.clone(), Some(id.clone())),
        Asked::Put(target) => (Where::Put, target.clone(), None),
        Asked::Unknown(what) => (Where::Other, what.clone(), None),
    };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(key, value)| (key.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let header = |name: &str| {
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    };
    let body = if kind == Where::Put { String::new() } else { text.clone() };
    let (index, fault, key_fits) = shared.change(|state| {
        let all = headers.clone();
        state.seen.push(Seen { kind, what, run, at, status: None, headers: all, body });
        if header("content-encoding").is_some() {
            state.violation(format!("{path}: a Content-Encoding that was not offered"));
        }
        let key_fits = kind == Where::Put || authorized(state, &path, header("authorization"));
        (state.seen.len() - 1, state.take_fault(kind), key_fits)
    });

    match &fault {
        Some(Fault::Status { code, retry_after, body }) => {
            shared.change(|state| state.seen[index].status = Some(*code));
            let body = body.clone().unwrap_or_else(|| json!({"error": "scripted"}).to_string());
            let mut reply = reply(*code, body);
            if let Some(after) = retry_after {
                reply.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            return Ok(reply);
        }
        Some(Fault::Garbage) => {
            shared.change(|state| state.seen[index].status = Some(200));
            return Ok(reply(200, "<html><body>Accept our terms</body></html>".into()));
        }
        Some(Fault::ResetBefore) => return Err(Reset),
        Some(Fault::HangBefore) => hang(&mut released).await,
        Some(Fault::Slow(while_)) => tokio::time::sleep(*while_).await,
        _ => {}
    }
    let (status, body) = shared.change(|state| {
        if !key_fits {
            let denied = json!({"message": "user is not logged in"});
            return (401, json!({"errors": [denied], "data": null}));
        }
        match &asked {
            Asked::Query(Ok(query)) => query.apply(state),
            Asked::Query(Err(error)) => {
                state.violation(format!("GraphQL: {error}: {text}"));
                (400, json!({"errors": [{"message": error}]}))
            }
            Asked::Stream(path) => stream::apply(state, path.each_ref().map(|s| s.as_str()), &text),
            Asked::Put(target) => store(state, target, &header, &bytes),
            Asked::Unknown(what) => {
                state.violation(format!("unknown request {what}"));
                (404, json!({"error": "404 page not found"}))
            }
        }
    });
    match fault {
        Some(Fault::ResetAfter) => return Err(Reset),
        Some(Fault::HangAfter) => hang(&mut released).await,
        _ => {}
    }
    shared.change(|state| state.seen[index].status = Some(status));
    let mut reply = reply(status, body.to_string());
    match fault {
        Some(Fault::CutBody) => {
            let length = reply.body().promised + 100;
            reply.headers_mut().insert("content-length", length.into());
            reply.body_mut().cut = true;
        }
        Some(Fault::RateLimit { remaining, reset }) => {
            reply.headers_mut().insert("ratelimit-remaining", remaining.into());
            reply.headers_mut().insert("ratelimit-reset", reset.into());
        }
        _ => {}
    }
    Ok(reply)
}

async fn hang(released: &mut watch::Receiver<u64>) {
    // Never an error: `Shared` holds the sender.
    let _ = released.changed().await;
}

/// A header that is missing or is no key is a violation, another key than the required is not.
fn authorized(state: &mut State, path: &str, header: Option<&str>) -> bool {
    let key = header.and_then(|header| {
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(header.strip_prefix("Basic ")?);
        String::from_utf8(bytes.ok()?).ok()?.strip_prefix("api:").map(String::from)
    });
    match key {
        Some(key) if !key.is_empty() => state.key.as_ref().is_none_or(|wanted| *wanted == key),
        _ => {
            state.violation(format!("{path}: no Authorization: Basic with api:KEY"));
            false
        }
    }
}

/// A PUT to a signed URL.
fn store<'h>(
    state: &mut State,
    target: &str,
    header: &impl Fn(&str) -> Option<&'h str>,
    bytes: &[u8],
) -> (u16, Value) {
    if header("authorization").is_some() {
        state.violation(format!("PUT {target}: the key was sent to a storage URL"));
    }
    if header(UPLOAD_HEADER.0) != Some(UPLOAD_HEADER.1) {
        state.violation(format!("PUT {target}: not the uploadHeaders that were asked for"));
    }
    if header("content-length").is_none() {
        state.violation(format!("PUT {target}: no Content-Length, which S3 refuses"));
    }
    let Some(signed) = state.signed.iter().find(|signed| signed.target == target).cloned() else {
        state.violation(format!("PUT {target}: not a URL that was signed"));
        return (403, json!({"error": "SignatureDoesNotMatch"}));
    };
    state.runs[signed.run].files.insert(signed.name, bytes.to_vec());
    (200, json!({}))
}

fn unescape(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let code = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok();
        match (first, after.get(..2).and_then(code)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
