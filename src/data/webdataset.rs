//! WebDataset: tar files (shards) whose members of one key are a sample, `000012.jpg` with `000012.cls`.

mod samples;
mod shard;
#[cfg(test)]
mod tests;

use super::image_folder::{Fractions, at_most_all, missing};
use super::image_text;
use super::pattern::find;
use super::reading::{Division, Reading, gathered, in_order_of_numbers};
use super::scan::HELP;
use super::{Image, OnCorrupt, Splits, first};
use crate::config::DatasetPath;
use crate::{Error, Result};
use rayon::prelude::*;
use samples::{Samples, samples};
use std::path::{Path, PathBuf};

crate::config_choice! {
    /// What a sample of a shard is labelled with.
    pub enum Labels {
        /// The class in KEY.cls, a number or a name.
        Cls = "cls",
        /// The key `field` in KEY.json, a number or a name.
        Json = "json",
        /// The name in KEY.txt.
        Txt = "txt",
        /// KEY.txt is a caption: image-text pairs, without classes.
        Captions = "captions",
    }
}

impl Labels {
    /// Of the member that is read.
    fn extension(self) -> &'static str {
        match self {
            Labels::Cls => "cls",
            Labels::Json => "json",
            Labels::Txt | Labels::Captions => "txt",
        }
    }
}

crate::config_struct! {
    /// WebDataset's shards: tar files with `KEY.jpg` (or jpeg, png, webp, bmp) and, of the same key, `KEY.cls`,
    /// `KEY.json` or `KEY.txt`.
    ///
    /// The key is the path up to the first dot of the file's name. Only headers and labels are read at the
    /// beginning; images are then read from where they lie. Labels that are all numbers are filled up with
    /// zeros to one length. Compressed shards are refused.
    pub struct WebDataset {
        /// The folder of the shards, or one shard; a relative path is looked up under `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default(), required();
        /// Which files of the folder are shards: a pattern such as `*.tar`, `train-{0000..0009}.tar` or
        /// `**/*.tar`.
        pub shards: String = "*.tar".to_string(), required();
        /// Where the labels are.
        pub labels: Labels = Labels::Cls;
        /// With `labels = "json"`: the key of the label; dots lead into what is nested.
        pub field: String = "label".to_string(), required();
        /// How the images are divided; captions are divided by image.
        pub split: Division = Division::Image;
        /// The shares of the images, or with `split = "identity"` of the identities.
        pub fractions: Fractions = Fractions::default(),
            at_most_all();
        /// Identities with fewer images are left out; not with captions.
        pub min_images: usize = 1, at_least(1);
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

/// With more shards than this, a shard is opened for each image: a process may have 1024 files open.
const MOST_OPEN: usize = 256;

impl WebDataset {
    /// Whether the samples are images with captions.
    pub fn has_captions(&self) -> bool {
        self.labels == Labels::Captions
    }

    /// Keys that say nothing beside others: key and message.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if self.has_captions() && self.split == Division::Identity {
            let message = "is \"identity\", but captions have no identities: leave it out";
            wrong.push(("split".to_string(), message.to_string()));
        }
        if self.has_captions() && self.min_images > 1 {
            let message = "counts the images of identities, which captions have not: leave it out";
            wrong.push(("min_images".to_string(), message.to_string()));
        }
        wrong
    }

    /// Reads the headers and the labels of all shards, and divides the images.
    ///
    /// # Errors
    /// No such folder or shard, a shard that is compressed, damaged or cut off, an image without a label,
    /// too few images for the split.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { root, shards, labels, field, split, fractions, min_images, on_corrupt } = self;
        let place = root.resolve(datasets);
        let (folder, files) = match place.is_file() {
            true => (place.parent().unwrap_or(Path::new("")).to_path_buf(), vec![place]),
            false if place.is_dir() => {
                let files = shard_files(&place, shards)?;
                (place, files)
            }
            false => return Err(missing(root, datasets)),
        };
        let mut reading = Reading::new(fractions, *min_images, seed);
        let read = read(&files, *labels, field, &folder, &mut reading.notes)?;
        let splits = match labels {
            Labels::Captions => {
                let images = read.into_iter().map(|(text, image)| (image, vec![text])).collect();
                let mut splits = image_text::divide(images, &folder, fractions, seed)?;
                splits.notes.splice(0..0, reading.notes);
                splits
            }
            Labels::Cls | Labels::Json | Labels::Txt => {
                let (mut names, images): (Vec<String>, Vec<Image>) = read.into_iter().unzip();
                in_order_of_numbers(&mut names);
                let gathered = gathered(&folder, names.into_iter().zip(images));
                reading.divided(gathered, *split)?
            }
        };
        Ok(Splits { on_corrupt: *on_corrupt, ..splits })
    }
}

fn shard_files(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    find(folder, pattern, "data.shards").map_err(|error| {
        let of = |pattern| find(folder, pattern, "data.shards").unwrap_or_default().len();
        match of("*.tar.gz") + of("*.tgz") {
            0 => error.help(format!("data.root is the folder of the shards; {HELP}")),
            zipped => error.help(format!(
                "there are {zipped} compressed ones: unpack them to plain .tar files, since images are \
                 read in any order"
            )),
        }
    })
}

/// Label or caption and image of every sample, shard by shard.
fn read(
    files: &[PathBuf],
    labels: Labels,
    field: &str,
    folder: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, Image)>> {
    let keep_open = files.len() <= MOST_OPEN;
    let shards = (files.par_iter())
        .map(|file| samples(file, labels, field, keep_open))
        .collect::<Result<Vec<Samples>>>()?;
    let without_image: usize = shards.iter().map(|shard| shard.without_image).sum();
    let unread: usize = shards.iter().map(|shard| shard.unread).sum();
    let place = folder.display();
    let cut: Vec<String> = (files.iter().zip(&shards).filter(|(_, shard)| !shard.ended))
        .map(|(file, _)| file.strip_prefix(folder).unwrap_or(file).display().to_string())
        .collect();
    if !cut.is_empty() {
        let shown: Vec<&str> = cut.iter().map(String::as_str).collect();
        notes.push(format!(
            "{place}: {} shards lack the mark of their end and may be cut off ({})",
            cut.len(),
            first(&shown)
        ));
    }
    let images: Vec<_> = shards.into_iter().flat_map(|shard| shard.images).collect();
    if images.is_empty() {
        return Err(Error::input(format!(
            "none of the {} shards in {place} holds an image with a .{}",
            files.len(),
            labels.extension()
        ))
        .help("a sample is KEY.jpg and KEY.cls, KEY.json or KEY.txt, as data.labels says"));
    }
    if without_image > 0 {
        let extension = labels.extension();
        notes.push(format!("{place}: {without_image} .{extension} without an image are not read"));
    }
    if unread > 0 {
        notes.push(format!("{place}: {unread} members of other kinds are not read"));
    }
    Ok(images)
}
