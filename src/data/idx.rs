//! MNIST's layout (LeCun et al. 1998): IDX files of grey images and of their classes, gzipped or not.

mod file;
#[cfg(test)]
mod tests;

use super::image_folder::{Fractions, missing};
use super::reading::{Reading, gathered, in_order_of_numbers};
use super::scan::{Folder, HELP, dataset};
use super::{Container, Image, OnCorrupt, Splits, first};
use crate::config::DatasetPath;
use crate::{Error, Result};
use file::{read_images, read_labels};
use std::path::{Path, PathBuf};
use std::sync::Arc;

crate::config_struct! {
    /// MNIST and its like (Fashion-MNIST, KMNIST): `root/train-images-idx3-ubyte`, `root/train-labels-idx1-ubyte`
    /// and, for the closed-set test, the same with `t10k`; each gzipped (`.gz`) or not.
    ///
    /// The images are grey and stay in memory; their three channels are equal.
    pub struct Idx {
        /// The folder of the files; a relative path is looked up under `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default(), required();
        /// Share of each class of the training images that is kept for the validation loss.
        pub validation: f64 = 0.1, below(0.0, 1.0);
    }
}

impl Idx {
    /// Reads the files and takes the validation images out of the training images.
    ///
    /// # Errors
    /// No such folder or file, a file that is no IDX file, as many images as labels not, a class of the test
    /// that is not trained on.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { root, validation } = self;
        let place = root.resolve(datasets);
        if !place.is_dir() {
            return Err(missing(root, datasets));
        }
        let Some(mut train) = part(&place, "train")? else {
            return Err(Error::input(format!(
                "there is no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in {}",
                place.display()
            ))
            .help(format!("data.root is the folder of the IDX files; {HELP}")));
        };
        let test = part(&place, "t10k")?;
        let fractions = Fractions { train: 1.0 - validation, validation: *validation, test: 0.0 };
        let mut reading = Reading::new(&fractions, 1, seed);
        if test.is_none() {
            reading.notes.push(format!("{}: there is no t10k, so no test", place.display()));
        }
        reading.keep(&mut train)?;
        let mut splits = reading.by_image(&train).map_err(|error| {
            error.help(
                "data.validation = 0 takes no image out of a class; data.root is one data set",
            )
        })?;
        if let Some(test) = test {
            let labels = splits.train.labels.clone();
            let names = test.identities.iter().map(|identity| identity.name.as_str());
            let strange: Vec<&str> = names.filter(|name| labels.label(name).is_none()).collect();
            if !strange.is_empty() {
                return Err(Error::input(format!(
                    "{}: {} classes of t10k are not in train ({})",
                    place.display(),
                    strange.len(),
                    first(&strange)
                )));
            }
            splits.test = Some(dataset(&place, labels, &test.identities));
        }
        // Pixels can't be broken: whoever finds one that is should know.
        Ok(Splits { on_corrupt: OnCorrupt::Error, ..splits })
    }
}

/// The images of `train` or `t10k` by class, if the files are there.
fn part(place: &Path, prefix: &str) -> Result<Option<Folder>> {
    let [images, labels] = ["images-idx3", "labels-idx1"].map(|rest| there(place, prefix, rest));
    let (images, labels) = match (images, labels) {
        (Some(images), Some(labels)) => (images, labels),
        (None, None) => return Ok(None),
        (Some(found), None) | (None, Some(found)) => {
            return Err(Error::input(format!("{} has no other file beside it", found.display()))
                .help(format!(
                    "{prefix}-images-idx3-ubyte and {prefix}-labels-idx1-ubyte belong together"
                )));
        }
    };
    let grey = read_images(&images)?;
    let classes = read_labels(&labels)?;
    if grey.count() != classes.len() {
        return Err(Error::input(format!(
            "{} has {} images, but {} has {} labels",
            images.display(),
            grey.count(),
            labels.display(),
            classes.len()
        ))
        .help("the two files belong to different sets: fetch them again"));
    }
    if classes.is_empty() {
        return Err(Error::input(format!("{} has no image", images.display())));
    }
    let mut names: Vec<String> = classes.iter().map(u8::to_string).collect();
    in_order_of_numbers(&mut names);
    let container: Arc<dyn Container> = Arc::new(grey);
    let member = |number| Image::Member { container: Arc::clone(&container), number };
    Ok(Some(gathered(place, names.into_iter().zip((0..).map(member)))))
}

/// `train-images-idx3-ubyte`, also with a dot before `idx3` as some copies have it, and `.gz`.
fn there(place: &Path, prefix: &str, rest: &str) -> Option<PathBuf> {
    let plain = format!("{prefix}-{rest}-ubyte");
    let dotted = plain.replace("-idx", ".idx");
    let names = [plain, dotted].into_iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    names.map(|name| place.join(name)).find(|path| path.is_file())
}
