//! The weights that a run keeps: checkpoints, and copies of the weights alone.

use super::{Network, network_of, network_with};
use crate::checkpoint::{self, Labels, Name};
use crate::plan::Plan;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Which weights of a run are meant: those of a checkpoint, or their average (`train.ema`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    pub name: Name,
    pub average: bool,
}

/// Ends a checkpoint's name where the average is meant: `latest-ema`.
const AVERAGE: &str = "-ema";

impl Which {
    /// `latest`, `min-loss`, `best-METRIC`, the number of an epoch; with `-ema` the average. `ema` alone
    /// is that of the latest.
    pub fn parse(text: &str) -> Option<Which> {
        let (name, average) = match text.strip_suffix(AVERAGE) {
            Some(name) => (name, true),
            None if text == &AVERAGE[1..] => ("latest", true),
            None => (text, false),
        };
        Name::parse(name).map(|name| Which { name, average })
    }
}

impl From<Name> for Which {
    fn from(name: Name) -> Which {
        Which { name, average: false }
    }
}

/// Weights of a run under all of their names.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The first is the one to call it by: the epoch's, where it has one.
    pub names: Vec<Name>,
    /// Epochs that they were trained for.
    pub epoch: u64,
    /// Their average is meant.
    average: bool,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// A checkpoint folder.
    Checkpoint(PathBuf),
    /// A copy of the weights alone, and the run, whose checkpoints state the labels.
    Weights { file: PathBuf, run: PathBuf },
}

impl Kept {
    /// The checkpoint or the copy of a run under a name.
    ///
    /// # Errors
    /// Neither is there, with the names there are; a damaged checkpoint.
    pub fn one(run: &Path, which: impl Into<Which>) -> Result<Kept> {
        let Which { name, average } = which.into();
        let kept = Kept::named(run, name)?;
        Ok(Kept { average, ..kept })
    }

    fn named(run: &Path, name: Name) -> Result<Kept> {
        match (checkpoint::find(run, name.clone()), name) {
            (Ok(folder), name) => Kept::checkpoint(name, folder),
            (Err(error), Name::Epoch(epoch)) => {
                let copy = copies(run).into_iter().find(|(number, _)| *number == epoch);
                Ok(Kept::copy(run, copy.ok_or(error)?))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// `min-loss`, or where there is none `latest`.
    ///
    /// # Errors
    /// A run without a checkpoint; a damaged one.
    pub fn best(run: &Path) -> Result<Kept> {
        match checkpoint::find(run, Name::MinLoss) {
            Ok(folder) => Kept::checkpoint(Name::MinLoss, folder),
            Err(_) => Kept::one(run, Name::Latest),
        }
    }

    /// Everything that is kept, averages too, each once, in the order of epochs.
    ///
    /// # Errors
    /// A run without a checkpoint; a damaged one.
    pub fn every(run: &Path) -> Result<Vec<Kept>> {
        let mut all: Vec<Kept> = Vec::new();
        for (name, path) in checkpoint::list(run) {
            match all.iter_mut().find(|kept| kept.path() == path) {
                Some(kept) => kept.names.push(name),
                None => all.push(Kept::checkpoint(name, path)?),
            }
        }
        for copy in copies(run) {
            let name = Name::Epoch(copy.0);
            match all.iter_mut().find(|kept| kept.epoch == copy.0) {
                // The same weights.
                Some(kept) if kept.names.contains(&name) => {}
                Some(kept) => kept.names.push(name),
                None => all.push(Kept::copy(run, copy)),
            }
        }
        if all.is_empty() {
            checkpoint::find(run, Name::Latest)?;
        }
        for kept in &mut all {
            kept.names.sort_by_key(|name| !matches!(name, Name::Epoch(_)));
        }
        let averaged: Vec<Kept> = all.iter().filter_map(Kept::averaged).collect();
        all.extend(averaged);
        // An average comes after the weights that it is of.
        all.sort_by_key(|kept| kept.epoch);
        Ok(all)
    }

    /// The average of the same epoch, if there is one.
    fn averaged(&self) -> Option<Kept> {
        let file = match &self.place {
            Place::Checkpoint(folder) => folder.join("ema.safetensors"),
            Place::Weights { file, .. } => self.averaged_copy(file),
        };
        file.exists().then(|| Kept { average: true, ..self.clone() })
    }

    /// The file beside a copy of the weights.
    fn averaged_copy(&self, file: &Path) -> PathBuf {
        file.with_file_name(format!("{}{AVERAGE}.safetensors", self.names[0]))
    }

    fn checkpoint(name: Name, folder: PathBuf) -> Result<Kept> {
        let epoch = checkpoint::read_state(&folder)?.epoch;
        Ok(Kept { names: vec![name], epoch, average: false, place: Place::Checkpoint(folder) })
    }

    fn copy(run: &Path, (epoch, file): (u64, PathBuf)) -> Kept {
        let place = Place::Weights { file, run: run.to_path_buf() };
        Kept { names: vec![Name::Epoch(epoch)], epoch, average: false, place }
    }

    fn path(&self) -> &Path {
        match &self.place {
            Place::Checkpoint(path) | Place::Weights { file: path, .. } => path,
        }
    }

    /// What to call it by: `epoch-0003`, `min-loss`, `latest-ema`.
    pub fn calls(&self) -> Vec<String> {
        let end = if self.average { AVERAGE } else { "" };
        self.names.iter().map(|name| format!("{name}{end}")).collect()
    }

    /// `epoch-0003 min-loss`
    pub fn all_names(&self) -> String {
        self.calls().join(" ")
    }

    /// The network with these weights, and the labels it was trained on.
    ///
    /// # Errors
    /// Damaged weights, or those of another network.
    pub fn network(&self, plan: &Plan) -> Result<(Network, Labels)> {
        match &self.place {
            Place::Checkpoint(folder) => {
                let group = if self.average { "ema" } else { "model" };
                let (network, state) = network_of(plan, folder, group)?;
                Ok((network, state.labels))
            }
            Place::Weights { file, run } => {
                let labels = checkpoint::read_state(Kept::best(run)?.path())?.labels;
                let file = match self.average {
                    true => self.averaged_copy(file),
                    false => file.clone(),
                };
                let weights = checkpoint::read_weights(&file).map_err(without_average)?;
                Ok((network_with(plan, &file, &weights, labels.names.len())?, labels))
            }
        }
    }
}

fn without_average(error: Error) -> Error {
    error.help("a run keeps averages from its beginning on, with train.ema.decay")
}

/// Copies of the weights alone: epoch and file.
fn copies(run: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(run.join("weights")).into_iter().flatten().flatten();
    let epoch = |path: PathBuf| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".safetensors")?.to_string();
        match Name::parse(&stem)? {
            Name::Epoch(epoch) => Some((epoch, path)),
            _ => None,
        }
    };
    let mut found: Vec<_> = entries.filter_map(|entry| epoch(entry.path())).collect();
    found.sort();
    found
}
