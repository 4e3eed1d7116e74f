//! What the server has of a run: asked for before anything is sent.

use super::api::{Api, Failure};
use super::proto::Run;
use super::queries::{RESUME_STATUS, UPSERT, VIEWER};
use super::settings::Resume;
use serde_json::{Map, Value, json};

/// The run as the server knows it, and how much of it is there already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerRun {
    pub entity: String,
    pub project: String,
    pub id: String,
    pub display_name: String,
    pub history_lines: u64,
    pub events_lines: u64,
    pub output_lines: u64,
    /// `_step` of the last history line.
    pub last_step: Option<i64>,
    /// `_timestamp` of the last reading of the machine.
    pub last_event: Option<f64>,
}

/// Whom the key belongs to.
///
/// # Errors
/// A key that is not valid.
pub async fn viewer(api: &Api) -> Result<String, Failure> {
    let data = api.graphql(VIEWER, json!({}), &[]).await?;
    match data["viewer"]["entity"].as_str() {
        Some(entity) => Ok(entity.to_owned()),
        // What the real server answers to a key that it does not know.
        None => Err(Failure::Refused { status: Some(401), message: String::new() }),
    }
}

/// What the server has of `run`, in `entity`; nothing where it has no such run.
pub async fn resume_status(
    api: &Api,
    run: &Run,
    entity: &str,
) -> Result<Option<(String, ServerRun)>, Failure> {
    let variables = json!({ "project": run.project, "entity": entity, "name": run.run_id });
    let data = api.graphql(RESUME_STATUS, variables, &[]).await?;
    let bucket = &data["model"]["bucket"];
    let Some(storage_id) = bucket["id"].as_str() else { return Ok(None) };
    let count = |key: &str| bucket[key].as_u64().unwrap_or(0);
    let found = ServerRun {
        history_lines: count("historyLineCount"),
        events_lines: count("eventsLineCount"),
        output_lines: count("logLineCount"),
        last_step: last(bucket, "historyTail").and_then(|line| line["_step"].as_i64()),
        last_event: last(bucket, "eventsTail").and_then(|line| line["_timestamp"].as_f64()),
        ..ServerRun::default()
    };
    Ok(Some((storage_id.to_owned(), found)))
}

/// The last line of a tail: JSON of a list whose items are JSON again.
fn last(bucket: &Value, key: &str) -> Option<Value> {
    let tail: Vec<Value> = serde_json::from_str(bucket[key].as_str()?).ok()?;
    match tail.last()? {
        Value::String(line) => lenient(line),
        line => Some(line.clone()),
    }
}

/// A line with the bare words that JSON has not.
fn lenient(line: &str) -> Option<Value> {
    let strict = serde_json::from_str(line);
    let words = [(":NaN", ":null"), (":-Infinity", ":null"), (":Infinity", ":null")];
    let replaced = || {
        let line = line.replace(": ", ":");
        words.iter().fold(line, |line, (word, null)| line.replace(word, null))
    };
    strict.ok().or_else(|| serde_json::from_str(&replaced()).ok())
}

/// Makes or updates the run. `metrics` is the list of defined metrics.
pub async fn upsert(
    api: &Api,
    run: &Run,
    entity: &str,
    storage_id: Option<&str>,
    program: &str,
    metrics: &[Value],
) -> Result<ServerRun, Failure> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let git = run.git.clone().unwrap_or_default();
    let variables = json!({
        "id": storage_id,
        "name": run.run_id,
        "project": run.project,
        "entity": some(entity),
        "groupName": some(&run.group),
        "displayName": some(&run.display_name),
        "notes": some(&run.notes),
        "commit": some(&git.commit),
        "repo": some(&git.remote_url),
        "config": config(run, metrics).to_string(),
        "host": some(&run.host),
        "program": some(program),
        "jobType": some(&run.job_type),
        "state": "running",
        "tags": run.tags,
    });
    // This call alone is repeated at a conflict: two writers met.
    let data = api.graphql(UPSERT, variables, &[409]).await?;
    let bucket = &data["upsertBucket"]["bucket"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let missing = || Failure::Unreachable("an answer without a run".into());
    Ok(ServerRun {
        entity: text(&bucket["project"]["entity"]["name"]).ok_or_else(missing)?,
        project: text(&bucket["project"]["name"]).ok_or_else(missing)?,
        id: text(&bucket["name"]).ok_or_else(missing)?,
        display_name: text(&bucket["displayName"]).unwrap_or_default(),
        history_lines: bucket["historyLineCount"].as_u64().unwrap_or(0),
        ..ServerRun::default()
    })
}

/// Top-level keys are wrapped; what W&B itself reads stands below `_wandb`.
fn config(run: &Run, metrics: &[Value]) -> Value {
    let mut map = Map::new();
    for item in run.config.iter().flat_map(|config| &config.update) {
        let name = item.nested.first().unwrap_or(&item.key);
        let value: Value = serde_json::from_str(&item.json).unwrap_or_default();
        if name != "_wandb" {
            map.insert(name.clone(), json!({ "value": value }));
        }
    }
    // The official resume takes a run without `t` for one that never started.
    let own = json!({ "t": { "5": env!("CARGO_PKG_VERSION") }, "m": metrics });
    map.insert("_wandb".into(), json!({ "value": own }));
    Value::Object(map)
}

/// # Errors
/// Where `WANDB_RESUME` forbids what the server has.
pub fn allowed(policy: Resume, found: bool, run_id: &str) -> Result<(), Failure> {
    let message = match (policy, found) {
        (Resume::Must, false) => format!("WANDB_RESUME=must, but there is no run {run_id}"),
        (Resume::Never, true) => format!("WANDB_RESUME=never, but run {run_id} exists"),
        _ => return Ok(()),
    };
    Err(Failure::Refused { status: None, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_json_in_json() {
        let tail = r#"["{\"_step\": 1}", "{\"_step\":7,\"loss\":NaN,\"x\":-Infinity}"]"#;
        let bucket = json!({ "historyTail": tail, "eventsTail": "[]" });
        assert_eq!(last(&bucket, "historyTail").unwrap()["_step"], 7);
        assert_eq!(last(&bucket, "eventsTail"), None);
        assert_eq!(last(&bucket, "other"), None);
    }
}
