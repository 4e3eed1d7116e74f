//! One file over HTTP: resumed where it was cut, repeated where that helps.

use crate::Error;
use crate::http::{self, chain, retry_after};
use crate::train::signals::StopFlag;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(60);
/// Attempts in a row that bring nothing.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 10;
/// How often a signal is looked for.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Why a file is not there whole.
#[derive(Debug)]
pub enum Failure {
    /// Not reached, or an answer that stays.
    Refused(String),
    /// The rest may come another time.
    Cut(String),
    Stopped,
    Disk(Error),
}

/// One attempt.
enum Attempt {
    Failed(Failure),
    /// Worth repeating; after the time that the server asks for.
    Again(String, Option<Duration>),
}

/// Downloads `address` to the file `part`, going on behind what it has. `tell` gets bytes so far and
/// in all.
pub fn download(
    address: &str,
    part: &Path,
    stop: &StopFlag,
    tell: &dyn Fn(u64, Option<u64>),
) -> Result<(), Failure> {
    let refused = |why: String| Failure::Refused(why);
    let url = Url::parse(address).map_err(|e| refused(format!("it is no web address: {e}")))?;
    let client = http::client(CONNECT_TIMEOUT).redirect(redirects()).read_timeout(SILENCE);
    let client = client.build().map_err(|e| refused(chain(&e)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| refused(format!("cannot wait for a server: {e}")))?;
    let stopped = async {
        while !stop.is_set() {
            tokio::time::sleep(STOP_POLL).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            ended = repeat(&client, &url, part, tell) => ended,
            () = stopped => Err(Failure::Stopped),
        }
    })
}

/// Follows redirects, but none that leaves encryption.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let from = attempt.previous().last().map(Url::scheme);
        if from == Some("https") && attempt.url().scheme() != "https" {
            return attempt.error("a redirect to an unencrypted address");
        }
        match attempt.previous().len() > REDIRECTS {
            true => attempt.error("too many redirects"),
            false => attempt.follow(),
        }
    })
}

async fn repeat(
    client: &Client,
    url: &Url,
    part: &Path,
    tell: &dyn Fn(u64, Option<u64>),
) -> Result<(), Failure> {
    let disk = |e| Failure::Disk(Error::io("write", part, e).into_input());
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(disk)?;
    let mut failed = 0;
    loop {
        let before = file.metadata().map_err(disk)?.len();
        let (why, wanted) = match attempt(client, url, &mut file, part, tell).await {
            Ok(()) => return file.sync_all().map_err(disk),
            Err(Attempt::Failed(failure)) => return Err(failure),
            Err(Attempt::Again(why, wanted)) => (why, wanted),
        };
        let after = file.metadata().map_err(disk)?.len();
        failed = if after > before { 1 } else { failed + 1 };
        if failed >= ATTEMPTS {
            return Err(Failure::Cut(why));
        }
        let pause = wanted.unwrap_or(PAUSE * 2u32.pow(failed - 1));
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
    }
}

async fn attempt(
    client: &Client,
    url: &Url,
    file: &mut File,
    part: &Path,
    tell: &dyn Fn(u64, Option<u64>),
) -> Result<(), Attempt> {
    let disk = |e| Attempt::Failed(Failure::Disk(Error::io("write", part, e).into_input()));
    let mut have = file.metadata().map_err(disk)?.len();
    let mut request = client.get(url.clone());
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut answer = request.send().await.map_err(|error| match error.is_connect() {
        // Offline: more attempts would only make one wait.
        true => Attempt::Failed(Failure::Refused(chain(&error))),
        false => Attempt::Again(chain(&error), None),
    })?;
    let status = answer.status();
    let total = match status {
        StatusCode::OK => {
            // The whole file, asked for or not.
            file.set_len(0).map_err(disk)?;
            have = 0;
            answer.content_length()
        }
        StatusCode::PARTIAL_CONTENT => {
            let Some((from, total)) = range(&answer).filter(|(from, _)| *from == have) else {
                file.set_len(0).map_err(disk)?;
                return Err(Attempt::Again("the server sent another part".into(), None));
            };
            debug_assert_eq!(from, have);
            total
        }
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
            if range(&answer).is_some_and(|(_, total)| total == Some(have)) {
                return Ok(());
            }
            file.set_len(0).map_err(disk)?;
            return Err(Attempt::Again("the server has a shorter file".into(), None));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            let wanted = retry_after(answer.headers());
            return Err(Attempt::Again(format!("the server answers {status}"), wanted));
        }
        status => {
            return Err(Attempt::Failed(Failure::Refused(format!("the server answers {status}"))));
        }
    };
    tell(have, total);
    loop {
        let chunk = answer.chunk().await.map_err(|error| Attempt::Again(chain(&error), None))?;
        let Some(chunk) = chunk else { break };
        file.write_all(&chunk).map_err(disk)?;
        have += chunk.len() as u64;
        tell(have, total);
    }
    match total {
        Some(total) if have < total => {
            Err(Attempt::Again(format!("the connection ended after {have} of {total} bytes"), None))
        }
        _ => Ok(()),
    }
}

/// `bytes 100-199/200` or `bytes */200`: the first byte (0 where there is none) and the whole length.
fn range(answer: &Response) -> Option<(u64, Option<u64>)> {
    let text = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (part, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = match part.split_once('-') {
        Some((from, _)) => from.trim().parse().ok()?,
        None => 0,
    };
    Some((from, total.trim().parse().ok()))
}
