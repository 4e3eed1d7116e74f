//! The resolved configuration of a run beside the defaults, key by key.

use super::table::Problems;
use crate::config::{Experiment, Field, Shape, Value, full_keys, join};
use std::collections::BTreeMap;
use std::path::Path;

const FILE: &str = "config.toml";

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub key: String,
    /// As TOML writes it.
    pub value: String,
    /// None: this version of arcrun has no such key, or it has no default.
    pub default: Option<String>,
}

/// The keys of a run's config.toml, those outside of a table first. Empty, with the reason in `problems`,
/// where the file is missing or damaged.
pub fn read(run: &Path, problems: &mut Problems) -> Vec<Setting> {
    let text = match std::fs::read_to_string(run.join(FILE)) {
        Ok(text) => text,
        Err(e) => {
            problems.add(format!("{FILE} cannot be read: {e}"));
            return Vec::new();
        }
    };
    match text.parse::<toml::Table>() {
        Ok(table) => compare(table),
        Err(e) => {
            let line = e.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            problems.add(format!("{FILE} line {line}: {}", e.message()));
            Vec::new()
        }
    }
}

fn compare(table: toml::Table) -> Vec<Setting> {
    let mut values = Vec::new();
    let value = Value::serialize(&table).ok();
    flatten("", &toml::Value::Table(table), &mut values);
    values.sort_by_key(|(key, _)| key.contains('.'));
    let defaults = defaults(value.as_ref());
    values
        .into_iter()
        .map(|(key, value)| Setting {
            default: defaults.get(&key).map(ToString::to_string),
            value: value.to_string(),
            key,
        })
        .collect()
}

/// The default of every key that exists with the kinds that `value` chooses.
fn defaults(value: Option<&Value>) -> BTreeMap<String, toml::Value> {
    let mut defaults = BTreeMap::new();
    // A table comes after its keys: what it says about them as a whole wins.
    for full in full_keys(&Experiment::shape(), value, None) {
        let mut stated = Vec::new();
        flatten(&full.path, &full.key.default, &mut stated);
        if matches!(full.key.shape, Shape::Family(_)) {
            let kind = join(&full.path, "kind");
            let chosen = value.and_then(|value| value.clone().find(&kind));
            let of_default = full.key.default.get("kind").and_then(toml::Value::as_str);
            // The keys of another kind say nothing about this one's.
            if chosen.as_ref().and_then(Value::as_str) != of_default {
                stated.retain(|(key, _)| *key == kind);
            }
        }
        // A family's own `kind` comes with an empty default, its table knows better.
        if !full.path.ends_with(".kind") || !defaults.contains_key(&full.path) {
            defaults.extend(stated);
        }
    }
    defaults.retain(|key, value| !(key.ends_with(".kind") && value.as_str() == Some("")));
    defaults
}

fn flatten(path: &str, value: &toml::Value, into: &mut Vec<(String, toml::Value)>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(name, value)| flatten(&join(path, name), value, into));
        }
        value => into.push((path.into(), value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;

    fn settings(text: &str) -> BTreeMap<String, Setting> {
        let loaded = load_str::<Experiment>("x.toml", text, &[]).unwrap();
        let table = loaded.experiment.to_toml().parse().unwrap();
        compare(table).into_iter().map(|setting| (setting.key.clone(), setting)).collect()
    }

    #[test]
    fn what_nobody_stated_is_the_default() {
        let text = "data = { kind = \"synthetic_faces\" }\nloss = { kind = \"cosface\", \
            margin = 0.1 }\nscheduler = { kind = \"cosine\", warmup = { epochs = 2 } }\n\
            evaluate.sets.a = { kind = \"unseen_pairs\" }";
        let settings = settings(text);
        let mut differs: Vec<&str> = settings
            .values()
            .filter(|s| s.default.as_ref() != Some(&s.value))
            .map(|s| s.key.as_str())
            .collect();
        // The folder of data sets is made absolute when the file is read.
        differs.retain(|key| !key.starts_with("paths."));
        assert_eq!(
            differs,
            [
                "data.kind",
                "evaluate.sets.a.kind",
                "loss.kind",
                "loss.margin",
                "scheduler.kind",
                "scheduler.warmup.epochs",
            ]
        );
        assert_eq!(settings["loss.kind"].default.as_deref(), Some("\"arcface\""));
        // cosface's own, not arcface's.
        assert_eq!(settings["loss.margin"].default.as_deref(), Some("0.35"));
    }

    #[test]
    fn damage_names_its_line() {
        let run = tempfile::tempdir().unwrap();
        std::fs::write(run.path().join(FILE), "seed = 1\nname = \n").unwrap();
        let mut problems = Problems::default();
        assert!(read(run.path(), &mut problems).is_empty());
        assert!(problems.0[0].starts_with("config.toml line 2: "), "{:?}", problems.0);
    }
}
