//! Writes a whole data set, or nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Identity, pairs, render};
use crate::{Error, Result};

/// Changes whenever the same recipe gives other files.
const VERSION: u32 = 1;
const QUALITY: u8 = 90;
/// Name of the file that marks a whole data set; written last.
const MARK: &str = "synthetic.json";

/// What determines a data set completely, together with the version of the generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Identities to train on.
    pub identities: usize,
    pub images_per_identity: usize,
    /// Identities that occur only in `test` and `pairs.txt`.
    pub unseen_identities: usize,
    pub unseen_images_per_identity: usize,
    /// Width and height of an image in pixels.
    pub size: u32,
    /// Verification pairs in all ten folds together, half of them matched; 0 for none.
    pub pairs: usize,
    pub seed: u64,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Mark {
    generator: String,
    version: u32,
    recipe: Recipe,
    images: usize,
    complete: bool,
}

impl Recipe {
    /// Images of both splits.
    pub fn images(&self) -> usize {
        self.identities * self.images_per_identity
            + self.unseen_identities * self.unseen_images_per_identity
    }

    fn mark(&self) -> Mark {
        Mark {
            generator: "synthetic_faces".into(),
            version: VERSION,
            recipe: self.clone(),
            images: self.images(),
            complete: true,
        }
    }

    fn check(&self) -> Result<()> {
        if !(16..=2048).contains(&self.size) {
            let message = format!("size = {} is not within 16 to 2048 pixels", self.size);
            return Err(Error::input(message).help("112 is the usual size of an aligned face"));
        }
        if self.identities == 0 || self.images_per_identity == 0 {
            return Err(Error::input("a data set without training images")
                .help("set identities and images_per_identity to at least 1"));
        }
        pairs::check(self)
    }
}

/// Name of the identity with this index; the unseen ones follow those of the training set.
pub fn name(index: usize) -> String {
    format!("n{:06}", index + 1)
}

/// Whether `root` holds the whole data set of this recipe and this version of the generator.
pub fn is_complete(recipe: &Recipe, root: &Path) -> bool {
    let mark = fs::read(root.join(MARK)).ok();
    let mark: Option<Mark> = mark.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    mark.is_some_and(|mark| mark == recipe.mark())
}

/// Writes the data set into `root`: `{train,test}/<name>/<name>_0001.jpg` and so on,
/// `pairs.txt` over the identities of `test`, and `synthetic.json`. Calls `progress` with the
/// number of images done and of all images, from several threads.
///
/// Everything is written beside `root` and moved into place at the end, so `root` never holds a
/// part of a data set. A data set of another recipe in `root` is replaced.
///
/// # Errors
/// [`Error::Input`] for a recipe that cannot be met and for a `root` that holds something else;
/// [`Error::Failed`] when writing fails.
pub fn generate(
    recipe: &Recipe,
    root: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<()> {
    recipe.check()?;
    let occupied = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
    if root.exists() && (occupied || !root.is_dir()) && !root.join(MARK).is_file() {
        let message = format!("{} exists and is no synthetic data set", root.display());
        return Err(Error::input(message).help("name another folder or remove this one"));
    }
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create(parent)?;
    // Removed when dropped, with whatever a failure or a replaced data set left in it.
    let work = tempfile::Builder::new()
        .prefix(".synthetic-")
        .tempdir_in(parent)
        .map_err(|e| Error::io("create a folder in", parent, e))?;
    let fresh = work.path().join("fresh");
    write_images(recipe, &fresh, progress)?;
    if recipe.pairs > 0 {
        write(&fresh.join("pairs.txt"), pairs::text(recipe).as_bytes())?;
    }
    let mark = serde_json::to_string_pretty(&recipe.mark()).expect("plain numbers and strings");
    write(&fresh.join(MARK), mark.as_bytes())?;
    if occupied {
        let old = work.path().join("old");
        fs::rename(root, &old).map_err(|e| Error::io("replace", root, e))?;
    }
    match fs::rename(&fresh, root) {
        // Another process was faster with the same data set.
        Err(_) if is_complete(recipe, root) => Ok(()),
        outcome => outcome.map_err(|e| Error::io("create", root, e)),
    }
}

fn write_images(
    recipe: &Recipe,
    root: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<()> {
    let (done, total) = (AtomicUsize::new(0), recipe.images());
    (0..recipe.identities + recipe.unseen_identities).into_par_iter().try_for_each(|index| {
        let (split, images) = if index < recipe.identities {
            ("train", recipe.images_per_identity)
        } else {
            ("test", recipe.unseen_images_per_identity)
        };
        let name = name(index);
        let folder = root.join(split).join(&name);
        create(&folder)?;
        let identity = Identity::new(recipe.seed, index as u64);
        let mut bytes = Vec::new();
        for image in 0..images {
            let picture = render(&identity, image as u64, recipe.size, recipe.seed);
            let path = folder.join(format!("{name}_{:04}.jpg", image + 1));
            bytes.clear();
            JpegEncoder::new_with_quality(&mut bytes, QUALITY)
                .encode_image(&picture)
                .map_err(|e| Error::failed(format!("cannot encode {}: {e}", path.display())))?;
            write(&path, &bytes)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        }
        Ok(())
    })
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Error::io("write", path, e))
}
