//! What the clients of web services share: how they connect, when they repeat, what they may show.

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{ClientBuilder, Response, Url};
use std::sync::Once;
use std::time::Duration;

/// Characters of a server's words that are shown.
const SHOWN: usize = 300;

/// A client that names the program; to be finished with `build`.
pub(crate) fn client(connect_timeout: Duration) -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails where another part of the program chose first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .user_agent(concat!("arcrun/", env!("CARGO_PKG_VERSION")))
}

/// Whether it is an address of the web, with a host.
pub(crate) fn is_web_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

/// Seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        // Whoever says a century gets what is longer than any patience.
        return (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.as_second() - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(wait.max(0) as u64))
}

/// An error with its causes, which reqwest keeps apart; without the address, which may be signed.
pub(crate) fn chain(error: &reqwest::Error) -> String {
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

/// Adds an answer to `bytes` up to `longest` of them, so that memory stays bounded whatever a
/// server sends; false where there is more.
pub(crate) async fn read(
    answer: &mut Response,
    bytes: &mut Vec<u8>,
    longest: usize,
) -> Result<bool, reqwest::Error> {
    while let Some(chunk) = answer.chunk().await? {
        let room = longest - bytes.len();
        if chunk.len() > room {
            bytes.extend_from_slice(&chunk[..room]);
            return Ok(false);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(true)
}

/// A server's words as they may be shown: a proxy may repeat what it was sent, and a terminal must
/// not be told what to do.
pub(crate) fn shown(text: &str, secrets: &[String]) -> String {
    let hidden = |text: String, secret: &String| text.replace(secret, HIDDEN);
    let text = secrets.iter().fold(text.to_owned(), hidden);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

/// Stands in place of a secret.
pub(crate) const HIDDEN: &str = "[hidden]";

#[cfg(test)]
mod tests {
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
        assert_eq!(retry_after(&headers("99999999")), Some(Duration::from_secs(1_000_000)));
        assert_eq!(retry_after(&headers("NaN")), None);
        assert_eq!(retry_after(&headers("soon")), None);
        assert_eq!(retry_after(&headers("-3")), None);
    }

    #[test]
    fn words_of_a_server_are_short_and_harmless() {
        let text = format!("a\u{1b}[2Jb\nkey=secret {}", "x".repeat(400));
        let text = shown(&text, &["secret".into()]);
        assert!(text.starts_with("a [2Jb key=[hidden] xxx") && text.chars().count() == 300);
    }
}
