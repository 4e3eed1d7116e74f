//! Writing checkpoints into a run folder, keeping the names right, going on from the newest.

use super::Snapshot;
use super::durable;
use super::read::{self, FOLDER, STATE, file_of};
use super::retention::{Name, Policy, Save, keep, metrics_fit};
use super::state::{FORMAT_VERSION, Fault, FileSum, State};
use super::tensors::{self, Named};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
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
    /// What was found on opening that must be said aloud.
    found: Vec<String>,
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
    /// What must be said aloud: old checkpoints that could not be deleted.
    pub warnings: Vec<String>,
}

/// The newest whole checkpoint.
#[derive(Debug)]
pub struct Resumed {
    pub snapshot: Snapshot,
    pub path: PathBuf,
    /// What must be said aloud: damaged checkpoints that were passed over.
    pub warnings: Vec<String>,
}

/// What became of an epoch that a limit had cut.
#[derive(Debug)]
pub enum Uncut {
    /// The checkpoint in its middle is not there.
    Lost,
    /// The limit ends the training there still.
    StillEnds,
    Resumed(Box<Resumed>),
}

impl Store {
    /// Opens `run/checkpoints`, creates it where missing, and mends what a kill left half done.
    pub fn open(run: &Path, policy: Policy) -> Result<Store> {
        let (root, weights) = (run.join(FOLDER), run.join("weights"));
        let mut store = Store { root, weights, policy, found: Vec::new() };
        let saved = store.root.join(SAVED);
        fs::create_dir_all(&saved).map_err(|e| Error::io("create", &saved, e))?;
        for folder in [&store.root, &saved, &store.weights] {
            durable::clean(folder)?;
        }
        store.found = store.adopt()?;
        let (_, undeleted) = store.mend()?;
        store.found.extend(undeleted);
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
        let (kept, warnings) = self.mend()?;
        let names = kept.into_iter().filter(|(_, path)| *path == folder).map(|(n, _)| n).collect();
        let size = state.files.values().map(|sum| sum.size).sum();
        Ok(Saved { path: folder, names, hash: state.checkpoint_hash(), size, warnings })
    }

    /// Writes `weights/epoch-NNNN.safetensors`.
    pub fn save_weights(&self, epoch: u64, tensors: &Named) -> Result<PathBuf> {
        let path = self.weights.join(file_of(&Name::Epoch(epoch).to_string()));
        tensors::write_weights(&path, tensors)?;
        Ok(path)
    }

    /// Writes `weights/epoch-NNNN-ema.safetensors`: the averaged weights.
    pub fn save_average(&self, epoch: u64, tensors: &Named) -> Result<PathBuf> {
        let path = self.weights.join(file_of(&format!("{}-ema", Name::Epoch(epoch))));
        tensors::write_weights(&path, tensors)?;
        Ok(path)
    }

    /// Takes back the newest checkpoint, which closes an epoch that a limit cut, and reads the one
    /// before it, taken at the same step in mid-epoch; but where that is lost, or by `still_ends` of its
    /// state the limit still ends the training, the newest stands.
    ///
    /// # Errors
    /// What can't be read or deleted.
    pub fn resume_uncut(&self, cut: &State, still_ends: impl Fn(&State) -> bool) -> Result<Uncut> {
        let saves = self.saves()?;
        let at_cut = |save: &&Save| save.step == cut.step && save.epoch == cut.epoch;
        let before = |save: &&Save| save.step == cut.step && save.epoch + 1 == cut.epoch;
        let Some(before) = saves.iter().rfind(before) else { return Ok(Uncut::Lost) };
        let path = self.root.join(SAVED).join(before.to_string());
        let Ok(snapshot) = read::read_checked(&path) else { return Ok(Uncut::Lost) };
        if still_ends(&snapshot.state) {
            return Ok(Uncut::StillEnds);
        }
        for save in saves.iter().filter(at_cut) {
            durable::remove_folder(&self.root.join(SAVED).join(save.to_string()))?;
        }
        let mut warnings = Vec::new();
        let kept = self.verify_bests(&mut warnings)?;
        let mut snapshot = snapshot;
        warnings.extend(forget_lost(&mut snapshot.state, &kept));
        Ok(Uncut::Resumed(Box::new(Resumed { snapshot, path, warnings })))
    }

    /// Reads the newest whole checkpoint to go on from in this run folder; none where nothing was
    /// ever saved. Damaged ones are moved to `checkpoints/.damaged/` and named in the warnings, the
    /// best ones too, which later epochs are to be compared with.
    ///
    /// # Errors
    /// `Error::Input` where none is whole, or the newest is of a newer format.
    pub fn resume(&self) -> Result<Option<Resumed>> {
        let mut warnings = self.found.clone();
        let mut damaged = Vec::new();
        let mut first = None;
        for save in self.saves()?.iter().rev() {
            let path = self.root.join(SAVED).join(save.to_string());
            match read::read_checked(&path) {
                Ok(mut snapshot) => {
                    let State { epoch, step, .. } = snapshot.state;
                    if !damaged.is_empty() {
                        warnings.push(format!(
                            "continuing from the checkpoint before it: epoch {epoch}, step {step}"
                        ));
                    }
                    for broken in damaged {
                        self.set_aside(broken)?;
                    }
                    let kept = self.verify_bests(&mut warnings)?;
                    warnings.extend(forget_lost(&mut snapshot.state, &kept));
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

    /// Sets aside the damaged among `min-loss` and the best by metric, until what has these names is
    /// whole. Returns their states.
    fn verify_bests(&self, warnings: &mut Vec<String>) -> Result<BTreeMap<Name, State>> {
        loop {
            let (kept, undeleted) = self.mend()?;
            let of_best = |name: &Name| matches!(name, Name::MinLoss | Name::Best(_));
            let mut states = BTreeMap::new();
            let mut broken = BTreeSet::new();
            for (name, path) in kept.into_iter().filter(|(name, _)| of_best(name)) {
                match read::verify(&path) {
                    Ok(state) => drop(states.insert(name, state)),
                    Err(Fault::Refused(error)) => return Err(error),
                    Err(Fault::Damaged(error)) if broken.insert(path) => {
                        warnings.push(format!("checkpoint set aside: {error}"));
                    }
                    Err(Fault::Damaged(_)) => {}
                }
            }
            if broken.is_empty() {
                warnings.extend(undeleted.into_iter().filter(|text| !self.found.contains(text)));
                return Ok(states);
            }
            broken.into_iter().try_for_each(|path| self.set_aside(path))?;
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
        let best = state.best_of();
        if !metrics_fit(&best) {
            let list = best.join(", ");
            return Err(Error::failed(format!("too many metrics to name a folder after: {list}"))
                .help("state fewer in checkpoint.best"));
        }
        let mut save = Save {
            epoch,
            batch,
            step,
            again: 0,
            min_loss: state.is_min_loss(),
            cut: state.cut,
            best,
        };
        let saves = self.saves()?;
        let same = saves.iter().rfind(|other| other.position() == save.position());
        save.again = same.map_or(0, |other| other.again + 1);
        Ok(save)
    }

    /// Makes the names follow from the folders, then deletes what has no name, but for what someone
    /// made read-only. Also returns what could not be deleted, to be said aloud: it harms nothing.
    fn mend(&self) -> Result<(BTreeMap<Name, PathBuf>, Vec<String>)> {
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
        let mut warnings = Vec::new();
        // Whoever goes on from before the cut needs what was the best then.
        let cut = saves.last().is_some_and(|save| save.cut);
        for folder in saves.iter().map(Save::to_string).filter(|_| !cut) {
            let path = self.root.join(SAVED).join(&folder);
            if kept.values().any(|other| *other == folder) || is_protected(&path) {
                continue;
            }
            if let Err(error) = durable::remove_folder(&path) {
                warnings.push(format!("an old checkpoint stays on the disk: {error}"));
            }
        }
        let path = |id| self.root.join(SAVED).join(id);
        Ok((kept.into_iter().map(|(name, id)| (name, path(id))).collect(), warnings))
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

    /// A copy that follows symlinks (scp) turns names into folders: takes them back. Returns what was
    /// damaged on the way, to be said aloud.
    fn adopt(&self) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for (name, _) in self.links()?.into_iter().filter(|(_, is_link)| !is_link) {
            let path = self.root.join(name.to_string());
            let state = match read::state_of(&path) {
                Ok(state) => state,
                Err(Fault::Damaged(error)) => {
                    warnings.push(format!("checkpoint set aside: {error}"));
                    self.set_aside(path)?;
                    continue;
                }
                Err(Fault::Refused(error)) => return Err(error),
            };
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
        Ok(warnings)
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

/// Someone took the permission to write away from the checkpoint: they want it kept.
fn is_protected(folder: &Path) -> bool {
    let read_only = |path: &Path| fs::metadata(path).is_ok_and(|m| m.permissions().readonly());
    read_only(folder) || read_only(&folder.join(STATE))
}

/// A best value whose checkpoint is gone can't be what later ones must beat; where an older
/// checkpoint has its name now, that one's counts. `kept`: the states under these names.
fn forget_lost(state: &mut State, kept: &BTreeMap<Name, State>) -> Vec<String> {
    let mut warnings = Vec::new();
    if state.min_loss.is_some() {
        let now = kept.get(&Name::MinLoss).and_then(|kept| kept.min_loss.clone());
        if now.is_none() {
            let text = "the checkpoint of least loss is lost; min-loss starts again from here";
            warnings.push(text.to_owned());
        }
        state.min_loss = now;
    }
    state.best.retain(|metric, best| {
        let kept = kept.get(&Name::Best(metric.clone()));
        let now = kept.and_then(|kept| kept.best.get(metric));
        match now {
            Some(now) => best.clone_from(now),
            None => warnings.push(format!("the checkpoint of the best {metric} is lost")),
        }
        now.is_some()
    });
    warnings
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
