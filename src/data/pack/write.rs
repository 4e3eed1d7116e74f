//! Writing a pack.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{ENTRY, Entry, Form, HEADER, Header, ITEM, padded};
use super::metadata::{Metadata, Part};
use super::{Decoded, PackFile};
use crate::checkpoint::durable;
use crate::data::decode::Fault;
use crate::data::pipeline::{Pipeline, Work};
use crate::data::{
    Dataset, Image, OnCorrupt, Preprocess, Progress, Renderer, Skipped, Splits, Stored,
};
use crate::{Error, Result};

/// Images that a thread prepares at a time.
const PIECE: usize = 16;

/// What a pack was made of.
#[derive(Debug)]
pub struct Written {
    pub images: usize,
    /// More than the images where an image has several captions.
    pub items: usize,
    /// Of the file.
    pub bytes: u64,
    /// Images that could not be read or decoded: name and reason. They have their place in the pack and
    /// nothing in it, so that training from it passes over the same ones.
    pub broken: Vec<(PathBuf, String)>,
}

/// Writes all of `splits` to the file `output`, whole or not at all: images as they are, or, with
/// `decoded`, as pixels at the network's input size. A pack of this name is replaced; whoever has it open
/// keeps the old one. `threads` prepare images, each some at a time.
///
/// # Errors
/// `output` is something else than a pack; an image can't be read, or more than 1 % are broken; the data
/// changed meanwhile; no space; `progress` said stop.
pub fn write(
    splits: Splits,
    decoded: Option<&Preprocess>,
    output: &Path,
    threads: usize,
    progress: &Progress<'_>,
) -> Result<Written> {
    if output.exists() && !PackFile::is_pack(output) {
        return Err(Error::input(format!("{} is there already and is no pack", output.display()))
            .help("name another file for the pack"));
    }
    match decoded {
        Some(to) => splits.fits(to)?,
        None => refuse_pixels(&splits)?,
    }
    let total = splits.parts().map(|(_, set)| set.distinct().len()).sum();
    let mut out = Output::create(output)?;
    let (mut tables, mut broken) = (Tables::default(), Vec::new());
    let mut labels: Vec<Vec<String>> = Vec::new();
    let Splits { train, validation, test, unseen, on_corrupt, notes } = splits;
    let parts = [Some(train), validation, test, unseen].map(|set| set.map(Arc::new));
    for (name, set) in super::metadata::PARTS.into_iter().zip(&parts) {
        let Some(set) = set else { continue };
        let (images, skipped) = (tables.images(), Skipped::default());
        let source = Source { set, on_corrupt, skipped: &skipped };
        write_part(source, decoded, threads, &mut out, &mut tables, &|done| progress(done, total))?;
        broken.extend(skipped.list(set));
        let names = set.labels.names();
        let place = labels.iter().position(|known| known == names).unwrap_or(labels.len());
        if place == labels.len() {
            labels.push(names.to_vec());
        }
        tables.parts.push(Part {
            name: name.to_owned(),
            images: (tables.images() - images) as u64,
            items: set.len() as u64,
            labels: place,
            fingerprint: set.fingerprint()?,
        });
    }
    let items = tables.items.len() / ITEM;
    let bytes = out.finish(tables, labels, decoded, notes)?;
    compare(&out.temporary)?;
    out.keep()?;
    Ok(Written { images: total, items, bytes, broken })
}

/// Pixels would lose what they were decoded for if they became files again.
fn refuse_pixels(splits: &Splits) -> Result<()> {
    let mut items = splits.parts().flat_map(|(_, set)| &set.items);
    match items.find(|item| item.image.decoded().is_some()) {
        None => Ok(()),
        Some(item) => Err(Error::input(format!("{} is decoded already", item.image.display()))
            .help("pack it with --decoded, or pack the images that it was made from")),
    }
}

/// The source that was packed has the fingerprints in the metadata; the pack must have the same.
fn compare(pack: &Path) -> Result<()> {
    let pack = PackFile::open(pack)?;
    pack.check_texts()?;
    let ours = pack.splits()?.fingerprints()?;
    for (part, theirs) in pack.fingerprints() {
        if ours.get(part).is_none_or(|ours| ours != theirs) {
            return Err(Error::failed(format!("the data changed while it was packed ({part})"))
                .help("nothing was kept; pack it when nothing writes to it"));
        }
    }
    Ok(())
}

struct Source<'a> {
    set: &'a Arc<Dataset>,
    on_corrupt: OnCorrupt,
    skipped: &'a Skipped,
}

/// Appends the images of a part, and their entries and items to the tables. `progress` is told how many
/// images are written.
fn write_part(
    source: Source<'_>,
    decoded: Option<&Preprocess>,
    threads: usize,
    out: &mut Output,
    tables: &mut Tables,
    progress: &dyn Fn(usize) -> bool,
) -> Result<()> {
    let Source { set, on_corrupt, skipped } = source;
    let images = Arc::new(set.distinct());
    let work =
        Preparing { set: Arc::clone(set), images: Arc::clone(&images), decoded: decoded.cloned() };
    let mut pieces =
        Pipeline::start(work, 0..images.len().div_ceil(PIECE), threads.max(1), 2 * threads.max(1));
    let mut at = 0;
    while let Some(piece) = pieces.take() {
        for Prepared { bytes, source, broken } in piece? {
            let first = images[at] as usize;
            let end = images.get(at + 1).map_or(set.len(), |next| *next as usize);
            if let Some(reason) = broken {
                skipped.report(set, first, reason, on_corrupt)?;
            }
            let name = set.items[first].image.name();
            let name = set.relative(&name).as_os_str().as_encoded_bytes();
            tables.image(out.offset, source, &bytes, name);
            for index in first..end {
                tables.item(set.items[index].label, set.captions.get(index));
            }
            out.image(&bytes)?;
            at += 1;
            if !progress(tables.images()) {
                return Err(Error::stopped("stopped while packing: nothing was kept"));
            }
        }
    }
    Ok(())
}

/// An image as the pack has it.
struct Prepared {
    bytes: Vec<u8>,
    /// Bytes in the source.
    source: u64,
    broken: Option<String>,
}

/// What the threads do: pieces of images are read, and decoded where that is wanted.
struct Preparing {
    set: Arc<Dataset>,
    /// The first item of each image.
    images: Arc<Vec<u32>>,
    decoded: Option<Preprocess>,
}

impl Work for Preparing {
    type Scratch = (Vec<u8>, Renderer);
    type Output = Result<Vec<Prepared>>;

    fn run(
        &self,
        number: usize,
        scratch: &mut Self::Scratch,
        stopped: &dyn Fn() -> bool,
    ) -> Self::Output {
        let first = number * PIECE;
        let wanted = &self.images[first..self.images.len().min(first + PIECE)];
        let images = wanted.iter().map(|index| &self.set.items[*index as usize].image);
        images.take_while(|_| !stopped()).map(|image| self.prepare(image, scratch)).collect()
    }
}

impl Preparing {
    fn prepare(
        &self,
        image: &Image,
        (file, renderer): &mut (Vec<u8>, Renderer),
    ) -> Result<Prepared> {
        let failed = |e| Error::io("read", &image.name(), e);
        let source = image.size().map_err(failed)?;
        let bytes = match &self.decoded {
            Some(to) => renderer.scaled(image, to).map(<[u8]>::to_vec),
            None => image.read(file).map(encoded),
        };
        match bytes {
            Ok(bytes) => Ok(Prepared { bytes, source, broken: None }),
            Err(Fault::Broken(reason)) => {
                Ok(Prepared { bytes: Vec::new(), source, broken: Some(reason) })
            }
            Err(Fault::System(error)) => Err(failed(error)),
        }
    }
}

/// An image file; one with these pixels where the source has no files (binary PPM).
fn encoded(stored: Stored<'_>) -> Vec<u8> {
    match stored {
        Stored::Encoded(bytes) => bytes.to_vec(),
        Stored::Pixels { width, height, rgb } => {
            let mut bytes = format!("P6\n{width} {height}\n255\n").into_bytes();
            bytes.extend(rgb);
            bytes
        }
    }
}

/// Zeros to the next multiple of eight.
fn padding(length: u64) -> &'static [u8] {
    &[0; 8][..(padded(length) - length) as usize]
}

/// What follows the images; in memory until they are written.
#[derive(Default)]
struct Tables {
    entries: Vec<u8>,
    items: Vec<u8>,
    caption_ends: Vec<u8>,
    names: Vec<u8>,
    texts: Vec<u8>,
    parts: Vec<Part>,
}

impl Tables {
    fn images(&self) -> usize {
        self.entries.len() / ENTRY
    }

    fn image(&mut self, offset: u64, source: u64, bytes: &[u8], name: &[u8]) {
        let sum = crc32c::crc32c_append(crc32c::crc32c(bytes), padding(bytes.len() as u64));
        let length = bytes.len() as u32;
        let entry = Entry { offset, source, name: self.names.len() as u64, length, sum };
        entry.write(&mut self.entries);
        self.names.extend(name);
    }

    /// An item of the last image.
    fn item(&mut self, label: i64, caption: Option<&String>) {
        let image = self.images() as u32 - 1;
        self.items.extend(image.to_le_bytes());
        self.items.extend((label as u32).to_le_bytes());
        if let Some(caption) = caption {
            self.texts.extend(caption.as_bytes());
            self.caption_ends.extend((self.texts.len() as u64).to_le_bytes());
        }
    }
}

/// The file under its temporary name, which goes with the value unless it is kept.
struct Output {
    temporary: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    /// Where the next byte goes.
    offset: u64,
    kept: bool,
}

impl Output {
    fn create(path: &Path) -> Result<Output> {
        let temporary = durable::temporary(path);
        let file =
            File::create(&temporary).map_err(|e| Error::io("write", path, e).into_input())?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let mut out = Output { temporary, path: path.to_owned(), file, offset: 0, kept: false };
        out.put(&[0; HEADER])?;
        Ok(out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| self.failed(e))
    }

    /// An image begins at a multiple of eight.
    fn image(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes)?;
        self.put(padding(bytes.len() as u64))
    }

    fn failed(&self, error: io::Error) -> Error {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
        let written = self.offset as f64 / f64::from(1 << 20);
        let error = Error::io("write", &self.path, error);
        match full {
            true => error.help(format!(
                "there was no room after {written:.1} MiB; nothing was kept: free some space, or \
                 name a file on another disk"
            )),
            false => error,
        }
    }

    /// Writes tables, texts and header; returns the length of the file.
    fn finish(
        &mut self,
        tables: Tables,
        labels: Vec<Vec<String>>,
        decoded: Option<&Preprocess>,
        notes: Vec<String>,
    ) -> Result<u64> {
        let Tables { entries, items, caption_ends, names, texts, parts } = tables;
        let start = self.offset;
        let metadata = Metadata {
            arcrun: env!("CARGO_PKG_VERSION").to_owned(),
            parts,
            labels,
            decoded: decoded.map(Decoded::of),
            notes,
        };
        let mut metadata = serde_json::to_vec(&metadata).expect("plain values");
        let length = metadata.len() as u64;
        metadata.resize(padded(length) as usize, b'\0');
        let sum = |sections: &[&[u8]]| {
            sections.iter().fold(0, |sum, bytes| crc32c::crc32c_append(sum, bytes))
        };
        let form = match decoded {
            None => Form::Encoded,
            Some(to) => Form::Pixels { height: to.height as u32, width: to.width as u32 },
        };
        let index: [&[u8]; 4] = [&entries, &items, &caption_ends, &metadata];
        let text: [&[u8]; 2] = [&names, &texts];
        for section in index.iter().chain(&text) {
            self.put(section)?;
        }
        let header = Header {
            form,
            length: self.offset,
            tables: start,
            images: (entries.len() / ENTRY) as u64,
            items: (items.len() / ITEM) as u64,
            captions: (caption_ends.len() / ITEM) as u64,
            metadata: length,
            names: names.len() as u64,
            texts: texts.len() as u64,
            tables_sum: sum(&index),
            texts_sum: sum(&text),
        };
        let rewind = self.file.seek(SeekFrom::Start(0)).map(drop);
        rewind
            .and_then(|()| self.file.write_all(&header.write()))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(|e| self.failed(e))?;
        Ok(header.length)
    }

    /// Gives the file its name.
    fn keep(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|e| self.failed(e))?;
        self.kept = true;
        // The parent of a bare name is empty.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        durable::sync_folder(folder.unwrap_or(Path::new(".")))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.kept {
            // The reason to fail is what counts.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
