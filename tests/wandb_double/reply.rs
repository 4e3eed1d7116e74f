//! Answers, whole or cut short.

use hyper::body::{Body, Bytes, Frame};
use hyper::{Response, StatusCode};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The body of an answer, which may end in the middle.
pub struct Reply {
    frames: VecDeque<Bytes>,
    pub promised: usize,
    pub cut: bool,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

pub fn reply(status: u16, body: String) -> Response<Reply> {
    let promised = body.len();
    let body = Reply { frames: [body.into()].into(), promised, cut: false, pause: None };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response.headers_mut().insert("content-length", promised.into());
    response
}

/// The end of an answer that is cut short.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(bytes) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        // What was sent shall reach the client before the connection ends.
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(30))));
        pause.as_mut().poll(context).map(|()| Some(Err(Cut)))
    }
}
