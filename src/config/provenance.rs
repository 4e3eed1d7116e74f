//! Which layer states a key, and where.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use super::diagnostic::{Diagnostic, Place};

/// What one layer states about one key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The value; for a table its name.
    pub place: Place,
    /// The key, in the same text.
    pub key: Range<usize>,
    /// The value as written; tables have none.
    pub value: Option<String>,
    /// A higher layer chose another kind for the table, which dropped this.
    pub replaced: bool,
}

/// One source of settings. All variables of the environment are one layer, all `--set` another.
#[derive(Clone, Debug)]
pub struct Layer {
    /// "the experiment file", "--set" ...
    pub name: String,
    /// Where relative paths start.
    pub folder: PathBuf,
    /// By full key, such as `loss.margin` or `loss.parts[0].weight`; tables too.
    pub entries: BTreeMap<String, Entry>,
    pub values: Dict,
}

/// All layers, lowest first.
#[derive(Clone, Debug)]
pub struct Provenance {
    pub layers: Vec<Layer>,
    /// The current folder, where defaults' relative paths start.
    pub current: PathBuf,
    /// What the layers say together.
    pub merged: Value,
}

impl Provenance {
    /// The layer whose value of `key` holds, with its entry.
    pub fn winner(&self, key: &str) -> Option<(&Layer, &Entry)> {
        self.layers.iter().rev().find_map(|layer| {
            let entry = layer.entries.get(key).filter(|entry| !entry.replaced)?;
            Some((layer, entry))
        })
    }

    /// Where `key` is stated, else the nearest table around it that is.
    pub fn locate(&self, key: &str) -> Option<&Place> {
        let mut key = key;
        loop {
            if let Some((_, entry)) = self.winner(key) {
                return Some(&entry.place);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    /// The folder that relative paths of `key` start from.
    pub fn folder(&self, key: &str) -> &Path {
        self.winner(key).map_or(&self.current, |(layer, _)| &layer.folder)
    }

    /// A mistake at `key`, with its place.
    pub fn error(&self, key: &str, message: impl Into<String>, help: Option<&str>) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            help: help.map(String::from),
            key: key.into(),
            place: self.locate(key).cloned(),
        }
    }
}
