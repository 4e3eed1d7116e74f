//! Posting: authorised, repeated where that helps, with the patience that is configured.

use super::Submit;
use super::answer;
use crate::http::{self, HIDDEN, chain, retry_after};
use crate::train::signals::StopFlag;
use crate::wandb::{ApiKey, Environment};
use crate::{Error, Result};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use std::time::Duration;

/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 1 << 20;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a signal is looked for.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Why a submission can be repeated.
const AGAIN: &str = "run the same command again: the server can tell by the Idempotency-Key that it \
                     is the same submission";

/// What came of a post.
pub(super) enum Reply {
    Accuracy(f64),
    /// Taken, but without an accuracy.
    Unusable(String),
    /// Refused, not reached, or to be waited for too long.
    Failed {
        why: String,
        help: String,
    },
    /// A signal came first.
    Stopped,
}

/// One attempt.
enum Attempt {
    Done(Reply),
    /// Worth repeating; after the time that the server asks for.
    Again(String, Option<Duration>),
}

/// Posts to one server.
pub struct Client {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    config: Submit,
    url: Url,
    authorization: Option<HeaderValue>,
    /// What nothing may show: the token as it is, and as JSON writes it.
    secrets: Vec<String>,
}

impl Client {
    /// # Errors
    /// `Error::Input` for what is missing: the address, the group's name, the token.
    pub fn new(config: &Submit, environment: &Environment) -> Result<Client> {
        config.complete()?;
        if config.url.is_empty() {
            return Err(Error::input("submit.url is not given")
                .help("--set submit.url=https://..., or --dry-run to write the file alone"));
        }
        let url = Url::parse(&config.url)
            .map_err(|e| Error::input(format!("submit.url is no web address: {e}")))?;
        // It is not repeated: what stands before the @ may be a password.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::input("submit.url holds a user name or a password")
                .help("leave out what stands before the @; the token comes from the environment"));
        }
        let token = token(config, environment)?;
        let mut authorization = None;
        let mut secrets = Vec::new();
        if let Some(token) = &token {
            let mut header =
                HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| {
                    let name = &config.token_env;
                    Error::input(format!("the token in {name} has characters that no header takes"))
                        .help("a token is letters, digits and signs on one line")
                })?;
            header.set_sensitive(true);
            authorization = Some(header);
            let json = serde_json::Value::from(token.reveal()).to_string();
            let json = json[1..json.len() - 1].to_owned();
            secrets = vec![token.reveal().to_owned(), json.replace('/', "\\/"), json];
        }
        let timeout = Duration::from_secs_f64(config.timeout_seconds);
        // A redirected post would become a request without a body.
        let client = http::client(timeout.min(CONNECT_TIMEOUT)).redirect(Policy::none());
        let client = client.timeout(timeout).build().map_err(|e| Error::failed(chain(&e)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::failed(format!("cannot wait for a server: {e}")))?;
        Ok(Client { client, runtime, config: config.clone(), url, authorization, secrets })
    }

    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// What is risky about the way to the server.
    pub fn warning(&self) -> Option<String> {
        let host = self.url.host_str().unwrap_or_default();
        let here = ["127.0.0.1", "[::1]", "localhost"].contains(&host);
        let open = self.authorization.is_some() && self.url.scheme() == "http" && !here;
        open.then(|| format!("the token travels to {host} unencrypted: use https:// if it can"))
    }

    pub(super) fn accuracy(&self, answer: &[u8]) -> Result<f64, String> {
        answer::accuracy(answer, &self.config.accuracy_field)
            .map_err(|why| http::shown(&why, &self.secrets))
    }

    /// Posts until it is taken, refused or given up. `keep` gets each answer without secrets: its
    /// code, its bytes, and whether that is all of it.
    pub(super) fn post(
        &self,
        body: &[u8],
        key: &str,
        tell: &dyn Fn(&str),
        stop: &StopFlag,
        keep: impl FnMut(u16, &[u8], bool),
    ) -> Reply {
        let stopped = async {
            while !stop.is_set() {
                tokio::time::sleep(STOP_POLL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                reply = self.repeat(body, key, tell, keep) => reply,
                () = stopped => Reply::Stopped,
            }
        })
    }

    async fn repeat(
        &self,
        body: &[u8],
        key: &str,
        tell: &dyn Fn(&str),
        mut keep: impl FnMut(u16, &[u8], bool),
    ) -> Reply {
        let attempts = self.config.retries + 1;
        let mut pause = Duration::from_secs_f64(self.config.backoff_seconds);
        let longest = Duration::from_secs_f64(self.config.longest_wait_seconds);
        let mut attempt = 1;
        loop {
            let (why, wanted) = match self.attempt(body, key, &mut keep).await {
                Attempt::Done(reply) => return reply,
                Attempt::Again(why, wanted) => (why, wanted),
            };
            if let Some(wait) = wanted.filter(|wait| *wait > longest) {
                let (wait, longest) = (wait.as_secs_f64(), longest.as_secs_f64());
                return Reply::Failed {
                    why: format!("{why}; the server asks to wait {wait} s"),
                    help: format!(
                        "{AGAIN} later; or raise submit.longest_wait_seconds, which is {longest}"
                    ),
                };
            }
            if attempt == attempts {
                let why = match attempts {
                    1 => format!("given up: {why}"),
                    _ => format!("given up after {attempts} attempts: {why}"),
                };
                return Reply::Failed { why, help: AGAIN.into() };
            }
            let wait = wanted.unwrap_or_else(|| pause.mul_f64(1.0 + 0.25 * rand::random::<f64>()));
            let seconds = wait.as_secs_f64();
            tell(&format!("{why} (attempt {attempt} of {attempts}); again in {seconds:.1} s"));
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE.max(pause));
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        body: &[u8],
        key: &str,
        keep: &mut impl FnMut(u16, &[u8], bool),
    ) -> Attempt {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header("Idempotency-Key", key)
            .body(body.to_vec());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Attempt::Again(chain(&error), None),
        };
        let status = answer.status();
        let mut bytes = Vec::new();
        let read = http::read(&mut answer, &mut bytes, LONGEST_ANSWER).await;
        keep(status.as_u16(), &self.hidden(&bytes), matches!(read, Ok(true)));
        let too_long = match read {
            Ok(whole) => !whole,
            Err(error) => return Attempt::Again(chain(&error), None),
        };
        if status.is_success() {
            return Attempt::Done(match self.accuracy(&bytes) {
                _ if too_long => {
                    Reply::Unusable(format!("the answer is longer than {LONGEST_ANSWER} bytes"))
                }
                Ok(accuracy) => Reply::Accuracy(accuracy),
                Err(why) => Reply::Unusable(why),
            });
        }
        let mut why = status.to_string();
        let words = http::shown(&answer::words(&bytes), &self.secrets);
        if !words.is_empty() {
            why = format!("{why}: {words}");
        }
        if status.is_redirection() {
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = http::shown(to.unwrap_or("nowhere"), &self.secrets);
            return Attempt::Done(Reply::Failed {
                why: format!("{status} to {to}"),
                help: "put the address that takes submissions into submit.url".into(),
            });
        }
        match worth_repeating(status) {
            true => Attempt::Again(why, retry_after(answer.headers())),
            false => Attempt::Done(Reply::Failed { why, help: self.remedy(status) }),
        }
    }

    fn remedy(&self, status: StatusCode) -> String {
        let name = &self.config.token_env;
        match status.as_u16() {
            401 | 403 if name.is_empty() => {
                "the server wants a token: submit.token_env names the variable that holds it".into()
            }
            401 | 403 => format!("check the token in {name}"),
            404 | 405 => "check submit.url".into(),
            _ => "check the keys of [submit] against what the server expects".into(),
        }
    }

    /// An answer without secrets, should the server repeat what it was sent.
    fn hidden(&self, bytes: &[u8]) -> Vec<u8> {
        self.secrets.iter().fold(bytes.to_vec(), |bytes, secret| {
            let secret = secret.as_bytes();
            let mut rest = bytes.as_slice();
            let mut safe = Vec::with_capacity(bytes.len());
            while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
                safe.extend_from_slice(&rest[..at]);
                safe.extend_from_slice(HIDDEN.as_bytes());
                rest = &rest[at + secret.len()..];
            }
            safe.extend_from_slice(rest);
            safe
        })
    }
}

/// The token, where one is asked for.
fn token(config: &Submit, environment: &Environment) -> Result<Option<ApiKey>> {
    let name = config.token_env.as_str();
    if name.is_empty() {
        return Ok(None);
    }
    match environment.get(name).and_then(ApiKey::new) {
        Some(token) => Ok(Some(token)),
        None => Err(Error::input(format!("the environment variable {name} is not set"))
            .help("it holds the bearer token, here or in .env; submit.token_env=\"\" sends none")),
    }
}

/// What may pass by itself; the server's other refusals don't.
fn worth_repeating(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 => true,
        501 => false,
        code => code >= 500,
    }
}
