//! Requests to W&B: authorised, repeated where that helps, paced as the server asks.

use super::answer::{parse, refuses, said};
use super::credentials::ApiKey;
use super::pace::Pace;
use super::timing::Timing;
use crate::http::{self, chain, retry_after};
use base64::Engine;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Bytes of an answer that are read: whatever a server sends, memory stays bounded.
const LONGEST_ANSWER: usize = 64 << 20;

/// Repetitions of what concerns a file.
const FILE_RETRIES: u32 = 8;
/// Bytes a second of an upload that is still worth waiting for.
const SLOWEST: u64 = 100_000;

/// Why a request was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server does not want it; repeating it would not help.
    Refused { status: Option<u16>, message: String },
    /// Repeated as long as it is worth it.
    Unreachable(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Refused { status: Some(401), .. } => {
                f.write_str("the API key is not valid (401 from the server)")
            }
            Failure::Refused { status: Some(status), message } => {
                write!(f, "{message} ({status} from the server)")
            }
            Failure::Refused { status: None, message } | Failure::Unreachable(message) => {
                f.write_str(message)
            }
        }
    }
}

type Failed = dyn Fn(&str, u32) + Send + Sync;

/// What an upload does when its requests fail.
#[derive(Default)]
pub struct Hooks {
    /// Told of each failed attempt and its reason; the repetitions so far.
    pub failed: Option<Box<Failed>>,
    /// Ends a pause between attempts.
    pub hurry: Arc<Notify>,
}

pub struct Api {
    client: Client,
    server: Url,
    authorization: Option<String>,
    /// What no message may repeat: the key, plain and as it is sent.
    secrets: Vec<String>,
    pub timing: Timing,
    pub hooks: Hooks,
    /// No request before this instant.
    not_before: Mutex<Option<Instant>>,
    /// Shared with the other runs of this machine.
    pace: Pace,
}

/// What is sent.
enum Body<'a> {
    Json(&'a [u8]),
    File(&'a Path),
}

struct Call<'a> {
    method: Method,
    url: Url,
    /// The server's own requests carry the key, those to a storage their own headers.
    headers: Option<&'a [(String, String)]>,
    body: Body<'a>,
    timeout: Duration,
    retries: u32,
    /// Codes that are repeated although they usually are not.
    also: &'a [u16],
}

enum Attempt {
    Done(Vec<u8>),
    Again(String, Option<Duration>),
    Never(Failure),
}

impl Api {
    /// # Errors
    /// An address that is none, a system without certificates.
    pub fn new(
        server: &str,
        key: Option<&ApiKey>,
        timing: Timing,
        hooks: Hooks,
    ) -> Result<Api, String> {
        let client = http::client(timing.connect_timeout).build().map_err(|e| chain(&e))?;
        let pace = Pace::new(server, &timing);
        let server = Url::parse(&format!("{server}/")).map_err(|e| format!("{server}: {e}"))?;
        let encode = |key: &ApiKey| {
            let pair = format!("api:{}", key.reveal());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        };
        let authorization = key.map(encode);
        let plain = key.map(|key| key.reveal().to_owned());
        let sent = authorization.iter().map(|text| text.trim_start_matches("Basic ").to_owned());
        let secrets = plain.into_iter().chain(sent).collect();
        Ok(Api {
            client,
            server,
            authorization,
            secrets,
            timing,
            hooks,
            not_before: Mutex::default(),
            pace,
        })
    }

    /// Why the pace is not shared with other runs, once.
    pub fn trouble(&self) -> Option<String> {
        self.pace.trouble()
    }

    /// A GraphQL request; the `data` of its answer. `also`: codes that are repeated, too.
    pub async fn graphql(
        &self,
        query: &str,
        variables: Value,
        also: &[u16],
    ) -> Result<Value, Failure> {
        self.ask(query, variables, also, self.timing.graphql_retries).await
    }

    /// The same for places of files, which are not worth waiting for as long.
    pub async fn files(&self, query: &str, variables: Value) -> Result<Value, Failure> {
        self.ask(query, variables, &[], FILE_RETRIES).await
    }

    async fn ask(
        &self,
        query: &str,
        variables: Value,
        also: &[u16],
        retries: u32,
    ) -> Result<Value, Failure> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let call = Call {
            method: Method::POST,
            url: self.at("graphql")?,
            headers: None,
            body: Body::Json(body.as_bytes()),
            timeout: self.timing.graphql_timeout,
            retries,
            also,
        };
        let answer = self
            .call(&call, |bytes| {
                serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v.is_object())
            })
            .await?;
        let mut answer: Value = serde_json::from_slice(&answer)
            .map_err(|e| Failure::Unreachable(format!("an answer that is no JSON: {e}")))?;
        let messages = |errors: &Vec<Value>| -> String {
            let messages = errors.iter().filter_map(|error| error["message"].as_str());
            messages.collect::<Vec<_>>().join("; ")
        };
        match answer["errors"].as_array().filter(|errors| !errors.is_empty()) {
            Some(errors) => {
                let message = self.safe(&messages(errors));
                Err(Failure::Refused { status: None, message })
            }
            None => Ok(answer["data"].take()),
        }
    }

    /// Sends a piece of a run to the stream at `path`.
    pub async fn stream(&self, path: &str, body: &[u8]) -> Result<Value, Failure> {
        let call = Call {
            method: Method::POST,
            url: self.at(path)?,
            headers: None,
            body: Body::Json(body),
            timeout: self.timing.stream_timeout,
            retries: u32::MAX,
            also: &[],
        };
        let answer = self.call(&call, |bytes| bytes.is_empty() || parse(bytes).is_some()).await?;
        Ok(parse(&answer).unwrap_or(Value::Null))
    }

    /// Puts a file where the server said.
    pub async fn put(
        &self,
        url: &str,
        headers: &[(String, String)],
        file: &Path,
    ) -> Result<(), Failure> {
        let size = std::fs::metadata(file).map_or(0, |data| data.len());
        // Relative addresses are the server's own.
        let url = self.server.join(url).map_err(|e| Failure::Unreachable(format!("{url}: {e}")))?;
        let call = Call {
            method: Method::PUT,
            url,
            headers: Some(headers),
            body: Body::File(file),
            timeout: self.timing.put_timeout + Duration::from_secs(size / SLOWEST),
            retries: FILE_RETRIES,
            also: &[],
        };
        // A storage says nothing, or little; a page is a portal's that stands in between.
        let page = |bytes: &[u8]| bytes.trim_ascii_start().starts_with(b"<");
        self.call(&call, |bytes| !page(bytes)).await.map(|_| ())
    }

    fn at(&self, path: &str) -> Result<Url, Failure> {
        self.server.join(path).map_err(|e| Failure::Unreachable(format!("{path}: {e}")))
    }

    /// Repeats until it is done, refused, or given up. `good` tells an answer from garbage.
    async fn call(
        &self,
        call: &Call<'_>,
        good: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, Failure> {
        let begun = Instant::now();
        let mut pause = self.timing.retry_first;
        let mut repeated = 0;
        loop {
            self.keep_pace().await;
            // A storage is another server.
            if call.headers.is_none() {
                self.pace.turn().await;
            }
            let (why, wanted) = match self.attempt(call, &good).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Never(failure) => return Err(failure),
                Attempt::Again(why, wanted) => (why, wanted),
            };
            if let Some(failed) = &self.hooks.failed {
                failed(&why, repeated);
            }
            if repeated >= call.retries || begun.elapsed() > self.timing.retry_for {
                return Err(Failure::Unreachable(why));
            }
            repeated += 1;
            match wanted {
                // The server knows how long; hurrying would only be refused again.
                Some(wanted) => {
                    if call.headers.is_none() {
                        self.pace.told_to_wait(wanted).await;
                    }
                    tokio::time::sleep(wanted).await;
                }
                None => {
                    let jitter = pause.mul_f64(0.25 * rand::random::<f64>());
                    tokio::select! {
                        () = tokio::time::sleep(pause + jitter) => {}
                        () = self.hooks.hurry.notified() => {}
                    }
                }
            }
            pause = (pause * 2).min(self.timing.retry_longest);
        }
    }

    async fn attempt(&self, call: &Call<'_>, good: &impl Fn(&[u8]) -> bool) -> Attempt {
        let mut request =
            self.client.request(call.method.clone(), call.url.clone()).timeout(call.timeout);
        match call.headers {
            None => {
                if let Some(authorization) = &self.authorization {
                    request = request.header(AUTHORIZATION, authorization);
                }
            }
            Some(headers) => {
                for (name, value) in headers {
                    request = request.header(name, value);
                }
            }
        }
        request = match call.body {
            Body::Json(bytes) => {
                request.header(CONTENT_TYPE, "application/json").body(bytes.to_vec())
            }
            Body::File(path) => match file_body(path).await {
                Ok((body, length)) => request.header("Content-Length", length).body(body),
                Err(error) => {
                    let message = format!("cannot read {}: {error}", path.display());
                    return Attempt::Never(Failure::Refused { status: None, message });
                }
            },
        };
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Attempt::Again(chain(&error), None),
        };
        let status = answer.status();
        let headers = answer.headers().clone();
        if let Some((spacing, until)) = self.heed(&headers)
            && call.headers.is_none()
        {
            self.pace.told_what_is_left(spacing, until).await;
        }
        let mut bytes = Vec::new();
        match http::read(&mut answer, &mut bytes, LONGEST_ANSWER).await {
            Ok(true) => {}
            Ok(false) => return Attempt::Again("an answer without end".into(), None),
            Err(error) => return Attempt::Again(chain(&error), None),
        }
        if status.is_success() {
            return match good(&bytes) {
                true => Attempt::Done(bytes),
                false => Attempt::Again("an answer that is not W&B's".into(), None),
            };
        }
        let again = !refuses(status) || call.also.contains(&status.as_u16());
        match again {
            true => {
                let wanted = retry_after(&headers).map(|wait| self.bounded(wait));
                Attempt::Again(format!("{status} from the server"), wanted)
            }
            false => {
                let message = self.safe(&said(status, &bytes));
                Attempt::Never(Failure::Refused { status: Some(status.as_u16()), message })
            }
        }
    }

    /// A server's words as they may be shown.
    fn safe(&self, text: &str) -> String {
        http::shown(text, &self.secrets)
    }

    /// A wait that the server asks for, within reason: its clock may be wrong.
    fn bounded(&self, wait: Duration) -> Duration {
        wait.min(self.timing.longest_wait())
    }

    /// Remembers how long the server wants to be left alone: what is left is spread over the time
    /// until there is more. That wait, and that time.
    fn heed(&self, headers: &HeaderMap) -> Option<(Duration, Duration)> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
        let (remaining, reset) = (number("RateLimit-Remaining")?, number("RateLimit-Reset")?);
        if !(remaining.is_finite() && reset.is_finite() && reset > 0.0 && remaining >= 0.0) {
            return None;
        }
        let seconds = |seconds: f64| self.bounded(Duration::from_secs_f64(seconds.min(1e6)));
        let wait = seconds(reset / (remaining + 1.0));
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = Some(Instant::now() + wait);
        Some((wait, seconds(reset)))
    }

    async fn keep_pace(&self) {
        let not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(instant) = not_before {
            tokio::time::sleep_until(instant.into()).await;
        }
    }
}

/// Streams a file, so that a checkpoint is never whole in memory.
async fn file_body(path: &Path) -> std::io::Result<(reqwest::Body, u64)> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    Ok((reqwest::Body::from(file), length))
}
