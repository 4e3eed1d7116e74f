//! Reading the layout `root/<identity>/<image>`.

use std::ffi::OsString;
use std::fs::{DirEntry, read_dir};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Dataset, Image, Item, LabelMap};
use crate::{Error, Result};

const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "webp", "pgm", "ppm"];

/// What help on data says first.
pub const HELP: &str = "docs/datasets.md tells where each public data set is to be had and the \
                        folder it must end in";

/// The images of one identity, sorted bytewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub images: Vec<Image>,
}

/// The identities of one folder, sorted bytewise by name; those without an image are in here too.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    pub root: PathBuf,
    pub identities: Vec<Identity>,
    /// Images that lie beside the identity folders and are not read.
    pub stray: usize,
    /// Folders inside identity folders, not read either.
    pub nested: usize,
    /// Links with the name of an image that lead to no file.
    pub dangling: usize,
}

/// Reads the names of all images below `root`; symbolic links are followed, hidden files and
/// other extensions are left alone, and nothing is opened.
///
/// # Errors
/// No such folder, a folder that can't be read, an identity name that is not UTF-8, no image.
pub fn scan(root: &Path) -> Result<Folder> {
    let mut folders = Vec::new();
    let mut stray = 0;
    for entry in entries(root)? {
        if is_folder(&entry) {
            folders.push(entry.path());
        } else if is_image(&entry) {
            stray += 1;
        }
    }
    folders.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
    let read = folders.par_iter().map(|folder| identity(folder)).collect::<Result<Vec<_>>>()?;
    let nested = read.iter().map(|(_, nested, _)| nested).sum();
    let dangling = read.iter().map(|(_, _, dangling)| dangling).sum();
    let identities: Vec<_> = read.into_iter().map(|(identity, ..)| identity).collect();
    if identities.iter().all(|identity| identity.images.is_empty()) {
        return Err(nothing(root, stray, identities.len(), nested));
    }
    Ok(Folder { root: root.into(), identities, stray, nested, dangling })
}

impl Folder {
    /// Drops identities with fewer than `minimum` images, and says so.
    pub fn keep_at_least(&mut self, minimum: usize, notes: &mut Vec<String>) {
        let minimum = minimum.max(1);
        let before = self.identities.len();
        let mut images = 0;
        self.identities.retain(|identity| {
            let keep = identity.images.len() >= minimum;
            images += if keep { 0 } else { identity.images.len() };
            keep
        });
        let dropped = before - self.identities.len();
        if dropped > 0 {
            notes.push(format!(
                "{}: {dropped} of {before} identities have fewer than {minimum} images and are \
                 left out ({images} images)",
                self.root.display()
            ));
        }
    }

    /// Says what lies in the folder and is not read.
    pub fn note_unread(&self, notes: &mut Vec<String>) {
        let root = self.root.display();
        if self.stray > 0 {
            notes.push(format!(
                "{root}: {} images beside the identity folders are not read",
                self.stray
            ));
        }
        if self.nested > 0 {
            notes.push(format!(
                "{root}: {} folders inside identity folders are not read",
                self.nested
            ));
        }
        if self.dangling > 0 {
            notes.push(format!(
                "{root}: {} links named like images lead to no file and are not read",
                self.dangling
            ));
        }
    }

    pub fn images(&self) -> usize {
        self.identities.iter().map(|identity| identity.images.len()).sum()
    }

    pub fn label_map(&self) -> LabelMap {
        LabelMap::new(self.identities.iter().map(|identity| identity.name.clone()).collect())
    }

    /// All of it as a data set with a label map of its own.
    pub fn dataset(&self) -> Dataset {
        dataset(&self.root, self.label_map(), &self.identities)
    }
}

/// The images of `identities`, all of whose names are in `labels`.
pub fn dataset<'a>(
    root: &Path,
    labels: LabelMap,
    identities: impl IntoIterator<Item = &'a Identity>,
) -> Dataset {
    let mut items = Vec::new();
    for identity in identities {
        let label = labels.label(&identity.name).expect("the map was made from these identities");
        items.extend(identity.images.iter().map(|image| Item { image: image.clone(), label }));
    }
    Dataset { root: root.into(), items, labels, captions: Vec::new() }
}

/// The images, and the numbers of folders and of dangling links beside them.
fn identity(folder: &Path) -> Result<(Identity, usize, usize)> {
    let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::input(format!("the folder name {} is not UTF-8", folder.display()))
            .help("rename it: the names of identities are stored in every checkpoint")
    })?;
    let (mut images, mut nested, mut dangling) = (Vec::<OsString>::new(), 0, 0);
    for entry in entries(folder)? {
        if is_image(&entry) {
            images.push(entry.file_name());
        } else if is_folder(&entry) {
            nested += 1;
        } else if is_dangling(&entry) {
            dangling += 1;
        }
    }
    images.sort_unstable_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    let images = images.iter().map(|image| folder.join(image).into()).collect();
    Ok((Identity { name: name.into(), images }, nested, dangling))
}

/// Everything in a folder but what is hidden (macOS leaves `._name.jpg` beside `name.jpg`).
fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let unreadable = |e| Error::io("read", folder, e).into_input();
    let visible = |e: &DirEntry| !e.file_name().as_encoded_bytes().starts_with(b".");
    let entries = read_dir(folder).map_err(unreadable)?.collect::<std::io::Result<Vec<_>>>();
    Ok(entries.map_err(unreadable)?.into_iter().filter(visible).collect())
}

fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

/// A regular file, since opening a pipe would wait for ever.
fn is_image(entry: &DirEntry) -> bool {
    let known = has_image_extension(Path::new(&entry.file_name()));
    known
        && match entry.file_type() {
            Ok(kind) if kind.is_symlink() => entry.path().is_file(),
            Ok(kind) => kind.is_file(),
            Err(_) => false,
        }
}

/// A link named like an image whose end is gone, or that leads to itself.
fn is_dangling(entry: &DirEntry) -> bool {
    has_image_extension(Path::new(&entry.file_name()))
        && entry.file_type().is_ok_and(|kind| kind.is_symlink())
        && !entry.path().exists()
}

/// By the name alone.
pub(crate) fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn nothing(root: &Path, stray: usize, folders: usize, nested: usize) -> Error {
    let root = root.display();
    let layout = format!("the layout is {root}/<identity>/<image>.{{{}}}", EXTENSIONS.join(","));
    if stray > 0 {
        return Error::input(format!(
            "{root} holds {stray} images directly, but no folder with images for each identity"
        ))
        .help(format!("{layout}; data.root may be one level too deep"));
    }
    if folders == 0 {
        return Error::input(format!("the data folder {root} is empty"))
            .help(format!("{layout}; {HELP}"));
    }
    let deeper = if nested > 0 { "; data.root may be one level too high" } else { "" };
    Error::input(format!("none of the {folders} folders in {root} holds an image"))
        .help(format!("{layout}{deeper}; {HELP}"))
}
