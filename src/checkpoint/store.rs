//! Writing checkpoints into a run folder, keeping the names right, going on from the newest.

use super::Snapshot;
use super::durable;
use super::read::{self, FOLDER, STATE, file_of};
use super::retention::{Name, Policy, Save, keep};
use super::state::{FORMAT_VERSION, Fault, FileSum, State};
use super::tensors::{self, Named};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SAVED: &str = ".saved";
const DAMAGED: &str = ".damaged";

/// The checkpoints of one run. Its owner holds the run's lock.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    weights: PathBuf,
    policy: Policy,
}

/// What a save left on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The folder, by its lasting name under `checkpoints/.saved/`.
    pub path: PathBuf,
    /// The names that lead to it.
    pub names: Vec<Name>,
    /// [`State::checkpoint_hash`].
    pub hash: String,
    /// Bytes written.
    pub size: u64,
}

/// The newest whole checkpoint.
#[derive(Debug)]
pub struct Resumed {
    pub snapshot: Snapshot,
    pub path: PathBuf,
    /// What must be said aloud: damaged checkpoints that were passed over.
    pub warnings: Vec<String>,
}

impl Store {
    /// Opens `run/checkpoints`, creates it where missing, and mends what a kill left half done.
    pub fn open(run: &Path, policy: Policy) -> Result<Store> {
        let store = Store { root: run.join(FOLDER), weights: run.join("weights"), policy };
        let saved = store.root.join(SAVED);
        fs::create_dir_all(&saved).map_err(|e| Error::io("create", &saved, e))?;
        for folder in [&store.root, &saved, &store.weights] {
            durable::clean(folder)?;
        }
        store.adopt()?;
        store.mend()?;
        Ok(store)
    }

    /// Writes the snapshot as the newest checkpoint. It counts from one rename on; before that,
    /// the old ones stand.
    ///
    /// # Errors
    /// `Error::Failed` with the reason (no space left, for one); nothing half written remains.
    pub fn save(&self, snapshot: &Snapshot) -> Result<Saved> {
        let _span = tracing::info_span!("write").entered();
        let folder = self.root.join(SAVED).join(self.next(&snapshot.state)?.to_string());
        let temporary = durable::temporary(&folder);
        let state = write(&temporary, snapshot)
            .and_then(|state| {
                fs::rename(&temporary, &folder).map_err(|e| Error::io("write", &folder, e))?;
                Ok(state)
            })
            .map_err(|error| {
                // The reason to fail is what counts; a leftover is cleaned up at the next start.
                let _ = fs::remove_dir_all(&temporary);
                stands(error)
            })?;
        durable::sync_folder(&self.root.join(SAVED))?;
        let kept = self.mend()?;
        let names = kept.into_iter().filter(|(_, path)| *path == folder).map(|(n, _)| n).collect();
        let size = state.files.values().map(|sum| sum.size).sum();
        Ok(Saved { path: folder, names, hash: state.checkpoint_hash(), size })
    }

    /// Writes `weights/epoch-NNNN.safetensors`.
    pub fn save_weights(&self, epoch: u64, tensors: &Named) -> Result<PathBuf> {
        let path = self.weights.join(file_of(&Name::Epoch(epoch).to_string()));
        tensors::write_weights(&path, tensors)?;
        Ok(path)
    }

    /// Reads the newest whole checkpoint to go on from in this run folder; none where nothing was
    /// ever saved. Damaged ones are moved to `checkpoints/.damaged/` and named in the warnings.
    ///
    /// # Errors
    /// `Error::Input` where none is whole, or the newest is of a newer format.
    pub fn resume(&self) -> Result<Option<Resumed>> {
        let mut warnings = Vec::new();
        let mut damaged = Vec::new();
        let mut first = None;
        for save in self.saves()?.iter().rev() {
            let path = self.root.join(SAVED).join(save.to_string());
            match read::read_checked(&path) {
                Ok(mut snapshot) => {
                    for broken in damaged {
                        self.set_aside(broken)?;
                    }
                    let state = &mut snapshot.state;
                    if !warnings.is_empty() {
                        let kept = self.mend()?;
                        warnings.push(format!(
                            "continuing from the checkpoint before it: epoch {}, step {}",
                            state.epoch, state.step
                        ));
                        // A minimum whose checkpoint is gone can't be what later ones must beat.
                        if !kept.contains_key(&Name::MinLoss) && state.min_loss.take().is_some() {
                            warnings.push(
                                "the checkpoint of least loss is lost; \
                                min-loss starts again from here"
                                    .into(),
                            );
                        }
                    }
                    return Ok(Some(Resumed { snapshot, path, warnings }));
                }
                Err(Fault::Damaged(error)) => {
                    warnings.push(format!("checkpoint set aside: {error}"));
                    damaged.push(path);
                    first.get_or_insert(error);
                }
                Err(Fault::Refused(error)) => return Err(error),
            }
        }
        match first {
            Some(error) => Err(error.help("no checkpoint of this run is whole; start a new run")),
            None => Ok(None),
        }
    }

    /// The folders in the order of writing.
    fn saves(&self) -> Result<Vec<Save>> {
        let folder = self.root.join(SAVED);
        let entries = fs::read_dir(&folder).map_err(|e| Error::io("read", &folder, e))?;
        let mut saves: Vec<Save> =
            entries.flatten().filter_map(|e| Save::parse(e.file_name().to_str()?)).collect();
        saves.sort_by_key(|save| (save.position(), save.again));
        Ok(saves)
    }

    /// The folder name for a new checkpoint.
    fn next(&self, state: &State) -> Result<Save> {
        let State { epoch, step, batch_in_epoch: batch, .. } = *state;
        let mut save = Save { epoch, batch, step, again: 0, min_loss: state.is_min_loss() };
        let saves = self.saves()?;
        let same = saves.iter().rfind(|other| other.position() == save.position());
        save.again = same.map_or(0, |other| other.again + 1);
        Ok(save)
    }

    /// Makes the names follow from the folders, then deletes what has no name.
    fn mend(&self) -> Result<BTreeMap<Name, PathBuf>> {
        let saves = self.saves()?;
        let kept: BTreeMap<Name, String> = keep(&saves, &self.policy)
            .into_iter()
            .map(|(name, index)| (name, saves[index].to_string()))
            .collect();
        for (name, folder) in &kept {
            durable::point(&self.root.join(name.to_string()), &Path::new(SAVED).join(folder))?;
        }
        for (name, _) in self.links()? {
            if !kept.contains_key(&name) {
                let path = self.root.join(name.to_string());
                fs::remove_file(&path).map_err(|e| Error::io("delete", &path, e))?;
            }
        }
        durable::sync_folder(&self.root)?;
        for folder in saves.iter().map(Save::to_string) {
            if !kept.values().any(|other| *other == folder) {
                durable::remove_folder(&self.root.join(SAVED).join(folder))?;
            }
        }
        Ok(kept.into_iter().map(|(name, id)| (name, self.root.join(SAVED).join(id))).collect())
    }

    /// The names as they stand, and whether each is a symlink.
    fn links(&self) -> Result<Vec<(Name, bool)>> {
        let entries = fs::read_dir(&self.root).map_err(|e| Error::io("read", &self.root, e))?;
        let link = |entry: fs::DirEntry| {
            let text = entry.file_name().into_string().ok()?;
            let name = Name::parse(&text).filter(|name| name.to_string() == text)?;
            Some((name, entry.file_type().ok()?.is_symlink()))
        };
        Ok(entries.flatten().filter_map(link).collect())
    }

    /// A copy that follows symlinks (scp) turns names into folders: takes them back.
    fn adopt(&self) -> Result<()> {
        for (name, _) in self.links()?.into_iter().filter(|(_, is_link)| !is_link) {
            let path = self.root.join(name.to_string());
            let state = read::read_state(&path)?;
            let known = self
                .saves()?
                .into_iter()
                .any(|save| save.position() == (state.epoch, state.batch_in_epoch, state.step));
            if known {
                durable::remove_folder(&path)?;
            } else {
                let folder = self.root.join(SAVED).join(self.next(&state)?.to_string());
                fs::rename(&path, &folder).map_err(|e| Error::io("rename", &path, e))?;
            }
        }
        Ok(())
    }

    fn set_aside(&self, folder: PathBuf) -> Result<()> {
        let aside = self.root.join(DAMAGED);
        fs::create_dir_all(&aside).map_err(|e| Error::io("create", &aside, e))?;
        let to = aside.join(folder.file_name().unwrap_or_default());
        if to.exists() {
            durable::remove_folder(&to)?;
        }
        fs::rename(&folder, &to).map_err(|e| Error::io("rename", &folder, e))
    }
}

/// Says that a failed save has cost nothing but itself.
fn stands(error: Error) -> Error {
    match error {
        Error::Failed { message, help } => {
            let message = format!("{message}; the checkpoints written before stand as they were");
            let help = help.or_else(|| Some("free some space and continue the run".into()));
            Error::Failed { message, help }
        }
        other => other,
    }
}

/// Writes the whole folder, fsynced.
fn write(folder: &Path, snapshot: &Snapshot) -> Result<State> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| Error::io("delete", folder, e))?;
    }
    fs::create_dir(folder).map_err(|e| Error::io("create", folder, e))?;
    let mut state = snapshot.state.clone();
    state.format_version = FORMAT_VERSION;
    state.arcrun = env!("CARGO_PKG_VERSION").into();
    state.created = jiff::Timestamp::now().to_string();
    state.files.clear();
    for (group, tensors) in &snapshot.tensors {
        let file = file_of(group);
        let mut sum = None;
        durable::write_file(&folder.join(&file), |out| {
            let (size, sha256) = tensors::write(out, tensors)?;
            sum = Some(FileSum { size, sha256 });
            Ok(())
        })?;
        state.files.extend(sum.map(|sum| (file, sum)));
    }
    durable::write_file(&folder.join(STATE), |out| out.write_all(state.to_json().as_bytes()))?;
    Ok(state)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
