//! Pairs from an InsightFace `.bin` set: `lfw.bin`, `cfp_fp.bin`, `agedb_30.bin` ...
//!
//! Reference: InsightFace's `eval/verification.py`; pair `i` is images `2i` and `2i + 1`, folds are
//! contiguous blocks of pairs.
//! Differs from the reference in: an image that the file holds once and names several times is
//! embedded once, and the mirror image is not embedded unless the flip test asks for it.

use super::pairs::{PairSet, PairSetBuilder, contiguous_folds};
use super::pickle::{BinFile, read_bin};
use crate::config::DatasetPath;
use crate::data::{Container, Image, InMemory};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

crate::config_struct! {
    /// An InsightFace `.bin` set: encoded image files, two per pair, and one boolean per pair, in a
    /// pickle that is read without Python and without running anything in it.
    pub struct Bin {
        /// The file. Its images are called `lfw.bin#17` in messages and scores, counted from 0.
        pub path: DatasetPath = DatasetPath::default();
        /// Folds of the cross-validation: contiguous blocks of pairs.
        pub folds: usize = 10, positive();
    }
}

impl Bin {
    /// The pairs; `datasets` is `paths.datasets`.
    ///
    /// # Errors
    /// No `path` stated, those of [`read_bin`], pairs of one class only, more folds than pairs.
    pub fn build(&self, datasets: &Path) -> Result<PairSet> {
        let Bin { path, folds } = self;
        if path.raw.as_os_str().is_empty() {
            return Err(Error::input("`path` is not stated")
                .help("name the file of pairs: path = \"lfw.bin\""));
        }
        let path = path.resolve(datasets);
        let set = from_bin(&path, *folds)?;
        let pairs = set.pairs.len();
        let genuine = set.pairs.iter().filter(|pair| pair.same).count();
        let kind = match genuine {
            0 => "two persons",
            all if all == pairs => "one person",
            _ if pairs < *folds => {
                let what =
                    format!("{} has {pairs} pairs, too few for {folds} folds", path.display());
                return Err(Error::input(what).help("lower `folds`"));
            }
            _ => return Ok(set),
        };
        let what = format!(
            "{}: all {pairs} pairs show {kind}: accuracy, ROC and error rates need pairs of one \
             person and of two",
            path.display()
        );
        Err(Error::input(what).help("use a set that has both; this one can't be scored"))
    }
}

/// The pairs of a `.bin` file in contiguous folds.
///
/// # Errors
/// Those of [`read_bin`].
pub fn from_bin(path: &Path, folds: usize) -> Result<PairSet> {
    let BinFile { images, same } = read_bin(path)?;
    // Where an image's bytes are in memory, by which copies are known.
    let mut first: HashMap<*const u8, usize> = HashMap::new();
    let numbers = images.iter().enumerate();
    let numbers = numbers.map(|(n, bytes)| *first.entry(bytes.as_ptr()).or_insert(n) as u32);
    let numbers: Vec<u32> = numbers.collect();
    let container: Arc<dyn Container> = Arc::new(InMemory { file: path.into(), images });
    let image = |number| Image::Member { container: container.clone(), number };
    let images: Vec<Image> = numbers.into_iter().map(image).collect();
    let mut builder = PairSetBuilder::default();
    for ((pair, same), fold) in images.chunks(2).zip(&same).zip(contiguous_folds(same.len(), folds))
    {
        builder.push(&pair[0], &pair[1], *same, fold);
    }
    Ok(builder.finish(folds, Vec::new()))
}

/// The file and the number that the name of an image in a `.bin` set stands for.
pub fn member(name: &Path) -> Option<(PathBuf, usize)> {
    let (file, number) = name.to_str()?.rsplit_once('#')?;
    Some((file.into(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol 4: a byte string per image, of which `again` is the first one again.
    fn file(images: usize, again: usize, same: &[bool]) -> tempfile::TempDir {
        let mut bytes = b"\x80\x04](".to_vec();
        for n in 0..images {
            match n == again {
                true => bytes.extend(b"h\0"),
                false => bytes.extend([b'C', 1, n as u8]),
            }
            bytes.extend_from_slice(if n == 0 { b"q\0" } else { b"" });
        }
        bytes.extend(b"e](");
        bytes.extend(same.iter().map(|same| if *same { 0x88 } else { 0x89 }));
        bytes.extend(b"e\x86.");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lfw.bin"), bytes).unwrap();
        folder
    }

    fn build(folder: &tempfile::TempDir, folds: usize) -> Result<PairSet> {
        let path = DatasetPath { raw: "lfw.bin".into(), base: "none".into() };
        Bin { path, folds }.build(folder.path())
    }

    #[test]
    fn pairs_are_neighbours_in_contiguous_folds() {
        let set = build(&file(10, 5, &[true, false, true, false, true]), 3).unwrap();
        let folds: Vec<usize> = set.pairs.iter().map(|pair| pair.fold).collect();
        assert_eq!((folds.as_slice(), set.folds), (&[0, 0, 1, 1, 2][..], 3));
        assert_eq!(set.images.len(), 9, "image 5 is image 0");
        assert!(set.images[6].name().ends_with("lfw.bin#7"), "{}", set.images[6].display());
        assert_eq!((set.pairs[2].first, set.pairs[2].second), (4, 0));
        let (file, number) = member(&set.images[6].name()).unwrap();
        assert!(file.ends_with("lfw.bin") && number == 7, "{}", file.display());
        let Image::Member { container, number } = &set.images[6] else { panic!("a file") };
        let mut scratch = Vec::new();
        let stored = container.read(*number, &mut scratch).unwrap();
        assert_eq!(stored, crate::data::Stored::Encoded(&[7]));
    }

    #[test]
    fn one_class_no_path_and_too_many_folds_are_said() {
        for (same, kind) in [([true; 2], "one person"), ([false; 2], "two persons")] {
            let error = build(&file(4, 9, &same), 2).unwrap_err();
            let expected = format!("lfw.bin: all 2 pairs show {kind}");
            assert!(error.to_string().contains(&expected), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let error = build(&file(4, 9, &[true, false]), 10).unwrap_err().to_string();
        assert!(error.contains("has 2 pairs, too few for 10 folds"), "{error}");
        let error = Bin::default().build(Path::new(".")).unwrap_err().to_string();
        assert!(error.contains("`path` is not stated"), "{error}");
    }

    #[test]
    fn the_real_set_of_one_class_is_refused_clearly() {
        let data = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
            PathBuf::from,
        );
        let file = data.join("lfw/small_lfw.bin");
        if !file.exists() {
            eprintln!("skipped: {} is not there (set ARCRUN_TEST_DATA)", file.display());
            return;
        }
        let path = DatasetPath { raw: file, base: PathBuf::new() };
        let error = Bin { path, folds: 10 }.build(&data).unwrap_err().to_string();
        assert!(error.contains("small_lfw.bin: all 10 pairs show one person"), "{error}");
    }
}
