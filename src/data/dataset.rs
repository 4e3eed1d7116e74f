//! What every data source ends up as: a list of labelled image files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Image, LabelMap, OnCorrupt, Preprocess};
use crate::checkpoint::durable::hex;
use crate::{Error, Result};

/// One labelled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Ready to open.
    pub image: Image,
    /// Index into the label map of the [`Dataset`] the item belongs to.
    pub label: i64,
}

// Lists of millions are kept in memory: beside this a file has its path, at most some 100 bytes.
const _: () = assert!(size_of::<Item>() == 32);

/// Labelled images, sorted by identity and then by file name, both bytewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub root: PathBuf,
    pub items: Vec<Item>,
    pub labels: LabelMap,
    /// The caption of each item, where the data has texts.
    pub captions: Vec<String>,
}

impl Dataset {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of images of each label.
    pub fn images_per_identity(&self) -> Vec<usize> {
        let mut counts = vec![0; self.labels.len()];
        for item in &self.items {
            counts[item.label as usize] += 1;
        }
        counts
    }

    /// These items alone, in this order, with the labels and identities of all.
    pub fn subset(&self, items: &[usize]) -> Dataset {
        Dataset {
            root: self.root.clone(),
            items: items.iter().map(|at| self.items[*at].clone()).collect(),
            labels: self.labels.clone(),
            captions: items.iter().filter_map(|at| self.captions.get(*at).cloned()).collect(),
        }
    }

    /// SHA-256, as hex, over (path below the root, size in bytes, identity, caption) of every item,
    /// in sorted order. It reads no image, so it tells changed lists and sizes, not changed pixels.
    ///
    /// # Errors
    /// A file that is no longer there.
    pub fn fingerprint(&self) -> Result<String> {
        let line = |(index, item): (usize, &Item)| -> Result<Vec<u8>> {
            let mut line = self.line(item)?;
            if let Some(caption) = self.captions.get(index) {
                line.extend_from_slice(caption.as_bytes());
                line.push(b'\n');
            }
            Ok(line)
        };
        let items = self.items.par_iter().enumerate();
        let mut lines = items.map(line).collect::<Result<Vec<_>>>()?;
        lines.par_sort_unstable();
        let mut hasher = Sha256::new();
        lines.iter().for_each(|line| hasher.update(line));
        Ok(hex(&hasher.finalize()))
    }

    fn line(&self, item: &Item) -> Result<Vec<u8>> {
        let name = item.image.name();
        let size = item.image.size().map_err(|e| Error::io("read", &name, e))?;
        let mut line = self.relative(&name).as_os_str().as_encoded_bytes().to_vec();
        line.push(0);
        line.extend_from_slice(&size.to_le_bytes());
        line.extend_from_slice(self.labels.names()[item.label as usize].as_bytes());
        line.push(b'\n');
        Ok(line)
    }

    /// A name as the fingerprint has it: below the root.
    pub(super) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// The items that bring an image which the item before has not: an image with several captions
    /// is several items in a row.
    pub(crate) fn distinct(&self) -> Vec<u32> {
        let new = |at: &usize| {
            let same = !self.captions.is_empty() && *at > 0;
            !(same && self.items[*at].image == self.items[at - 1].image)
        };
        (0..self.len()).filter(new).map(|at| at as u32).collect()
    }

    /// Whether the images may be brought to the network's input as `to` says.
    ///
    /// # Errors
    /// They were decoded and resized for another input, with the keys that differ.
    pub fn fits(&self, to: &Preprocess) -> Result<()> {
        let mut seen = std::ptr::null();
        for item in &self.items {
            let Image::Member { container, number: _ } = &item.image else { continue };
            let this = Arc::as_ptr(container).cast::<()>();
            if this != std::mem::replace(&mut seen, this)
                && let Some(difference) = container.decoded().and_then(|of| of.difference(to))
            {
                return Err(Error::input(format!(
                    "the images in {} were decoded and resized for another input: {difference}",
                    self.root.display()
                ))
                .help(
                    "set these keys as the pack has them, or make another with `run data pack`; \
                     without --decoded it serves every input",
                ));
            }
        }
        Ok(())
    }
}

/// The parts of a data source that a run uses.
#[derive(Clone, Debug)]
pub struct Splits {
    pub train: Dataset,
    /// Other images of the identities in `train`, under the same label map: validation loss.
    pub validation: Option<Dataset>,
    /// Like `validation`, but never looked at while training: the closed-set test.
    pub test: Option<Dataset>,
    /// Identities that are never trained on, under a label map of their own: open-set test.
    pub unseen: Option<Dataset>,
    pub on_corrupt: OnCorrupt,
    /// What a user should know about how the parts came about, one sentence each.
    pub notes: Vec<String>,
}

impl Splits {
    /// Those that there are, under the names that `run.json` has for them.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Dataset)> {
        let Self { train, validation, test, unseen, on_corrupt: _, notes: _ } = self;
        let parts = [
            ("train", Some(train)),
            ("validation", validation.as_ref()),
            ("test", test.as_ref()),
            ("unseen", unseen.as_ref()),
        ];
        parts.into_iter().filter_map(|(name, set)| Some((name, set?)))
    }

    /// [`Dataset::fingerprint`] of each part.
    ///
    /// # Errors
    /// A file that is no longer there.
    pub fn fingerprints(&self) -> Result<BTreeMap<String, String>> {
        self.parts().map(|(name, set)| Ok((name.to_string(), set.fingerprint()?))).collect()
    }

    /// [`Dataset::fits`] of each part.
    ///
    /// # Errors
    /// As there.
    pub fn fits(&self, to: &Preprocess) -> Result<()> {
        self.parts().try_for_each(|(_, set)| set.fits(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_follows_names_sizes_and_labels_not_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(dir.path().join(name), bytes).unwrap();
            dir.path().join(name)
        };
        let items = vec![
            Item { image: write("a.png", b"12").into(), label: 0 },
            Item { image: write("b.png", b"345").into(), label: 1 },
        ];
        let labels = LabelMap::new(vec!["ann".into(), "bob".into()]);
        let set = Dataset { root: dir.path().into(), items, labels, captions: Vec::new() };
        let fingerprint = set.fingerprint().unwrap();

        let mut reversed = set.clone();
        reversed.items.reverse();
        assert_eq!(reversed.fingerprint().unwrap(), fingerprint);

        let mut relabelled = set.clone();
        relabelled.items[0].label = 1;
        assert_ne!(relabelled.fingerprint().unwrap(), fingerprint);

        write("b.png", b"3456");
        assert_ne!(set.fingerprint().unwrap(), fingerprint);

        std::fs::remove_file(dir.path().join("a.png")).unwrap();
        assert!(set.fingerprint().unwrap_err().to_string().contains("a.png"));
    }
}
