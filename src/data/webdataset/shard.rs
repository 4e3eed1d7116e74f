//! One tar file: its members, found by reading the headers, and its images as a container.

use crate::data::decode::MAX_FILE;
use crate::data::{Container, Fault, Stored};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tar::{Archive, EntryType};

/// A file in a shard.
#[derive(Clone, Debug)]
pub struct Member {
    /// Path in the shard, as bytes, without `./` or `/` in front.
    pub name: Box<[u8]>,
    /// Where its bytes begin in the shard.
    pub start: u64,
    pub size: u64,
}

/// Beginnings of files that are compressed as a whole.
const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
    (b"BZh", "bzip2"),
];

/// A tar is made of these, bytes.
const BLOCK: u64 = 512;

/// What a shard has in it.
#[derive(Debug)]
pub struct Members {
    /// The files, in the shard's order.
    pub files: Vec<Member>,
    /// Number of other entries: links, sparse files.
    pub others: usize,
    /// Whether the end is marked, as it is unless the shard was cut off between two entries.
    pub ended: bool,
}

/// Reads the headers of a shard.
///
/// # Errors
/// A file that can't be read, that is compressed, no tar, or cut off in an entry.
pub fn members(path: &Path) -> Result<Members> {
    let io = |e| Error::io("read", path, e).into_input();
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut start = Vec::new();
    (&file).take(6).read_to_end(&mut start).map_err(io)?;
    if let Some((_, name)) = COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(Error::input(format!(
            "{} is compressed ({name}): its images can't be read in any order",
            path.display()
        ))
        .help("unpack it to a plain .tar: JPEG files shrink no further anyway"));
    }
    let (mut members, mut others) = (Vec::new(), 0);
    let mut archive = Archive::new(File::open(path).map_err(io)?);
    for entry in archive.entries_with_seek().map_err(io)? {
        let after = || match members.last() {
            Some(Member { name, .. }) => format!("after {}", String::from_utf8_lossy(name)),
            None => "at its beginning".to_string(),
        };
        let entry = entry.map_err(|e| damaged(path, &format!("{} {e}", after())))?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory => continue,
            _ => {
                others += 1;
                continue;
            }
        }
        let name = entry.path_bytes();
        let mut name: &[u8] = &name;
        while let Some(rest) = name.strip_prefix(b"./").or(name.strip_prefix(b"/")) {
            name = rest;
        }
        let member =
            Member { name: name.into(), start: entry.raw_file_position(), size: entry.size() };
        let end = member.start.saturating_add(member.size).checked_next_multiple_of(BLOCK);
        if end.is_none_or(|end| end > length) {
            let name = String::from_utf8_lossy(name);
            let why = format!("{name} has {} bytes from {} on", member.size, member.start);
            return Err(damaged(path, &format!("{why}, but the file ends at {length}")));
        }
        members.push(member);
    }
    let mut last = [0; BLOCK as usize];
    let at = length.saturating_sub(BLOCK);
    let read = file.read_exact_at(&mut last[..(length - at) as usize], at);
    read.map_err(io)?;
    let ended = last.iter().all(|byte| *byte == 0);
    Ok(Members { files: members, others, ended })
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::input(format!("{} is no whole tar: {why}", path.display())).help("fetch the shard again")
}

/// A small member as text, trimmed.
///
/// # Errors
/// More bytes than `limit`, no UTF-8, nothing in it.
pub fn text(shard: &Path, file: &File, member: &Member, limit: u64) -> Result<String> {
    let wrong = |why: String| {
        let name = String::from_utf8_lossy(&member.name);
        Error::input(format!("{}/{name} {why}", shard.display()))
    };
    if member.size > limit {
        return Err(wrong(format!("has {} bytes, more than a text of {limit}", member.size)));
    }
    let mut bytes = vec![0; member.size as usize];
    file.read_exact_at(&mut bytes, member.start)
        .map_err(|e| Error::io("read", shard, e).into_input())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".into()))?;
    match text.trim() {
        "" => Err(wrong("is empty".into())),
        text => Ok(text.to_string()),
    }
}

/// The images of a shard, named `SHARD/MEMBER`.
#[derive(Debug)]
pub struct Shard {
    pub path: PathBuf,
    pub images: Vec<Member>,
    /// Open, unless there are so many shards that each is opened for every image.
    pub file: Option<File>,
}

impl Container for Shard {
    fn name(&self, number: u32) -> PathBuf {
        self.path.join(OsStr::from_bytes(&self.images[number as usize].name))
    }

    fn size(&self, number: u32) -> io::Result<u64> {
        Ok(self.images[number as usize].size)
    }

    fn read<'a>(&'a self, number: u32, scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault> {
        let Member { name: _, start, size } = self.images[number as usize];
        if size == 0 {
            return Err(Fault::Broken("the file is empty".into()));
        }
        if size > MAX_FILE {
            return Err(Fault::Broken(format!("larger than {} MiB", MAX_FILE >> 20)));
        }
        scratch.resize(size as usize, 0);
        let mut read = |file: &File| file.read_exact_at(scratch, start);
        match &self.file {
            Some(file) => read(file),
            None => File::open(&self.path).and_then(|file| read(&file)),
        }
        .map_err(Fault::of)?;
        Ok(Stored::Encoded(scratch))
    }
}
