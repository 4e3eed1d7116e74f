//! Data: from a folder to batches of bytes.
//!
//! [`open`] turns the `[data]` table into [`Splits`], lists of labelled image files; a [`Loader`]
//! turns one of them into [`Batch`]es at the network's input size.

pub mod align;
mod augmentation;
pub mod celeba;
#[cfg(test)]
mod celeba_tests;
pub mod contact_sheet;
mod container;
mod dataset;
pub(crate) mod decode;
mod idx;
mod image_folder;
#[cfg(test)]
mod image_folder_tests;
mod image_glob;
mod image_source;
pub mod image_text;
pub mod inspect;
mod jpeg;
mod labels;
mod loader;
#[cfg(test)]
mod loader_tests;
mod merged;
#[cfg(test)]
mod mutated;
mod order;
pub mod pack;
#[cfg(test)]
mod parity;
mod pattern;
pub(crate) mod pipeline;
mod preprocess;
mod reading;
mod record_io;
mod render;
mod sample;
pub mod sampler;
mod scaler;
pub(crate) mod scan;
mod skipped;
mod split;
mod stages;
pub mod synthetic;
mod synthetic_faces;
mod webdataset;
mod windows;

use std::path::{Path, PathBuf};

pub use augmentation::{
    Augmentation, Blur, ColorJitter, Cutout, CutoutFill, Draw, Greyscale, Jpeg, LowResolution,
    ResizedCrop, RotationFill,
};
pub use celeba::CelebA;
pub use container::{Container, InMemory, Stored, numbered};
pub use dataset::{Dataset, Item, Splits};
pub use decode::Fault;
pub use idx::Idx;
pub use image_folder::{Fractions, ImageFolder, Split};
pub use image_glob::{Glob, NamedBy};
pub use image_source::Image;
pub use image_text::ImageText;
pub use labels::LabelMap;
pub use loader::{Batch, EpochIter, Loader, LoaderOptions, Shard};
pub use merged::Merged;
pub use pack::{Pack, PackFile};
pub use preprocess::{Channels, Interpolation, Preprocess, PreprocessConfig, Resize};
pub use reading::Division;
pub use record_io::RecordIo;
pub use render::Renderer;
pub use sample::sample_evenly;
pub use sampler::SamplerConfig;
pub use skipped::{OnCorrupt, Skipped};
pub use stages::Stages;
pub use synthetic_faces::SyntheticFaces;
pub use webdataset::{Labels, WebDataset};

use crate::Result;

crate::config_family! {
    /// Where the images come from and how they are divided.
    pub enum DataConfig("data") {
        ImageFolder(ImageFolder) = "image_folder",
        CelebA(CelebA) = "celeba",
        ImageText(ImageText) = "image_text",
        Pack(Pack) = "pack",
        SyntheticFaces(SyntheticFaces) = "synthetic_faces",
        RecordIo(RecordIo) = "record_io",
        WebDataset(WebDataset) = "webdataset",
        Idx(Idx) = "idx",
        Glob(Glob) = "glob",
        Merged(Merged) = "merged",
    }
}

/// Told how many images are made and how many there will be, from several threads; answers
/// whether to go on.
pub type Progress<'a> = dyn Fn(usize, usize) -> bool + Sync + 'a;

/// Lists the images of a data source and divides them, the same way for the same seed.
/// `datasets` is `paths.datasets`; `progress` is called only while a data set is being made.
///
/// # Errors
/// Everything that is wrong with the data before an image is decoded: see the `open` of each kind, such
/// as [`ImageFolder::open`].
pub fn open(
    config: &DataConfig,
    datasets: &Path,
    seed: u64,
    progress: &Progress<'_>,
) -> Result<Splits> {
    match config {
        DataConfig::ImageFolder(folder) => folder.open(datasets, seed),
        DataConfig::CelebA(celeba) => celeba.open(datasets, seed),
        DataConfig::ImageText(pairs) => pairs.open(datasets, seed),
        DataConfig::Pack(pack) => pack.open(datasets),
        DataConfig::SyntheticFaces(faces) => faces.open(datasets, seed, progress),
        DataConfig::RecordIo(records) => records.open(datasets, seed),
        DataConfig::WebDataset(shards) => shards.open(datasets, seed),
        DataConfig::Idx(files) => files.open(datasets, seed),
        DataConfig::Glob(glob) => glob.open(datasets, seed),
        DataConfig::Merged(merged) => merged.open(datasets, seed, progress),
    }
}

impl DataConfig {
    /// Whether its images have captions instead of identities.
    pub fn has_captions(&self) -> bool {
        match self {
            DataConfig::ImageText(_) => true,
            DataConfig::WebDataset(shards) => shards.has_captions(),
            _ => false,
        }
    }

    /// What is wrong between its keys: key and message, which goes on after the key's name.
    pub fn validate(&self) -> Vec<(String, String)> {
        match self {
            DataConfig::WebDataset(shards) => shards.validate(),
            DataConfig::Glob(glob) => glob.validate(),
            DataConfig::Merged(merged) => merged.validate(),
            _ => Vec::new(),
        }
    }

    /// The folder of the data set, whether it exists or not.
    pub fn root(&self, datasets: &Path) -> PathBuf {
        match self {
            DataConfig::ImageFolder(folder) => folder.root.resolve(datasets),
            DataConfig::CelebA(celeba) => celeba.root.resolve(datasets),
            DataConfig::ImageText(pairs) => pairs.file.resolve(datasets),
            DataConfig::Pack(pack) => pack.file.resolve(datasets),
            DataConfig::SyntheticFaces(faces) => faces.place(datasets),
            DataConfig::RecordIo(records) => records.root.resolve(datasets),
            DataConfig::WebDataset(shards) => shards.root.resolve(datasets),
            DataConfig::Idx(files) => files.root.resolve(datasets),
            DataConfig::Glob(glob) => glob.root.resolve(datasets),
            DataConfig::Merged(merged) => merged.root(datasets),
        }
    }
}

/// The first few names of a list, for messages.
fn first(names: &[&str]) -> String {
    let shown = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown}, ...") } else { shown }
}
