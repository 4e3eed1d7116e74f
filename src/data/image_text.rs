//! Images with captions: a CSV, TSV or JSON lines file of image paths and texts.

mod quotes;
mod read;

use super::image_folder::{Fractions, at_most_all};
use super::order::permutation;
use super::reading::whole;
use super::{Dataset, Image, Item, LabelMap, OnCorrupt, Splits, first};
use crate::config::DatasetPath;
use crate::random::{Stream, rng};
use crate::{Error, Result};
pub use read::{Caption, Pairs, read};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

crate::config_struct! {
    /// Images with captions, for losses that compare both: a file of pairs, one line for each caption;
    /// an image may have several. All captions of an image are in one part.
    pub struct ImageText {
        /// A .csv or .tsv file with a header, or .jsonl / .json with an object in each line; relative
        /// paths are looked up under `paths.datasets` first.
        pub file: DatasetPath = DatasetPath::default(), required();
        /// Folder that the paths in the file are relative to; empty: the file's own.
        pub images: DatasetPath = DatasetPath::default();
        /// Column or key of the image's path; empty: the first of path, image, file, filename,
        /// filepath, image_path that is there.
        pub path_column: String = String::new();
        /// Column or key of the caption; empty: the first of caption, captions, text, title, sentence.
        /// In JSON lines its value may be a list of captions.
        pub caption_column: String = String::new();
        /// Shares of the images.
        pub fractions: Fractions = Fractions::default(),
            at_most_all();
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

/// What all images are labelled as: pairs have no classes.
const LABEL: &str = "image";

impl ImageText {
    /// Reads the file, looks for every image and divides them.
    ///
    /// # Errors
    /// No such file, a line that is no pair, images that are not there, too few for the split.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { file, images, path_column, caption_column, fractions, on_corrupt } = self;
        let place = file.resolve(datasets);
        if !place.is_file() {
            let tried: Vec<_> =
                file.tried(datasets).iter().map(|p| p.display().to_string()).collect();
            let raw = file.raw.display();
            return Err(Error::input(format!(
                "no file `{raw}` (data.file): tried {}",
                tried.join(", ")
            ))
            .help("set data.file or paths.datasets"));
        }
        let root = match images.raw.as_os_str().is_empty() {
            true => place.parent().unwrap_or(Path::new("")).to_path_buf(),
            false => images.resolve(datasets),
        };
        let Pairs { captions, notes } =
            read(&place, path_column, caption_column)?.one_name_each(&root);
        let of_image = by_image(captions, &place, &root)?;
        let images = of_image.into_iter();
        let images = images.map(|(image, texts)| (root.join(image).into(), texts)).collect();
        let mut splits = divide(images, &root, fractions, seed)?;
        splits.on_corrupt = *on_corrupt;
        splits.notes.extend(notes);
        Ok(splits)
    }
}

/// The captions of each image, by its path as the file states it.
type OfImage = BTreeMap<PathBuf, Vec<String>>;

/// # Errors
/// Images that are not there, all counted and the first ten named.
fn by_image(captions: Vec<Caption>, file: &Path, root: &Path) -> Result<OfImage> {
    let mut of_image = OfImage::new();
    for Caption { image, text } in captions {
        of_image.entry(image).or_default().push(text);
    }
    let missing: Vec<String> = (of_image.keys())
        .filter(|image| !root.join(image).is_file())
        .map(|image| image.display().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(of_image);
    }
    let (count, shown) = (missing.len(), missing[..missing.len().min(10)].join("\n  "));
    let more = if count > 10 { "\n  ..." } else { "" };
    Err(Error::input(format!(
        "{count} of the {} images of {} are not in {}:\n  {shown}{more}",
        of_image.len(),
        file.display(),
        root.display()
    ))
    .help("data.images is the folder that the paths are relative to"))
}

/// Divides images with their captions.
///
/// # Errors
/// Fewer than two are left to train on.
pub(super) fn divide(
    images: Vec<(Image, Vec<String>)>,
    root: &Path,
    fractions: &Fractions,
    seed: u64,
) -> Result<Splits> {
    let count = images.len();
    let Fractions { train, validation, test } = *fractions;
    let size = |share: f64| (share * count as f64).round() as usize;
    let (validation, test) = (size(validation), size(test));
    let wanted = size(train).min(count.saturating_sub(validation + test));
    if wanted < 2 {
        return Err(Error::input(format!(
            "of {count} images {wanted} are left to train on; telling captions apart needs two"
        ))
        .help("raise data.fractions.train, or name a file with more images"));
    }
    let order = permutation(count, &mut rng(seed, Stream::Split, 0, 0));
    let mut rest = order.as_slice();
    let mut next = |size: usize| {
        let (head, tail) = rest.split_at(size);
        rest = tail;
        let mut chosen: Vec<usize> = head.iter().map(|at| *at as usize).collect();
        chosen.sort_unstable();
        part(chosen.into_iter().map(|at| &images[at]), root)
    };
    let (validation, test, train) = (next(validation), next(test), next(wanted));
    let mut notes = vec![format!(
        "{count} images with {} captions: {} to train on, {} to validate, {} to test",
        images.iter().map(|(_, texts)| texts.len()).sum::<usize>(),
        train.1,
        validation.1,
        test.1
    )];
    if !rest.is_empty() {
        let name = |at: &u32| {
            let name = images[*at as usize].0.name();
            name.strip_prefix(root).unwrap_or(&name).display().to_string()
        };
        let names: Vec<String> = rest.iter().map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let unused = rest.len();
        notes.push(format!("{unused} images stay unused ({})", first(&names)));
    }
    let non_empty = |(set, images): (Dataset, usize)| (images > 0).then_some(set);
    Ok(Splits { validation: non_empty(validation), test: non_empty(test), notes, ..whole(train.0) })
}

/// One item for each caption, and the number of images.
fn part<'a>(
    images: impl Iterator<Item = &'a (Image, Vec<String>)>,
    root: &Path,
) -> (Dataset, usize) {
    let labels = LabelMap::new(vec![LABEL.to_string()]);
    let mut set = Dataset { root: root.into(), items: Vec::new(), labels, captions: Vec::new() };
    let mut count = 0;
    for (image, texts) in images {
        count += 1;
        for text in texts {
            set.items.push(Item { image: image.clone(), label: 0 });
            set.captions.push(text.clone());
        }
    }
    (set, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(images: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::from("path,caption\n");
        for number in 0..images {
            std::fs::write(folder.path().join(format!("{number:02}.png")), "").unwrap();
            lines.push_str(&format!("{number:02}.png,\"a {number}, plain\"\n"));
            lines.push_str(&format!("{number:02}.png,again {number}\n"));
        }
        std::fs::write(folder.path().join("pairs.csv"), lines).unwrap();
        folder
    }

    fn kind(folder: &Path, file: &str) -> ImageText {
        ImageText { file: DatasetPath { raw: file.into(), base: folder.into() }, ..toml_default() }
    }

    fn toml_default() -> ImageText {
        ImageText {
            file: DatasetPath::default(),
            images: DatasetPath::default(),
            path_column: String::new(),
            caption_column: String::new(),
            fractions: Fractions { train: 0.6, validation: 0.2, test: 0.2 },
            on_corrupt: OnCorrupt::Error,
        }
    }

    #[test]
    fn all_captions_of_an_image_are_in_one_part() {
        let folder = folder(20);
        let open = |seed| kind(folder.path(), "pairs.csv").open(folder.path(), seed).unwrap();
        let splits = open(3);
        let parts = [Some(&splits.train), splits.validation.as_ref(), splits.test.as_ref()];
        let mut seen = Vec::new();
        for (part, images) in parts.into_iter().zip([12, 4, 4]) {
            let part = part.unwrap();
            assert_eq!((part.len(), part.captions.len()), (2 * images, 2 * images));
            let mut paths: Vec<PathBuf> =
                part.items.iter().map(|item| item.image.name().into_owned()).collect();
            for (item, caption) in part.items.iter().zip(&part.captions) {
                let number: usize =
                    item.image.name().file_stem().unwrap().to_str().unwrap().parse().unwrap();
                let texts = [format!("a {number}, plain"), format!("again {number}")];
                assert!(texts.contains(caption), "{caption}");
            }
            paths.dedup();
            seen.extend(paths);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 20);
        assert_eq!(open(3).train, splits.train);
        assert_ne!(open(4).train, splits.train);
        assert!(splits.notes[0].contains("20 images with 40 captions: 12 to train on"));
    }

    /// However the file names it.
    #[test]
    fn an_image_is_in_one_part() {
        let folder = folder(12);
        let file = folder.path().join("pairs.csv");
        let lines = std::fs::read_to_string(&file).unwrap().replace(",again", "-,again");
        let lines: Vec<String> = (lines.lines().enumerate())
            .map(|(number, line)| match line.contains("-,again") {
                true if number % 4 == 0 => format!("./{line}").replace("-,", ","),
                true => format!("../{}/{line}", folder.path().file_name().unwrap().display())
                    .replace("-,", ","),
                false => line.to_string(),
            })
            .collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let splits = kind(folder.path(), "pairs.csv").open(folder.path(), 3).unwrap();
        assert!(splits.notes[0].starts_with("12 images with 24 captions"), "{:?}", splits.notes);
        assert!(
            splits.notes.iter().any(|note| note.starts_with("6 names stand")),
            "{:?}",
            splits.notes
        );
    }

    #[test]
    fn what_is_missing_is_listed() {
        let folder = folder(4);
        let error = |kind: &ImageText| kind.open(folder.path(), 0).unwrap_err().to_string();
        std::fs::remove_file(folder.path().join("01.png")).unwrap();
        std::fs::remove_file(folder.path().join("03.png")).unwrap();
        let said = error(&kind(folder.path(), "pairs.csv"));
        assert!(
            said.contains("2 of the 4 images of") && said.contains("01.png\n  03.png"),
            "{said}"
        );
        assert!(error(&kind(folder.path(), "none.csv")).contains("no file `none.csv` (data.file)"));
        std::fs::write(folder.path().join("one.csv"), "path,caption\n00.png,x\n").unwrap();
        assert!(
            error(&kind(folder.path(), "one.csv")).contains("of 1 images 1 are left to train on")
        );
    }

    #[test]
    fn the_fingerprint_follows_the_captions() {
        let folder = folder(6);
        let train = || kind(folder.path(), "pairs.csv").open(folder.path(), 0).unwrap().train;
        let before = train().fingerprint().unwrap();
        let file = folder.path().join("pairs.csv");
        let text = std::fs::read_to_string(&file).unwrap().replace("again", "once more");
        std::fs::write(&file, text).unwrap();
        assert_ne!(train().fingerprint().unwrap(), before);
    }
}
