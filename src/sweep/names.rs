//! Names of trials: what differs between them, as a folder can be called.

use super::manifest::Trial;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Longest name, bytes.
const LONGEST: usize = 100;

/// Names trials, in place, by what differs between them: `lr=0.1,margin=0.3,seed=1`. Names differ
/// even where upper and lower case don't.
pub fn name(trials: &mut [Trial]) {
    let keys = differing(trials);
    let labels = labels(&keys);
    let inner = inner_keys(trials, &keys);
    let mut names: Vec<String> = trials
        .iter()
        .map(|trial| {
            let mut parts = Vec::new();
            for (key, label) in keys.iter().zip(&labels) {
                if let Some(value) = trial.set.get(key) {
                    parts.extend(part(label, value, inner.get(key.as_str())));
                }
            }
            parts.extend(trial.proposed.map(|proposed| format!("tpe-{:04}", proposed.number)));
            if parts.is_empty() { "base".into() } else { parts.join(",") }
        })
        .collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for name in &names {
        *seen.entry(name.to_lowercase()).or_default() += 1;
    }
    for (name, trial) in names.iter_mut().zip(trials.iter()) {
        if name.len() > LONGEST || seen[&name.to_lowercase()] > 1 {
            let id = &trial.id[..trial.id.len().min(6)];
            *name = format!("{}-{id}", cut(name, LONGEST - 1 - id.len()));
        }
    }
    let mut taken = BTreeSet::new();
    for (name, trial) in names.iter_mut().zip(trials.iter()) {
        if !taken.insert(name.to_lowercase()) {
            *name = format!("{}-{}", cut(name, LONGEST - 1 - trial.id.len()), trial.id);
            taken.insert(name.to_lowercase());
        }
    }
    for (trial, name) in trials.iter_mut().zip(names) {
        trial.name = name;
    }
}

/// Keys that do not have one value in all trials, in the order of the trials' settings.
pub fn differing(trials: &[Trial]) -> Vec<String> {
    let Some(first) = trials.first() else { return Vec::new() };
    let mut keys: Vec<&String> = Vec::new();
    let mut known = BTreeSet::new();
    for key in trials.iter().flat_map(|trial| trial.set.keys()) {
        if known.insert(key) {
            keys.push(key);
        }
    }
    let differs = |key: &&String| {
        let value = first.set.get(key.as_str());
        trials.iter().any(|trial| trial.set.get(key.as_str()) != value)
    };
    // The seed goes last, wherever one block states it.
    let mut keys: Vec<String> = keys.into_iter().filter(differs).cloned().collect();
    keys.sort_by_key(|key| key == "seed");
    keys
}

/// For each key the fewest last parts that no other ends with.
pub fn labels(keys: &[String]) -> Vec<String> {
    let ends = |key: &str, end: &str| key == end || key.ends_with(&format!(".{end}"));
    let label = |key: &String| {
        let mut starts: Vec<usize> = key.match_indices('.').map(|(at, _)| at + 1).collect();
        starts.insert(0, 0);
        let candidates = starts.iter().rev().map(|start| &key[*start..]);
        // `kind` alone says nothing.
        let mut candidates = candidates.filter(|end| *end != "kind");
        let alone = candidates.find(|end| keys.iter().filter(|key| ends(key, end)).count() == 1);
        alone.unwrap_or(key).to_string()
    };
    keys.iter().map(label).collect()
}

/// Of each key with whole tables: by kind, the keys in which tables of that kind differ.
type Inner = BTreeMap<String, BTreeSet<String>>;

fn kind(table: &Value) -> String {
    table.get("kind").and_then(Value::as_str).unwrap_or_default().to_string()
}

fn inner_keys<'k>(trials: &[Trial], keys: &'k [String]) -> HashMap<&'k str, Inner> {
    let mut all = HashMap::new();
    for key in keys {
        let mut first: BTreeMap<String, &Value> = BTreeMap::new();
        let mut inner = Inner::new();
        for value in trials.iter().filter_map(|trial| trial.set.get(key)) {
            let Value::Object(table) = value else { continue };
            let kind = kind(value);
            let other = *first.entry(kind.clone()).or_insert(value);
            if other == value {
                continue;
            }
            let others = other.as_object().into_iter().flat_map(|other| other.keys());
            for name in table.keys().chain(others) {
                if table.get(name) != other.get(name) {
                    inner.entry(kind.clone()).or_default().insert(name.clone());
                }
            }
        }
        if !first.is_empty() {
            all.insert(key.as_str(), inner);
        }
    }
    all
}

fn part(label: &str, value: &Value, inner: Option<&Inner>) -> Vec<String> {
    let Value::Object(table) = value else { return vec![format!("{label}={}", compact(value))] };
    let kind = kind(value);
    let mut parts = match kind.is_empty() {
        true => Vec::new(),
        false => vec![format!("{label}={}", clean(&kind))],
    };
    for name in inner.and_then(|inner| inner.get(&kind)).into_iter().flatten() {
        if let Some(value) = table.get(name) {
            let name = if kind.is_empty() { format!("{label}.{name}") } else { name.clone() };
            parts.push(format!("{}={}", clean(&name), compact(value)));
        }
    }
    if parts.is_empty() { vec![label.to_string()] } else { parts }
}

/// A value in few characters.
pub fn compact(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float != 0.0 => {
                let size = float.abs();
                if (1e-3..1e6).contains(&size) { format!("{float}") } else { format!("{float:e}") }
            }
            _ => number.to_string(),
        },
        Value::String(text) => clean(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(compact).collect();
            values.join("+")
        }
        Value::Object(table) => {
            let parts = table.iter().map(|(name, value)| match name.as_str() {
                "kind" => compact(value),
                name => format!("{}={}", clean(name), compact(value)),
            });
            parts.collect::<Vec<String>>().join("+")
        }
        other => clean(&other.to_string()),
    }
}

fn clean(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._+-".contains(c);
    text.chars().map(|c| if plain(c) { c } else { '-' }).collect()
}

fn cut(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::manifest::Proposed;
    use serde_json::json;

    fn names(sets: &[Value]) -> Vec<String> {
        let trial = |(index, set): (usize, &Value)| Trial {
            id: format!("{index:06x}abcdef"),
            set: set.as_object().unwrap().clone(),
            ..Trial::default()
        };
        let mut trials: Vec<Trial> = sets.iter().enumerate().map(trial).collect();
        name(&mut trials);
        trials.into_iter().map(|trial| trial.name).collect()
    }

    #[test]
    fn what_differs() {
        let sets = [
            json!({"seed": 0, "optimizer.lr": 0.1, "loss.margin": 0.3, "train.epochs": 3}),
            json!({"seed": 1, "optimizer.lr": 1e-4, "train.epochs": 3}),
        ];
        assert_eq!(names(&sets), ["lr=0.1,margin=0.3,seed=0", "lr=1e-4,seed=1"]);
        let sets = [
            json!({"loss.kind": "arcface", "scheduler.kind": "cosine", "backbone.channels": [16, 32]}),
            json!({"loss.kind": "cosface", "scheduler.kind": "constant", "backbone.channels": [8]}),
        ];
        assert_eq!(names(&sets)[0], "loss.kind=arcface,scheduler.kind=cosine,channels=16+32");
        assert_eq!(names(&[json!({"optimizer.lr": 0.1})]), ["base"]);
    }

    #[test]
    fn whole_tables() {
        let sets = [
            json!({"loss": {"kind": "arcface", "margin": 0.3, "scale": 64}}),
            json!({"loss": {"kind": "arcface", "margin": 0.5, "scale": 64}}),
            json!({"loss": {"kind": "cosface"}}),
        ];
        assert_eq!(
            names(&sets),
            ["loss=arcface,margin=0.3", "loss=arcface,margin=0.5", "loss=cosface"]
        );
    }

    #[test]
    fn safe_short_and_unique() {
        let sets = [
            json!({"data.root": "/a/b", "train.device": "../x\n"}),
            json!({"data.root": "-a-b", "train.device": "...x-"}),
            json!({"data.root": "é".repeat(90), "train.device": "cpu"}),
            json!({"data.root": "A".repeat(200), "train.device": "cpu"}),
            json!({"data.root": "a".repeat(200), "train.device": "cpu"}),
        ];
        let names = names(&sets);
        assert_eq!(names[0], "root=-a-b,device=..-x-");
        let lower: BTreeSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(lower.len(), names.len());
        for name in &names {
            assert!(name.len() <= LONGEST && !name.contains(['/', '\\', '\n']), "{name}");
            assert!(!name.starts_with(['.', '-']), "{name}");
        }
    }

    #[test]
    fn proposals() {
        let mut trials: Vec<Trial> = (0..2)
            .map(|number| Trial {
                id: format!("{number:012}"),
                set: json!({"loss.kind": "arcface"}).as_object().unwrap().clone(),
                proposed: Some(Proposed { block: 0, number }),
                ..Trial::default()
            })
            .collect();
        name(&mut trials);
        assert_eq!(trials[1].name, "tpe-0001");
    }
}
