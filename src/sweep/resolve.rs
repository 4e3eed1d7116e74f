//! From the settings of a trial to its experiment.

use super::condition::near;
use super::manifest::Sets;
use crate::checkpoint::durable;
use crate::config::{
    Diagnostic, Diagnostics, Experiment, Field, Provenance, Value, any_keys, document, insert,
    read_value, resolve,
};
use crate::plan::conflicts;
use crate::{Error, Result};
use figment::value::{Dict, Num};
use serde_json::Value as Json;
use std::path::Path;

/// The base experiment of a sweep, over which trials set keys.
#[derive(Debug)]
pub struct Resolver {
    /// Of the base: what `merged` of it states holds unless a trial sets it.
    provenance: Provenance,
    /// Full keys of all kinds.
    keys: Vec<String>,
}

/// Keys that change nothing that is learnt, with what is inside.
const FREE: &[&str] =
    &["name", "paths", "record", "loader", "submit", "train.device", "train.threads"];

impl Resolver {
    /// `base` is a resolved experiment. Relative paths that trials set start from the folder of
    /// `name`, which is the sweep file's path.
    ///
    /// # Errors
    /// `Error::Config`: `base` is no experiment.
    pub fn new(name: &str, base: &str) -> Result<Resolver> {
        let provenance = document(Path::new(name), base)?;
        let resolver = Resolver { provenance, keys: any_keys(&Experiment::shape()) };
        match resolver.read(&resolver.provenance.merged) {
            Ok(_) => Ok(resolver),
            Err(list) => Err(Diagnostics { file: format!("the base of {name}"), list }.into()),
        }
    }

    /// The experiment with these settings over the base. Whole tables go first, then kinds, each
    /// replacing its table where the kind differs, then the other keys.
    ///
    /// # Errors
    /// `Error::Config`: every mistake, with the settings: unknown keys, wrong values, and what
    /// contradicts each other.
    pub fn trial(&self, set: &Sets) -> Result<Experiment> {
        self.checked(set).map_err(|mut list| {
            for diagnostic in &mut list {
                diagnostic.place = None;
                diagnostic.message = format!("{}: {}", settings(set), diagnostic.message);
            }
            Diagnostics { file: String::new(), list }.into()
        })
    }

    /// The same with the bare diagnostics, whose places are those of the base.
    pub fn checked(&self, set: &Sets) -> Result<Experiment, Vec<Diagnostic>> {
        let experiment = self.read(&self.tree(set))?;
        let wrong = conflicts(&experiment);
        if wrong.is_empty() {
            return Ok(experiment);
        }
        let diagnostic = |(key, message): (String, String)| {
            self.provenance.error(&key, format!("`{key}` {message}"), None)
        };
        Err(wrong.into_iter().map(diagnostic).collect())
    }

    /// What a trial states, defaults of newly chosen kinds not yet filled in.
    pub fn tree(&self, set: &Sets) -> Value {
        let mut tree = match &self.provenance.merged {
            Value::Dict(_, dict) => dict.clone(),
            _ => Dict::new(),
        };
        for (key, value) in ordered(set) {
            match key.strip_suffix(".kind") {
                Some(table) if value.is_string() => {
                    let stated = find(&tree, key).and_then(Value::as_str);
                    if stated != value.as_str() {
                        let kind = Dict::from([("kind".to_string(), plain(value))]);
                        insert(&mut tree, table, kind.into());
                    }
                }
                _ => insert_whole(&mut tree, key, value),
            }
        }
        tree.into()
    }

    fn read(&self, tree: &Value) -> Result<Experiment, Vec<Diagnostic>> {
        let (read, wrong) = read_value::<Experiment>(&self.provenance, tree, &[], &[]);
        match read {
            Some(experiment) if wrong.is_empty() => Ok(experiment),
            // Again with all keys at hand: "did you mean" may need them.
            _ => Err(read_value::<Experiment>(&self.provenance, tree, &[], &self.keys).1),
        }
    }

    /// First 12 hexadecimal digits of the SHA-256 of what is learnt from: the resolved
    /// configuration without `name`, `[paths]`, `[record]`, `[loader]`, `[submit]`, `train.device`
    /// and `train.threads`, unless the trial sets one of them.
    pub fn id(&self, experiment: &Experiment, set: &Sets) -> String {
        let value = serde_json::to_value(experiment).expect("a configuration has text keys only");
        identity(value, set)
    }

    /// The full key that `key`, in full or its last parts, means with the base's kinds, else with
    /// any; `Err` is a message and a help.
    pub fn key(&self, key: &str) -> Result<String, (String, Option<String>)> {
        let wrong = match resolve(&Experiment::shape(), &self.provenance.merged, key) {
            Ok((path, _)) => return Ok(path),
            Err(wrong) => wrong,
        };
        let suffix = format!(".{key}");
        let depth = |path: &&String| path.matches('.').count();
        let ending = |path: &&String| *path == key || path.ends_with(&suffix);
        let matching: Vec<&String> = self.keys.iter().filter(ending).collect();
        let shallowest = matching.iter().map(depth).min();
        let matching: Vec<&&String> =
            matching.iter().filter(|path| Some(depth(path)) == shallowest).collect();
        match matching[..] {
            [path] => Ok(path.to_string()),
            _ => {
                let near = near(key, &self.keys).map(|near| format!("did you mean `{near}`?"));
                let ambiguous = wrong.0.contains("ambiguous");
                Err((wrong.0, if ambiguous { wrong.1 } else { near.or(wrong.1) }))
            }
        }
    }
}

/// See [`Resolver::id`]; `value` is the resolved configuration.
pub fn identity(mut value: Json, set: &Sets) -> String {
    for key in FREE {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let table = if table.is_empty() { Some(&mut value) } else { value.get_mut(table) };
        table.and_then(Json::as_object_mut).and_then(|table| table.shift_remove(name));
    }
    let inside = |key: &str, free: &str| {
        key.strip_prefix(free).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut stated: Vec<(&String, &Json)> =
        set.iter().filter(|(key, _)| FREE.iter().any(|free| inside(key, free))).collect();
    stated.sort_by_key(|(key, _)| *key);
    let bytes = serde_json::to_vec(&(value, stated)).expect("text keys only");
    digits(&bytes)
}

/// First 12 hexadecimal digits of the SHA-256.
pub fn digits(bytes: &[u8]) -> String {
    durable::sha256(bytes)[..12].to_string()
}

/// The settings in the order in which they are applied.
fn ordered(set: &Sets) -> Vec<(&String, &Json)> {
    let mut settings: Vec<(&String, &Json)> = set.iter().collect();
    settings.sort_by_key(|(key, value)| rank(key, value));
    settings
}

/// Whole tables first and outer ones before inner, then kinds, then the rest.
pub fn rank(key: &str, value: &Json) -> (u8, usize) {
    let depth = key.matches('.').count();
    match value {
        Json::Object(_) => (0, depth),
        _ if key.ends_with(".kind") => (1, depth),
        _ => (2, 0),
    }
}

/// `key=value, key=value`
pub fn settings(set: &Sets) -> String {
    let each: Vec<String> = set.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if each.is_empty() { "the base".into() } else { each.join(", ") }
}

/// A table of a family that names no kind keeps the one before it.
fn insert_whole(tree: &mut Dict, key: &str, value: &Json) {
    let mut value = plain(value);
    if let Value::Dict(_, dict) = &mut value
        && !dict.contains_key("kind")
        && let Some(kind) = find(tree, &format!("{key}.kind"))
    {
        dict.insert("kind".into(), kind.clone());
    }
    insert(tree, key, value);
}

/// The value of a full key.
fn find<'v>(tree: &'v Dict, key: &str) -> Option<&'v Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(a, b)| (a, Some(b)));
    let value = tree.get(first)?;
    match rest {
        None => Some(value),
        Some(rest) => find(value.as_dict()?, rest),
    }
}

/// A value as the configuration reads it.
pub fn plain(value: &Json) -> Value {
    match value {
        Json::Null => Dict::new().into(),
        Json::Bool(value) => (*value).into(),
        Json::String(text) => text.as_str().into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(integer)) => integer.into(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Json::Array(values) => values.iter().map(plain).collect::<Vec<Value>>().into(),
        Json::Object(table) => {
            let entries = table.iter().map(|(name, value)| (name.clone(), plain(value)));
            entries.collect::<Dict>().into()
        }
    }
}

/// A value of the configuration as JSON.
pub fn json(value: &Value) -> Json {
    match value {
        Value::String(_, text) => text.as_str().into(),
        Value::Char(_, text) => text.to_string().into(),
        Value::Bool(_, value) => (*value).into(),
        Value::Num(_, Num::F64(number)) => (*number).into(),
        Value::Num(_, number) => match number.to_i128().and_then(|n| i64::try_from(n).ok()) {
            Some(integer) => integer.into(),
            None => number.to_f64().into(),
        },
        Value::Empty(..) => Json::Null,
        Value::Array(_, values) => values.iter().map(json).collect::<Vec<Json>>().into(),
        Value::Dict(_, dict) => {
            Json::Object(dict.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    }
}

/// A mistake of a setting that stands nowhere in a file.
pub fn wrong(message: String, help: Option<String>) -> Error {
    match help {
        Some(help) => Error::input(message).help(help),
        None => Error::input(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Experiment, load_str};
    use serde_json::json;

    fn resolver() -> Resolver {
        let text = "data.kind = \"synthetic_faces\"\nloss.kind = \"cosface\"\nloss.margin = 0.2";
        let base: Experiment = load_str("x.toml", text, &[]).unwrap().experiment;
        Resolver::new("sweeps/x.toml", &base.to_toml()).unwrap()
    }

    fn sets(value: Json) -> Sets {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn kinds_replace_tables() {
        let resolver = resolver();
        let loss = |set: Json| {
            let experiment = resolver.trial(&sets(set)).unwrap();
            serde_json::to_value(experiment.loss).unwrap()
        };
        assert_eq!(loss(json!({}))["margin"], json!(0.2));
        assert_eq!(loss(json!({"loss.kind": "cosface"}))["margin"], json!(0.2));
        assert_eq!(loss(json!({"loss.kind": "arcface"}))["margin"], json!(0.5));
        let both = json!({"loss.margin": 0.4, "loss.kind": "arcface"});
        assert_eq!(loss(both)["margin"], json!(0.4));
        let whole = json!({"loss.margin": 0.4, "loss": {"kind": "arcface", "scale": 16}});
        assert_eq!(loss(whole.clone())["margin"], json!(0.4));
        assert_eq!(loss(whole)["scale"], json!(16.0));
        // A table without a kind keeps the kind, and its other keys are defaults again.
        let same = loss(json!({"loss": {"scale": 16}}));
        assert_eq!((&same["kind"], &same["margin"]), (&json!("cosface"), &json!(0.35)));
    }

    #[test]
    fn ids_tell_what_is_learnt() {
        let resolver = resolver();
        let id = |set: Json| {
            let set = sets(set);
            resolver.id(&resolver.trial(&set).unwrap(), &set)
        };
        let base = id(json!({}));
        assert_eq!(base.len(), 12);
        // The same configuration however it is said, integers for floats included.
        assert_eq!(base, id(json!({"loss.margin": 0.2, "loss.kind": "cosface"})));
        assert_eq!(id(json!({"loss.scale": 16})), id(json!({"loss.scale": 16.0})));
        assert_ne!(base, id(json!({"seed": 1})));
        assert_ne!(base, id(json!({"train.threads": 1})));
        assert_ne!(base, id(json!({"record.plots": true})));
        let folder = crate::config::load_str::<Experiment>(
            "x.toml",
            "data.kind = \"synthetic_faces\"\nloss.kind = \"cosface\"\nloss.margin = 0.2\n\
             name = \"other\"\n[paths]\nresults = \"/elsewhere\"\n[loader]\nprefetch = 9",
            &[],
        );
        let other = folder.unwrap().experiment;
        assert_eq!(base, resolver.id(&other, &Sets::new()));
    }

    #[test]
    fn mistakes_name_settings_and_key() {
        let resolver = resolver();
        let told = |set: Json| {
            let error = resolver.trial(&sets(set)).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let text = told(json!({"optimizer.lr": -1}));
        assert!(
            text.contains("optimizer.lr=-1") && text.contains("must be 0 or greater"),
            "{text}"
        );
        let text = told(json!({"loss.kind": "arcface", "loss.margn": 0.3}));
        assert!(text.contains("has no key `margn`") && text.contains("`loss.margin`"), "{text}");
        let text = told(json!({"loss.kind": "triplet"}));
        assert!(text.contains("sampler.kind") && text.contains("pk"), "{text}");
        let text = told(json!({"train.epochs": 1.5}));
        assert!(text.contains("`train.epochs`: expected an integer"), "{text}");
        assert_eq!(resolver.key("lr").unwrap(), "optimizer.lr");
        assert_eq!(resolver.key("lambda_base").unwrap(), "loss.lambda_base");
        let (_, help) = resolver.key("loss.margn").unwrap_err();
        assert_eq!(help.as_deref(), Some("did you mean `loss.margin`?"));
    }
}
