//! Reading a pack.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

use super::Decoded;
use super::layout::{ENTRY, Entry, Form, HEADER, Header, ITEM, Sections, damaged, u32_at, u64_at};
use super::map::map;
use super::metadata::{Metadata, Part};
use crate::data::decode::Fault;
use crate::data::{Container, Dataset, Image, Item, OnCorrupt, Splits, Stored};
use crate::{Error, Result};

/// Records that one thread checks at a time.
const CHUNK: usize = 1 << 14;

/// An open pack. Beside the mapped file it has the label maps in memory and nothing for each image.
#[derive(Debug)]
pub struct PackFile {
    path: PathBuf,
    map: Mmap,
    header: Header,
    at: Sections,
    metadata: Metadata,
}

impl PackFile {
    /// Opens a pack and checks everything but the images and their names, which `run data verify` does:
    /// what is opened can be read without reaching beyond the file.
    ///
    /// # Errors
    /// `Input` for a file that can't be read, is no pack, of another version, cut short or damaged.
    pub fn open(path: &Path) -> Result<Arc<PackFile>> {
        let unreadable = |e| Error::io("read", path, e).into_input();
        // Opening a pipe waits for its writer.
        let about = std::fs::metadata(path).map_err(unreadable)?;
        if !about.is_file() {
            return Err(Error::input(format!("{} is no file, so no pack", path.display())));
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let mut first = Vec::with_capacity(HEADER);
        (&mut file).take(HEADER as u64).read_to_end(&mut first).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let header = Header::read(path, &first, length)?;
        let map = map(&file).map_err(unreadable)?;
        if map.len() as u64 != header.length {
            return Err(damaged(path, "its length changed while it was opened"));
        }
        let at = header.sections();
        if crc32c::crc32c(&map[at.entries..at.names]) != header.tables_sum {
            return Err(damaged(path, "the checksum of its index is wrong"));
        }
        let text = &map[at.metadata..at.metadata + header.metadata as usize];
        let metadata: Metadata = serde_json::from_slice(text)
            .map_err(|e| damaged(path, &format!("its metadata can't be read: {e}")))?;
        let pack = PackFile { path: path.to_owned(), map, header, at, metadata };
        pack.check().map_err(|how| damaged(path, &how))?;
        Ok(Arc::new(pack))
    }

    /// Whether a file begins as a pack does.
    pub fn is_pack(path: &Path) -> bool {
        let mut first = [0; super::layout::MAGIC.len()];
        path.is_file()
            && File::open(path).is_ok_and(|mut file| file.read_exact(&mut first).is_ok())
            && first == super::layout::MAGIC
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn images(&self) -> usize {
        self.header.images as usize
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.header.length
    }

    /// The fingerprints that the source had when it was packed, by part.
    pub fn fingerprints(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.parts.iter().map(|part| (part.name.as_str(), part.fingerprint.as_str()))
    }

    /// Everything that the images are found by. The error is a fragment.
    fn check(&self) -> Result<(), String> {
        let Header { form, tables, images, items, names, .. } = self.header;
        self.metadata.check(images, items)?;
        match (form, &self.metadata.decoded) {
            (Form::Encoded, None) => {}
            (Form::Pixels { height, width }, Some(decoded))
                if (height as usize, width as usize) == (decoded.height, decoded.width) => {}
            _ => return Err("header and metadata differ on the form of its images".into()),
        }
        let pixels = match form {
            Form::Encoded => None,
            Form::Pixels { height, width } => Some(u64::from(height) * u64::from(width) * 3),
        };
        let end = |number: usize| match number.checked_sub(1) {
            None => (HEADER as u64, 0),
            Some(before) => {
                let entry = self.entry(before);
                (entry.end(), entry.name)
            }
        };
        let sound = |number: usize| {
            let entry = self.entry(number);
            let (begin, name) = end(number);
            let whole = pixels.is_none_or(|p| p == u64::from(entry.length) || entry.length == 0);
            let first = number > 0 || entry.name == 0;
            entry.offset == begin && whole && entry.name >= name && entry.name <= names && first
        };
        let count = self.images();
        if let Some(number) =
            (0..count).into_par_iter().with_min_len(CHUNK).find_any(|n| !sound(*n))
        {
            return Err(format!("the place of image {number} is wrong"));
        }
        // Images follow each other, so with the last in its place all are.
        if end(count).0 != tables {
            return Err("its images do not end where the index begins".into());
        }
        let (mut first_image, mut first_item) = (0, 0);
        for part in &self.metadata.parts {
            let images = first_image..first_image + part.images;
            let labels = self.metadata.labels[part.labels].len() as u64;
            let wrong = (first_item..first_item + part.items).into_par_iter().find_any(|number| {
                let (image, label) = self.item(*number as usize);
                !images.contains(&u64::from(image)) || u64::from(label) >= labels
            });
            if let Some(number) = wrong {
                return Err(format!("item {number} is no image of its part, or of no identity"));
            }
            (first_image, first_item) = (images.end, first_item + part.items);
        }
        Ok(())
    }

    /// The parts, as the source had them. `on_corrupt` is `skip`.
    ///
    /// # Errors
    /// Captions that are damaged.
    pub fn splits(self: &Arc<Self>) -> Result<Splits> {
        if self.header.captions > 0 {
            self.check_texts()?;
        }
        let container: Arc<dyn Container> = self.clone();
        let mut parts = [const { None }; super::metadata::PARTS.len()];
        let mut first = 0;
        for part in &self.metadata.parts {
            let place = super::metadata::PARTS.iter().position(|name| *name == part.name);
            let numbers = first..first + part.items as usize;
            first = numbers.end;
            let set = self.dataset(part, numbers, &container)?;
            parts[place.expect("checked when it was opened")] = Some(set);
        }
        let [train, validation, test, unseen] = parts;
        let (on_corrupt, notes) = (OnCorrupt::Skip, self.metadata.notes.clone());
        let train = train.expect("checked when it was opened");
        Ok(Splits { train, validation, test, unseen, on_corrupt, notes })
    }

    fn dataset(
        &self,
        part: &Part,
        numbers: std::ops::Range<usize>,
        container: &Arc<dyn Container>,
    ) -> Result<Dataset> {
        let item = |number: usize| {
            let (image, label) = self.item(number);
            let image = Image::Member { container: Arc::clone(container), number: image };
            Item { image, label: i64::from(label) }
        };
        let captions = match self.header.captions {
            0 => Vec::new(),
            _ => numbers.clone().map(|number| self.caption(number)).collect::<Result<_>>()?,
        };
        Ok(Dataset {
            root: self.path.join(&part.name),
            items: numbers.map(item).collect(),
            labels: self.metadata.label_map(part),
            captions,
        })
    }

    fn entry(&self, number: usize) -> Entry {
        let at = self.at.entries + number * ENTRY;
        Entry::read(&self.map[at..at + ENTRY])
    }

    /// (image, label)
    fn item(&self, number: usize) -> (u32, u32) {
        let at = self.at.items + number * ITEM;
        (u32_at(&self.map, at), u32_at(&self.map, at + 4))
    }

    fn caption(&self, number: usize) -> Result<String> {
        let end = |number: usize| u64_at(&self.map, self.at.captions + number * ITEM);
        let begin = number.checked_sub(1).map_or(0, end);
        let wrong = || damaged(&self.path, &format!("the caption of item {number} is no text"));
        let texts = &self.map[self.at.texts..];
        let bytes = texts.get(begin as usize..end(number) as usize).ok_or_else(wrong)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| wrong())
    }

    /// The checksum of names and captions, which opening leaves out.
    ///
    /// # Errors
    /// It is wrong.
    pub fn check_texts(&self) -> Result<()> {
        match crc32c::crc32c(&self.map[self.at.names..]) == self.header.texts_sum {
            true => Ok(()),
            false => Err(damaged(&self.path, "the checksum of its names is wrong")),
        }
    }

    /// Below the root of its part.
    fn relative(&self, number: usize) -> &Path {
        let begin = self.entry(number).name;
        let last = number + 1 == self.images();
        let end = if last { self.header.names } else { self.entry(number + 1).name };
        let names = &self.map[self.at.names..self.at.texts];
        Path::new(OsStr::from_bytes(&names[begin as usize..end as usize]))
    }

    fn part_of(&self, image: u64) -> &Part {
        let mut end = 0;
        let inside = |part: &&Part| {
            end += part.images;
            image < end
        };
        self.metadata.parts.iter().find(inside).expect("every image is in a part")
    }
}

impl Container for PackFile {
    /// `faces.pack/train/ann/1.jpg`.
    fn name(&self, number: u32) -> PathBuf {
        if u64::from(number) >= self.header.images {
            return crate::data::numbered(&self.path, number);
        }
        let part = self.part_of(u64::from(number));
        self.path.join(&part.name).join(self.relative(number as usize))
    }

    /// What the source had, so that the fingerprint is the source's.
    fn size(&self, number: u32) -> std::io::Result<u64> {
        match u64::from(number) < self.header.images {
            true => Ok(self.entry(number as usize).source),
            false => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    fn read<'a>(&'a self, number: u32, _scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault> {
        if u64::from(number) >= self.header.images {
            return Err(Fault::Broken("the pack has no such image".into()));
        }
        let entry = self.entry(number as usize);
        let Entry { offset, length, sum, .. } = entry;
        if length == 0 {
            return Err(Fault::Broken("it was broken when it was packed".into()));
        }
        let stored = &self.map[offset as usize..entry.end() as usize];
        if crc32c::crc32c(stored) != sum {
            return Err(Fault::Broken("its checksum is wrong: the pack is damaged".into()));
        }
        let bytes = &stored[..length as usize];
        Ok(match self.header.form {
            Form::Encoded => Stored::Encoded(bytes),
            Form::Pixels { height, width } => {
                Stored::Pixels { width: width as usize, height: height as usize, rgb: bytes }
            }
        })
    }

    fn decoded(&self) -> Option<&Decoded> {
        self.metadata.decoded.as_ref()
    }
}
