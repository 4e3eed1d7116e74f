//! The lists of a CelebA folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path};

use rayon::prelude::*;

use crate::data::scan;
use crate::{Error, Result};

/// A line of a list: a file and a number.
pub struct Entry {
    pub file: String,
    pub number: u64,
    /// Counted from 1.
    pub line: usize,
}

/// Lines `FILE NUMBER`; a file's name may have spaces in it.
pub fn read_list(path: &Path) -> Result<Vec<Entry>> {
    let text = fs::read(path).map_err(|e| Error::io("read", path, e).into_input())?;
    let text = String::from_utf8(text).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::input(format!("{} line {line} is not UTF-8", path.display()))
    })?;
    let mut entries = Vec::new();
    let mut seen = HashMap::new();
    for (index, row) in text.lines().enumerate() {
        let (line, row) = (index + 1, row.trim());
        if row.is_empty() {
            continue;
        }
        let wrong = |what: &str| {
            Error::input(format!("{} line {line}: {what}: `{row}`", path.display()))
                .help("a line is the name of an image, a space and a number: 000001.jpg 2880")
        };
        let Some((file, number)) = row.rsplit_once(char::is_whitespace) else {
            return Err(wrong("not a file and a number"));
        };
        let file = file.trim_end();
        let number = number.parse().map_err(|_| wrong("not a number at its end"))?;
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !Path::new(file).components().all(plain) {
            return Err(wrong("not a file below the folder of images"));
        }
        if let Some(first) = seen.insert(file.to_owned(), line) {
            return Err(Error::input(format!(
                "{} line {line}: {file} is on line {first} already",
                path.display()
            ))
            .help("an image shows one identity: delete one of the lines"));
        }
        entries.push(Entry { file: file.to_owned(), number, line });
    }
    if entries.is_empty() {
        return Err(Error::input(format!("{} lists no image", path.display())));
    }
    Ok(entries)
}

/// The part of every image.
///
/// # Errors
/// A number above 2, an image of one list that is not in the other.
pub fn read_partition<'a>(
    path: &Path,
    entries: &'a [Entry],
    list: &Path,
) -> Result<HashMap<&'a str, u64>> {
    let known: HashMap<&str, &str> =
        entries.iter().map(|e| (e.file.as_str(), e.file.as_str())).collect();
    let mut parts = HashMap::new();
    for Entry { file, number, line } in read_list(path)? {
        if number > 2 {
            return Err(Error::input(format!(
                "{} line {line}: {file} is in part {number}",
                path.display()
            ))
            .help("0 is trained on, 1 validates, 2 tests"));
        }
        let Some(file) = known.get(file.as_str()) else {
            return Err(Error::input(format!(
                "{} line {line}: {file} is not in {}",
                path.display(),
                list.display()
            )));
        };
        parts.insert(*file, number);
    }
    if let Some(Entry { file, line, .. }) =
        entries.iter().find(|e| !parts.contains_key(e.file.as_str()))
    {
        return Err(Error::input(format!(
            "{} line {line}: {file} is not in {}",
            list.display(),
            path.display()
        ))
        .help("every image needs a part, or set data.split to \"image\" or \"identity\""));
    }
    Ok(parts)
}

/// # Errors
/// An image of the list that is no file, the first by its line.
pub fn present(entries: &[Entry], list: &Path, images: &Path) -> Result<()> {
    let absent: Vec<&Entry> =
        entries.par_iter().filter(|entry| !images.join(&entry.file).is_file()).collect();
    let Some(Entry { file, line, .. }) = absent.first() else { return Ok(()) };
    let others = match absent.len() {
        1 => String::new(),
        count => format!(" ({count} of {} images are absent)", entries.len()),
    };
    Err(Error::input(format!(
        "{} line {line}: there is no {}{others}",
        list.display(),
        images.join(file).display()
    ))
    .help(format!("data.images names the folder of the images; {}", scan::HELP)))
}
