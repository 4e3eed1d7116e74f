//! The pack: a whole data source in one memory-mapped file, which `run data pack` writes.
//!
//! docs/data-pack.md has the format byte by byte. An epoch from a pack reads that file and no other,
//! and its batches are those of the source, bit for bit.

mod decoded;
mod file;
mod layout;
mod map;
mod metadata;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

pub use decoded::Decoded;
pub use file::PackFile;
pub use write::{Written, write};

use super::{OnCorrupt, Splits};
use crate::config::DatasetPath;
use crate::{Error, Result};

crate::config_struct! {
    /// A pack, the one file that `run data pack` makes of any other data: the same images in the same
    /// order, with their labels and their split.
    pub struct Pack {
        /// The file; a relative path is looked up under `paths.datasets` first.
        pub file: DatasetPath = DatasetPath::default(), required();
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

impl Pack {
    /// Opens the pack; its images are read when they are needed.
    ///
    /// # Errors
    /// No such file, or one that is no whole pack of this version.
    pub fn open(&self, datasets: &Path) -> Result<Splits> {
        let Self { file, on_corrupt } = self;
        let place = file.resolve(datasets);
        if !place.exists() {
            let tried: Vec<_> =
                file.tried(datasets).iter().map(|p| p.display().to_string()).collect();
            return Err(Error::input(format!(
                "no pack `{}` (data.file): tried {}",
                file.raw.display(),
                tried.join(", ")
            ))
            .help("set data.file or paths.datasets, or make it with `run data pack`"));
        }
        let mut splits = PackFile::open(&place)?.splits()?;
        splits.on_corrupt = *on_corrupt;
        Ok(splits)
    }
}
