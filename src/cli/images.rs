//! The images that an option names: files, folders, patterns.

use crate::data::scan::has_image_extension;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The image files that `patterns` stand for, each once: those of a pattern or below a folder sorted by
/// name, in the order of the patterns. `option` is named in errors. Of folders and patterns, files that
/// are no images by their name are passed over; a file that is named itself is taken as it is.
///
/// # Errors
/// A pattern that stands for no image.
pub fn images(option: &str, patterns: &[String]) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for pattern in patterns {
        let mut found = of_pattern(option, pattern)?;
        found
            .sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        if found.is_empty() {
            return Err(Error::input(format!("{option} {pattern}: no image there"))
                .help("give an image, a folder, or a quoted pattern such as 'faces/**/*.jpg'"));
        }
        // `a` and `./a` are one file; links under other names are their own.
        let place = |image: &PathBuf| std::path::absolute(image).unwrap_or(image.clone());
        images.extend(found.into_iter().filter(|image| seen.insert(place(image))));
    }
    Ok(images)
}

fn of_pattern(option: &str, pattern: &str) -> Result<Vec<PathBuf>> {
    let literal = Path::new(pattern);
    if literal.is_dir() {
        let mut found = Vec::new();
        below(literal, &mut found)?;
        return Ok(found);
    }
    if literal.exists() {
        return Ok(vec![literal.to_path_buf()]);
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(Error::input(format!("{option} {pattern}: there is no such file or folder")));
    }
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let matches = glob::glob_with(pattern, options)
        .map_err(|e| Error::input(format!("{option} {pattern} is not a pattern: {e}")))?;
    let mut found = Vec::new();
    for path in matches {
        let path = path.map_err(|e| Error::input(format!("{option} {pattern}: {e}")))?;
        if has_image_extension(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// All images below a folder; hidden names and links to folders, which may lead in circles, are passed
/// over.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |e| Error::io("read", folder, e).into_input();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            below(&path, found)?;
        } else if has_image_extension(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_patterns() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/2.jpg", "b/1.PNG", "a.jpg", "notes.txt", ".hidden.jpg"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let names = |patterns: &[String]| -> Result<Vec<String>> {
            let found = images("--images", patterns)?;
            let inside = |p: PathBuf| p.strip_prefix(folder.path()).unwrap().display().to_string();
            Ok(found.into_iter().map(inside).collect())
        };
        assert_eq!(names(&[at("")]).unwrap(), ["a.jpg", "b/1.PNG", "b/2.jpg"]);
        assert_eq!(names(&[at("**/*")]).unwrap(), ["a.jpg", "b/1.PNG", "b/2.jpg"]);
        assert_eq!(
            names(&[at("b/2.jpg"), at("*.jpg"), at("b")]).unwrap()[..2],
            ["b/2.jpg", "a.jpg"]
        );
        assert_eq!(names(&[at("notes.txt")]).unwrap(), ["notes.txt"], "named itself");
        for (pattern, says) in
            [("none.jpg", "no such file"), ("*.bmp", "no image there"), ("[", "not a pattern")]
        {
            let error = names(&[at(pattern)]).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("--images"), "{error}");
        }
    }
}
