//! What an answer says besides its content: whether to repeat, and why.

use reqwest::StatusCode;
use serde_json::Value;

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

#[cfg(test)]
mod tests {
    use super::super::api::Failure;
    use super::*;

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
