//! The weights that a run keeps: checkpoints, and copies of the weights alone.

use super::{Network, network_of, network_with};
use crate::Result;
use crate::checkpoint::{self, Labels, Name};
use crate::plan::Plan;
use std::path::{Path, PathBuf};

/// Weights of a run under all of their names.
#[derive(Debug)]
pub struct Kept {
    /// The first is the one to call it by: the epoch's, where it has one.
    pub names: Vec<Name>,
    /// Epochs that they were trained for.
    pub epoch: u64,
    place: Place,
}

#[derive(Debug)]
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
    pub fn one(run: &Path, name: Name) -> Result<Kept> {
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

    /// Everything that is kept, each once, in the order of epochs.
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
        all.sort_by_key(|kept| kept.epoch);
        Ok(all)
    }

    fn checkpoint(name: Name, folder: PathBuf) -> Result<Kept> {
        let epoch = checkpoint::read_state(&folder)?.epoch;
        Ok(Kept { names: vec![name], epoch, place: Place::Checkpoint(folder) })
    }

    fn copy(run: &Path, (epoch, file): (u64, PathBuf)) -> Kept {
        let place = Place::Weights { file, run: run.to_path_buf() };
        Kept { names: vec![Name::Epoch(epoch)], epoch, place }
    }

    fn path(&self) -> &Path {
        match &self.place {
            Place::Checkpoint(path) | Place::Weights { file: path, .. } => path,
        }
    }

    /// `epoch-0003 min-loss`
    pub fn all_names(&self) -> String {
        self.names.iter().map(Name::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The network with these weights, and the labels it was trained on.
    ///
    /// # Errors
    /// Damaged weights, or those of another network.
    pub fn network(&self, plan: &Plan) -> Result<(Network, Labels)> {
        match &self.place {
            Place::Checkpoint(folder) => {
                let (network, state) = network_of(plan, folder)?;
                Ok((network, state.labels))
            }
            Place::Weights { file, run } => {
                let labels = checkpoint::read_state(Kept::best(run)?.path())?.labels;
                let weights = checkpoint::read_weights(file)?;
                Ok((network_with(plan, file, &weights, labels.names.len())?, labels))
            }
        }
    }
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
