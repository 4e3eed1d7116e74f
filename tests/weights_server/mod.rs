//! A server of files on 127.0.0.1 that knows ranges, and cuts or refuses as a test asks it to.

#![allow(dead_code, reason = "each test binary uses a part")]

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, VecDeque};
use std::io::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// What happens to the next answer.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// After so many bytes of the body the connection ends.
    Cut(usize),
    /// The answer is this code.
    Code(u16),
    /// The range is ignored: the whole file, as a 200.
    Whole,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    script: VecDeque<Act>,
    /// Path and range of each request.
    seen: Vec<(String, Option<String>)>,
}

pub struct Server {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Serves files below `/weights/`; what the script does not say is answered well.
    pub fn start(files: &[(&str, &[u8])], script: &[Act]) -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/weights", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| (format!("/weights/{name}"), bytes.to_vec()));
        let shared = Shared {
            files: files.collect(),
            script: script.iter().copied().collect(),
            seen: vec![],
        };
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
                        let answer = answer(&shared, &request);
                        async move { Ok::<_, Error>(answer) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // A connection that is cut is part of the tests.
                    tokio::spawn(async move { _ = connection.await });
                }
            });
        });
        Server { url, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The range of each request so far.
    pub fn ranges(&self) -> Vec<Option<String>> {
        self.shared.lock().unwrap().seen.iter().map(|(_, range)| range.clone()).collect()
    }

    pub fn paths(&self) -> Vec<String> {
        self.shared.lock().unwrap().seen.iter().map(|(path, _)| path.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn answer(shared: &Mutex<Shared>, request: &Request<Incoming>) -> Response<Piece> {
    let path = request.uri().path().to_owned();
    let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
    let mut shared = shared.lock().unwrap();
    shared.seen.push((path.clone(), range.clone()));
    let act = shared.script.pop_front();
    let response = Response::builder();
    let empty = || Piece { bytes: None, pause: None };
    if let Some(Act::Code(code)) = act {
        return response.status(code).body(empty()).unwrap();
    }
    let Some(file) = shared.files.get(&path) else {
        return response.status(404).body(empty()).unwrap();
    };
    let from = range.filter(|_| !matches!(act, Some(Act::Whole))).map(|range| {
        let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        from.unwrap().parse::<usize>().unwrap()
    });
    let all = file.len();
    if from.is_some_and(|from| from >= all) {
        let response = response.status(416).header("content-range", format!("bytes */{all}"));
        return response.body(empty()).unwrap();
    }
    let part = &file[from.unwrap_or(0)..];
    let response = response.header("content-length", part.len());
    let response = match from {
        Some(from) => {
            let last = all - 1;
            response.status(206).header("content-range", format!("bytes {from}-{last}/{all}"))
        }
        None => response.status(200),
    };
    let (sent, pause) = match act {
        Some(Act::Cut(after)) => {
            let pause = Box::pin(tokio::time::sleep(Duration::from_millis(50)));
            (&part[..after.min(part.len())], Some(pause))
        }
        _ => (part, None),
    };
    response.body(Piece { bytes: Some(Bytes::copy_from_slice(sent)), pause }).unwrap()
}

/// A body that may end in the middle.
struct Piece {
    bytes: Option<Bytes>,
    /// What was sent leaves before the connection ends.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Piece {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(pause) = &mut self.pause else { return Poll::Ready(None) };
        pause.as_mut().poll(context).map(|()| Some(Err(Error::other("cut"))))
    }
}
