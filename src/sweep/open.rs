//! From a sweep file to a sweep's folder: the first time, again, and after the file was edited.

use super::expand::{Expansion, expand};
use super::file::SweepFile;
use super::journal::{Journal, Record};
use super::manifest::{Manifest, Trial};
use crate::config::{Experiment, load_str};
use crate::record::RunInfo;
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// A sweep file, expanded.
pub struct Planned {
    pub file: SweepFile,
    pub expansion: Expansion,
    pub sets: Vec<String>,
    pub folder: PathBuf,
}

impl Planned {
    /// Reads and expands a file; `folder` instead of `paths.results/sweeps/NAME`.
    ///
    /// # Errors
    /// What is wrong with the file, its base or one of its trials.
    pub fn read(path: &Path, sets: &[String], folder: Option<&Path>) -> Result<Planned> {
        let file = SweepFile::read(path)?;
        let expansion = expand(&file, sets)?;
        let base: Experiment = load_str("the base", &expansion.base, &[])?.experiment;
        file.objective.check(&file.path, &base, &expansion.axes)?;
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => short(&base.paths.results.join("sweeps").join(&file.name)),
        };
        Ok(Planned { file, expansion, sets: sets.to_vec(), folder })
    }

    fn manifest(&self) -> Manifest {
        let Expansion { base, axes, trials, .. } = &self.expansion;
        Manifest {
            text: self.file.text.clone(),
            sets: self.sets.clone(),
            base: base.clone(),
            axes: axes.clone(),
            trials: trials.clone(),
            ..Manifest::new(&self.file.name, &absolute(&self.file.path))
        }
    }

    /// Makes the sweep's folder, or finds it as it was. Returns what is to be said.
    ///
    /// # Errors
    /// The folder holds a sweep of other trials.
    pub fn open(&self) -> Result<Vec<String>> {
        let Planned { folder, .. } = self;
        if RunInfo::is_in(folder) {
            return Err(Error::input(format!("{} is a run's folder", folder.display()))
                .help("name one of its own with --dir"));
        }
        std::fs::create_dir_all(folder).map_err(|e| {
            Error::io("make", folder, e)
                .into_input()
                .help("make it writable, or choose another with --dir or paths.results")
        })?;
        let mut said = Vec::new();
        // Under the journal's lock: another runner may start this very moment.
        Journal::of(folder).exchange(|_| {
            if !Manifest::is_in(folder) {
                self.manifest().write(folder)?;
                return Ok(Vec::new());
            }
            let old = Manifest::read(folder)?;
            let change = Change::between(&old, &self.expansion.trials);
            if !change.is_empty() {
                let message = format!(
                    "{} holds this sweep with other trials: {}",
                    folder.display(),
                    change.words()
                );
                return Err(Error::input(message).help(format!(
                    "`run sweep extend {}` takes the change over; --dir starts a sweep of its own",
                    folder.display()
                )));
            }
            if old.text != self.file.text {
                let text = self.file.text.clone();
                let file = absolute(&self.file.path);
                Manifest { text, file, ..old }.write(folder)?;
                said.push(
                    "the sweep file changed, its trials did not: its new settings count".into(),
                );
            }
            Ok(Vec::new())
        })?;
        Ok(said)
    }

    /// What [`Planned::extend`] would change.
    pub fn change(&self) -> Result<Change> {
        Ok(Change::between(&Manifest::read(&self.folder)?, &self.expansion.trials))
    }

    /// Takes the edited file over: new trials are added, the others keep their places.
    /// Returns what changed.
    ///
    /// # Errors
    /// The folder holds no sweep.
    pub fn extend(&self) -> Result<Change> {
        let mut result = Change::default();
        Manifest::read(&self.folder)?;
        Journal::of(&self.folder).exchange(|_| {
            let old = Manifest::read(&self.folder)?;
            let change = Change::between(&old, &self.expansion.trials);
            let manifest = self.extended(&old, &change);
            manifest.write(&self.folder)?;
            let record = Record::Extended {
                added: change.added.len() + change.back.len(),
                gone: change.gone.len(),
            };
            result = change;
            Ok(vec![record])
        })?;
        Ok(result)
    }

    /// The old trials in their places, then the new ones: tasks of a cluster go by the place.
    fn extended(&self, old: &Manifest, change: &Change) -> Manifest {
        let wanted: HashSet<&str> = self.expansion.trials.iter().map(|t| t.id.as_str()).collect();
        let known: HashSet<&str> = old.trials.iter().map(|t| t.id.as_str()).collect();
        let kept = old
            .trials
            .iter()
            .map(|trial| Trial { dropped: !wanted.contains(trial.id.as_str()), ..trial.clone() });
        let mut trials: Vec<Trial> = kept.collect();
        let mut names: HashSet<String> = trials.iter().map(|trial| trial.name.clone()).collect();
        for trial in &self.expansion.trials {
            if !known.contains(trial.id.as_str()) {
                let name = match names.contains(&trial.name) {
                    true => format!("{}-{}", trial.name, &trial.id[..6]),
                    false => trial.name.clone(),
                };
                names.insert(name.clone());
                trials.push(Trial { name, ..trial.clone() });
            }
        }
        let mut axes = self.expansion.axes.clone();
        // Trials that are kept may have been told apart by other keys.
        let gone = old.axes.iter().filter(|_| !change.gone.is_empty());
        let gone: Vec<String> = gone.filter(|axis| !axes.contains(axis)).cloned().collect();
        axes.extend(gone);
        Manifest { created: old.created.clone(), axes, trials, ..self.manifest() }
    }
}

/// The manifest is read from any folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A path as one would type it here: without the current folder in front, and without `x/../`.
pub fn short(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if whole.file_name().is_some() => drop(whole.pop()),
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    let here = std::env::current_dir().unwrap_or_default();
    whole.strip_prefix(&here).map(Path::to_owned).unwrap_or(whole)
}

/// How two lists of trials differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Names.
    pub added: Vec<String>,
    pub gone: Vec<String>,
    /// Were gone and are asked for again.
    pub back: Vec<String>,
    pub kept: usize,
}

impl Change {
    /// From a manifest's trials to those of a new expansion.
    pub fn between(old: &Manifest, new: &[Trial]) -> Change {
        let by_id: HashMap<&str, &Trial> =
            old.trials.iter().map(|trial| (trial.id.as_str(), trial)).collect();
        let wanted: HashSet<&str> = new.iter().map(|trial| trial.id.as_str()).collect();
        let mut change = Change::default();
        for trial in new {
            match by_id.get(trial.id.as_str()) {
                None => change.added.push(trial.name.clone()),
                Some(known) if known.dropped => change.back.push(known.name.clone()),
                Some(_) => change.kept += 1,
            }
        }
        let gone = old.trials.iter().filter(|t| !t.dropped && !wanted.contains(t.id.as_str()));
        change.gone = gone.map(|trial| trial.name.clone()).collect();
        change
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.gone.is_empty() && self.back.is_empty()
    }

    /// `3 new (a, b, c), 1 gone (d), 8 as before`
    pub fn words(&self) -> String {
        let part = |names: &[String], word: &str| {
            let shown: Vec<&str> = names.iter().take(4).map(String::as_str).collect();
            let more = if names.len() > shown.len() { ", ..." } else { "" };
            (!names.is_empty())
                .then(|| format!("{} {word} ({}{more})", names.len(), shown.join("; ")))
        };
        let parts = [
            part(&self.added, "new"),
            part(&self.back, "back again"),
            part(&self.gone, "gone"),
            Some(format!("{} as before", self.kept)),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
