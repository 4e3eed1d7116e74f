//! Image files by patterns, for layouts that no other kind knows.

use super::image_folder::{Fractions, at_most_all, missing};
use super::pattern::find;
use super::reading::{Division, Reading, gathered};
use super::scan::{Folder, HELP, has_image_extension};
use super::{Image, OnCorrupt, Splits, first};
use crate::config::DatasetPath;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

crate::config_choice! {
    /// What of a path names the identity.
    pub enum NamedBy {
        /// The folder that the file is in.
        Parent = "parent",
        /// The file's name up to the first separator.
        StemPrefix = "stem_prefix",
        /// The file's name up to the last separator.
        StemUntilLast = "stem_until_last",
    }
}

crate::config_struct! {
    /// The image files that patterns match, with the identity in the path: `patterns = ["*/*.jpg"]`, or for
    /// `0002_c1s1_000451_03.jpg` in one folder `identity = "stem_prefix"`.
    pub struct Glob {
        /// The folder that the patterns are relative to; a relative path is looked up under
        /// `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default(), required();
        /// Patterns with `*`, `?`, `[abc]`, `**` for folders of any depth, `{a,b}` and `{00..11}`. A file
        /// that several match is read once; what is no image file is left alone.
        pub patterns: Vec<String> = Vec::new(), required();
        /// What names the identity.
        pub identity: NamedBy = NamedBy::Parent;
        /// What ends the identity's name in a file's name; not with `identity = "parent"`.
        pub separator: String = "_".to_string(), required();
        /// How the images are divided.
        pub split: Division = Division::Image;
        /// The shares of the images, or with `split = "identity"` of the identities.
        pub fractions: Fractions = Fractions::default(),
            at_most_all();
        /// Identities with fewer images are left out.
        pub min_images: usize = 1, at_least(1);
        /// What to do with an image that can't be decoded.
        pub on_corrupt: OnCorrupt = OnCorrupt::Skip;
    }
}

impl Glob {
    /// Keys that say nothing beside others: key and message.
    pub fn validate(&self) -> Vec<(String, String)> {
        let unused = self.identity == NamedBy::Parent && self.separator != "_";
        let message = "parts names of files, but data.identity = \"parent\" takes the folder's name: set \
                       data.identity = \"stem_prefix\" or \"stem_until_last\", or leave it out";
        unused.then(|| ("separator".to_string(), message.to_string())).into_iter().collect()
    }

    /// Looks for the files and divides them.
    ///
    /// # Errors
    /// No such folder, a pattern that matches nothing, a path without an identity, too few images for the
    /// split.
    pub fn open(&self, datasets: &Path, seed: u64) -> Result<Splits> {
        let Self { root, patterns, identity, separator, split, fractions, min_images, on_corrupt } =
            self;
        let place = root.resolve(datasets);
        if !place.is_dir() {
            return Err(missing(root, datasets));
        }
        let mut reading = Reading::new(fractions, *min_images, seed);
        let folder = read(&place, patterns, *identity, separator, &mut reading.notes)?;
        let splits = reading.divided(folder, *split)?;
        Ok(Splits { on_corrupt: *on_corrupt, ..splits })
    }
}

fn read(
    place: &Path,
    patterns: &[String],
    named_by: NamedBy,
    separator: &str,
    notes: &mut Vec<String>,
) -> Result<Folder> {
    let mut files = BTreeSet::new();
    for pattern in patterns {
        files.extend(find(place, pattern, "data.patterns")?);
    }
    let all = files.len();
    files.retain(|file| has_image_extension(file));
    if files.is_empty() {
        return Err(Error::input(format!(
            "data.patterns match {all} files in {}, none of them an image",
            place.display()
        ))
        .help(HELP));
    }
    if files.len() < all {
        notes.push(format!(
            "{}: {} files that the patterns match are no images and are not read",
            place.display(),
            all - files.len()
        ));
    }
    let named: Vec<(String, PathBuf)> = (files.into_iter())
        .map(|file| Ok((identity(&file, named_by, separator)?, file)))
        .collect::<Result<_>>()?;
    if named_by == NamedBy::Parent {
        notes.extend(of_several_folders(place, &named));
    }
    Ok(gathered(place, named.into_iter().map(|(name, file)| (name, Image::from(file)))))
}

/// # Errors
/// A name without the separator, or that is not UTF-8.
fn identity(file: &Path, named_by: NamedBy, separator: &str) -> Result<String> {
    let part = match named_by {
        NamedBy::Parent => file.parent().and_then(Path::file_name),
        NamedBy::StemPrefix | NamedBy::StemUntilLast => file.file_stem(),
    };
    // Only the identity's part of a file's name has to be UTF-8; a lossy separator is one that was there.
    let part = part.unwrap_or_default().to_string_lossy();
    let name = match named_by {
        NamedBy::Parent => Some(&*part),
        NamedBy::StemPrefix => part.split_once(separator).map(|(name, _)| name),
        NamedBy::StemUntilLast => part.rsplit_once(separator).map(|(name, _)| name),
    };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(Error::input(format!(
            "{}: there is no identity before {separator:?} (data.separator)",
            file.display()
        ))
        .help("set data.separator, or data.identity = \"parent\", or patterns without this file"));
    };
    if name.contains('\u{fffd}') {
        return Err(Error::input(format!("the identity in {} is not UTF-8", file.display()))
            .help("rename it: the names of identities are stored in every checkpoint"));
    }
    Ok(name.to_string())
}

/// Says which identities are folders of one name in several places.
fn of_several_folders(place: &Path, named: &[(String, PathBuf)]) -> Option<String> {
    let mut folders: BTreeMap<&str, BTreeSet<&Path>> = BTreeMap::new();
    for (name, file) in named {
        folders.entry(name).or_default().extend(file.parent());
    }
    let several: Vec<&str> =
        folders.iter().filter(|(_, places)| places.len() > 1).map(|(name, _)| *name).collect();
    (!several.is_empty()).then(|| {
        format!(
            "{}: {} identities are put together of several folders of one name ({})",
            place.display(),
            several.len(),
            first(&several)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(root: &Path, patterns: &[&str]) -> Glob {
        let root = DatasetPath { raw: root.into(), base: "".into() };
        let patterns = patterns.iter().map(|pattern| pattern.to_string()).collect();
        let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
        Glob { root, patterns, fractions, ..Glob::default() }
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn counts(splits: &Splits) -> Vec<(&str, usize)> {
        let names = splits.train.labels.names().iter().map(String::as_str);
        names.zip(splits.train.images_per_identity()).collect()
    }

    #[test]
    fn the_folder_names_the_identity() {
        let dir = folder(&["x/ann/1.jpg", "x/bob/1.png", "y/ann/1.jpg", "y/ann/2.txt"]);
        let open = |patterns: &[&str]| glob(dir.path(), patterns).open(Path::new(""), 0).unwrap();
        let splits = open(&["x/*/*", "{x,y}/*/1.*", "y/*/*"]);
        assert_eq!(counts(&splits), [("ann", 2), ("bob", 1)]);
        let notes = splits.notes.join("\n");
        assert!(notes.contains("1 files that the patterns match are no images"), "{notes}");
        assert!(notes.contains("1 identities are put together of several folders"), "{notes}");
        let error = glob(dir.path(), &["z/*"]).open(Path::new(""), 0).unwrap_err().to_string();
        assert!(error.contains("data.patterns: nothing in"), "{error}");
        let error = glob(dir.path(), &["y/*/*.txt"]).open(Path::new(""), 0).unwrap_err();
        assert!(error.to_string().contains("match 1 files"), "{error}");
        let error = glob(Path::new("nowhere"), &["*"]).open(Path::new("sets"), 0).unwrap_err();
        assert!(error.to_string().contains("tried sets/nowhere"), "{error}");
    }

    #[test]
    fn the_name_of_the_file_names_the_identity() {
        let dir = folder(&["0002_c1_01.jpg", "0002_c2_01.jpg", "0007_c1_01.jpg", "-1.jpg"]);
        let mut config = glob(dir.path(), &["0*.jpg"]);
        config.identity = NamedBy::StemPrefix;
        assert_eq!(counts(&config.open(Path::new(""), 0).unwrap()), [("0002", 2), ("0007", 1)]);
        config.identity = NamedBy::StemUntilLast;
        let splits = config.open(Path::new(""), 0).unwrap();
        assert_eq!(counts(&splits), [("0002_c1", 1), ("0002_c2", 1), ("0007_c1", 1)]);
        config.patterns = vec!["*.jpg".into()];
        let error = config.open(Path::new(""), 0).unwrap_err().to_string();
        assert!(error.contains("-1.jpg: there is no identity before \"_\""), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn names_of_images_are_bytes() {
        use std::os::unix::ffi::OsStrExt;
        let dir = folder(&["ann/1.jpg", "bob/1.jpg"]);
        let name = std::ffi::OsStr::from_bytes(b"bob/\xff\xfe.jpg");
        std::fs::write(dir.path().join(name), "").unwrap();
        let splits = glob(dir.path(), &["*/*.jpg"]).open(Path::new(""), 0).unwrap();
        assert_eq!(counts(&splits), [("ann", 1), ("bob", 2)]);
        assert_eq!(splits.train.items[2].image.file().unwrap(), dir.path().join(name));
    }
}
