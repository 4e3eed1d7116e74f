//! Identity names and the class numbers that stand for them.

use crate::checkpoint::durable::hex;
use sha2::{Digest, Sha256};

/// Sorted identity names; a label is an index into them. It is stored in the run and in every
/// checkpoint, so that a class number means the same person for the life of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LabelMap {
    names: Vec<String>,
}

impl LabelMap {
    /// Sorts the names bytewise and drops repeated ones.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self { names }
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn label(&self, name: &str) -> Option<i64> {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).ok().map(|i| i as i64)
    }

    /// SHA-256, as hex, over the names with a zero byte after each.
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for name in &self.names {
            hasher.update(name.as_bytes());
            hasher.update([0]);
        }
        hex(&hasher.finalize())
    }

    /// What distinguishes `other` from this map, in words that name the first identities
    /// concerned, or `None` when they are equal.
    pub fn difference(&self, other: &LabelMap) -> Option<String> {
        if self == other {
            return None;
        }
        let missing: Vec<_> = only_in(self, other).collect();
        let added: Vec<_> = only_in(other, self).collect();
        let mut parts = vec![format!("{} identities against {}", self.len(), other.len())];
        if !missing.is_empty() {
            parts.push(format!("{} missing ({})", missing.len(), super::first(&missing)));
        }
        if !added.is_empty() {
            parts.push(format!("{} new ({})", added.len(), super::first(&added)));
        }
        Some(parts.join(", "))
    }
}

fn only_in<'a>(a: &'a LabelMap, b: &'a LabelMap) -> impl Iterator<Item = &'a str> {
    a.names.iter().map(String::as_str).filter(|name| b.label(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&str]) -> LabelMap {
        LabelMap::new(names.iter().map(|n| n.to_string()).collect())
    }

    #[test]
    fn labels_are_bytewise_positions() {
        let labels = map(&["b", "a", "B", "é", "b"]);
        assert_eq!(labels.names(), ["B", "a", "b", "é"]);
        assert_eq!(labels.label("b"), Some(2));
        assert_eq!(labels.label("c"), None);
    }

    #[test]
    fn a_difference_names_the_identities() {
        let (old, new) = (map(&["ann", "bob", "cy"]), map(&["ann", "cy", "dee"]));
        assert_eq!(old.difference(&old.clone()), None);
        assert_ne!(old.fingerprint(), new.fingerprint());
        assert_eq!(
            old.difference(&new).unwrap(),
            "3 identities against 3, 1 missing (bob), 1 new (dee)"
        );
    }

    #[test]
    fn the_fingerprint_keeps_names_apart() {
        assert_ne!(map(&["ab", "c"]).fingerprint(), map(&["a", "bc"]).fingerprint());
    }
}
