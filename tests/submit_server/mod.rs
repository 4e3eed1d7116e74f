//! A competition's server on 127.0.0.1: answers by a script and remembers what it was sent.

#![allow(dead_code, reason = "each test binary uses a part")]

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::io::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// One answer of the script.
#[derive(Clone)]
pub enum Act {
    /// Code, headers, body.
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The pieces of a 200, each after a pause.
    Slowly(Duration, Vec<Vec<u8>>),
    /// No answer at all.
    Hang,
    /// The connection ends without an answer.
    Close,
    /// What the authorization header said, as a 401.
    Echo,
}

pub fn say(code: u16, body: &str) -> Act {
    Act::Say(code, vec![], body.into())
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub authorization: Option<String>,
    pub key: Option<String>,
    pub content_type: Option<String>,
    pub line: String,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    script: VecDeque<Act>,
    seen: Vec<Seen>,
}

pub struct Server {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub fn start(script: impl IntoIterator<Item = Act>) -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api/submit", listener.local_addr().unwrap());
        let shared = Shared { script: script.into_iter().collect(), seen: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let (stop, mut stopped) = oneshot::channel();
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let stream = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap().0,
                        _ = &mut stopped => return,
                    };
                    let shared = served.clone();
                    let service = hyper::service::service_fn(move |request| {
                        let shared = shared.clone();
                        async move { answer(&shared, request).await }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // A client that goes away is part of the tests.
                    tokio::spawn(async move { _ = connection.await });
                }
            });
        });
        Server { url, shared, stop: Some(stop), thread: Some(thread) }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().seen.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

async fn answer(
    shared: &Mutex<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, Error> {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
    let line = format!("{} {}", request.method(), request.uri());
    let (authorization, key) = (header("authorization"), header("idempotency-key"));
    let content_type = header("content-type");
    let echo = authorization.clone().unwrap_or_default();
    let body = request.into_body().collect().await.map_err(Error::other)?.to_bytes().to_vec();
    let act = {
        let mut shared = shared.lock().unwrap();
        shared.seen.push(Seen { authorization, key, content_type, line, body });
        shared.script.pop_front().unwrap_or_else(|| say(418, "the script has ended"))
    };
    let (code, headers, pause, pieces) = match act {
        Act::Say(code, headers, body) => (code, headers, Duration::ZERO, vec![body]),
        Act::Slowly(pause, pieces) => (200, vec![], pause, pieces),
        Act::Echo => (401, vec![], Duration::ZERO, vec![format!("bad: {echo}\n").into_bytes()]),
        Act::Close => return Err(Error::other("closed")),
        Act::Hang => std::future::pending().await,
    };
    let mut response = Response::builder().status(code);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let pieces = pieces.into_iter().map(Bytes::from).collect();
    Ok(response.body(Pieces { pieces, pause, sleep: None }).unwrap())
}

/// A body in pieces, each after a pause.
struct Pieces {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.pieces.is_empty() {
            return Poll::Ready(None);
        }
        let pause = self.pause;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}
