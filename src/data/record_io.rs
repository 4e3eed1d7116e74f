//! MXNet's RecordIO, the form in which InsightFace's sets are passed on: `train.rec` with `train.idx`
//! and `property`.

mod file;
mod index;
mod record;
mod rounded;
#[cfg(test)]
mod tests;

use super::image_folder::{Fractions, at_most_all, missing};
use super::reading::{Division, Reading};
use super::scan::{self, Folder, Identity};
use super::{Container, Fault, Image, OnCorrupt, Splits};
use crate::config::DatasetPath;
use crate::{Error, Result};
use file::{Place, RecordFile};
use index::{Entry, MISMATCH, read_index, read_property};
use rayon::prelude::*;
use record::{Head, Records};
use rounded::{ROUNDED, end_of_images, meant};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

crate::config_struct! {
    /// MXNet's RecordIO as InsightFace's data sets have it: `root/train.rec`, `root/train.idx` and, where
    /// there is one, `root/property` (`classes,height,width`).
    ///
    /// The classes are the labels of the records, filled up with zeros to one length.
    pub struct RecordIo {
        /// The folder of the files; a relative path is looked up under `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default(), required();
        /// Name of the .rec and the .idx without their endings.
        pub name: String = "train".to_string(),
            that("a file's name without its ending", |name: &String| {
                !name.is_empty() && !name.contains('/')
            });
        /// How the images are divided.
        pub split: Division = Division::Image;
        /// The shares of the images, or with `split = "identity"` of the identities.
        pub fractions: Fractions = Fractions::default(),
            at_most_all();
        /// Identities with fewer images are left out.
        pub min_images: usize = 1, at_least(1);
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

/// The flag of a record 0 that says which keys are images.
const RANGES: u32 = 2;

impl RecordIo {
    /// Reads the index and the head of every record, and divides the images.
    ///
    /// # Errors
    /// No such folder or file, an .idx that is not of this .rec, a file that is cut off, a label that is
    /// no class or beyond what `property` states, too few images for the split.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { root, name, split, fractions, min_images, on_corrupt } = self;
        let place = root.resolve(datasets);
        if !place.is_dir() {
            return Err(missing(root, datasets));
        }
        let mut reading = Reading::new(fractions, *min_images, seed);
        let folder = read(&place, name, &mut reading.notes)?;
        let splits = reading.divided(folder, *split)?;
        Ok(Splits { on_corrupt: *on_corrupt, ..splits })
    }
}

/// The images by class.
fn read(place: &Path, name: &str, notes: &mut Vec<String>) -> Result<Folder> {
    let [rec, idx] = ["rec", "idx"].map(|ending| place.join(format!("{name}.{ending}")));
    for file in [&rec, &idx] {
        if !file.is_file() {
            return Err(Error::input(format!("there is no {}", file.display())).help(format!(
                "data.root is the folder of NAME.rec and NAME.idx, data.name their NAME; {}",
                scan::HELP
            )));
        }
    }
    let io = |e| Error::io("read", &rec, e).into_input();
    let file = std::fs::File::open(&rec).map_err(io)?;
    let records = Records { length: file.metadata().map_err(io)?.len(), file };
    let entries = read_index(&idx, &rec, records.length)?;
    let images = images(&entries, &records, &rec, &idx, notes)?;
    let property = place.join("property");
    let classes = read_property(&property)?;
    let found = (images.par_iter())
        .map(|entry| {
            let head = head(&records, *entry, &rec)?;
            let class = class(&head, *entry, &rec)?;
            match classes {
                Some(classes) if u64::from(class) >= classes => Err(Error::input(format!(
                    "{}: key {} (offset {}) is of class {class}, but {} states {classes} classes",
                    rec.display(),
                    entry.key,
                    entry.offset,
                    property.display()
                ))
                .help("the two files belong to different sets: mend or remove `property`")),
                _ => Ok((Place::new(entry.key, entry.offset, &head), class, head.end)),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    let ends = found.iter().map(|(.., end)| *end);
    unlisted(&entries, ends, &records, &rec, notes);
    if u32::try_from(found.len()).is_err() {
        return Err(Error::input(format!("{} has more than 2^32 images", rec.display())));
    }
    let places = found.iter().map(|(place, ..)| *place).collect();
    let container: Arc<dyn Container> = Arc::new(RecordFile { path: rec, records, places });
    let mut of: BTreeMap<u32, Vec<Image>> = BTreeMap::new();
    for (number, (_, class, _)) in (0..).zip(&found) {
        let container = Arc::clone(&container);
        of.entry(*class).or_default().push(Image::Member { container, number });
    }
    let digits = of.keys().next_back().map_or(0, |class| class.to_string().len());
    let identity = |(class, images)| Identity { name: format!("{class:0digits$}"), images };
    let identities = of.into_iter().map(identity).collect();
    let folder = Folder { root: place.into(), identities, ..Folder::default() };
    if let Some(classes) = classes.filter(|classes| *classes > folder.identities.len() as u64) {
        notes.push(format!(
            "{} states {classes} classes, {} of them have images",
            property.display(),
            folder.identities.len()
        ));
    }
    Ok(folder)
}

/// The entries that are images: those that record 0 names, or all.
fn images<'a>(
    entries: &'a [Entry],
    records: &Records,
    rec: &Path,
    idx: &Path,
    notes: &mut Vec<String>,
) -> Result<&'a [Entry]> {
    let all = match entries {
        [] => return Err(Error::input(format!("{} is empty", idx.display())).help(MISMATCH)),
        [zero, rest @ ..] if zero.key == 0 => {
            let Head { flag, labels, .. } = head(records, *zero, rec)?;
            if flag != RANGES {
                return Ok(entries);
            }
            let [end, identities_end] = labels;
            let sound = |number: f32| number.fract() == 0.0 && (1.0..1e15).contains(&number);
            if !sound(end) || !sound(identities_end) || identities_end < end {
                return Err(Error::input(format!(
                    "{}: key 0 (offset {}) states the ranges of keys {end} and {identities_end}",
                    rec.display(),
                    zero.offset
                ))
                .help("the images' keys are 1 to the first number less 1: the file is damaged"));
            }
            // Beyond 2^24 a float32 is only near to what was meant: the records have to say it.
            let (ends, identities_end) = (meant(end), *meant(identities_end).end());
            let exact = ends.start() == ends.end();
            let end = match exact {
                true => Some(*ends.start()),
                false => end_of_images(ends.clone(), rest, |entry| {
                    head(records, entry, rec).map(|head| head.image > 0)
                })?,
            };
            let end = end.ok_or_else(|| {
                Error::input(format!(
                    "{}: record 0 states a first key behind the images that float32 rounded, some number \
                     from {} to {}, and the records there do not say which",
                    rec.display(),
                    ends.start(),
                    ends.end()
                ))
                .help(
                    "images come first, records without an image behind them; write the set anew, or \
                     in files of fewer than 16,777,216 images that data.kind = \"merged\" puts together",
                )
            })?;
            let count = rest.partition_point(|entry| entry.key < end);
            if count as u64 != end - 1 {
                let lacks = (1..).zip(&rest[..count]).find(|(key, entry)| *key != entry.key);
                let key = lacks.map_or(count as u64 + 1, |(key, _)| key);
                return Err(Error::input(format!(
                    "{}: there is no key {key}, but record 0 of {} says that the images are 1 to {}",
                    idx.display(),
                    rec.display(),
                    end - 1
                ))
                .help(MISMATCH));
            }
            let beyond = rest.iter().filter(|entry| entry.key >= identities_end).count();
            if beyond > 0 {
                notes.push(format!(
                    "{}: {beyond} keys beyond those that record 0 states are not read",
                    idx.display()
                ));
            }
            &rest[..count]
        }
        all => all,
    };
    if all.is_empty() {
        return Err(Error::input(format!("{} has no image: record 0 says so", rec.display())));
    }
    Ok(all)
}

fn head(records: &Records, entry: Entry, rec: &Path) -> Result<Head> {
    let Entry { key, offset } = entry;
    records.head(offset).map_err(|fault| match fault {
        Fault::System(e) => Error::io("read", rec, e).into_input(),
        Fault::Broken(why) => {
            Error::input(format!("{}: key {key} (offset {offset}): {why}", rec.display()))
                .help(MISMATCH)
        }
    })
}

fn class(head: &Head, entry: Entry, rec: &Path) -> Result<u32> {
    let label = head.labels[0];
    if label.fract() == 0.0 && (0.0..ROUNDED).contains(&label) {
        return Ok(label as u32);
    }
    let Entry { key, offset } = entry;
    if label.fract() == 0.0 && label >= ROUNDED {
        return Err(Error::input(format!(
            "{}: key {key} (offset {offset}) has the label {label}, which may be another one that was \
             rounded: labels are float32, which counts to 16,777,215",
            rec.display()
        ))
        .help("write the set with classes from 0 on, or as WebDataset shards or folders"));
    }
    Err(Error::input(format!(
        "{}: key {key} (offset {offset}) has the label {label}, which is no class",
        rec.display()
    ))
    .help("classes are whole numbers from 0 on"))
}

/// Says how many records follow an image and have no key.
fn unlisted(
    entries: &[Entry],
    ends: impl Iterator<Item = u64>,
    records: &Records,
    rec: &Path,
    notes: &mut Vec<String>,
) {
    let mut offsets: Vec<u64> = entries.iter().map(|entry| entry.offset).collect();
    offsets.sort_unstable();
    let without = ends.filter(|end| *end < records.length && offsets.binary_search(end).is_err());
    let without: Vec<u64> = without.collect();
    if let Some(first) = without.iter().min() {
        notes.push(format!(
            "{}: what follows {} of the images has no key and is not read, first at offset {first}",
            rec.display(),
            without.len()
        ));
    }
}
