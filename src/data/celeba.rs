//! CelebA's layout (Liu et al. 2015, arXiv:1411.7766): one folder of images, and lists that say who
//! is on which of them.

mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use list::{Entry, present, read_list, read_partition};

use super::image_folder::{Fractions, at_most_all, missing};
use super::reading::{Reading, whole};
use super::scan::{self, Folder, Identity, dataset};
use super::{Dataset, Image, OnCorrupt, Splits};
use crate::checkpoint::durable;
use crate::config::DatasetPath;
use crate::{Error, Result};

/// The list `FILE ID` of a CelebA folder.
pub const IDENTITIES: &str = "identity_CelebA.txt";
/// The list `FILE 0|1|2`.
const PARTITION: &str = "list_eval_partition.txt";
/// Where CelebA has its aligned images.
const IMAGES: &str = "img_align_celeba";

crate::config_choice! {
    /// How CelebA is divided into training, validation and test.
    pub enum CelebASplit {
        /// `partition` if root has `list_eval_partition.txt`, else `image`.
        Auto = "auto",
        /// As `list_eval_partition.txt` says: 0 is trained on, 1 validates, 2 tests.
        Partition = "partition",
        /// Within each identity: every identity is trained on (closed set).
        Image = "image",
        /// Whole identities are held out for the test (open set).
        Identity = "identity",
    }
}

crate::config_struct! {
    /// CelebA's layout: `root/img_align_celeba/NNNNNN.jpg` with `root/identity_CelebA.txt`, lines of
    /// a file and the number of an identity (Liu et al. 2015, arXiv:1411.7766).
    ///
    /// `run data celeba-identities FOLDER` writes that list for a folder of identities. The classes
    /// are the numbers in their order, filled up with zeros to one length.
    pub struct CelebA {
        /// The folder with the lists; a relative path is looked up under `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default(), required();
        /// Folder of the images, below root; empty: `img_align_celeba` where there is one, else root.
        pub images: String = String::new();
        /// How the images are divided.
        pub split: CelebASplit = CelebASplit::Auto;
        /// The shares of a division by image or by identity; with `partition`, validation images are
        /// taken from part 0 where part 1 has other identities, as CelebA's own list has.
        pub fractions: Fractions = Fractions::default(),
            at_most_all();
        /// Only so many identities, those with the most images; 0 is all.
        pub identities: usize = 0, that("0 or at least 2", |n: &usize| *n != 1);
        /// Identities with fewer images are left out.
        pub min_images: usize = 1, at_least(1);
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

impl CelebA {
    /// Reads the lists, looks for every image and divides them.
    ///
    /// # Errors
    /// No such folder or list, a line that is no file and number, an image listed twice or absent,
    /// lists that contradict each other, too few images for the split.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { root, images, split, fractions, identities, min_images, on_corrupt } = self;
        let place = root.resolve(datasets);
        if !place.is_dir() {
            return Err(missing(root, datasets));
        }
        let list = place.join(IDENTITIES);
        if !list.is_file() {
            return Err(Error::input(format!("there is no {}", list.display())).help(format!(
                "data.root is the folder of {IDENTITIES} and {IMAGES}; for a folder of identities, \
                 `run data celeba-identities {}` writes the list; {}",
                place.display(),
                scan::HELP
            )));
        }
        let entries = read_list(&list)?;
        let images = images_folder(&place, images)?;
        present(&entries, &list, &images)?;
        let partition = place.join(PARTITION);
        let partitioned = match split {
            CelebASplit::Auto => partition.is_file(),
            CelebASplit::Partition if !partition.is_file() => {
                return Err(Error::input(format!(
                    "data.split = \"partition\", but there is no {}",
                    partition.display()
                ))
                .help("set data.split to \"image\" or \"identity\""));
            }
            other => *other == CelebASplit::Partition,
        };
        let mut reading = Reading::new(fractions, *min_images, seed);
        let mut splits = if partitioned {
            let parts = read_partition(&partition, &entries, &list)?;
            let [train, validation, test] = [0, 1, 2].map(|part| {
                folder(&images, entries.iter().filter(|e| parts[e.file.as_str()] == part), &entries)
            });
            let before: BTreeSet<String> =
                train.identities.iter().map(|identity| identity.name.clone()).collect();
            let mut train = train;
            if train.identities.is_empty() {
                return Err(Error::input(format!(
                    "{} trains on nothing: no line ends in 0",
                    partition.display()
                )));
            }
            reading.keep(&mut train)?;
            keep_largest(&mut train, *identities, &mut reading.notes);
            let part = |number, folder| other(number, folder, &before, &train, &partition);
            let (validation, test) = (part(1, validation)?, part(2, test)?);
            by_partition(reading, &train, validation, test)?
        } else {
            let mut folder = folder(&images, entries.iter(), &entries);
            reading.keep(&mut folder)?;
            keep_largest(&mut folder, *identities, &mut reading.notes);
            match split {
                CelebASplit::Identity => reading.by_identity(&folder)?,
                _ => reading.by_image(&folder)?,
            }
        };
        splits.on_corrupt = *on_corrupt;
        Ok(splits)
    }
}

/// Writes `identity_CelebA.txt` for a folder of identities, `root/<identity>/<image>`: the identities
/// count from 1 in the order of their names. Returns (identities, images).
///
/// # Errors
/// No such folder, no image in it, a list that says something else already, a name that is not
/// UTF-8 or that a line of the list can't hold.
pub fn write_identities(root: &Path, notes: &mut Vec<String>) -> Result<(usize, usize)> {
    let mut folder = scan::scan(root)?;
    folder.note_unread(notes);
    folder.keep_at_least(1, notes);
    let mut text = String::new();
    for (number, identity) in folder.identities.iter().enumerate() {
        for image in &identity.images {
            let path = image.name();
            let name = path.strip_prefix(root).unwrap_or(&path).to_str();
            let name = name.filter(|name| !name.contains(char::is_control)).ok_or_else(|| {
                Error::input(format!("the name of {} is no line of a list", image.display()))
                    .help("rename it without line breaks, in UTF-8")
            })?;
            text.push_str(&format!("{name} {}\n", number + 1));
        }
    }
    let path = root.join(IDENTITIES);
    match fs::read_to_string(&path) {
        Ok(found) if found == text => {}
        Ok(_) => {
            return Err(Error::input(format!(
                "{} is there already and says something else",
                path.display()
            ))
            .help("delete it if it may be replaced"));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            durable::write_file(&path, |out| out.write_all(text.as_bytes()))
                .map_err(Error::into_input)?;
        }
        Err(e) => return Err(Error::io("read", &path, e).into_input()),
    }
    Ok((folder.identities.len(), folder.images()))
}

fn images_folder(root: &Path, stated: &str) -> Result<PathBuf> {
    if stated.is_empty() {
        let usual = root.join(IMAGES);
        return Ok(if usual.is_dir() { usual } else { root.to_owned() });
    }
    let place = root.join(stated);
    if place.is_dir() {
        return Ok(place);
    }
    Err(Error::input(format!("there is no folder {} (data.images)", place.display()))
        .help(format!("data.images is below data.root; without it, {IMAGES} is looked for")))
}

/// The images of `chosen` by identity. Numbers get as many digits as the largest of `all` has, so
/// that the order of the names is theirs.
fn folder<'a>(images: &Path, chosen: impl Iterator<Item = &'a Entry>, all: &[Entry]) -> Folder {
    let digits = all.iter().map(|e| e.number).max().unwrap_or(0).to_string().len();
    let mut of: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for Entry { file, number, line: _ } in chosen {
        of.entry(*number).or_default().push(images.join(file));
    }
    let identities = of.into_iter().map(|(number, mut images)| {
        images.sort_unstable();
        let images = images.into_iter().map(Image::from).collect();
        Identity { name: format!("{number:0digits$}"), images }
    });
    Folder { root: images.to_owned(), identities: identities.collect(), ..Folder::default() }
}

/// Leaves the `count` identities with the most images; of equals, those with the lowest numbers.
fn keep_largest(folder: &mut Folder, count: usize, notes: &mut Vec<String>) {
    let before = folder.identities.len();
    if count == 0 || count >= before {
        return;
    }
    folder.identities.sort_by_key(|identity| std::cmp::Reverse(identity.images.len()));
    folder.identities.truncate(count);
    folder.identities.sort_by(|a, b| a.name.cmp(&b.name));
    notes.push(format!(
        "data.identities = {count}: of {before} identities those with the most images ({})",
        folder.images()
    ));
}

/// What part 1 or 2 is beside part 0.
enum Other {
    None,
    /// Images of identities that are trained on.
    Closed(Dataset),
    /// Other identities.
    Unseen(Dataset),
}

/// # Errors
/// A part that has identities of part 0 and others.
fn other(
    number: u64,
    folder: Folder,
    trained: &BTreeSet<String>,
    train: &Folder,
    partition: &Path,
) -> Result<Other> {
    let all = folder.identities.len();
    let known = folder.identities.iter().filter(|i| trained.contains(&i.name)).count();
    match known {
        _ if all == 0 => Ok(Other::None),
        0 => Ok(Other::Unseen(folder.dataset())),
        known if known == all => {
            let labels = train.label_map();
            let kept = folder.identities.iter().filter(|i| labels.label(&i.name).is_some());
            let set = dataset(&folder.root, labels.clone(), kept);
            Ok(if set.is_empty() { Other::None } else { Other::Closed(set) })
        }
        known => {
            let strange = folder.identities.iter().filter(|i| !trained.contains(&i.name));
            let names: Vec<&str> = strange.map(|identity| identity.name.as_str()).collect();
            Err(Error::input(format!(
                "{}: {known} of the {all} identities in part {number} are in part 0 too, {} are not \
                 ({})",
                partition.display(),
                names.len(),
                super::first(&names)
            ))
            .help("a part holds either identities of part 0 or none of them"))
        }
    }
}

fn by_partition(
    mut reading: Reading,
    train: &Folder,
    validation: Other,
    test: Other,
) -> Result<Splits> {
    let mut unseen = None;
    let mut splits = match validation {
        Other::Closed(validation) => Splits {
            validation: Some(validation),
            ..whole(dataset(&train.root, train.label_map(), &train.identities))
        },
        other => {
            if let Other::Unseen(others) = other {
                unseen = Some(others);
            }
            let shares = reading.closed_shares();
            let splits = reading.divide(train, train.identities.iter(), shares)?;
            if splits.validation.is_some() {
                let note = "part 1 has no images of the identities in part 0: validation images are \
                            taken from part 0";
                reading.notes.push(note.to_owned());
            }
            splits
        }
    };
    match test {
        Other::Closed(test) => splits.test = Some(test),
        Other::Unseen(test) => {
            if unseen.is_some() {
                let note = "parts 1 and 2 have identities that are not in part 0: those of part 2 \
                            are the unseen ones, part 1 stays unused";
                reading.notes.push(note.to_owned());
            }
            unseen = Some(test);
        }
        Other::None => {}
    }
    Ok(Splits { unseen, notes: reading.notes, ..splits })
}
