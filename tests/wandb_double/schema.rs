//! GraphQL: which kind of request a query is, and what it answers.

use super::VIEWER;
use super::fault::Where;
use super::graphql::{self, Field};
use super::lenient;
use super::state::{RunState, Signed, State};
use serde_json::{Map, Value, json};

/// Status and message of a refusal.
type Refusal = (u16, String);

/// Every PUT must carry it; the value has a colon of its own.
pub const UPLOAD_HEADER: (&str, &str) = ("X-Upload-Rule", "keep:whole");

/// A GraphQL request, read but not applied.
pub struct Query {
    pub kind: Where,
    /// Root fields by name.
    pub what: String,
    pub run: Option<String>,
    fields: Vec<Field>,
}

impl Query {
    pub fn read(body: &str) -> Result<Self, String> {
        let body: Value = serde_json::from_str(body).map_err(|e| format!("not JSON: {e}"))?;
        let query = body["query"].as_str().ok_or("no `query`")?;
        let variables = match &body["variables"] {
            Value::Object(variables) => variables.clone(),
            Value::Null => Map::new(),
            _ => return Err("`variables` is not an object".into()),
        };
        let fields = graphql::parse(query, &variables)?;
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let first = fields.first().ok_or("no fields")?;
        let text = |value: &Value| value.as_str().map(String::from);
        let input = first.args.get("input").unwrap_or(&Value::Null);
        let bucket = first.fields.iter().find(|field| field.name == "bucket");
        let (kind, run) = match first.name.as_str() {
            "viewer" => (Where::Viewer, None),
            "upsertBucket" => (Where::Upsert, text(&input["name"])),
            "createRunFiles" => (Where::CreateFiles, text(&input["runName"])),
            "model" | "project" => match bucket {
                Some(bucket) => (Where::Resume, bucket.args.get("name").and_then(text)),
                None => (Where::Other, None),
            },
            _ => (Where::Other, None),
        };
        let what = text(&body["operationName"]).filter(|name| !name.is_empty());
        Ok(Self { kind, what: what.unwrap_or_else(|| names.join(" ")), run, fields })
    }

    /// Status and answer.
    pub fn apply(&self, state: &mut State) -> (u16, Value) {
        let mut data = Map::new();
        for field in &self.fields {
            let answer = resolve(state, field).and_then(|value| {
                graphql::project(&value, &field.fields).map_err(|message| {
                    state.violation(format!("{}: {message}", self.what));
                    (400, message)
                })
            });
            match answer {
                Ok(value) => data.insert(field.alias.clone(), value),
                Err((status, message)) => {
                    let errors = json!([{"message": message, "path": [field.alias]}]);
                    data.insert(field.alias.clone(), Value::Null);
                    return (status, json!({"errors": errors, "data": data}));
                }
            };
        }
        (200, json!({"data": data}))
    }
}

fn resolve(state: &mut State, field: &Field) -> Result<Value, Refusal> {
    match field.name.as_str() {
        "viewer" => Ok(json!({
            "id": "VXNlcjox", "entity": VIEWER, "username": VIEWER, "name": "A Tester",
            "email": "tester@example.org", "admin": false, "flags": "{}",
            "teams": {"edges": []},
        })),
        // Asked by the official client for a hosting that nobody here has.
        "entity" => Ok(json!({"organization": null})),
        "serverInfo" => Ok(json!({"features": []})),
        "model" | "project" => resume(state, field),
        "upsertBucket" => upsert(state, field),
        "createRunFiles" => create_files(state, field),
        other => {
            state.violation(format!("unknown GraphQL field {other} {:?}", field.args));
            Err((400, format!("Cannot query field {other}")))
        }
    }
}

/// The fields of `input`, none but `known`, with nulls left out.
fn input_of(field: &Field, known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    let Some(Value::Object(input)) = field.args.get("input") else {
        return Err((400, format!("{} needs an input object", field.name)));
    };
    if let Some(key) = input.keys().find(|key| !known.contains(&key.as_str())) {
        return Err((400, format!("Field {key} is not defined by the input of {}", field.name)));
    }
    Ok(input.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn text_of(map: &Map<String, Value>, key: &str) -> Result<Option<String>, Refusal> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err((400, format!("{key} must be a string, not {other}"))),
    }
}

fn resume(state: &State, field: &Field) -> Result<Value, Refusal> {
    let project = text_of(&field.args, "name")?.unwrap_or_else(|| "uncategorized".into());
    let entity = text_of(&field.args, "entityName")?.unwrap_or_else(|| VIEWER.into());
    let bucket = field.fields.iter().find(|field| field.name == "bucket");
    let id = bucket.map_or(Ok(None), |bucket| text_of(&bucket.args, "name"))?;
    let run = id.and_then(|id| state.find(&entity, &project, &id)).map(|at| &state.runs[at]);
    let known = state.runs.iter().any(|run| run.entity == entity && run.project == project);
    if !known {
        return Ok(Value::Null);
    }
    let mut model = project_of(&entity, &project);
    model["bucket"] = run.map_or(Value::Null, bucket_of);
    Ok(model)
}

fn project_of(entity: &str, project: &str) -> Value {
    let owner = json!({"id": format!("E:{entity}"), "name": entity});
    json!({"id": format!("P:{entity}/{project}"), "name": project, "entity": owner})
}

/// A run as GraphQL shows it; maps are JSON in a string, a tail is a list of lines in a string.
fn bucket_of(run: &RunState) -> Value {
    let tail = |lines: &[String]| json!(lines[lines.len().saturating_sub(5)..]).to_string();
    let telemetry = run.config.get("_wandb").and_then(|item| item["value"].get("t"));
    let telemetry = telemetry.map_or(json!({}), |t| json!({"t": t}));
    json!({
        "id": run.storage_id, "name": run.id, "displayName": run.display_name,
        "description": run.notes, "notes": run.notes, "tags": run.tags,
        "config": run.config_text.as_deref().unwrap_or("{}"),
        "summaryMetrics": run.summary_text.as_deref().unwrap_or("{}"),
        "wandbConfig": telemetry.to_string(), "sweepName": null, "group": run.group,
        "jobType": run.job_type, "commit": run.commit, "host": run.host, "state": run.state,
        "project": project_of(&run.entity, &run.project),
        "historyLineCount": run.history.len(), "eventsLineCount": run.events.len(),
        "logLineCount": run.output.len(),
        "historyTail": tail(&run.history), "eventsTail": tail(&run.events),
    })
}

const BUCKET_INPUT: &[&str] = &[
    "id",
    "name",
    "groupName",
    "modelName",
    "entityName",
    "description",
    "displayName",
    "notes",
    "config",
    "commit",
    "host",
    "debug",
    "jobProgram",
    "jobRepo",
    "jobType",
    "state",
    "sweep",
    "tags",
    "summaryMetrics",
    "clientMutationId",
];

fn upsert(state: &mut State, field: &Field) -> Result<Value, Refusal> {
    let input = input_of(field, BUCKET_INPUT)?;
    let text = |key: &str| text_of(&input, key);
    let entity = text("entityName")?.unwrap_or_else(|| VIEWER.into());
    let project = text("modelName")?.unwrap_or_else(|| "uncategorized".into());
    if state.entities.as_ref().is_some_and(|known| !known.contains(&entity)) {
        return Err((404, format!("entity {entity} not found during upsertBucket")));
    }
    let forbidden = |c: char| "/\\#?%:".contains(c) || c.is_control();
    for (name, what) in [(Some(&project), "project"), (text("name")?.as_ref(), "run")] {
        if let Some(name) = name
            && (name.is_empty() || name.len() > 128 || name.contains(forbidden))
        {
            return Err((400, format!("invalid {what} name {name:?}")));
        }
    }
    let config = json_of(state, &input, "config")?;
    if let Some(config) = &config {
        check_config(state, config);
    }
    let summary = json_of(state, &input, "summaryMetrics")?;
    let tags: Option<Vec<String>> = match input.get("tags") {
        None => None,
        Some(tags) => Some(serde_json::from_value(tags.clone()).map_err(|e| (400, e.to_string()))?),
    };
    let by_name = text("name")?.and_then(|id| state.find(&entity, &project, &id));
    let found = match text("id")? {
        None => by_name,
        Some(id) => {
            let found = state.runs.iter().position(|run| run.storage_id == id);
            if found.is_none() || by_name.is_some() && by_name != found {
                return Err((404, format!("no run of id {id} and this name")));
            }
            found
        }
    };
    let inserted = found.is_none();
    let at = found.unwrap_or(state.runs.len());
    if inserted {
        let id = text("name")?.unwrap_or_else(|| format!("server{at:02}"));
        let storage_id = format!("UnVuOnYxOg{at:04}");
        let display_name = format!("quiet-name-{}", at + 1);
        let run = RunState { entity, project, id, storage_id, created: at, ..Default::default() };
        state.runs.push(RunState { display_name, ..run });
    }
    let run = &mut state.runs[at];
    run.upserts += 1;
    run.complete = false;
    run.exitcode = None;
    for (place, key) in [
        (&mut run.notes, "notes"),
        (&mut run.group, "groupName"),
        (&mut run.job_type, "jobType"),
        (&mut run.commit, "commit"),
        (&mut run.host, "host"),
        (&mut run.program, "jobProgram"),
        (&mut run.repo, "jobRepo"),
        (&mut run.state, "state"),
    ] {
        *place = text_of(&input, key)?.or(place.take());
    }
    run.display_name = text_of(&input, "displayName")?.unwrap_or(run.display_name.clone());
    run.tags = tags.unwrap_or(std::mem::take(&mut run.tags));
    if let Some(config) = config {
        run.config = config;
        run.config_text = text("config")?;
    }
    if let Some(summary) = summary {
        run.summary = summary;
        run.summary_text = text("summaryMetrics")?;
    }
    Ok(json!({"bucket": bucket_of(run), "inserted": inserted}))
}

/// An object that travels as JSON in a string.
fn json_of(
    state: &mut State,
    input: &Map<String, Value>,
    key: &str,
) -> Result<Option<Map<String, Value>>, Refusal> {
    let parsed = match input.get(key) {
        None => return Ok(None),
        Some(Value::String(text)) => lenient::parse(text),
        Some(_) => Err("not a string".into()),
    };
    match parsed {
        Ok(Value::Object(map)) => Ok(Some(map)),
        other => {
            state.violation(format!("{key} of upsertBucket: {other:?}"));
            Err((400, format!("{key} must be a JSON object in a string")))
        }
    }
}

fn check_config(state: &mut State, config: &Map<String, Value>) {
    for (key, item) in config {
        if item.get("value").is_none() {
            state.violation(format!("config: {key} is not wrapped in a value"));
        }
    }
    if config.get("_wandb").is_none_or(|item| !item["value"]["t"].is_object()) {
        state.violation("config: no _wandb.value.t, so the run could not be resumed");
    }
}

fn create_files(state: &mut State, field: &Field) -> Result<Value, Refusal> {
    let input = input_of(field, &["entityName", "projectName", "runName", "files"])?;
    let [entity, project, id] = ["entityName", "projectName", "runName"].map(|key| {
        text_of(&input, key).and_then(|text| text.ok_or((400, format!("{key} is missing"))))
    });
    let names: Vec<String> =
        serde_json::from_value(input.get("files").cloned().unwrap_or_default())
            .map_err(|error| (400, format!("files: {error}")))?;
    let Some(run) = state.find(&entity?, &project?, &id?) else {
        state.violation("createRunFiles for a run that is not there");
        return Err((404, "run not found".into()));
    };
    let mut files = Vec::new();
    for name in names {
        if name.starts_with('/') || name.split('/').any(|part| part == "..") || name.is_empty() {
            return Err((400, format!("invalid file name {name:?}")));
        }
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let number = state.signed.len();
        // Signatures hold signs that a client must leave as they are.
        let target = format!("/storage/{number}/{escaped}?signature=a%2Bb%2F{number}%3D%3D&x=1");
        let url = format!("{}{target}", state.base);
        files.push(json!({"name": name, "uploadUrl": url}));
        state.signed.push(Signed { run, name, target });
    }
    let (key, value) = UPLOAD_HEADER;
    let headers = json!([format!("{key}:{value}")]);
    let storage_id = &state.runs[run].storage_id;
    Ok(json!({"runID": storage_id, "uploadHeaders": headers, "files": files}))
}
