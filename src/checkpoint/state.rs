//! What a checkpoint knows besides its tensors: `state.json`.

use super::durable::sha256;
use crate::record::{EpochRow, number};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the folder's layout and of `state.json`. Newer ones are refused.
pub const FORMAT_VERSION: u32 = 1;

/// The training state besides the tensors, at the end of an optimizer step.
///
/// Numbers come back exactly; what JSON can't say (infinity) comes back as NaN, so that parts
/// keep such values out of their own `Value`s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Set by the store.
    pub format_version: u32,
    /// Version of arcrun that wrote it.
    pub arcrun: String,
    pub experiment: String,
    /// Run id: the name of the run folder.
    pub run: String,
    /// Epochs completed.
    pub epoch: u64,
    /// Optimizer steps done.
    pub step: u64,
    /// Batches of epoch `epoch + 1` done; 0 at the end of an epoch.
    pub batch_in_epoch: u64,
    pub seed: u64,
    /// Threads inside an operator: the same bits need the same number.
    pub threads: usize,
    pub scheduler: Value,
    /// Gradient scaler; fp16 only.
    pub scaler: Option<Value>,
    pub loss: Value,
    pub early_stopping: EarlyStopping,
    /// The least monitored loss so far; names this checkpoint when `step` is the state's own.
    pub min_loss: Option<Best>,
    /// The best of each metric in `checkpoint.best` so far; a checkpoint taken at that step is the
    /// one that is kept for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub best: BTreeMap<String, Best>,
    #[serde(default)]
    pub nonfinite: NonFinite,
    /// Updates of the average in `ema.safetensors`, where one is kept.
    #[serde(default)]
    pub ema_updates: u64,
    /// A limit ended the epoch before its end: what goes on further starts from the checkpoint before
    /// this one.
    #[serde(default)]
    pub cut: bool,
    /// Sums over the part of the epoch that is done.
    pub partial: Partial,
    /// One row per completed epoch.
    pub history: Vec<EpochRow>,
    pub labels: Labels,
    /// The resolved experiment, TOML.
    pub config: String,
    /// Rows in each CSV file of the run (without the header) at this point.
    pub rows: BTreeMap<String, u64>,
    /// The run needs no more training.
    pub finished: bool,
    /// The files beside `state.json`; set by the store.
    pub files: BTreeMap<String, FileSum>,
    /// Time of writing, RFC 3339, UTC; set by the store.
    pub created: String,
}

/// How often something stopped being finite, where `train.on_nonfinite` goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonFinite {
    /// Steps in a row that were left out.
    pub in_row: u64,
    /// Returns to a checkpoint.
    pub rollbacks: u64,
}

/// Counters of early stopping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// The value to beat, negated where larger ones are better; none before the first epoch.
    pub best: Option<f64>,
    /// Epochs since it was set that measured it.
    pub bad_epochs: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    #[serde(deserialize_with = "number")]
    pub value: f64,
    /// Epochs and optimizer steps done when it was reached.
    pub epoch: u64,
    pub step: u64,
}

/// Sums from the start of the epoch, so that a resume in its middle ends in the same epoch row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// Sum over samples of the loss.
    #[serde(deserialize_with = "number")]
    pub loss_sum: f64,
    /// Likewise of the loss that `min-loss` compares.
    #[serde(default, deserialize_with = "number")]
    pub monitored_sum: f64,
    /// Samples classified correctly.
    pub correct: u64,
    /// Samples seen.
    pub seen: u64,
    /// Seconds of training.
    #[serde(deserialize_with = "number")]
    pub seconds: f64,
    /// Seconds of the loader by stage, as the columns of `epochs.csv` are called.
    #[serde(default)]
    pub loading: BTreeMap<String, f64>,
}

/// Identity names in label order, with the fingerprint of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    pub names: Vec<String>,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSum {
    /// Bytes.
    pub size: u64,
    pub sha256: String,
}

/// Why a checkpoint can't be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its files are missing, cut or changed: another checkpoint may serve.
    Damaged(Error),
    /// It may well be whole: wrong version, no permission.
    Refused(Error),
}

impl Fault {
    pub(crate) fn damaged(path: &Path, what: &str) -> Self {
        let message = format!("{} is damaged: {what}", path.display());
        Fault::Damaged(Error::input(message).help("continue from another checkpoint of the run"))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(error) | Fault::Refused(error) => error,
        }
    }
}

/// Fields that differ between two runs that learnt the same.
const NOT_LEARNT: [&str; 5] = ["arcrun", "run", "config", "files", "created"];
/// Likewise, inside a row of the history and the partial sums.
const TIMINGS: [&str; 3] = ["seconds", "images_per_second", "loading"];
const CHECKSUM: &str = "sha256";

impl State {
    /// Is this the checkpoint of least loss so far?
    pub fn is_min_loss(&self) -> bool {
        self.min_loss.as_ref().is_some_and(|best| best.step == self.step)
    }

    /// The metrics of which this checkpoint is the best so far.
    pub fn best_of(&self) -> Vec<String> {
        let here = self.best.iter().filter(|(_, best)| best.step == self.step);
        here.map(|(metric, _)| metric.clone()).collect()
    }

    /// SHA-256 of what was learnt: without times, throughput, the run's id, the program's version
    /// and the configuration's text (which holds paths).
    pub fn hash(&self) -> String {
        let mut value = self.to_value();
        let root = value.as_object_mut().expect("a struct is an object");
        NOT_LEARNT.iter().for_each(|key| drop(root.remove(*key)));
        let rows = root.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten();
        for row in rows.filter_map(Value::as_object_mut) {
            TIMINGS.iter().for_each(|key| drop(row.remove(*key)));
            if let Some(extras) = row.get_mut("extras").and_then(Value::as_object_mut) {
                extras.retain(|name, _| !name.starts_with("loader_"));
            }
        }
        if let Some(partial) = root.get_mut("partial").and_then(Value::as_object_mut) {
            TIMINGS.iter().for_each(|key| drop(partial.remove(*key)));
        }
        sha256(value.to_string().as_bytes())
    }

    /// SHA-256 over the state's hash and every file's checksum: equal for equal training.
    pub fn checkpoint_hash(&self) -> String {
        let files = self.files.iter().map(|(name, sum)| format!("{name} {}\n", sum.sha256));
        sha256(format!("{}\n{}", self.hash(), files.collect::<String>()).as_bytes())
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("the state has string keys only")
    }

    /// The content of `state.json`, closed by a checksum over the rest in compact form.
    pub(crate) fn to_json(&self) -> String {
        let mut value = self.to_value();
        value[CHECKSUM] = Value::String(sha256(value.to_string().as_bytes()));
        format!("{value:#}\n")
    }

    /// Reads the content of the file `path` (named in errors).
    pub(crate) fn from_json(path: &Path, content: &[u8]) -> Result<State, Fault> {
        let damaged = |what: String| Fault::damaged(path, &what);
        let mut value: Value =
            serde_json::from_slice(content).map_err(|e| damaged(e.to_string()))?;
        let version = value.get("format_version").and_then(Value::as_u64);
        match version {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => {
                return Err(Fault::Refused(
                    Error::input(format!(
                        "{} has checkpoint format {version}; this arcrun ({}) reads format \
                     {FORMAT_VERSION}",
                        path.display(),
                        env!("CARGO_PKG_VERSION"),
                    ))
                    .help(match value.get("arcrun").and_then(Value::as_str) {
                        Some(writer) => {
                            format!("use arcrun {writer}, which wrote it, or a newer one")
                        }
                        None => "use the version of arcrun that wrote it".into(),
                    }),
                ));
            }
            None => return Err(damaged("no format_version".into())),
        }
        let sum = value.as_object_mut().and_then(|root| root.shift_remove(CHECKSUM));
        if sum != Some(Value::String(sha256(value.to_string().as_bytes()))) {
            return Err(damaged("its checksum does not match its content".into()));
        }
        serde_json::from_value(value).map_err(|e| damaged(e.to_string()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn example() -> State {
        State {
            format_version: FORMAT_VERSION,
            arcrun: "0.1.0".into(),
            experiment: "quickstart".into(),
            run: "20261122-124500-abcd".into(),
            epoch: 3,
            step: 120,
            batch_in_epoch: 7,
            seed: u64::MAX,
            threads: 2,
            scheduler: json!({"last": 0.1 + 0.2, "bad_epochs": 1}),
            scaler: Some(json!({"scale": 65536.0})),
            loss: Value::Null,
            min_loss: Some(Best { value: 0.1 + 0.7, epoch: 3, step: 120 }),
            partial: Partial {
                loss_sum: 1e-17 + 12.3,
                monitored_sum: 12.0,
                correct: 5,
                seen: 9,
                seconds: 1.5,
                loading: BTreeMap::new(),
            },
            history: vec![EpochRow { epoch: 3, train_loss: 1.0 / 3.0, ..EpochRow::default() }],
            labels: Labels { names: vec!["Zoë".into()], fingerprint: "f".into() },
            config: "seed = 1\n[train]\n".into(),
            rows: [("steps.csv".to_owned(), 120)].into(),
            created: "2026-11-22T12:45:00Z".into(),
            ..State::default()
        }
    }

    #[test]
    fn comes_back_exactly() {
        let state = example();
        let back = State::from_json(Path::new("state.json"), state.to_json().as_bytes()).unwrap();
        assert_eq!(back, state);
        assert_eq!(back.partial.loss_sum.to_bits(), state.partial.loss_sum.to_bits());
    }

    #[test]
    fn awkward_floats_come_back_exactly() {
        let mut state = example();
        for index in 0..2000u64 {
            let bits = crate::random::derive(1, crate::random::Stream::Init, 0, index);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                state.partial.loss_sum = value;
                let text = state.to_json();
                let back = State::from_json(Path::new("s"), text.as_bytes()).unwrap();
                assert_eq!(back.partial.loss_sum.to_bits(), bits);
            }
        }
        state.partial.loss_sum = f64::NAN;
        let back = State::from_json(Path::new("s"), state.to_json().as_bytes()).unwrap();
        assert!(back.partial.loss_sum.is_nan());
    }

    #[test]
    fn the_hash_leaves_out_times_and_nothing_that_was_learnt() {
        let state = example();
        let mut same = state.clone();
        same.created = "later".into();
        same.run = "another".into();
        same.config = "paths.results = elsewhere".into();
        same.history[0].seconds = 99.0;
        same.partial.seconds = 99.0;
        assert_eq!(state.hash(), same.hash());
        let mut other = state.clone();
        other.history[0].train_loss += 1e-15;
        assert_ne!(state.hash(), other.hash());
        let mut other = state.clone();
        other.scheduler["bad_epochs"] = json!(2);
        assert_ne!(state.hash(), other.hash());

        let mut files = state.clone();
        files.files.insert("model".into(), FileSum { size: 1, sha256: "a".into() });
        assert_eq!(state.hash(), files.hash());
        assert_ne!(state.checkpoint_hash(), files.checkpoint_hash());
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let text = example().to_json();
        let at = text.find("65536").unwrap();
        let changed = format!("{}7{}", &text[..at], &text[at + 1..]);
        for (content, says) in
            [(changed.as_str(), "checksum"), (&text[..text.len() / 2], "damaged"), ("", "damaged")]
        {
            let error = State::from_json(Path::new("c/state.json"), content.as_bytes());
            let Err(Fault::Damaged(error)) = error else { panic!("{error:?}") };
            assert!(error.to_string().contains("c/state.json"), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let mut value: Value = serde_json::from_str(&example().to_json()).unwrap();
        value["format_version"] = json!(2);
        value["arcrun"] = json!("9.0.0");
        let error = State::from_json(Path::new("state.json"), value.to_string().as_bytes());
        let Err(Fault::Refused(Error::Input { message, help })) = error else {
            panic!("{error:?}")
        };
        assert!(message.contains("format 2") && message.contains("format 1"), "{message}");
        assert!(help.unwrap().contains("9.0.0"));
    }
}
