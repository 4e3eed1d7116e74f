//! Faults that a test scripts: what goes wrong with which request.

use std::time::{Duration, SystemTime};

/// The requests that the double tells apart; `Any` and `Other` aside, one per kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// GraphQL `viewer`.
    Viewer,
    /// GraphQL `model { bucket }`.
    Resume,
    /// GraphQL `upsertBucket`.
    Upsert,
    /// `file_stream`.
    Stream,
    /// GraphQL `createRunFiles`.
    CreateFiles,
    /// PUT to a signed URL.
    Put,
    /// In a fault: every request. Never the kind of a request.
    Any,
    /// Any other request, such as a GraphQL query that only the official client makes.
    Other,
}

/// What goes wrong with one request. "Applied" says whether the state changed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An answer with this status; not applied.
    Status { code: u16, retry_after: Option<String>, body: Option<String> },
    /// The connection is reset (RST) when the request has been read; not applied.
    ResetBefore,
    /// The connection is reset when the request has been applied.
    ResetAfter,
    /// No answer until `Double::release`, then as usual; not applied before.
    HangBefore,
    /// Applied, but no answer until `Double::release`.
    HangAfter,
    /// Status 200 with a page of HTML, as a hotel's network answers; not applied.
    Garbage,
    /// Applied and answered after a while.
    Slow(Duration),
    /// Applied; the answer ends before its Content-Length.
    CutBody,
    /// Applied; the answer carries `RateLimit-Remaining` and `RateLimit-Reset` (seconds).
    RateLimit { remaining: u32, reset: u64 },
}

impl Fault {
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None, body: None }
    }

    /// With `Retry-After` in seconds.
    pub fn retry_after(code: u16, seconds: u64) -> Self {
        Self::Status { code, retry_after: Some(seconds.to_string()), body: None }
    }

    /// With `Retry-After` as a date, which has whole seconds only.
    pub fn retry_at(code: u16, at: SystemTime) -> Self {
        let at = jiff::Timestamp::try_from(at).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
        Self::Status { code, retry_after: Some(date.unwrap()), body: None }
    }

    pub fn body(code: u16, body: &str) -> Self {
        Self::Status { code, retry_after: None, body: Some(body.into()) }
    }

    /// Status 200 with nothing but a GraphQL error.
    pub fn graphql_error(message: &str) -> Self {
        let body = serde_json::json!({"errors": [{"message": message}], "data": null});
        Self::body(200, &body.to_string())
    }
}
