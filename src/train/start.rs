//! Where a run begins: fresh, going on in its own folder, or forked from a checkpoint.

use crate::checkpoint::{self, Name, Policy, Snapshot, State, Store};
use crate::config::Experiment;
use crate::plan::Plan;
use crate::record::{Parent, RunDir, RunInfo, Status};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `--continue-train`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continue {
    /// Go on in the run's own folder from its newest checkpoint.
    Latest,
    /// A new run from the checkpoint of least loss.
    MinLoss,
    /// A new run from this checkpoint folder.
    Path(PathBuf),
    /// `Latest` where there is something to continue, else fresh.
    Auto,
}

impl Continue {
    pub fn parse(text: &str) -> Self {
        match text {
            "latest" => Continue::Latest,
            "min-loss" | "min_loss" => Continue::MinLoss,
            "auto" => Continue::Auto,
            path => Continue::Path(PathBuf::from(path)),
        }
    }
}

/// How this run begins.
pub enum Start {
    Fresh,
    /// From the beginning, in a folder that has no checkpoint yet.
    Over {
        run: RunDir,
    },
    /// In its own folder; with what was said while reading the checkpoint.
    InPlace {
        run: RunDir,
        snapshot: Box<Snapshot>,
        warnings: Vec<String>,
    },
    Fork {
        parent: Parent,
        snapshot: Box<Snapshot>,
    },
    /// Trained to the end before.
    Finished {
        run: PathBuf,
    },
}

impl Start {
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Start::InPlace { snapshot, .. } | Start::Fork { snapshot, .. } => Some(snapshot),
            Start::Fresh | Start::Over { .. } | Start::Finished { .. } => None,
        }
    }

    /// # Errors
    /// Nothing to continue, a checkpoint that is damaged or belongs to another experiment.
    pub fn resolve(plan: &Plan, wanted: Option<&Continue>, run_dir: Option<&Path>) -> Result<Self> {
        let start = match wanted {
            None => Ok(Start::Fresh),
            Some(Continue::Latest) => match in_place(plan, run_dir)? {
                Some(start) => Ok(start),
                None => Err(nothing(plan, run_dir)),
            },
            Some(Continue::Auto) => auto(plan, run_dir),
            Some(Continue::MinLoss) => {
                let run = existing(plan, run_dir)?.ok_or_else(|| nothing(plan, run_dir))?;
                fork(&checkpoint::find(run.path(), Name::MinLoss)?)
            }
            Some(Continue::Path(path)) => fork(&checkpoint::locate(path)?),
        }?;
        if let Some(snapshot) = start.snapshot() {
            same_experiment(plan, &snapshot.state)?;
        }
        Ok(start)
    }
}

/// What the run keeps of its checkpoints.
pub fn policy(plan: &Plan) -> Policy {
    Policy { every_epochs: plan.experiment.checkpoint.every_epochs as u64, last_epochs: 0 }
}

/// The run to continue: the named one, else the experiment's newest that no process holds.
fn existing(plan: &Plan, run_dir: Option<&Path>) -> Result<Option<RunDir>> {
    match run_dir {
        Some(path) if path.exists() => RunDir::open(path).map(Some),
        Some(_) => Ok(None),
        None => RunDir::newest_unlocked(&plan.experiment.paths.results, &plan.name),
    }
}

/// A folder that a kill left before the first checkpoint is started over in place: a scheduler
/// that names `--run-dir` and starts the same command again always gets on.
fn auto(plan: &Plan, run_dir: Option<&Path>) -> Result<Start> {
    match run_dir.filter(|path| path.exists()) {
        Some(path) if !RunInfo::is_in(path) => Ok(Start::Fresh),
        Some(path) => match in_place(plan, run_dir)? {
            Some(start) => Ok(start),
            None => Ok(Start::Over { run: RunDir::open(path)? }),
        },
        None => Ok(in_place(plan, run_dir)?.unwrap_or(Start::Fresh)),
    }
}

fn in_place(plan: &Plan, run_dir: Option<&Path>) -> Result<Option<Start>> {
    let Some(run) = existing(plan, run_dir)? else { return Ok(None) };
    let Some(resumed) = Store::open(run.path(), policy(plan))?.resume()? else {
        return Ok(None);
    };
    let state = &resumed.snapshot.state;
    same_experiment(plan, state)?;
    let was_finished = RunInfo::read(run.path())?.status == Status::Finished;
    if was_finished && state.finished && !asks_for_more(plan, state)? {
        return Ok(Some(Start::Finished { run: run.path().to_path_buf() }));
    }
    let snapshot = Box::new(resumed.snapshot);
    Ok(Some(Start::InPlace { run, snapshot, warnings: resumed.warnings }))
}

fn fork(folder: &Path) -> Result<Start> {
    let snapshot = Box::new(checkpoint::read(folder)?);
    let parent = Parent {
        run: snapshot.state.run.clone(),
        checkpoint: folder.to_path_buf(),
        hash: snapshot.state.checkpoint_hash(),
    };
    Ok(Start::Fork { parent, snapshot })
}

fn nothing(plan: &Plan, run_dir: Option<&Path>) -> Error {
    let place = match run_dir {
        Some(run) => run.to_path_buf(),
        None => plan.experiment.paths.results.join(&plan.name),
    };
    Error::input(format!("nothing to continue: no run with a checkpoint in {}", place.display()))
        .help("start one without --continue-train, or name a checkpoint folder")
}

/// Keys that a continued run may have otherwise than its checkpoint: limits, evaluation,
/// recording, loading, places, memory.
const FREE: [&str; 14] = [
    "train.epochs",
    "train.max_steps",
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
fn is_place(key: &str) -> bool {
    key.starts_with("data.sources.") && key.ends_with(".root")
}

/// # Errors
/// Lists every key that differs and may not.
fn same_experiment(plan: &Plan, state: &State) -> Result<()> {
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
fn asks_for_more(plan: &Plan, state: &State) -> Result<bool> {
    let longer = ["train.epochs", "train.max_steps", "train.early_stopping."];
    let differences = differences(plan, state)?;
    Ok(differences.keys().any(|key| longer.iter().any(|prefix| key.starts_with(prefix))))
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
fn flat(text: &str) -> Result<BTreeMap<String, String>> {
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
