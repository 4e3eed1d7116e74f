//! Finding and reading checkpoints. Needs no lock: a folder that has a name is never changed.

use super::Snapshot;
use super::durable::sha256;
use super::retention::Name;
use super::state::{Fault, FileSum, State};
use super::tensors::{self, Named};
use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) const FOLDER: &str = "checkpoints";
pub(crate) const STATE: &str = "state.json";
const EXTENSION: &str = "safetensors";

/// `model` -> `model.safetensors`.
pub(crate) fn file_of(group: &str) -> String {
    format!("{group}.{EXTENSION}")
}

/// The names in a run folder with the checkpoints they stand for, `latest` first.
pub fn list(run: &Path) -> Vec<(Name, PathBuf)> {
    let root = run.join(FOLDER);
    let entries = fs::read_dir(&root).into_iter().flatten().flatten();
    let mut found: Vec<(Name, PathBuf)> = entries
        .filter_map(|entry| {
            let text = entry.file_name().into_string().ok()?;
            let name = Name::parse(&text).filter(|name| name.to_string() == text)?;
            Some((name, fs::canonicalize(entry.path()).ok()?))
        })
        .collect();
    found.sort();
    found
}

/// The checkpoint of a run under a name.
///
/// # Errors
/// `Error::Input` with the names there are.
pub fn find(run: &Path, name: Name) -> Result<PathBuf> {
    let known = list(run);
    if let Some((_, path)) = known.iter().find(|(known, _)| *known == name) {
        return Ok(path.clone());
    }
    let names: Vec<String> = known.iter().map(|(name, _)| name.to_string()).collect();
    Err(Error::input(format!("run {} has no checkpoint {name}", run.display())).help(
        if names.is_empty() {
            "it has written none yet".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        },
    ))
}

/// The checkpoint folder that a user's path means: the folder itself, or a run's `latest`.
///
/// # Errors
/// `Error::Input` where it is neither.
pub fn locate(path: &Path) -> Result<PathBuf> {
    if path.join(STATE).is_file() {
        return fs::canonicalize(path).map_err(|e| Error::io("read", path, e).into_input());
    }
    if path.join(FOLDER).is_dir() {
        return find(path, Name::Latest);
    }
    let what = if path.exists() { "is no checkpoint: it has no state.json" } else { "is missing" };
    Err(Error::input(format!("checkpoint {} {what}", path.display()))
        .help("give a folder such as RUN_DIR/checkpoints/latest"))
}

/// Reads a checkpoint folder wholly, verifying version, sizes and checksums.
///
/// # Errors
/// `Error::Input` naming the file and what is wrong with it.
pub fn read(folder: &Path) -> Result<Snapshot> {
    Ok(read_checked(folder)?)
}

/// Reads and verifies `state.json` alone.
pub fn read_state(folder: &Path) -> Result<State> {
    Ok(state_of(folder)?)
}

/// Reads one group of tensors, such as `model`, with the state.
pub fn read_group(folder: &Path, group: &str) -> Result<(Named, State)> {
    let state = state_of(folder)?;
    let file = file_of(group);
    let sum = state
        .files
        .get(&file)
        .ok_or_else(|| Error::input(format!("checkpoint {} holds no {file}", folder.display())))?;
    Ok((tensors_of(&folder.join(file), sum)?, state))
}

pub(crate) fn read_checked(folder: &Path) -> Result<Snapshot, Fault> {
    let state = state_of(folder)?;
    let read = |(file, sum): (&String, &FileSum)| {
        let group = file.trim_end_matches(EXTENSION).trim_end_matches('.');
        Ok((group.to_owned(), tensors_of(&folder.join(file), sum)?))
    };
    let tensors = state.files.iter().map(read).collect::<Result<_, Fault>>()?;
    Ok(Snapshot { tensors, state })
}

/// Verifies sizes and checksums of a checkpoint folder and returns its state.
pub(crate) fn verify(folder: &Path) -> Result<State, Fault> {
    let state = state_of(folder)?;
    for (file, sum) in &state.files {
        checked_content(&folder.join(file), sum)?;
    }
    Ok(state)
}

pub(crate) fn state_of(folder: &Path) -> Result<State, Fault> {
    let path = folder.join(STATE);
    State::from_json(&path, &content(&path)?)
}

fn tensors_of(path: &Path, sum: &FileSum) -> Result<Named, Fault> {
    tensors::parse(path, &checked_content(path, sum)?).map_err(Fault::Damaged)
}

fn checked_content(path: &Path, sum: &FileSum) -> Result<Vec<u8>, Fault> {
    let content = content(path)?;
    let size = content.len() as u64;
    if size != sum.size {
        let what = if size < sum.size { "truncated" } else { "too long" };
        let what = format!("{what}, {size} bytes instead of {}", sum.size);
        return Err(Fault::damaged(path, &what));
    }
    if sha256(&content) != sum.sha256 {
        return Err(Fault::damaged(path, "its checksum does not match its content"));
    }
    Ok(content)
}

fn content(path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Fault::damaged(path, "the file is missing"),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            Fault::damaged(path, &e.to_string())
        }
        _ => Fault::Refused(Error::io("read", path, e).into_input()),
    })
}
