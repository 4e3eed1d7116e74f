//! The directory of a zip archive: where each entry's bytes lie, for entries that are stored as they
//! are, as `torch.save` writes them.
//!
//! Format: PKWARE's APPNOTE 6.3 (end of central directory 4.3.16, zip64 4.3.14 and 4.5.3, central
//! header 4.3.12, local header 4.3.7).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";

const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: u64 = 20;
const CENTRAL_LENGTH: usize = 46;
const LOCAL_LENGTH: u64 = 30;
/// A comment may follow the end.
const LONGEST_COMMENT: u64 = 0xffff;
/// Extra field with the numbers that need 64 bits.
const EXTRA_64: u16 = 1;

/// A directory of more bytes is none of weights: some 100 bytes for each of a hundred thousand.
const LARGEST_DIRECTORY: u64 = 1 << 26;

/// Where an entry is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of its local header.
    header: u64,
    /// Bytes, in the archive.
    pub size: u64,
    /// Whether its bytes are stored as they are.
    pub stored: bool,
    /// CRC-32 of its bytes; 0 where none was computed.
    pub crc: u32,
}

/// The entries of an archive by name.
#[derive(Debug)]
pub struct Archive {
    pub entries: BTreeMap<String, Entry>,
}

/// Why an archive can't be read; completes "FILE is a zip archive, but ...".
type Fault = String;

impl Archive {
    /// Reads the directory of an archive of `size` bytes.
    pub fn open(file: &File, size: u64) -> Result<Archive, Fault> {
        let (at, length, count) = directory(file, size)?;
        if length > LARGEST_DIRECTORY || at.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!("its directory of {length} bytes does not fit into it"));
        }
        let bytes = bytes(file, at, length as usize)?;
        let mut entries = BTreeMap::new();
        let mut rest = bytes.as_slice();
        for _ in 0..count {
            let (name, entry, after) =
                central(rest).ok_or("its directory is damaged or was cut short")?;
            rest = after;
            entries.insert(name, entry);
        }
        Ok(Archive { entries })
    }

    /// Where the bytes of an entry begin.
    pub fn data(file: &File, size: u64, entry: &Entry) -> Result<u64, Fault> {
        let outside = || "an entry lies outside of it: it was cut short or is damaged".to_string();
        if entry.header.checked_add(LOCAL_LENGTH).is_none_or(|end| end > size) {
            return Err(outside());
        }
        let header = bytes(file, entry.header, LOCAL_LENGTH as usize)?;
        if header[..4] != LOCAL {
            return Err("an entry has no header where its directory says: it is damaged".into());
        }
        let lengths = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let start = entry.header + LOCAL_LENGTH + lengths;
        match start.checked_add(entry.size) {
            Some(end) if end <= size => Ok(start),
            _ => Err(outside()),
        }
    }
}

/// The central directory: where, bytes, entries.
fn directory(file: &File, size: u64) -> Result<(u64, u64, u64), Fault> {
    let tail = size.min(LONGEST_COMMENT + END_LENGTH as u64);
    let last = bytes(file, size - tail, tail as usize)?;
    let ends = last.windows(END_LENGTH).enumerate().rev();
    let Some((at, end)) = ends.into_iter().find(|(_, window)| window[..4] == END) else {
        return Err("its end is missing: it was cut short".into());
    };
    let (count, length, start) = (u16_at(end, 10), u32_at(end, 12), u32_at(end, 16));
    let end = size - tail + at as u64;
    let small = (start.into(), length.into(), count.into());
    let Some(locator) = end.checked_sub(LOCATOR_LENGTH) else { return Ok(small) };
    let locator = bytes(file, locator, LOCATOR_LENGTH as usize)?;
    if locator[..4] != LOCATOR_64 {
        return Ok(small);
    }
    let at = u64_at(&locator, 8);
    if at.checked_add(56).is_none_or(|after| after > end) {
        return Err("its end is damaged".into());
    }
    let end = bytes(file, at, 56)?;
    match end[..4] == END_64 {
        true => Ok((u64_at(&end, 48), u64_at(&end, 40), u64_at(&end, 32))),
        false => Err("its end is damaged".into()),
    }
}

/// One entry of the directory and what follows it; None: there is none.
fn central(bytes: &[u8]) -> Option<(String, Entry, &[u8])> {
    let (header, rest) = bytes.split_at_checked(CENTRAL_LENGTH)?;
    if header[..4] != CENTRAL {
        return None;
    }
    let (name, rest) = rest.split_at_checked(u16_at(header, 28).into())?;
    let (extra, rest) = rest.split_at_checked(u16_at(header, 30).into())?;
    let (_comment, rest) = rest.split_at_checked(u16_at(header, 32).into())?;
    let (compressed, whole) = (u32_at(header, 20), u32_at(header, 24));
    let offset = u32_at(header, 42);
    // Those of the three that do not fit into 32 bits follow in this order.
    let mut wide = extra_64(extra);
    let mut number = |narrow: u32| match narrow {
        u32::MAX => {
            let (number, rest) = wide.split_at_checked(8)?;
            wide = rest;
            Some(u64_at(number, 0))
        }
        narrow => Some(narrow.into()),
    };
    let (whole, compressed, offset) = (number(whole)?, number(compressed)?, number(offset)?);
    let encrypted = u16_at(header, 8) & 1 == 1;
    let stored = u16_at(header, 10) == 0 && !encrypted && whole == compressed;
    let entry = Entry { header: offset, size: compressed, stored, crc: u32_at(header, 16) };
    Some((String::from_utf8_lossy(name).into_owned(), entry, rest))
}

/// The extra field of numbers that need 64 bits; empty where there is none.
fn extra_64(mut extra: &[u8]) -> &[u8] {
    while let Some((header, rest)) = extra.split_at_checked(4) {
        let Some((field, after)) = rest.split_at_checked(u16_at(header, 2).into()) else { break };
        if u16_at(header, 0) == EXTRA_64 {
            return field;
        }
        extra = after;
    }
    &[]
}

fn bytes(file: &File, at: u64, length: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; length];
    let read = file.read_exact_at(&mut bytes, at);
    read.map_err(|e: io::Error| format!("it can't be read: {e}"))?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[at + i]))
}
