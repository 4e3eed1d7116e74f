//! The images of one side of a retrieval: a folder of identities, a folder of images, or a CSV file.

use crate::data::{Image, scan};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Images, and whom they show where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchImages {
    pub images: Vec<Image>,
    /// One name per image, or none at all.
    pub identities: Option<Vec<String>>,
    /// What the user should be told.
    pub notes: Vec<String>,
}

/// Reads `path`: `ROOT/IDENTITY/IMAGE`, a folder of images without identities, or a CSV file with the
/// columns `path` (relative to the file) and, where known, `identity`.
///
/// # Errors
/// Nothing there, no image in it, a file without such columns.
pub fn read(path: &Path) -> Result<SearchImages> {
    let mut read = match path.is_file() {
        true => of_csv(path)?,
        false => of_folder(path)?,
    };
    if read.images.is_empty() {
        return Err(Error::input(format!("{} names no image", path.display())));
    }
    if read.identities.is_none() {
        read.notes.push(format!(
            "{} tells no identities: nothing is scored; a training and `run eval RUN_DIR --scores` write \
             the rankings",
            path.display()
        ));
    }
    Ok(read)
}

fn of_folder(root: &Path) -> Result<SearchImages> {
    let flat = flat(root)?;
    if !flat.is_empty() && scan::scan(root).is_err() {
        let images = flat.into_iter().map(Image::from).collect();
        return Ok(SearchImages { images, ..SearchImages::default() });
    }
    let folder = scan::scan(root)?;
    let mut notes = Vec::new();
    folder.note_unread(&mut notes);
    let (mut images, mut identities) = (Vec::new(), Vec::new());
    for identity in folder.identities {
        identities.extend(std::iter::repeat_n(identity.name, identity.images.len()));
        images.extend(identity.images);
    }
    Ok(SearchImages { images, identities: Some(identities), notes })
}

/// The images directly in a folder, sorted by name.
fn flat(root: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e| Error::io("read", root, e).into_input();
    let mut images = Vec::new();
    for entry in std::fs::read_dir(root).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && scan::has_image_extension(&path) && path.is_file() {
            images.push(path);
        }
    }
    images.sort();
    Ok(images)
}

fn of_csv(file: &Path) -> Result<SearchImages> {
    let wrong = |e: csv::Error| Error::input(format!("{}: {e}", file.display()));
    let mut reader = csv::Reader::from_path(file).map_err(wrong)?;
    let header = reader.headers().map_err(wrong)?.clone();
    let column = |names: &[&str]| header.iter().position(|name| names.contains(&name.trim()));
    let Some(path) = column(&["path", "image", "file"]) else {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return Err(Error::input(format!("{} has no column `path`: {found}", file.display()))
            .help("its first line is path,identity"));
    };
    let identity = column(&["identity", "label", "class"]);
    let folder = file.parent().unwrap_or(Path::new(""));
    let (mut images, mut identities, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen: HashMap<PathBuf, u64> = HashMap::new();
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        let line = row.position().map_or(0, csv::Position::line);
        let refuse = |what: String| {
            Error::input(format!("{}, line {line}: {what}", file.display()))
                .help("mend or remove the line")
        };
        let name = row[path].trim();
        if name.is_empty() {
            return Err(refuse("the path is empty".into()));
        }
        if identity.is_some_and(|column| row[column].trim().is_empty()) {
            return Err(refuse("the identity is empty".into()));
        }
        let image = folder.join(name);
        if let Some(first) = seen.insert(image.clone(), line) {
            return Err(refuse(format!("{name} is in line {first} already")));
        }
        if !image.is_file() {
            missing.push(image.display().to_string());
        }
        images.push(image.into());
        identities.extend(identity.map(|column| row[column].trim().to_string()));
    }
    if !missing.is_empty() {
        let (count, first) = (missing.len(), missing[..missing.len().min(10)].join("\n  "));
        let more = if count > 10 { "\n  ..." } else { "" };
        return Err(Error::input(format!(
            "{count} images of {} are not there:\n  {first}{more}",
            file.display()
        )));
    }
    let identities = identity.map(|_| identities);
    Ok(SearchImages { images, identities, notes: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_lists() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["ids/b/1.jpg", "ids/a/2.jpg", "flat/y.png", "flat/x.jpg", "empty/.x"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "").unwrap();
        }
        let ids = read(&at("ids")).unwrap();
        assert_eq!(ids.images, [at("ids/a/2.jpg"), at("ids/b/1.jpg")].map(Image::from));
        assert_eq!(ids.identities.unwrap(), ["a", "b"]);
        let flat = read(&at("flat")).unwrap();
        assert_eq!(flat.images, [at("flat/x.jpg"), at("flat/y.png")].map(Image::from));
        assert!(flat.identities.is_none() && flat.notes[0].contains("no identities"));

        std::fs::write(at("list.csv"), "identity,path\nann,ids/a/2.jpg\nbob,flat/x.jpg\n").unwrap();
        let list = read(&at("list.csv")).unwrap();
        assert_eq!(list.images, [at("ids/a/2.jpg"), at("flat/x.jpg")].map(Image::from));
        assert_eq!(list.identities.unwrap(), ["ann", "bob"]);

        std::fs::write(at("list.csv"), "path\nids/a/2.jpg\nids/a/9.jpg\n").unwrap();
        let error = read(&at("list.csv")).unwrap_err().to_string();
        assert!(error.contains("1 images of") && error.contains("9.jpg"), "{error}");
        std::fs::write(at("list.csv"), "name\nids/a/2.jpg\n").unwrap();
        assert!(read(&at("list.csv")).unwrap_err().to_string().contains("no column `path`: name"));
        assert!(read(&at("empty")).is_err() && read(&at("nowhere")).is_err());
    }
}
