//! What of an experiment may change when a run is continued.

use crate::checkpoint::State;
use crate::config::Experiment;
use crate::plan::Plan;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Keys that a continued run may have otherwise than its checkpoint: limits, evaluation,
/// recording, loading, places, memory.
const FREE: [&str; 19] = [
    "distributed.timeout",
    "train.epochs",
    "train.max_steps",
    "train.max_time",
    "train.on_nonfinite",
    "train.max_nonfinite",
    "train.stop_signals",
    "train.early_stopping.",
    "train.device",
    "train.tf32",
    "train.cudnn_benchmark",
    "train.threads",
    "checkpoint.",
    "evaluate.",
    "record.",
    "loader.",
    "paths.",
    "data.root",
    "finetune.gradient_checkpointing",
];

/// The root of a source of merged data.
pub(super) fn is_place(key: &str) -> bool {
    key.starts_with("data.sources.") && key.ends_with(".root")
}

/// # Errors
/// Lists every key that differs and may not.
pub(super) fn same_experiment(plan: &Plan, state: &State) -> Result<()> {
    let differences = differences(plan, state)?;
    let refused: Vec<&String> = differences
        .iter()
        .filter(|(key, _)| !FREE.iter().any(|free| key.starts_with(free)) && !is_place(key))
        .map(|(_, text)| text)
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let list = refused.iter().map(|text| format!("\n  {text}")).collect::<String>();
    Err(Error::input(format!("the checkpoint was trained with another experiment:{list}")).help(
        "only limits, evaluation, recording and loader settings may change when a run is \
         continued; start a new run for the rest",
    ))
}

/// A finished run goes on if its length was changed.
pub(super) fn asks_for_more(plan: &Plan, state: &State) -> Result<bool> {
    let longer = ["train.epochs", "train.max_steps", "train.max_time", "train.early_stopping."];
    let differences = differences(plan, state)?;
    Ok(differences.keys().any(|key| longer.iter().any(|prefix| key.starts_with(prefix))))
}

/// Early stopping compares other numbers now than the checkpoint's run did.
///
/// # Errors
/// A damaged configuration in the checkpoint.
pub(super) fn watches_otherwise(plan: &Plan, state: &State) -> Result<bool> {
    let differences = differences(plan, state)?;
    let other = |name: &str| differences.contains_key(&format!("train.early_stopping.{name}"));
    Ok(["metric", "goal", "min_delta"].into_iter().any(other))
}

/// Keys with different values now and in the checkpoint, with both. A key that the checkpoint's
/// version of arcrun did not have is as if it had its default then.
fn differences(plan: &Plan, state: &State) -> Result<BTreeMap<String, String>> {
    let now = flat(&plan.experiment.to_toml())?;
    let default = flat(&Experiment::default().to_toml())?;
    let then = flat(&state.config)?;
    let mut keys: Vec<&String> = now.keys().chain(then.keys()).collect();
    keys.sort();
    keys.dedup();
    let show = |value: Option<&String>| value.cloned().unwrap_or_else(|| "nothing".to_string());
    Ok(keys
        .into_iter()
        .filter(|key| now.get(*key) != then.get(*key).or(default.get(*key)))
        .map(|key| {
            let text = format!("{key}: {} now, {} then", show(now.get(key)), show(then.get(key)));
            (key.clone(), text)
        })
        .collect())
}

/// Every value of a TOML text by its full key.
pub(super) fn flat(text: &str) -> Result<BTreeMap<String, String>> {
    fn walk(prefix: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let dot = if prefix.is_empty() { "" } else { "." };
                    walk(&format!("{prefix}{dot}{name}"), value, into);
                }
            }
            other => {
                into.insert(prefix.to_string(), other.to_string());
            }
        }
    }
    let table: toml::Table = toml::from_str(text)
        .map_err(|e| Error::input(format!("the checkpoint's configuration is damaged: {e}")))?;
    let mut into = BTreeMap::new();
    walk("", &toml::Value::Table(table), &mut into);
    Ok(into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;

    fn plan(text: &str) -> Plan {
        let text = format!("data.kind = \"synthetic_faces\"\ntrain.device = \"cpu\"\n{text}");
        Plan::new(load_str("x.toml", &text, &[]).unwrap()).unwrap()
    }

    #[test]
    fn a_key_that_an_older_version_lacked_had_its_default() {
        let now = plan("");
        let mut config: toml::Table = toml::from_str(&now.experiment.to_toml()).unwrap();
        assert!(config.remove("groups").is_some());
        let state = |config: &toml::Table| State {
            config: toml::to_string(config).unwrap(),
            ..State::default()
        };
        assert!(same_experiment(&now, &state(&config)).is_ok());
        let other = plan("groups.layer_decay = 0.5");
        let refused = same_experiment(&other, &state(&config)).unwrap_err().to_string();
        assert!(refused.contains("groups.layer_decay: 0.5 now, nothing then"), "{refused}");
        config["optimizer"]["lr"] = 0.5.into();
        let refused = same_experiment(&now, &state(&config)).unwrap_err().to_string();
        assert!(refused.contains("optimizer.lr: 0.001 now, 0.5 then"), "{refused}");
    }

    #[test]
    fn merged_sources_may_move_but_not_change() {
        let text = |root: &str, minimum: usize| {
            format!(
                "train.device = 'cpu'\n[data]\nkind = 'merged'\n\
                 [data.sources.a]\nkind = 'record_io'\nroot = '{root}'\nmin_images = {minimum}\n\
                 [data.sources.b]\nkind = 'idx'\nroot = 'digits'\n"
            )
        };
        let plan = |root, minimum| {
            Plan::new(load_str("x.toml", &text(root, minimum), &[]).unwrap()).unwrap()
        };
        let state = State { config: plan("here", 2).experiment.to_toml(), ..State::default() };
        assert!(same_experiment(&plan("there", 2), &state).is_ok());
        let refused = same_experiment(&plan("here", 3), &state).unwrap_err().to_string();
        assert!(refused.contains("data.sources.a.min_images: 3 now, 2 then"), "{refused}");
    }
}
