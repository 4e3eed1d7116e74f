//! Pairs from an LFW folder and its `pairs.txt`.
//!
//! Huang et al. 2007, "Labeled Faces in the Wild". The file's first line is `10<TAB>300`; then
//! per fold 300 lines `name i j` (one person) and 300 lines `name1 i name2 j` (two persons), of
//! images `name/name_%04d.jpg`. View 1 files (pairsDevTrain.txt, pairsDevTest.txt) start with one
//! count and have no folds.
//! Differs from the reference in: any image extension is accepted.

use super::pairs::{PairSet, PairSetBuilder};
use crate::config::DatasetPath;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Extensions that count as images.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "webp", "pgm", "ppm", "pnm"];

crate::config_choice! {
    /// What to do about images that a pairs file names and the folder lacks.
    pub enum Missing {
        /// Stop and list them.
        Error = "error",
        /// Drop their pairs, each within its own fold, and say how many.
        Skip = "skip",
    }
}

crate::config_struct! {
    /// A folder of LFW's form and its pairs file (Huang et al. 2007): the standard protocol.
    pub struct Lfw {
        /// Folder with one folder per person: `name/name_0001.jpg`.
        pub root: DatasetPath = DatasetPath::default();
        /// The pairs file; empty: `pairs.txt` in `root`.
        pub pairs: DatasetPath = DatasetPath::default();
        /// What to do where images of the pairs file are not there.
        pub missing: Missing = Missing::Error;
    }
}

impl Lfw {
    /// The pairs; `datasets` is `paths.datasets`.
    ///
    /// # Errors
    /// No `root` stated, and those of [`from_lfw`].
    pub fn build(&self, datasets: &Path) -> Result<PairSet> {
        let Lfw { root, pairs, missing } = self;
        if root.raw.as_os_str().is_empty() {
            return Err(Error::input("`root` is not stated")
                .help("name the folder of images: root = \"lfw\""));
        }
        let root = root.resolve(datasets);
        let pairs = match pairs.raw.as_os_str().is_empty() {
            true => root.join("pairs.txt"),
            false => pairs.resolve(datasets),
        };
        from_lfw(&root, &pairs, *missing)
    }
}

/// An image as pairs files name it: person and number.
type Name = (String, u32);

struct NamedPair {
    first: Name,
    second: Name,
    fold: usize,
}

/// Reads the pairs of `pairs_file` over the images in `root`.
///
/// # Errors
/// A pairs file of another form, with `file:line` of each malformed line; images that are not
/// there, all listed, unless `missing` says to skip their pairs.
pub fn from_lfw(root: &Path, pairs_file: &Path, missing: Missing) -> Result<PairSet> {
    let text = std::fs::read_to_string(pairs_file)
        .map_err(|e| Error::io("read", pairs_file, e).into_input())?;
    let (pairs, folds) = parse(&text, pairs_file)?;
    if !root.is_dir() {
        return Err(Error::input(format!("{} is not a folder of images", root.display()))
            .help("it should hold one folder per person: name/name_0001.jpg"));
    }
    let mut folder = Folder::new(root);
    let mut builder = PairSetBuilder::default();
    let mut absent = BTreeSet::new();
    let mut skipped = vec![0; folds];
    for NamedPair { first, second, fold } in &pairs {
        match (folder.find(first), folder.find(second)) {
            (Some(a), Some(b)) => builder.push(a, b, first.0 == second.0, *fold),
            (a, b) => {
                skipped[*fold] += 1;
                absent.extend(a.is_none().then_some(first));
                absent.extend(b.is_none().then_some(second));
            }
        }
    }
    let mut notes = folder.notes;
    if !absent.is_empty() {
        if missing == Missing::Error {
            return Err(missing_images(root, pairs_file, &absent));
        }
        notes.push(format!(
            "{} of {} pairs skipped for {} missing images (per fold: {skipped:?})",
            skipped.iter().sum::<usize>(),
            pairs.len(),
            absent.len()
        ));
    }
    Ok(builder.finish(folds, notes))
}

fn missing_images(root: &Path, pairs_file: &Path, absent: &BTreeSet<&Name>) -> Error {
    let list: Vec<String> =
        absent.iter().map(|(name, i)| format!("\n  {name}/{name}_{i:04}.jpg")).collect();
    let (count, pairs_file, root) = (absent.len(), pairs_file.display(), root.display());
    let images = if count == 1 { "image" } else { "images" };
    Error::input(format!("{count} {images} of {pairs_file} not found in {root}:{}", list.concat()))
        .help("any of jpg, png, bmp, webp, pgm will do; missing = \"skip\" drops their pairs")
}

/// The pairs in the file's order and the number of folds.
fn parse(text: &str, file: &Path) -> Result<(Vec<NamedPair>, usize)> {
    let at = |line: usize| format!("{}:{}", file.display(), line + 1);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (first, header) = lines.next().unwrap_or_default();
    let counts: Option<Vec<usize>> = header.split_whitespace().map(|n| n.parse().ok()).collect();
    let (folds, per_class) = match counts.as_deref() {
        Some(&[folds, per_class]) if folds > 0 && per_class > 0 => (folds, per_class),
        Some(&[per_class]) if per_class > 0 => (1, per_class),
        _ => {
            return Err(Error::input(format!(
                "{}: expected `folds pairs-per-class` such as `10 300`, or one count, \
                 found `{header}`",
                at(first)
            )));
        }
    };
    let lines: Vec<(usize, &str)> = lines.collect();
    let promised = folds.checked_mul(per_class).and_then(|n| n.checked_mul(2));
    if promised != Some(lines.len()) {
        return Err(Error::input(format!(
            "{}: `{header}` promises {folds} x (one person {per_class} + two persons {per_class}) \
             pairs, the file has {}",
            at(first),
            lines.len()
        )));
    }
    let mut wrong = Vec::new();
    let mut pairs = Vec::with_capacity(lines.len());
    for (i, (number, line)) in lines.into_iter().enumerate() {
        let same = i / per_class % 2 == 0;
        let expected = if same { "name i j" } else { "name1 i name2 j" };
        match parse_pair(line, same) {
            Some((first, second)) => {
                pairs.push(NamedPair { first, second, fold: i / per_class / 2 });
            }
            None => wrong.push(format!("{}: expected `{expected}`, found `{line}`", at(number))),
        }
    }
    if wrong.is_empty() {
        return Ok((pairs, folds));
    }
    // A shifted block makes every further line wrong; the first few show where it starts.
    let shown = wrong.len().min(10);
    let rest = match wrong.len() - shown {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    Err(Error::input(wrong[..shown].join("\n") + &rest))
}

fn parse_pair(line: &str, same: bool) -> Option<(Name, Name)> {
    // Names may hold spaces where tabs separate.
    let fields: Vec<&str> = match line.contains('\t') {
        true => line.trim().split('\t').map(str::trim).collect(),
        false => line.split_whitespace().collect(),
    };
    let name = |name: &str, i: &str| Some((name.to_owned(), i.parse().ok()?));
    match (fields.as_slice(), same) {
        (&[person, i, j], true) => Some((name(person, i)?, name(person, j)?)),
        (&[a, i, b, j], false) if a != b => Some((name(a, i)?, name(b, j)?)),
        _ => None,
    }
}

/// The images of an LFW folder; each person's folder is listed once.
struct Folder<'a> {
    root: &'a Path,
    /// Person -> file stem -> path.
    persons: HashMap<String, BTreeMap<String, PathBuf>>,
    notes: Vec<String>,
}

impl<'a> Folder<'a> {
    fn new(root: &'a Path) -> Self {
        Folder { root, persons: HashMap::new(), notes: Vec::new() }
    }

    fn find(&mut self, (person, number): &Name) -> Option<PathBuf> {
        if !self.persons.contains_key(person) {
            let images = self.list(person);
            self.persons.insert(person.clone(), images);
        }
        self.persons[person].get(&format!("{person}_{number:04}")).cloned()
    }

    /// An unreadable folder has no images: they are reported as missing.
    fn list(&mut self, person: &str) -> BTreeMap<String, PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.root.join(person))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        paths.sort();
        let mut images = BTreeMap::new();
        for path in paths {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            let stem = path.file_stem().and_then(|s| s.to_str()).map(String::from);
            let Some(stem) = stem
                .filter(|_| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
            else {
                continue;
            };
            match images.get(&stem) {
                None => drop(images.insert(stem, path)),
                Some(taken) => {
                    let (path, taken): (_, &PathBuf) = (path.display(), taken);
                    self.notes.push(format!("{path} is passed over for {}", taken.display()));
                }
            }
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the named images (their contents are never read) and a pairs file.
    fn lfw(images: &[&str], pairs: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for image in images {
            let path = folder.path().join(image);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(folder.path().join("pairs.txt"), pairs).unwrap();
        folder
    }

    fn read(folder: &tempfile::TempDir, missing: Missing) -> Result<PairSet> {
        from_lfw(folder.path(), &folder.path().join("pairs.txt"), missing)
    }

    const IMAGES: [&str; 5] =
        ["A/A_0001.jpg", "A/A_0002.PNG", "A/A_0003.txt", "B/B_0001.webp", "C_D/C_D_0012.pgm"];

    #[test]
    fn folds_alternate_one_person_and_two() {
        let folder = lfw(&IMAGES, "2\t1\r\nA\t1\t2\r\nA\t1\tB\t1\r\nA 2 1\nB 1 C_D 12\n\n");
        let set = read(&folder, Missing::Error).unwrap();
        let names = ["A/A_0001.jpg", "A/A_0002.PNG", "B/B_0001.webp", "C_D/C_D_0012.pgm"];
        assert_eq!(
            set.images,
            names.map(|name| crate::data::Image::from(folder.path().join(name)))
        );
        let pair = |first, second, same, fold| crate::evaluate::Pair { first, second, same, fold };
        let pairs =
            [pair(0, 1, true, 0), pair(0, 2, false, 0), pair(1, 0, true, 1), pair(2, 3, false, 1)];
        assert_eq!(set.pairs, pairs);
        assert_eq!((set.folds, set.notes.len()), (2, 0));
    }

    #[test]
    fn a_single_count_has_no_folds() {
        let set = read(&lfw(&IMAGES, "1\nA 1 2\nA 1 B 1\n"), Missing::Error).unwrap();
        assert_eq!((set.folds, set.pairs.len()), (1, 2));
    }

    #[test]
    fn missing_images_are_all_listed_or_skipped_within_their_fold() {
        let folder = lfw(&IMAGES, "2 1\nA 1 3\nA 1 E 1\nA 1 2\nA 1 B 1\n");
        let error = read(&folder, Missing::Error).unwrap_err().to_string();
        assert!(error.starts_with("2 images of "), "{error}");
        assert!(error.contains("A/A_0003.jpg") && error.contains("E/E_0001.jpg"), "{error}");
        let set = read(&folder, Missing::Skip).unwrap();
        assert_eq!(set.pairs.iter().map(|pair| pair.fold).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(set.folds, 2);
        assert_eq!(set.notes, ["2 of 4 pairs skipped for 2 missing images (per fold: [2, 0])"]);
    }

    #[test]
    fn one_image_in_two_formats_is_said() {
        let folder = lfw(&["A/A_0001.jpg", "A/A_0001.png", "B/B_0001.jpg"], "1\nA 1 1\nA 1 B 1\n");
        let set = read(&folder, Missing::Error).unwrap();
        assert!(set.images[0].name().ends_with("A_0001.jpg"));
        assert!(set.notes[0].contains("A_0001.png is passed over for"), "{:?}", set.notes);
    }

    #[test]
    fn malformed_files_name_line_and_expectation() {
        for (pairs, expected) in [
            ("", "pairs.txt:1: expected `folds pairs-per-class`"),
            ("ten 300\n", "pairs.txt:1: expected `folds pairs-per-class`"),
            ("0 300\n", "pairs.txt:1: expected `folds pairs-per-class`"),
            ("1 2\nA 1 2\n", "promises 1 x (one person 2 + two persons 2) pairs, the file has 1"),
            ("1\nA 1 B 1\nA 1 B 1\n", "pairs.txt:2: expected `name i j`, found `A 1 B 1`"),
            ("1\n\nA 1 2\nA 1 B x\n", "pairs.txt:4: expected `name1 i name2 j`"),
            ("1\nA 1 2\nA 1 A 2\n", "pairs.txt:3: expected `name1 i name2 j`"),
        ] {
            let error = read(&lfw(&IMAGES, pairs), Missing::Error).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let many = format!("12\n{}", "x\n".repeat(24));
        let error = read(&lfw(&IMAGES, &many), Missing::Error).unwrap_err().to_string();
        assert!(error.contains("pairs.txt:11:") && !error.contains("pairs.txt:12:"), "{error}");
        assert!(error.ends_with("and 14 more"), "{error}");
    }

    #[test]
    fn absent_files_and_folders_are_input_errors() {
        let folder = lfw(&IMAGES, "1\nA 1 2\nA 1 B 1\n");
        let pairs = folder.path().join("pairs.txt");
        for (root, pairs) in [("none", pairs.clone()), ("A", folder.path().join("none.txt"))] {
            let error = from_lfw(&folder.path().join(root), &pairs, Missing::Error).unwrap_err();
            assert!(error.to_string().contains("none"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn the_official_files_parse() {
        let data = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
            PathBuf::from,
        );
        for (name, folds, pairs) in
            [("pairs.txt", 10, 6000), ("pairsDevTrain.txt", 1, 2200), ("pairsDevTest.txt", 1, 1000)]
        {
            let file = data.join("lfw").join(name);
            let Ok(text) = std::fs::read_to_string(&file) else {
                eprintln!("skipped: {} is not there", file.display());
                return;
            };
            let (parsed, in_folds) = parse(&text, &file).unwrap();
            assert_eq!((parsed.len(), in_folds), (pairs, folds), "{name}");
        }
    }
}
