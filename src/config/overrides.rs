//! Settings from outside the files: `ARCRUN_SET_TRAIN__EPOCHS=3` and `--set epochs=3`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use figment::value::{Dict, Value};

use super::diagnostic::{Diagnostic, Place};
use super::layers::{merge, plain};
use super::provenance::{Entry, Layer};
use super::shape::{FamilyInfo, FullKey, Key, Shape, TableInfo, full_keys, join, kind_key};
use super::text::{list, suggest};

/// Variables that start with this set a key.
pub const VARIABLE_PREFIX: &str = "ARCRUN_SET_";
pub const ENVIRONMENT: &str = "the environment";
pub const SET: &str = "--set";

/// One setting as the user wrote it.
pub struct Override {
    key: String,
    value: String,
    text: String,
    key_span: Range<usize>,
    value_span: Range<usize>,
}

impl Override {
    /// `KEY=VALUE` of `--set`; `Err` without the equals sign.
    #[expect(clippy::result_large_err, reason = "once for each source, and it is shown")]
    pub fn set(argument: &str) -> Result<Self, Diagnostic> {
        let text = format!("--set {argument}");
        let start = "--set ".len();
        match argument.split_once('=') {
            Some((key, value)) => Ok(Override::new(key.trim(), value, start, key.len(), text)),
            None => Err(Diagnostic {
                message: format!("`--set {argument}` has no value"),
                help: Some(format!("write --set {argument}=VALUE")),
                key: argument.into(),
                place: Some(place(text.clone(), start..text.len(), SET)),
            }),
        }
    }

    /// A variable of the environment; `None` if it sets no key.
    pub fn variable(name: &str, value: &str) -> Option<Self> {
        let key = name.strip_prefix(VARIABLE_PREFIX)?.to_lowercase().replace("__", ".");
        let text = format!("{name}={value}");
        Some(Override::new(&key, value, 0, name.len(), text))
    }

    /// As the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn new(key: &str, value: &str, start: usize, key_length: usize, text: String) -> Self {
        let equals = start + key_length;
        Override {
            key: key.into(),
            value: value.into(),
            key_span: start..equals,
            value_span: equals + 1..text.len(),
            text,
        }
    }

    /// TOML where it is TOML, else the bare text; a key that takes text takes it as it is.
    fn parse(&self, shape: &Shape) -> Value {
        let text = self.value.trim();
        match text.parse::<toml_edit::Value>().map(|value| plain(&value)) {
            Ok(value) if !shape.is_text() || value.as_str().is_some() => value,
            _ => text.into(),
        }
    }
}

fn place(text: String, span: Range<usize>, layer: &str) -> Place {
    let source = if layer == SET { "command line" } else { "environment" };
    Place { source: source.into(), text: text.into(), span, layer: layer.into() }
}

/// Appends the layer `name` with these settings to `layers`; returns what is wrong with them.
///
/// Kinds go first, so that the order of the options does not matter.
pub fn apply(
    layers: &mut Vec<Layer>,
    name: &str,
    folder: &Path,
    root: &Shape,
    overrides: Vec<Override>,
) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    layers.push(Layer {
        name: name.into(),
        folder: folder.to_path_buf(),
        entries: BTreeMap::new(),
        values: Dict::new(),
    });
    let is_kind = |o: &Override| o.key == "kind" || o.key.ends_with(".kind");
    let (mut kinds, rest): (Vec<_>, Vec<_>) = overrides.into_iter().partition(is_kind);
    kinds.sort_by_key(|o| o.key.matches('.').count());
    for setting in kinds.into_iter().chain(rest) {
        let merged = merge(layers);
        let (path, key) = match resolve(root, &merged, &setting.key) {
            Ok(found) => found,
            Err((message, help)) => {
                let place = Some(place(setting.text, setting.key_span, name));
                wrong.push(Diagnostic { message, help, key: setting.key, place });
                continue;
            }
        };
        let value = setting.parse(&key.shape);
        if let Some(layer) = layers.last_mut() {
            insert(&mut layer.values, &path, value.clone());
            record(&mut layer.entries, &path, &value, &setting, name);
        }
    }
    wrong
}

/// One setting of another file, over an experiment.
#[derive(Clone, Debug)]
pub struct Stated {
    /// In full or its last parts.
    pub key: String,
    pub value: Value,
    /// The value.
    pub place: Place,
    /// The key, in the same text.
    pub key_span: Range<usize>,
}

/// Appends the layer `name` with what another file states; returns what is wrong with the keys.
///
/// Kinds go first, as in [`apply`].
pub fn apply_stated(
    layers: &mut Vec<Layer>,
    name: &str,
    folder: &Path,
    root: &Shape,
    settings: &[Stated],
) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    layers.push(Layer {
        name: name.into(),
        folder: folder.to_path_buf(),
        entries: BTreeMap::new(),
        values: Dict::new(),
    });
    let is_kind = |s: &&Stated| s.key == "kind" || s.key.ends_with(".kind");
    let is_table = |s: &&Stated| s.value.as_dict().is_some();
    let (first, rest): (Vec<_>, Vec<_>) = settings.iter().partition(|s| is_kind(s) || is_table(s));
    for setting in first.into_iter().chain(rest) {
        let merged = merge(layers);
        let (path, _) = match resolve(root, &merged, &setting.key) {
            Ok(found) => found,
            Err((message, help)) => {
                let place = Place { span: setting.key_span.clone(), ..setting.place.clone() };
                let key = setting.key.clone();
                wrong.push(Diagnostic { message, help, key, place: Some(place) });
                continue;
            }
        };
        if let Some(layer) = layers.last_mut() {
            insert(&mut layer.values, &path, setting.value.clone());
            record_stated(&mut layer.entries, &path, &setting.value, setting);
        }
    }
    wrong
}

fn record_stated(
    entries: &mut BTreeMap<String, Entry>,
    path: &str,
    value: &Value,
    setting: &Stated,
) {
    let entry = Entry {
        place: setting.place.clone(),
        key: setting.key_span.clone(),
        value: None,
        replaced: false,
    };
    entries.insert(path.into(), entry);
    for (path, value) in inside(path, value) {
        record_stated(entries, &path, value, setting);
    }
}

pub(crate) fn insert(dict: &mut Dict, path: &str, value: Value) {
    let Some((table, rest)) = path.split_once('.') else {
        dict.insert(path.into(), value);
        return;
    };
    let inner = dict.entry(table.into()).or_insert_with(|| Dict::new().into());
    if inner.as_dict().is_none() {
        *inner = Dict::new().into();
    }
    if let Value::Dict(_, inner) = inner {
        insert(inner, rest, value);
    }
}

/// The entry of the key and, for a table or list, of what is inside: all at the same place.
fn record(
    entries: &mut BTreeMap<String, Entry>,
    path: &str,
    value: &Value,
    setting: &Override,
    layer: &str,
) {
    let entry = Entry {
        place: place(setting.text.clone(), setting.value_span.clone(), layer),
        key: setting.key_span.clone(),
        value: value.as_dict().is_none().then(|| setting.value.clone()),
        replaced: false,
    };
    entries.insert(path.into(), entry);
    for (path, value) in inside(path, value) {
        record(entries, &path, value, setting, layer);
    }
}

/// The values in a table or list, by their full keys.
fn inside<'a>(path: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    match value {
        Value::Dict(_, dict) => {
            dict.iter().map(|(name, value)| (join(path, name), value)).collect()
        }
        Value::Array(_, array) => {
            let elements = array.iter().enumerate();
            elements.map(|(index, value)| (format!("{path}[{index}]"), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// The full name of a key given in full or by its last parts: the shallowest match wins.
/// `Err` is a message and a help.
pub fn resolve(
    root: &Shape,
    merged: &Value,
    key: &str,
) -> Result<(String, Key), (String, Option<String>)> {
    if let Some(found) = exact(root, merged, key) {
        return Ok((key.into(), found));
    }
    let mut keys = full_keys(root, Some(merged), None);
    let suffix = format!(".{key}");
    let depth = |full: &FullKey| full.path.matches('.').count();
    let matching = keys.iter().filter(|full| full.path.ends_with(&suffix));
    let Some(shallowest) = matching.map(depth).min() else {
        return Err(unknown(root, merged, key, &keys));
    };
    keys.retain(|full| full.path.ends_with(&suffix) && depth(full) == shallowest);
    match keys.len() {
        1 => {
            let found = keys.swap_remove(0);
            Ok((found.path, found.key))
        }
        _ => {
            let paths: Vec<String> = keys.iter().map(|full| format!("`{}`", full.path)).collect();
            let help = format!("write one of {}", paths.join(", "));
            Err((format!("`{key}` is ambiguous"), Some(help)))
        }
    }
}

/// The key at a full path. In a table of the user's own names any name is taken.
fn exact(root: &Shape, merged: &Value, path: &str) -> Option<Key> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let value = merged.as_dict().and_then(|dict| dict.get(name));
    let inner = value.cloned().unwrap_or_else(|| Dict::new().into());
    let key = match root {
        Shape::Table(table) => take(table(), name)?,
        Shape::Family(family) if name == "kind" => kind_key(&family()),
        Shape::Family(family) => take(table_of(&family(), merged)?, name)?,
        Shape::Map(of) => {
            let default = toml::Value::Table(Default::default());
            Key { name: "", doc: String::new(), shape: (**of).clone(), default, rules: vec![] }
        }
        Shape::Leaf(_) | Shape::Choice(_) | Shape::List(_) => return None,
    };
    let Some(rest) = rest else { return Some(key) };
    let default_kind = key.default.get("kind").and_then(|kind| kind.as_str());
    let inner = match (default_kind, inner) {
        (Some(kind), Value::Dict(tag, mut dict)) => {
            dict.entry("kind".into()).or_insert_with(|| kind.into());
            Value::Dict(tag, dict)
        }
        (_, inner) => inner,
    };
    exact(&key.shape, &inner, rest)
}

fn take(table: TableInfo, name: &str) -> Option<Key> {
    table.keys.into_iter().find(|key| key.name == name)
}

/// The table of the kind that `value` states.
fn table_of(family: &FamilyInfo, value: &Value) -> Option<TableInfo> {
    let kind = value.as_dict()?.get("kind")?.as_str()?;
    family.kind(kind).map(|kind| (kind.table)())
}

/// Why there is no such key: another kind's, a slip of the pen, or nothing like it.
fn unknown(root: &Shape, merged: &Value, key: &str, keys: &[FullKey]) -> (String, Option<String>) {
    let (table, last) = key.rsplit_once('.').map_or(("", key), |(table, last)| (table, last));
    for full in keys.iter().filter(|full| matches!(full.key.shape, Shape::Family(_))) {
        let Shape::Family(family) = &full.key.shape else { continue };
        if !table.is_empty() && full.path != table && !full.path.ends_with(&format!(".{table}")) {
            continue;
        }
        let family = family();
        let having = family.kinds.iter().filter(|kind| (kind.table)().key(last).is_some());
        let having: Vec<&str> = having.map(|kind| kind.name).collect();
        let kind_path = format!("{}.kind", full.path);
        let stated = merged.find_ref(&kind_path).and_then(|kind| kind.as_str());
        let default = full.key.default.get("kind").and_then(|kind| kind.as_str());
        let Some(kind) = stated.or(default) else { continue };
        if having.is_empty() && table.is_empty() {
            continue;
        }
        let names = family.kind(kind).map(|kind| (kind.table)().key_names()).unwrap_or_default();
        let mut help = match names.is_empty() {
            true => "this kind has no keys".to_string(),
            false => format!("its keys: {}", names.join(", ")),
        };
        if !having.is_empty() {
            help.push_str(&format!("; `{last}` is a key of the kinds {}", list(&having)));
        }
        return (format!("`{}` of kind \"{kind}\" has no key `{last}`", full.path), Some(help));
    }
    let paths: Vec<&str> = keys.iter().map(|full| full.path.as_str()).collect();
    let lasts: Vec<&str> =
        paths.iter().map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
    let near = suggest(key, &paths).or_else(|| {
        let last = suggest(last, &lasts)?;
        let shallow = paths.iter().filter(|path| path.rsplit('.').next() == Some(last));
        shallow.min_by_key(|path| path.matches('.').count()).copied()
    });
    let help = match (near, root) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Shape::Table(table)) => format!("the tables: {}", table().key_names().join(", ")),
        (None, _) => return (format!("there is no key `{key}`"), None),
    };
    (format!("there is no key `{key}`"), Some(help))
}
