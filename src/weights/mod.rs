//! Weights that people already have: PyTorch's files, safetensors and arcrun's checkpoints.
//!
//! [`Weights::open`] tells what a file is by its content and reads names, types and shapes;
//! [`Weights::load`] reads the numbers. No Python is needed and nothing of a pickle is executed: what
//! is not known as a tensor or as plain data is refused by name where it would be needed. [`fit`](fit())
//! brings the names to those of a network and checks every shape. [`registry`] knows where published
//! files live, [`fetch`] brings them to the cache.

mod data;
mod download;
pub mod family;
pub mod fetch;
mod fit;
mod format;
mod names;
mod pickle;
pub mod registry;
mod safetensors;
mod torch;
mod tree;
mod zip;

pub use data::Info;
pub use fit::{Fitted, Plan, fit, plan};
pub use format::Format;
pub use names::WRAPPERS;
pub use pickle::Dtype;

use crate::checkpoint::{self, Named};
use crate::{Error, Result};
use data::Extent;
use format::{Container, Fault};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// An opened file of weights: what is in it, without the numbers.
#[derive(Debug)]
pub struct Weights {
    pub path: PathBuf,
    pub format: Format,
    /// Keys that lead to the state dict: `["state_dict"]`.
    pub nesting: Vec<String>,
    /// In the file's order.
    pub tensors: Vec<Info>,
    /// Names in the state dict of what is no tensor.
    pub skipped: Vec<String>,
    /// Texts in the header of a safetensors file.
    pub texts: BTreeMap<String, String>,
    /// What was left out and should be said aloud.
    pub notices: Vec<String>,
    numbers: Numbers,
}

/// Where the numbers are.
#[derive(Debug)]
enum Numbers {
    File(File, Vec<Extent>),
    /// A checkpoint, whose checksum needs all of it.
    Memory(Named),
}

/// Every tensor of a file of weights, by name.
///
/// # Errors
/// Those of [`Weights::open`] and [`Weights::load`].
pub fn read(path: &Path) -> Result<Named> {
    Weights::open(path)?.load()
}

impl Weights {
    /// Opens a file, or the folder of a checkpoint or a run.
    ///
    /// # Errors
    /// `Error::Input` that names the file, what is wrong with it or what it is instead of weights,
    /// and what to do.
    pub fn open(path: &Path) -> Result<Weights> {
        if path.is_dir() {
            return of_folder(path);
        }
        let io = |e| Error::io("read", path, e).into_input();
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if !about.is_file() {
            return Err(Error::input(format!("{} is not a file", path.display())));
        }
        of_file(path, file, about.len()).map_err(|fault| told(path, fault))
    }

    /// Reads the numbers. Memory: those of the weights, once; tensors that share a storage in the
    /// file share it here.
    ///
    /// # Errors
    /// Damaged numbers, or a type that arcrun does not compute with.
    pub fn load(&self) -> Result<Named> {
        match &self.numbers {
            Numbers::Memory(tensors) => {
                let shared = |(name, tensor): (&String, &tch::Tensor)| {
                    (name.clone(), tensor.shallow_clone())
                };
                Ok(tensors.iter().map(shared).collect())
            }
            Numbers::File(file, extents) => {
                let tensors = data::load(file, &self.tensors, extents)
                    .map_err(|what| told(&self.path, Fault::new(what)))?;
                let names = self.tensors.iter().map(|info| info.name.clone());
                Ok(names.zip(tensors).collect())
            }
        }
    }
}

fn told(path: &Path, Fault { what, help }: Fault) -> Error {
    let joined = ["is ", "holds ", "can't ", "has ", "lacks ", "ends "];
    let path = path.display();
    let message = match joined.iter().any(|verb| what.starts_with(verb)) {
        true => format!("{path} {what}"),
        false => format!("{path}: {what}"),
    };
    Error::input(message).help(help.unwrap_or_else(|| "take another copy of the file".into()))
}

fn of_file(path: &Path, file: File, size: u64) -> Result<Weights, Fault> {
    let container = format::sniff(&file, size)?;
    let path = path.to_path_buf();
    if container == Container::Safetensors {
        let safetensors::Opened { infos, extents, texts } = safetensors::open(&file, size)?;
        if infos.is_empty() {
            return Err(Fault::new("holds no tensors").help("state a file of weights"));
        }
        return Ok(Weights {
            path,
            format: Format::Safetensors,
            nesting: Vec::new(),
            tensors: infos,
            skipped: Vec::new(),
            texts,
            notices: Vec::new(),
            numbers: Numbers::File(file, extents),
        });
    }
    let torch::Opened { format, selected, infos, extents } = torch::open(&file, size, container)?;
    let taken = selected.nesting.join(".");
    let left_out = selected.others.iter().map(|(key, tensors)| {
        let file = path.display();
        format!("{file}: the weights under `{taken}` are used, not those under `{key}` ({tensors})")
    });
    let mut notices: Vec<String> = left_out.collect();
    if format == Format::TorchScript {
        let file = path.display();
        notices.push(format!("{file} is TorchScript: its tensors are used, its code is not run"));
    }
    Ok(Weights {
        notices,
        path,
        format,
        nesting: selected.nesting,
        tensors: infos,
        skipped: selected.skipped,
        texts: BTreeMap::new(),
        numbers: Numbers::File(file, extents),
    })
}

/// A checkpoint of arcrun. Its files are checked against their checksums.
fn of_folder(path: &Path) -> Result<Weights> {
    let folder = checkpoint::locate(path).map_err(|error| no_checkpoint(path).unwrap_or(error))?;
    let (tensors, _) = checkpoint::read_group(&folder, "model")?;
    let info = |(name, tensor): (&String, &tch::Tensor)| {
        let dtype = pickle::dtype_of(tensor.kind());
        Info::whole(name.clone(), dtype, tensor.size(), 0)
    };
    Ok(Weights {
        path: path.to_path_buf(),
        format: Format::Checkpoint,
        nesting: Vec::new(),
        tensors: tensors.iter().map(info).collect(),
        skipped: Vec::new(),
        texts: BTreeMap::new(),
        notices: Vec::new(),
        numbers: Numbers::Memory(tensors),
    })
}

/// A folder that others keep weights in: names the files.
fn no_checkpoint(path: &Path) -> Option<Error> {
    let endings = ["pt", "pth", "bin", "ckpt", "tar", "safetensors"];
    let entries = std::fs::read_dir(path).ok()?.flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|file| {
            file.extension().is_some_and(|end| endings.iter().any(|known| end == *known))
        })
        .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let help = match names.as_slice() {
        [] => "state a file of weights, or RUN_DIR/checkpoints/latest".into(),
        names => format!("state a file in it: {}", names[..names.len().min(3)].join(", ")),
    };
    let has_state = path.join("state.json").exists() || path.join("checkpoints").exists();
    let message = format!("{} is a folder, but no checkpoint", path.display());
    (!has_state).then(|| Error::input(message).help(help))
}
