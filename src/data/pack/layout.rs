//! The header of a pack and the records of its tables. All numbers are little-endian.

use std::path::Path;

use crate::{Error, Result};

/// The first bytes. The first of them is in no text, so that a transfer which mends line ends shows.
pub const MAGIC: [u8; 8] = *b"\x89ARCPACK";
pub const VERSION: u32 = 1;
/// Bytes of the header; the first image follows.
pub const HEADER: usize = 112;
/// Bytes of the record of an image.
pub const ENTRY: usize = 32;
/// Bytes of the record of an item, and of the end of a caption.
pub const ITEM: usize = 8;
/// Where the checksum of the header stands: after all that it covers.
const SUM: usize = HEADER - 4;

/// How images are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Files as they were.
    Encoded,
    /// `height x width x 3` bytes, RGB.
    Pixels { height: u32, width: u32 },
}

/// What the first [`HEADER`] bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub form: Form,
    /// Bytes of the file.
    pub length: u64,
    /// Where the images end and the tables begin: entries, items, ends of captions, metadata.
    pub tables: u64,
    pub images: u64,
    pub items: u64,
    /// The number of items where they have captions, else 0.
    pub captions: u64,
    /// Bytes of the metadata.
    pub metadata: u64,
    /// Bytes of all names; they follow the tables.
    pub names: u64,
    /// Bytes of all captions; they follow the names and end the file.
    pub texts: u64,
    /// CRC-32C of the tables.
    pub tables_sum: u32,
    /// CRC-32C of names and captions.
    pub texts_sum: u32,
}

/// The next multiple of eight; the largest number stays what it is.
pub fn padded(offset: u64) -> u64 {
    offset.checked_next_multiple_of(8).unwrap_or(u64::MAX)
}

/// Where the tables and the texts lie, as offsets into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    pub entries: usize,
    pub items: usize,
    pub captions: usize,
    pub metadata: usize,
    pub names: usize,
    pub texts: usize,
}

impl Header {
    pub fn write(&self) -> [u8; HEADER] {
        let (form, height, width) = match self.form {
            Form::Encoded => (0, 0, 0),
            Form::Pixels { height, width } => (1, height, width),
        };
        let mut bytes = MAGIC.to_vec();
        for number in [VERSION, form, height, width] {
            bytes.extend(number.to_le_bytes());
        }
        let Header { length, tables, images, items, captions, metadata, names, texts, .. } = *self;
        for number in [length, tables, images, items, captions, metadata, names, texts] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.tables_sum.to_le_bytes());
        bytes.extend(self.texts_sum.to_le_bytes());
        bytes.resize(SUM, 0);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().expect("the fields fill the header")
    }

    /// Reads the first bytes of the file `path`, which is `length` bytes long.
    ///
    /// # Errors
    /// A file that is no pack, of another version, damaged or of another length than it should be.
    pub fn read(path: &Path, bytes: &[u8], length: u64) -> Result<Header> {
        let pack = path.display();
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::input(format!("{pack} is no pack"))
                .help("a pack is what `run data pack` writes; it begins with \\x89ARCPACK"));
        }
        if bytes.len() < HEADER {
            return Err(truncated(path, length, "not even its header"));
        }
        let word = |at: usize| u32_at(bytes, at);
        let version = word(8);
        if version != VERSION {
            return Err(Error::input(format!(
                "{pack} is a pack of version {version}; this arcrun reads version {VERSION}"
            ))
            .help("pack the data again with this arcrun"));
        }
        if crc32c::crc32c(&bytes[..SUM]) != word(SUM) {
            return Err(damaged(path, "the checksum of its header is wrong"));
        }
        let form = match (word(12), word(16), word(20)) {
            (0, 0, 0) => Form::Encoded,
            (1, height @ 1..=65_535, width @ 1..=65_535) => Form::Pixels { height, width },
            _ => return Err(damaged(path, "its header has an unknown form of images")),
        };
        let long = |n: usize| u64_at(bytes, 24 + 8 * n);
        let header = Header {
            form,
            length: long(0),
            tables: long(1),
            images: long(2),
            items: long(3),
            captions: long(4),
            metadata: long(5),
            names: long(6),
            texts: long(7),
            tables_sum: word(88),
            texts_sum: word(92),
        };
        if length < header.length {
            return Err(truncated(path, length, &format!("of {}", header.length)));
        }
        match header.length == length && header.is_consistent() {
            true => Ok(header),
            false => Err(damaged(path, "its length is not what its header says")),
        }
    }

    /// Whether the sections fill the file, so that every offset of [`Header::sections`] is in it.
    fn is_consistent(&self) -> bool {
        let Header { length, tables, images, items, captions, metadata, names, texts, .. } = *self;
        let wide = u128::from;
        let sum = wide(tables)
            + wide(images) * ENTRY as u128
            + (wide(items) + wide(captions)) * ITEM as u128
            + wide(padded(metadata))
            + wide(names)
            + wide(texts);
        let most = u64::from(u32::MAX);
        sum == wide(length)
            && tables >= HEADER as u64
            && tables.is_multiple_of(8)
            && images <= most
            && items <= most
            && (captions == 0 || captions == items)
            && usize::try_from(length).is_ok()
    }

    pub fn sections(&self) -> Sections {
        let entries = self.tables as usize;
        let items = entries + self.images as usize * ENTRY;
        let captions = items + self.items as usize * ITEM;
        let metadata = captions + self.captions as usize * ITEM;
        let names = metadata + padded(self.metadata) as usize;
        Sections { entries, items, captions, metadata, names, texts: names + self.names as usize }
    }
}

/// The record of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it begins; a multiple of eight.
    pub offset: u64,
    /// Bytes that the source had for it; part of the data's fingerprint.
    pub source: u64,
    /// Where its name begins among the names.
    pub name: u64,
    /// Bytes of the image; none where the source had nothing to store.
    pub length: u32,
    /// CRC-32C of the image and the zeros up to the next one.
    pub sum: u32,
}

impl Entry {
    pub fn write(&self, out: &mut Vec<u8>) {
        for number in [self.offset, self.source, self.name] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.length.to_le_bytes());
        out.extend(self.sum.to_le_bytes());
    }

    /// From [`ENTRY`] bytes.
    pub fn read(bytes: &[u8]) -> Entry {
        Entry {
            offset: u64_at(bytes, 0),
            source: u64_at(bytes, 8),
            name: u64_at(bytes, 16),
            length: u32_at(bytes, 24),
            sum: u32_at(bytes, 28),
        }
    }

    /// Where the next image begins.
    pub fn end(&self) -> u64 {
        padded(self.offset.saturating_add(u64::from(self.length)))
    }
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

const AGAIN: &str = "copy it again, or pack the data again";

pub fn damaged(path: &Path, how: &str) -> Error {
    Error::input(format!("the pack {} is damaged: {how}", path.display())).help(AGAIN)
}

fn truncated(path: &Path, length: u64, rest: &str) -> Error {
    let pack = path.display();
    Error::input(format!("the pack {pack} is cut short: {length} bytes, {rest}")).help(AGAIN)
}
