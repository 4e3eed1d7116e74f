//! What an answer says besides its content: whether to repeat, when, and why.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;
use std::time::Duration;

/// Codes that say that the request itself is at fault.
pub(super) fn refuses(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 409 | 410 | 413 | 422 | 501)
}

/// What the server says of it: GraphQL's messages, else the code's name.
pub(super) fn said(status: StatusCode, body: &[u8]) -> String {
    let value = parse(body).unwrap_or_default();
    let message = value["errors"][0]["message"].as_str().or(value["error"].as_str());
    let name = || status.canonical_reason().unwrap_or("refused").to_lowercase();
    message.map_or_else(name, |message| message.chars().take(300).collect())
}

pub(super) fn parse(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// Seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (0.0..1e6).contains(&seconds).then(|| Duration::from_secs_f64(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.as_second() - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(wait.max(0) as u64))
}

/// An error with its causes, which reqwest keeps apart; without the address, which may be signed.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = match error.is_timeout() {
        true => "no answer in time".to_string(),
        false => "no connection".to_string(),
    };
    let mut cause = std::error::Error::source(error);
    let mut last = None;
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    if let Some(last) = last {
        text = format!("{text}: {last}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::api::Failure;
    use super::*;

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let headers = |text: &str| [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
        assert_eq!(retry_after(&headers("2")), Some(Duration::from_secs(2)));
        assert_eq!(retry_after(&headers("0.5")), Some(Duration::from_millis(500)));
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
        let date = jiff::fmt::rfc2822::to_string(&soon.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        let date = date.replace("+0000", "GMT");
        let wait = retry_after(&headers(&date)).unwrap().as_secs();
        assert!((95..=101).contains(&wait), "{date}: {wait}");
        let past = retry_after(&headers("Wed, 21 Oct 2015 07:28:00 GMT"));
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("soon")), None);
        assert_eq!(retry_after(&headers("-3")), None);
    }

    #[test]
    fn failures_in_words() {
        let refused = |status, message: &str| {
            Failure::Refused { status, message: message.into() }.to_string()
        };
        assert_eq!(refused(Some(401), "x"), "the API key is not valid (401 from the server)");
        assert_eq!(refused(Some(403), "no"), "no (403 from the server)");
        let body = br#"{"errors":[{"message":"project not found"}]}"#;
        assert_eq!(said(StatusCode::NOT_FOUND, body), "project not found");
        assert_eq!(said(StatusCode::FORBIDDEN, b"<html>"), "forbidden");
    }
}
