//! An HTTP client without any manners of its own, to test the double with: no retries.

use super::Double;
use base64::Engine;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use std::time::Duration;

pub const UPSERT: &str =
    "mutation M($name: String!, $project: String, $config: JSONString, $tags: [String!]) {
    upsertBucket(input: {name: $name, modelName: $project, config: $config, tags: $tags}) {
        bucket { id name displayName project { name entity { name } } historyLineCount }
        new: inserted
    }
}";

pub struct Raw {
    runtime: tokio::runtime::Runtime,
    pub client: reqwest::Client,
    base: String,
    pub authorization: String,
}

pub type Answer = Result<(u16, HeaderMap, String), reqwest::Error>;

impl Raw {
    pub fn new(double: &Double) -> Self {
        Self::patient_for(double, Duration::from_secs(60))
    }

    /// Gives up after `patience`.
    pub fn patient_for(double: &Double, patience: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(patience);
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            client: client.build().unwrap(),
            base: double.url(),
            authorization: basic("api:secret"),
        }
    }

    pub fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Ok((status, headers, answer.text().await?))
        })
    }

    pub fn post(&self, path: &str, body: String) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base)).body(body);
        self.send(request.header(AUTHORIZATION, &self.authorization))
    }

    /// Status and answer of a query.
    pub fn query(&self, query: &str, variables: Value) -> (u16, Value) {
        let body = json!({"query": query, "variables": variables}).to_string();
        let (status, _, text) = self.post("/graphql", body).unwrap();
        (status, serde_json::from_str(&text).unwrap())
    }

    pub fn upsert(&self) -> Value {
        let config = r#"{"lr": {"value": 0.5}, "_wandb": {"value": {"t": {}}}}"#;
        let (status, answer) = self.query(
            UPSERT,
            json!({"name": "r1", "project": "faces",
            "config": config, "tags": ["a"]}),
        );
        assert_eq!(status, 200, "{answer}");
        answer["data"]["upsertBucket"].clone()
    }

    pub fn stream(&self, body: &Value) -> Answer {
        self.post("/files/tester/faces/r1/file_stream", body.to_string())
    }

    /// Status of a file_stream request with these lines of history.
    pub fn history(&self, offset: usize, lines: &[&str]) -> u16 {
        let chunk = json!({"offset": offset, "content": lines});
        self.stream(&json!({"files": {"wandb-history.jsonl": chunk}})).unwrap().0
    }
}

pub fn basic(text: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}
