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
/// number of images done and of all images, from several threads; it answers whether to go on.
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
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
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
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".synthetic-{name}-");
    remove_leftovers(parent, &prefix)?;
    // Removed when dropped, with whatever a failure or a replaced data set left in it.
    let work = tempfile::Builder::new()
        .prefix(&prefix)
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

/// [`generate`], unless the data set is there. Of several processes that want a data set in this
/// folder one draws at a time, the others wait: each would clear the others' unfinished work away.
/// True if this one drew. `progress` is asked whether to go on waiting, too.
///
/// # Errors
/// Those of [`generate`]; [`Error::Input`] where the lock beside `root` can't be made.
pub fn generate_once(
    recipe: &Recipe,
    root: &Path,
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
) -> Result<bool> {
    if is_complete(recipe, root) {
        return Ok(false);
    }
    // `.` has a name only when written out.
    let root = &std::path::absolute(root).map_err(|e| Error::io("find", root, e).into_input())?;
    let mut name = root.file_name().unwrap_or_default().to_os_string();
    name.push(".lock");
    let lock = root.with_file_name(name);
    let failed = |e| Error::io("lock", &lock, e).into_input();
    if let Some(parent) = lock.parent() {
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e).into_input())?;
    }
    // The file stays: removing it would let a third process lock another file of the same name.
    let file = fs::File::create(&lock).map_err(failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(fs::TryLockError::Error(e)) => return Err(failed(e)),
            // A plain `lock` could not be interrupted.
            Err(fs::TryLockError::WouldBlock) if progress(0, recipe.images()) => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::stopped("stopped while another process drew faces there"));
            }
        }
    }
    if is_complete(recipe, root) {
        return Ok(false);
    }
    generate(recipe, root, progress)?;
    Ok(true)
}

fn write_images(
    recipe: &Recipe,
    root: &Path,
    progress: &(dyn Fn(usize, usize) -> bool + Sync),
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
            if !progress(done.fetch_add(1, Ordering::Relaxed) + 1, total) {
                return Err(Error::stopped("stopped while drawing faces: nothing was kept"));
            }
        }
        Ok(())
    })
}

/// Removes what a killed process left of the same data set.
fn remove_leftovers(parent: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(parent).map_err(|e| Error::io("read", parent, e))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Error::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            identities: 3,
            images_per_identity: 2,
            unseen_identities: 4,
            unseen_images_per_identity: 3,
            size: 24,
            pairs: 20,
            seed: 9,
        }
    }

    fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_path_buf();
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
        found
    }

    fn generate_with(threads: usize, recipe: &Recipe, root: &Path) -> Result<()> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(recipe, root, &|_, _| true))
    }

    #[test]
    fn a_stop_and_a_kill_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        let leftover = folder.path().join(".synthetic-faces-killed");
        fs::create_dir(&leftover).unwrap();
        let other = folder.path().join(".synthetic-others-running");
        fs::create_dir(&other).unwrap();
        let stopped = generate(&recipe(), &root, &|done, _| done < 3).unwrap_err();
        assert_eq!(stopped.exit_code(), 75);
        assert!(!root.exists() && !leftover.exists() && other.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn several_at_once_do_not_clear_each_others_work() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        let other = Recipe { seed: 10, ..recipe() };
        std::thread::scope(|scope| {
            let draw = |recipe: Recipe| {
                let root = &root;
                scope.spawn(move || generate_once(&recipe, root, &|_, _| true).unwrap())
            };
            let threads = [recipe(), recipe(), other.clone(), other.clone()].map(draw);
            let drew = threads.into_iter().map(|t| usize::from(t.join().unwrap()));
            assert!(drew.sum::<usize>() >= 2);
        });
        assert!(is_complete(&recipe(), &root) || is_complete(&other, &root));
        // Who waits can be stopped.
        let lock = fs::File::open(folder.path().join("faces.lock")).unwrap();
        lock.lock().unwrap();
        let third = Recipe { seed: 11, ..recipe() };
        let stopped = generate_once(&third, &root, &|_, _| false).unwrap_err();
        assert_eq!(stopped.exit_code(), 75);
    }

    #[test]
    fn any_number_of_threads_writes_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, four) = (folder.path().join("one"), folder.path().join("four"));
        generate_with(1, &recipe(), &one).unwrap();
        generate_with(4, &recipe(), &four).unwrap();
        let files = contents(&one);
        assert_eq!(files.len(), 3 * 2 + 4 * 3 + 2);
        assert!(files == contents(&four));
        let other = folder.path().join("other");
        generate_with(1, &Recipe { seed: 10, ..recipe() }, &other).unwrap();
        assert!(files != contents(&other));
    }

    #[test]
    fn the_layout_is_that_of_vggface2_and_lfw() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep/faces");
        let calls = AtomicUsize::new(0);
        generate(&recipe(), &root, &|done, total| {
            assert!(done <= total && total == 18);
            calls.fetch_add(1, Ordering::Relaxed);
            true
        })
        .unwrap();
        assert_eq!(calls.into_inner(), 18);
        let files = contents(&root);
        for path in ["train/n000003/n000003_0002.jpg", "test/n000004/n000004_0003.jpg"] {
            let picture = image::load_from_memory(&files[Path::new(path)]).unwrap();
            assert_eq!((picture.width(), picture.height()), (24, 24));
        }
        let names = |split: &str| -> Vec<_> {
            fs::read_dir(root.join(split)).unwrap().map(|e| e.unwrap().file_name()).collect()
        };
        assert_eq!((names("train").len(), names("test").len()), (3, 4));
        assert!(names("train").iter().all(|name| !names("test").contains(name)));
        let pairs = String::from_utf8(files[Path::new("pairs.txt")].clone()).unwrap();
        for line in pairs.lines().skip(1) {
            let words: Vec<&str> = line.split('\t').collect();
            let last = (words[words.len() - 2], words[words.len() - 1]);
            let second = if words.len() == 3 { (words[0], last.1) } else { last };
            for (name, image) in [(words[0], words[1]), second] {
                let image: usize = image.parse().unwrap();
                let path = format!("test/{name}/{name}_{image:04}.jpg");
                assert!(files.contains_key(Path::new(&path)), "{path}");
            }
        }
        // Nothing is left beside the data set.
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    }

    #[test]
    fn only_the_whole_data_set_of_the_same_recipe_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        assert!(!is_complete(&recipe(), &root));
        generate(&recipe(), &root, &|_, _| true).unwrap();
        assert!(is_complete(&recipe(), &root));
        assert!(!is_complete(&Recipe { seed: 1, ..recipe() }, &root));
        assert!(!is_complete(&Recipe { size: 32, ..recipe() }, &root));
        let mark = fs::read_to_string(root.join(MARK)).unwrap();
        let older = format!("\"version\": {}", VERSION - 1);
        fs::write(root.join(MARK), mark.replace(&format!("\"version\": {VERSION}"), &older))
            .unwrap();
        assert!(!is_complete(&recipe(), &root));
        fs::write(root.join(MARK), &mark[..mark.len() / 2]).unwrap();
        assert!(!is_complete(&recipe(), &root));
        fs::remove_file(root.join(MARK)).unwrap();
        assert!(!is_complete(&recipe(), &root));
    }

    #[test]
    fn another_recipe_replaces_and_anything_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        fs::create_dir(&root).unwrap();
        generate(&recipe(), &root, &|_, _| true).unwrap();
        let smaller = Recipe { identities: 2, ..recipe() };
        generate(&smaller, &root, &|_, _| true).unwrap();
        assert!(is_complete(&smaller, &root));
        assert_eq!(fs::read_dir(root.join("train")).unwrap().count(), 2);
        fs::remove_file(root.join(MARK)).unwrap();
        let before = contents(&root);
        assert_eq!(generate(&smaller, &root, &|_, _| true).unwrap_err().exit_code(), 2);
        assert!(before == contents(&root));
    }

    #[test]
    fn impossible_recipes_are_the_users_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        for wrong in [
            Recipe { size: 4, ..recipe() },
            Recipe { identities: 0, ..recipe() },
            Recipe { pairs: 25, ..recipe() },
            Recipe { pairs: 6000, ..recipe() },
        ] {
            assert_eq!(generate(&wrong, &root, &|_, _| true).unwrap_err().exit_code(), 2);
        }
        assert!(!root.exists());
    }
}
