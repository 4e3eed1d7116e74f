//! Applies a file_stream request, noting everything that a well-behaved client would not send.

use super::lenient;
use super::state::{RunState, State};
use serde_json::{Map, Value, json};

const MIB: usize = 1 << 20;
/// The longest line, in bytes.
const LINE: usize = 10 * MIB - 100 * 1024;
/// The most that the lines of one request may come to. The official client counts the lines
/// before they are put into JSON, so that the body may be somewhat longer.
const REQUEST: usize = 10 * MIB;

/// Status and answer.
pub fn apply(state: &mut State, path: [&str; 3], body: &str) -> (u16, Value) {
    let [entity, project, id] = path;
    let Some(run) = state.find(entity, project, id) else {
        state.violation(format!("{id}: file_stream before UpsertBucket"));
        return (404, json!({"error": "run not found"}));
    };
    let mut wrong = Vec::new();
    let result = read(&mut state.runs[run], body, &mut wrong);
    state.violations.extend(wrong.into_iter().map(|wrong| format!("{id}: {wrong}")));
    match result {
        Ok(()) => (200, json!({"exitcode": null, "limits": {}, "stopped": state.stopped})),
        Err(error) => {
            state.violation(format!("{id}: {error}"));
            (400, json!({"error": error}))
        }
    }
}

/// Checks the whole request before anything is changed.
fn read(run: &mut RunState, body: &str, wrong: &mut Vec<String>) -> Result<(), String> {
    let body: Value = serde_json::from_str(body).map_err(|e| format!("body is not JSON: {e}"))?;
    let Value::Object(body) = body else { return Err("body is not an object".into()) };
    let files = match body.get("files") {
        None => Map::new(),
        Some(Value::Object(files)) => files.clone(),
        Some(_) => return Err("`files` is not an object".into()),
    };
    let mut chunks = Vec::new();
    let mut size = 0;
    for (name, chunk) in &files {
        let (offset, lines) = chunk_of(name, chunk, wrong)?;
        let held = lines_of(run, name).ok_or_else(|| format!("unknown file {name}"))?.len();
        if offset > held {
            return Err(format!("gap in {name}: offset {offset} after {held} lines"));
        }
        size += lines.iter().map(String::len).sum::<usize>();
        chunks.push((name.as_str(), offset, lines));
    }
    if size > REQUEST {
        wrong.push(format!("request of {size} bytes of lines"));
    }
    for key in body.keys() {
        if !["files", "uploaded", "preempting", "complete", "exitcode"].contains(&key.as_str()) {
            wrong.push(format!("unknown field `{key}` in the body"));
        }
    }
    let uploaded = match body.get("uploaded") {
        None => Vec::new(),
        Some(names) => serde_json::from_value::<Vec<String>>(names.clone())
            .map_err(|error| format!("`uploaded`: {error}"))?,
    };
    let preempting = flag(&body, "preempting")?;
    let complete = flag(&body, "complete")?;
    let exitcode = match body.get("exitcode") {
        None => None,
        Some(code) => Some(code.as_i64().ok_or("`exitcode` is not an integer")?),
    };
    if (complete == Some(true)) != exitcode.is_some() {
        wrong.push("`complete` and `exitcode` belong together".into());
    }
    if run.complete && complete != Some(true) {
        wrong.push("file_stream after `complete` without UpsertBucket".into());
    }
    for (name, offset, lines) in chunks {
        store(run, name, offset, lines, wrong);
    }
    for name in uploaded {
        if !run.files.contains_key(&name) {
            wrong.push(format!("`uploaded` names {name}, which was never PUT"));
        }
        run.uploaded.push(name);
    }
    run.preempting.extend(preempting);
    if complete == Some(true) {
        (run.complete, run.exitcode) = (true, exitcode);
    }
    run.streams += 1;
    Ok(())
}

fn flag(body: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match body.get(key) {
        None => Ok(None),
        Some(Value::Bool(set)) => Ok(Some(*set)),
        Some(_) => Err(format!("`{key}` is not a boolean")),
    }
}

fn chunk_of(
    name: &str,
    chunk: &Value,
    wrong: &mut Vec<String>,
) -> Result<(usize, Vec<String>), String> {
    let chunk = chunk.as_object().ok_or_else(|| format!("{name} is not an object"))?;
    let offset = chunk.get("offset").and_then(Value::as_u64);
    let offset = offset.ok_or_else(|| format!("{name} has no offset"))?;
    let lines = chunk.get("content").cloned().unwrap_or(Value::Null);
    let lines: Vec<String> =
        serde_json::from_value(lines).map_err(|error| format!("content of {name}: {error}"))?;
    for key in chunk.keys().filter(|key| *key != "offset" && *key != "content") {
        wrong.push(format!("unknown field `{key}` of {name}"));
    }
    for line in lines.iter().filter(|line| line.len() > LINE) {
        wrong.push(format!("line of {} bytes in {name}", line.len()));
    }
    Ok((usize::try_from(offset).unwrap(), lines))
}

fn lines_of<'a>(run: &'a mut RunState, name: &str) -> Option<&'a mut Vec<String>> {
    match name {
        "wandb-history.jsonl" => Some(&mut run.history),
        "wandb-events.jsonl" => Some(&mut run.events),
        "wandb-summary.json" => Some(&mut run.summary_lines),
        "output.log" => Some(&mut run.output),
        _ => None,
    }
}

fn store(
    run: &mut RunState,
    name: &str,
    offset: usize,
    lines: Vec<String>,
    wrong: &mut Vec<String>,
) {
    let end = offset + lines.len();
    // Terminal lines are rewritten by progress bars; a summary is always rewritten.
    let append_only = name.ends_with(".jsonl");
    for (at, line) in (offset..).zip(lines) {
        if name != "output.log"
            && let Err(error) = check_line(name, &line)
        {
            wrong.push(format!("line {at} of {name}: {error}"));
        }
        let held = lines_of(run, name).unwrap();
        match held.get_mut(at) {
            Some(old) => {
                if append_only && *old != line {
                    wrong.push(format!("line {at} of {name} sent again with another content"));
                }
                *old = line;
            }
            None => held.push(line),
        }
    }
    if name == "wandb-history.jsonl" {
        check_steps(&run.history, offset, end, wrong);
    }
    if name == "wandb-summary.json"
        && let Some(Ok(Value::Object(all))) = run.summary_lines.last().map(|l| lenient::parse(l))
    {
        run.summary = all;
        run.summary_text = run.summary_lines.last().cloned();
    }
}

fn check_line(name: &str, line: &str) -> Result<(), String> {
    let Value::Object(row) = lenient::parse(line)? else { return Err("no object".into()) };
    let number = |key: &str| match row.get(key) {
        Some(value) if value.is_number() => Ok(()),
        Some(value) => Err(format!("{key} is {value}")),
        None => Err(format!("no {key}")),
    };
    match name {
        "wandb-history.jsonl" => {
            row.get("_step").and_then(Value::as_u64).ok_or("no _step, or no whole number")?;
            number("_timestamp")?;
            number("_runtime")
        }
        "wandb-events.jsonl" => {
            number("_timestamp")?;
            number("_runtime")
        }
        _ => Ok(()),
    }
}

/// `_step` must rise from line to line around the lines `offset..end`.
fn check_steps(history: &[String], offset: usize, end: usize, wrong: &mut Vec<String>) {
    let step = |line: &String| lenient::parse(line).ok()?.get("_step")?.as_u64();
    let from = offset.saturating_sub(1);
    for (at, pair) in history[from..history.len().min(end + 1)].windows(2).enumerate() {
        if let (Some(one), Some(two)) = (step(&pair[0]), step(&pair[1]))
            && two <= one
        {
            let at = from + at + 1;
            wrong.push(format!("_step {two} in line {at} of history after {one}"));
        }
    }
}
