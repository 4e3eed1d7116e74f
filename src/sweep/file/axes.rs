//! Free-key tables of a sweep file: `set`, `grid` and `zip`, in the order of the file.

use super::tables::entry;
use super::{Axis, Statement};
use crate::config::{Context, Diagnostic, Entry, Place, Reader, Value, escape, expand, join};
use crate::sweep::condition::Condition;
use figment::value::Num;
use serde_json::Value as Json;
use std::ops::Range;

/// Values of an axis, and trials of a sweep, at most.
pub const LARGEST: usize = 1_000_000;

/// A leaf of a free-key table: the experiment's key, its path in the file, its value.
pub struct Leaf<'v> {
    pub key: String,
    pub path: String,
    pub value: &'v Value,
}

/// The leaves of a table in the order of the file; `is_leaf` ends the descent at a table.
pub fn leaves<'v>(
    context: &Context<'_>,
    table: &'v Value,
    path: &str,
    is_leaf: fn(&Value) -> bool,
) -> Option<Vec<Leaf<'v>>> {
    fn walk<'v>(
        table: &'v Value,
        key: &str,
        path: &str,
        is_leaf: fn(&Value) -> bool,
        into: &mut Vec<Leaf<'v>>,
    ) {
        for (name, value) in table.as_dict().into_iter().flatten() {
            let (key, path) = (join(key, name), join(path, name));
            match value {
                Value::Dict(..) if !is_leaf(value) => walk(value, &key, &path, is_leaf, into),
                _ => into.push(Leaf { key, path, value }),
            }
        }
    }
    if table.as_dict().is_none() {
        Reader::at(context, path).report(format!("`{path}` must be a table"), None);
        return None;
    }
    let mut found = Vec::new();
    walk(table, "", path, is_leaf, &mut found);
    found.sort_by_key(|leaf| key_span(context, &leaf.path).start);
    Some(found)
}

fn stated<'c>(context: &'c Context<'_>, path: &str) -> Option<&'c Entry> {
    context.provenance.winner(path).map(|(_, entry)| entry)
}

pub fn key_span(context: &Context<'_>, path: &str) -> Range<usize> {
    stated(context, path).map(|entry| entry.key.clone()).unwrap_or_default()
}

/// The value at a path of the file.
pub fn value_place(context: &Context<'_>, path: &str) -> Place {
    let nowhere =
        || Place { source: String::new(), text: "".into(), span: 0..0, layer: String::new() };
    context.provenance.locate(path).cloned().unwrap_or_else(nowhere)
}

/// The key at a path of the file.
pub fn key_place(context: &Context<'_>, path: &str) -> Place {
    Place { span: key_span(context, path), ..value_place(context, path) }
}

/// A value as JSON; reports what no key can take.
pub fn json(context: &Context<'_>, value: &Value, path: &str) -> Option<Json> {
    let at = Reader::at(context, path);
    match value {
        Value::Bool(_, value) => Some(Json::from(*value)),
        Value::Num(_, Num::F64(number)) => {
            let json = number.is_finite().then(|| Json::from(*number));
            if json.is_none() {
                at.report(format!("`{path}` is {number}, must be a finite number"), None);
            }
            json
        }
        Value::Num(_, number) => {
            number.to_i128().and_then(|n| i64::try_from(n).ok()).map(Json::from)
        }
        Value::String(_, text) => {
            let written = stated(context, path).and_then(|entry| entry.value.as_deref());
            if written.is_some_and(|written| !written.starts_with(['"', '\''])) {
                at.report(format!("`{path}`: no key takes a date or a time ({text})"), None);
                return None;
            }
            match expand(text, context.environment) {
                Ok(text) => Some(Json::from(escape(&text))),
                Err(variable) => {
                    let help = "set it in the environment; `$${` writes a plain `${`";
                    let message = format!("`{path}`: the variable {variable} is not defined");
                    at.report(message, Some(help.into()));
                    None
                }
            }
        }
        Value::Array(_, values) => {
            let values = values.iter().enumerate();
            let read: Vec<Option<Json>> =
                values.map(|(i, value)| json(context, value, &format!("{path}[{i}]"))).collect();
            read.into_iter().collect::<Option<Vec<Json>>>().map(Json::from)
        }
        Value::Dict(_, dict) => {
            let read: Vec<Option<(String, Json)>> = dict
                .iter()
                .map(|(name, value)| Some((name.clone(), json(context, value, &join(path, name))?)))
                .collect();
            read.into_iter().collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
        }
        _ => None,
    }
}

/// `[set]`: single keys, so that what is said of a table goes over the table that is there.
pub fn statements(context: &Context<'_>, table: &Value, path: &str) -> Option<Vec<Statement>> {
    let Some(table) = entry(table, "set") else { return Some(Vec::new()) };
    let read: Vec<Option<Statement>> = leaves(context, table, path, |_| false)?
        .into_iter()
        .map(|leaf| {
            let value = json(context, leaf.value, &leaf.path)?;
            let place = value_place(context, &leaf.path);
            let key_span = key_span(context, &leaf.path);
            Some(Statement { key: leaf.key, value, place, key_span })
        })
        .collect();
    read.into_iter().collect()
}

pub fn grid(context: &Context<'_>, table: &Value, path: &str) -> Option<Vec<Axis>> {
    match entry(table, "grid") {
        None => Some(Vec::new()),
        Some(table) => axes(context, table, path),
    }
}

/// `[zip]`, or a group for each `[[zip]]`.
pub fn zips(context: &Context<'_>, table: &Value, path: &str) -> Option<Vec<Vec<Axis>>> {
    let groups = match entry(table, "zip") {
        None => return Some(Vec::new()),
        Some(Value::Array(_, groups)) => {
            let group = |(i, group)| zip(context, group, &format!("{path}[{i}]"));
            groups.iter().enumerate().map(group).collect()
        }
        Some(table) => vec![zip(context, table, path)],
    };
    groups.into_iter().collect()
}

fn zip(context: &Context<'_>, table: &Value, path: &str) -> Option<Vec<Axis>> {
    let axes = axes(context, table, path)?;
    let lengths: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
    if lengths.iter().any(|length| *length != lengths[0]) {
        let each: Vec<String> =
            axes.iter().map(|axis| format!("`{}` has {}", axis.key, axis.values.len())).collect();
        let message = format!("`{path}`: the lists are not equally long: {}", each.join(", "));
        let help = "values go in pairs: give each list as many, or move one to [grid]".to_string();
        Reader::at(context, path).report(message, Some(help));
        return None;
    }
    Some(axes)
}

fn axes(context: &Context<'_>, table: &Value, path: &str) -> Option<Vec<Axis>> {
    let spec = |value: &Value| entry(value, "values").is_some() || entry(value, "when").is_some();
    let leaves = leaves(context, table, path, spec)?;
    if leaves.is_empty() {
        let help = Some("state an axis such as optimizer.lr = [0.1, 0.01]".into());
        Reader::at(context, path).report(format!("`{path}` is empty"), help);
        return None;
    }
    let read: Vec<Option<Axis>> = leaves.into_iter().map(|leaf| axis(context, leaf)).collect();
    read.into_iter().collect()
}

/// `[a, b]` or `{ values = [a, b], when = "condition" }`.
fn axis(context: &Context<'_>, leaf: Leaf<'_>) -> Option<Axis> {
    let Leaf { key, path, value } = leaf;
    let at = Reader::at(context, &path);
    let (list, list_path) = match value {
        Value::Dict(..) => {
            no_others(context, value, &path, &["values", "when"])?;
            (entry(value, "values"), join(&path, "values"))
        }
        other => (Some(other), path.clone()),
    };
    let when = when(context, value, &path);
    let Some(Value::Array(_, list)) = list else {
        let help = format!("write a list: {key} = [...]; a single value goes into [set]");
        at.report(format!("`{path}`: the values of an axis are a list"), Some(help));
        return None;
    };
    if list.is_empty() {
        let help = Some("give it values, or leave the axis out".to_string());
        at.report(format!("`{path}` is an axis without values"), help);
        return None;
    }
    let element = |index: usize| format!("{list_path}[{index}]");
    let values: Vec<Option<Json>> =
        list.iter().enumerate().map(|(i, value)| json(context, value, &element(i))).collect();
    let places = (0..list.len()).map(|index| value_place(context, &element(index))).collect();
    let values = values.into_iter().collect::<Option<Vec<Json>>>()?;
    Some(Axis { key, values, places, when: when?, place: key_place(context, &path) })
}

/// The `when` of a table, if it has one.
pub fn when(context: &Context<'_>, table: &Value, path: &str) -> Option<Option<Condition>> {
    let path = join(path, "when");
    match entry(table, "when") {
        None => Some(None),
        Some(Value::String(_, text)) => condition(context, text, &path).map(Some),
        Some(_) => {
            Reader::at(context, &path).report(format!("`{path}` must be a string"), None);
            None
        }
    }
}

/// Parses a condition; reports what is wrong with it.
pub fn condition(context: &Context<'_>, text: &str, path: &str) -> Option<Condition> {
    match Condition::parse(text, value_place(context, path)) {
        Ok(condition) => Some(condition),
        Err((message, help)) => {
            let place = Some(value_place(context, path));
            let message = format!("`{path}`: {message}");
            let key = path.to_string();
            context.found.borrow_mut().push(Diagnostic { message, help, key, place });
            None
        }
    }
}

/// Reports keys of a table besides those it may have.
pub fn no_others(context: &Context<'_>, table: &Value, path: &str, keys: &[&str]) -> Option<()> {
    let names = table.as_dict().into_iter().flatten().map(|(name, _)| name.as_str());
    let others: Vec<&str> = names.filter(|name| !keys.contains(name)).collect();
    for other in &others {
        let help = match crate::config::suggest(other, keys) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its keys: {}", keys.join(", ")),
        };
        let message = format!("`{path}` has no key `{other}`");
        Reader::at(context, &join(path, other)).report(message, Some(help));
    }
    others.is_empty().then_some(())
}
