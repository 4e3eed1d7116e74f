//! Folders of images, one folder for each identity: VGGFace2, CASIA-WebFace, LFW and their like.

use std::path::Path;

use super::reading::{Reading, whole};
use super::scan::{self, Folder, Identity, dataset, scan};
use super::{Dataset, LabelMap, OnCorrupt, Splits};
use crate::config::DatasetPath;
use crate::config::check::{Check, that};
use crate::{Error, Result};

crate::config_choice! {
    /// How a folder is divided into training, validation and test.
    pub enum Split {
        /// `folders` if `root/train` exists, else `image`.
        Auto = "auto",
        /// As the folders `root/train`, `root/val` and `root/test` say.
        Folders = "folders",
        /// Within each identity: every identity is trained on (closed set).
        Image = "image",
        /// Whole identities are held out for the test (open set).
        Identity = "identity",
    }
}

crate::config_struct! {
    /// Shares of the images; what is left of 1 stays unused.
    pub struct Fractions {
        /// Trained on.
        pub train: f64 = 0.8, between(0.0, 1.0), positive();
        /// Other images of the same identities, for the validation loss.
        pub validation: f64 = 0.1, between(0.0, 1.0);
        /// Never looked at while training: images, or with `split = "identity"` identities.
        pub test: f64 = 0.1, between(0.0, 1.0);
    }
}

/// A rule for the shares of a division.
pub(super) fn at_most_all() -> Check<Fractions> {
    that("three shares with a sum of at most 1", |f: &Fractions| {
        f.train + f.validation + f.test <= 1.0 + 1e-9
    })
}

crate::config_struct! {
    /// A folder of images, `root/<identity>/<image>` or `root/{train,val,test}/<identity>/<image>`.
    ///
    /// Images are jpg, jpeg, png, bmp, webp, pgm or ppm files; the identities are the sorted names
    /// of the folders, and their number is never stated.
    pub struct ImageFolder {
        /// The folder; a relative path is looked up under `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default(), required();
        /// How the folder is divided.
        pub split: Split = Split::Auto;
        /// The shares of a division by image or by identity; with `folders`, validation images
        /// are taken from `train` where there is no folder `val`.
        pub fractions: Fractions = Fractions::default(),
            at_most_all();
        /// Identities with fewer images are left out.
        pub min_images: usize = 1, at_least(1);
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

impl ImageFolder {
    /// Lists the images and divides them.
    ///
    /// # Errors
    /// No such folder, no image in it, an identity with too few images for the split, folders
    /// whose identities contradict each other.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { root, split, fractions, min_images, on_corrupt } = self;
        let place = root.resolve(datasets);
        if !place.is_dir() {
            return Err(missing(root, datasets));
        }
        let has_train = place.join("train").is_dir();
        let split = match split {
            Split::Auto if has_train => Split::Folders,
            Split::Auto => Split::Image,
            stated => *stated,
        };
        let mut reading = Reading::new(fractions, *min_images, seed);
        let mut splits = match split {
            Split::Folders if !has_train => {
                return Err(Error::input(format!(
                    "data.split = \"folders\", but {} has no folder `train`",
                    place.display()
                ))
                .help("set data.split to \"image\" or \"identity\""));
            }
            Split::Folders => reading.folders(&place)?,
            Split::Identity => {
                let folder = reading.read(&place)?;
                reading.by_identity(&folder)?
            }
            Split::Image | Split::Auto => {
                let folder = reading.read(&place)?;
                reading.by_image(&folder)?
            }
        };
        splits.on_corrupt = *on_corrupt;
        Ok(splits)
    }
}

/// There is no such data folder.
pub(super) fn missing(root: &DatasetPath, datasets: &Path) -> Error {
    let tried: Vec<_> = root.tried(datasets).iter().map(|p| p.display().to_string()).collect();
    Error::input(format!(
        "no data folder `{}` (data.root): tried {}",
        root.raw.display(),
        tried.join(", ")
    ))
    .help(format!("set data.root or paths.datasets; {}", scan::HELP))
}

impl Reading {
    fn read(&mut self, root: &Path) -> Result<Folder> {
        let mut folder = scan(root)?;
        folder.note_unread(&mut self.notes);
        self.keep(&mut folder)?;
        Ok(folder)
    }

    fn folders(mut self, root: &Path) -> Result<Splits> {
        let train = self.read(&root.join("train"))?;
        let labels = train.label_map();
        let val = self.other(root, &["val", "validation"], &labels)?;
        let test = self.other(root, &["test"], &labels)?;
        let (validation, val_unseen) = val.map_or((None, None), Other::parts);
        let (closed_test, mut unseen) = test.map_or((None, None), Other::parts);
        if let Some(others) = val_unseen {
            self.notes.push(format!(
                "the identities in {} are not in train: {}",
                others.root.display(),
                if unseen.is_some() { "it stays unused" } else { "they are the unseen identities" }
            ));
            unseen = unseen.or(Some(others));
        }
        let splits = match validation {
            Some(validation) => Splits {
                validation: Some(validation),
                ..whole(dataset(&train.root, labels, &train.identities))
            },
            None => {
                let shares = self.closed_shares();
                let splits = self.divide(&train, train.identities.iter(), shares)?;
                if splits.validation.is_some() {
                    self.notes
                        .push("no folder `val`: validation images are taken from train".into());
                }
                splits
            }
        };
        Ok(Splits { test: closed_test, unseen, notes: self.notes, ..splits })
    }

    /// A folder beside `train`, if there is one.
    fn other(&mut self, root: &Path, names: &[&str], train: &LabelMap) -> Result<Option<Other>> {
        let Some(place) = names.iter().map(|name| root.join(name)).find(|place| place.is_dir())
        else {
            return Ok(None);
        };
        let folder = self.read(&place)?;
        let known = |identity: &&Identity| train.label(&identity.name).is_some();
        match folder.identities.iter().filter(known).count() {
            0 => Ok(Some(Other::Unseen(folder.dataset()))),
            n if n == folder.identities.len() => {
                Ok(Some(Other::Closed(dataset(&place, train.clone(), &folder.identities))))
            }
            n => {
                let strange: Vec<_> = folder.identities.iter().filter(|i| !known(i)).collect();
                let names: Vec<_> = strange.iter().map(|identity| identity.name.as_str()).collect();
                Err(Error::input(format!(
                    "{n} of the {} identities in {} are in train too, {} are not ({})",
                    folder.identities.len(),
                    place.display(),
                    names.len(),
                    super::first(&names)
                ))
                .help("a test folder holds either identities of train or none of them"))
            }
        }
    }
}

/// The identities of a folder beside `train`: those of `train`, or all others.
enum Other {
    Closed(Dataset),
    Unseen(Dataset),
}

impl Other {
    /// (closed, unseen)
    fn parts(self) -> (Option<Dataset>, Option<Dataset>) {
        match self {
            Other::Closed(set) => (Some(set), None),
            Other::Unseen(set) => (None, Some(set)),
        }
    }
}
