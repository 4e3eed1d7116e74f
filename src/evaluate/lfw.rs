//! Pairs from an LFW folder and its `pairs.txt`.
//!
//! Huang et al. 2007, "Labeled Faces in the Wild". The file's first line is `10<TAB>300`; then
//! per fold 300 lines `name i j` (one person) and 300 lines `name1 i name2 j` (two persons), of
//! images `name/name_%04d.jpg`. View 1 files (pairsDevTrain.txt, pairsDevTest.txt) start with one
//! count and have no folds: the first tunes the threshold that the second is scored at.
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
        /// A second pairs file (LFW's View 1: `pairsDevTrain.txt`) whose pairs tune the threshold at which
        /// `pairs` (`pairsDevTest.txt`) are scored; empty: the folds of `pairs` tune it.
        pub tune: DatasetPath = DatasetPath::default();
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
        let Lfw { root, pairs, tune, missing } = self;
        if root.raw.as_os_str().is_empty() {
            return Err(Error::input("`root` is not stated")
                .help("name the folder of images: root = \"lfw\""));
        }
        let root = root.resolve(datasets);
        let pairs = match pairs.raw.as_os_str().is_empty() {
            true => root.join("pairs.txt"),
            false => pairs.resolve(datasets),
        };
        let tune = (!tune.raw.as_os_str().is_empty()).then(|| tune.resolve(datasets));
        from_lfw(&root, &pairs, tune.as_deref(), *missing)
    }
}

/// An image as pairs files name it: person and number.
type Name = (String, u32);

#[derive(Clone)]
struct NamedPair {
    first: Name,
    second: Name,
    fold: usize,
}

impl NamedPair {
    fn same(&self) -> bool {
        self.first.0 == self.second.0
    }
}

/// Reads the pairs of `pairs_file` over the images in `root`, and those of `tune`, which tune the
/// threshold.
///
/// # Errors
/// A pairs file of another form, with `file:line` of each malformed line; images that are not
/// there, all listed, unless `missing` says to skip their pairs.
pub fn from_lfw(
    root: &Path,
    pairs_file: &Path,
    tune: Option<&Path>,
    missing: Missing,
) -> Result<PairSet> {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file);
        parse(&text.map_err(|e| Error::io("read", file, e).into_input())?, file)
    };
    let (pairs, folds) = read(pairs_file)?;
    let tuning = tune.map(|file| read(file).map(|(pairs, _)| (file, pairs))).transpose()?;
    if !root.is_dir() {
        return Err(Error::input(format!("{} is not a folder of images", root.display()))
            .help("it should hold one folder per person: name/name_0001.jpg"));
    }
    let mut folder = Folder::new(root);
    let mut builder = PairSetBuilder::default();
    let mut lost = Lost::new(pairs_file, folds);
    for pair in &pairs {
        if let Some((a, b)) = folder.find_both(pair, &mut lost) {
            builder.push(&a, &b, pair.same(), pair.fold);
        }
    }
    let mut all = vec![(lost, pairs.len())];
    if let Some((file, tuning)) = &tuning {
        let mut lost = Lost::new(file, 1);
        for pair in tuning {
            // All tune one threshold, whatever their folds.
            if let Some((a, b)) =
                folder.find_both(&NamedPair { fold: 0, ..pair.clone() }, &mut lost)
            {
                builder.push_tuning(&a, &b, pair.same());
            }
        }
        all.push((lost, tuning.len()));
    }
    all.retain(|(lost, _)| !lost.images.is_empty());
    if missing == Missing::Error && !all.is_empty() {
        let lists: Vec<String> = all.iter().map(|(lost, _)| lost.list(root)).collect();
        return Err(Error::input(lists.join("\n")).help(
            "any of jpg, png, bmp, webp, pgm will do; missing = \"skip\" drops their pairs",
        ));
    }
    let mut notes = folder.notes;
    notes.extend(all.iter().map(|(lost, pairs)| lost.note(*pairs)));
    Ok(builder.finish(folds, notes))
}

/// Images of a pairs file that are not there.
struct Lost<'a> {
    file: &'a Path,
    images: BTreeSet<Name>,
    /// Pairs that are skipped for them, per fold.
    pairs: Vec<usize>,
}

impl<'a> Lost<'a> {
    fn new(file: &'a Path, folds: usize) -> Self {
        Lost { file, images: BTreeSet::new(), pairs: vec![0; folds] }
    }

    fn list(&self, root: &Path) -> String {
        let list: Vec<String> =
            self.images.iter().map(|(name, i)| format!("\n  {name}/{name}_{i:04}.jpg")).collect();
        let (count, file, root) = (self.images.len(), self.file.display(), root.display());
        let images = if count == 1 { "image" } else { "images" };
        format!("{count} {images} of {file} not found in {root}:{}", list.concat())
    }

    fn note(&self, pairs: usize) -> String {
        format!(
            "{} of {pairs} pairs skipped for {} missing images (per fold: {:?})",
            self.pairs.iter().sum::<usize>(),
            self.images.len(),
            self.pairs
        )
    }
}

/// The pairs in the file's order and the number of folds.
fn parse(text: &str, file: &Path) -> Result<(Vec<NamedPair>, usize)> {
    let at = |line: usize| format!("{}:{}", file.display(), line + 1);
    let text = text.trim_start_matches('\u{feff}');
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

    /// Both images of a pair, or what is lost without them.
    fn find_both(&mut self, pair: &NamedPair, lost: &mut Lost<'_>) -> Option<(PathBuf, PathBuf)> {
        let NamedPair { first, second, fold } = pair;
        match (self.find(first), self.find(second)) {
            (Some(a), Some(b)) => Some((a, b)),
            (a, b) => {
                lost.pairs[*fold] += 1;
                lost.images.extend(a.is_none().then(|| first.clone()));
                lost.images.extend(b.is_none().then(|| second.clone()));
                None
            }
        }
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
#[path = "lfw_tests.rs"]
mod tests;
