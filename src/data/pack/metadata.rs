//! The part of a pack that is JSON: what is small and has no fixed size.

use serde::{Deserialize, Serialize};

use super::Decoded;
use crate::data::LabelMap;

/// The names a part may have, in the order of the file.
pub const PARTS: [&str; 4] = ["train", "validation", "test", "unseen"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of the program that wrote it.
    pub arcrun: String,
    /// In the order of [`PARTS`]; their images and items follow each other in this order.
    pub parts: Vec<Part>,
    /// Identity names, sorted; parts refer to a list by its position.
    pub labels: Vec<Vec<String>>,
    /// Of decoded packs.
    pub decoded: Option<Decoded>,
    /// What the source had to say about its split.
    pub notes: Vec<String>,
}

/// One part of the split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub images: u64,
    pub items: u64,
    /// Position in [`Metadata::labels`].
    pub labels: usize,
    /// [`crate::data::Dataset::fingerprint`] of the source.
    pub fingerprint: String,
}

impl Metadata {
    /// Whether it fits itself and the counts of the header. The error is a fragment.
    pub fn check(&self, images: u64, items: u64) -> Result<(), String> {
        let names: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
        let place = |name: &str| PARTS.iter().position(|known| *known == name);
        let places: Option<Vec<usize>> = names.iter().map(|name| place(name)).collect();
        let in_order = places.is_some_and(|p| p.is_sorted_by(|a, b| a < b));
        if !in_order || names.first() != Some(&PARTS[0]) {
            return Err(format!("its parts are {names:?}"));
        }
        let sum = |count: fn(&Part) -> u64| {
            self.parts.iter().map(count).try_fold(0u64, |sum, count| sum.checked_add(count))
        };
        if sum(|part| part.images) != Some(images) || sum(|part| part.items) != Some(items) {
            return Err("its parts do not add up".into());
        }
        if let Some(part) = self.parts.iter().find(|part| part.labels >= self.labels.len()) {
            return Err(format!("its part `{}` has no list of identities", part.name));
        }
        match self.labels.iter().all(|names| names.is_sorted_by(|a, b| a < b)) {
            true => Ok(()),
            false => Err("its identities are not in order".into()),
        }
    }

    pub fn label_map(&self, part: &Part) -> LabelMap {
        LabelMap::new(self.labels[part.labels].clone())
    }
}
