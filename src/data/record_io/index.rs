//! The small files beside a .rec: `.idx` and `property`.

use crate::data::first;
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: u64,
    /// Bytes from the beginning of the .rec to the record's first magic.
    pub offset: u64,
}

/// No line of two numbers is longer.
const LONGEST_LINE: u64 = 128;

/// The lines `key<TAB>offset` of an .idx, sorted by key; `length` is that of the .rec.
///
/// # Errors
/// A line that is something else, a key or an offset that stands twice, an offset beyond the end.
pub fn read_index(path: &Path, rec: &Path, length: u64) -> Result<Vec<Entry>> {
    let io = |e| Error::io("read", path, e).into_input();
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let (mut entries, mut line) = (Vec::new(), Vec::new());
    for number in 1_u64.. {
        line.clear();
        let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(io)?;
        if read == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) && (read as u64) < LONGEST_LINE {
            continue;
        }
        let entry = parse(&line).ok_or_else(|| {
            let text = String::from_utf8_lossy(&line);
            let shown: String = text.trim_end().chars().take(40).collect();
            Error::input(format!(
                "{}, line {number}: {shown:?} is no key and offset",
                path.display()
            ))
            .help("each line is `key<TAB>offset`, two whole numbers")
        })?;
        if entry.offset.saturating_add(8) > length {
            return Err(Error::input(format!(
                "{}, line {number}: key {} has offset {}, beyond the end of {} ({length} bytes)",
                path.display(),
                entry.key,
                entry.offset,
                rec.display()
            ))
            .help(MISMATCH));
        }
        entries.push(entry);
    }
    entries.sort_unstable_by_key(|entry| entry.key);
    let twice: Vec<String> = (entries.windows(2).filter(|pair| pair[0].key == pair[1].key))
        .map(|pair| pair[0].key.to_string())
        .collect();
    if !twice.is_empty() {
        let shown: Vec<&str> = twice.iter().map(String::as_str).collect();
        return Err(Error::input(format!(
            "{}: {} keys stand there twice ({})",
            path.display(),
            twice.len(),
            first(&shown)
        ))
        .help(MISMATCH));
    }
    same_offset(&entries, path)?;
    Ok(entries)
}

/// What to do when .idx and .rec don't belong together.
pub const MISMATCH: &str = "the .idx must be the one that was written with this .rec: copy both again, or \
                            write the .idx anew with MXNet's tools/rec2idx.py";

fn parse(line: &[u8]) -> Option<Entry> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (key, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Entry { key, offset })
}

fn same_offset(entries: &[Entry], path: &Path) -> Result<()> {
    let mut by_offset = entries.to_vec();
    by_offset.sort_unstable_by_key(|entry| entry.offset);
    match by_offset.windows(2).find(|pair| pair[0].offset == pair[1].offset) {
        None => Ok(()),
        Some(pair) => Err(Error::input(format!(
            "{}: keys {} and {} have the same offset {}",
            path.display(),
            pair[0].key,
            pair[1].key,
            pair[0].offset
        ))
        .help(MISMATCH)),
    }
}

/// The number of classes that a file `property` states: `classes,height,width`.
///
/// # Errors
/// A file that says something else.
pub fn read_property(path: &Path) -> Result<Option<u64>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, e).into_input()),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_LINE)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", path, e).into_input())?;
    let text = String::from_utf8_lossy(&bytes);
    let numbers: Option<Vec<u64>> = text.trim().split(',').map(|n| n.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([classes, _height, _width]) => Ok(Some(*classes)),
        _ => {
            let shown: String = text.trim().chars().take(40).collect();
            Err(Error::input(format!("{}: {shown:?} is no property", path.display())).help(
                "it is one line `classes,height,width`; without the file nothing is compared",
            ))
        }
    }
}
