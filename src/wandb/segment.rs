//! The `.wandb` file: records in blocks of 32 KiB with checksums, the log format of LevelDB with
//! W&B's header and zlib's CRC-32.
//!
//! One session of a run writes one file, a segment. Every record is one `write`: whatever kills the
//! process, what was logged can be read.

use super::proto::{Kind, Record};
use crate::{Error, Result};
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// `:W&B`, a magic number and version 0.
const HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xe1, 0xbe, 0];
const BLOCK: u64 = 32_768;
/// CRC-32 (4), length (2), type (1).
const CHUNK_HEADER: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// zlib's CRC-32 over the type and the data.
fn checksum(kind: u8, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(data);
    hasher.finalize()
}

/// Appends records to a new file.
#[derive(Debug)]
pub struct SegmentWriter {
    path: PathBuf,
    file: File,
    /// Bytes written.
    position: u64,
    records: i64,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// # Errors
    /// Where the file exists or can't be written.
    pub fn create(path: &Path) -> Result<SegmentWriter> {
        let make = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(&HEADER)?;
            Ok(file)
        };
        let file = make().map_err(|e| Error::io("write", path, e))?;
        let position = HEADER.len() as u64;
        Ok(SegmentWriter { path: path.to_owned(), file, position, records: 0, buffer: Vec::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one record.
    ///
    /// # Errors
    /// A full disk, say. The file then ends with the record before.
    pub fn write(&mut self, kind: Kind) -> Result<()> {
        let record = Record { num: self.records + 1, kind: Some(kind) };
        let data = record.encode_to_vec();
        self.buffer.clear();
        let mut rest = data.as_slice();
        let mut first = true;
        loop {
            let used = (self.position + self.buffer.len() as u64) % BLOCK;
            let left = (BLOCK - used) as usize;
            if left < CHUNK_HEADER {
                self.buffer.resize(self.buffer.len() + left, 0);
                continue;
            }
            let (chunk, after) = rest.split_at(rest.len().min(left - CHUNK_HEADER));
            let kind = match (first, after.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            self.buffer.extend(checksum(kind, chunk).to_le_bytes());
            self.buffer.extend((chunk.len() as u16).to_le_bytes());
            self.buffer.push(kind);
            self.buffer.extend(chunk);
            (rest, first) = (after, false);
            if rest.is_empty() {
                break;
            }
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            // Without the torn end a later record would be lost with it; if this fails too, a
            // reader skips the damaged block.
            let _ = self.file.set_len(self.position);
            let _ = self.file.seek(SeekFrom::Start(self.position));
            return Err(Error::io("write", &self.path, error));
        }
        self.position += self.buffer.len() as u64;
        self.records += 1;
        Ok(())
    }

    /// Brings everything to the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("write", &self.path, e))
    }
}

/// Reads records, also of a file that still grows: at the end [`SegmentReader::read`] gives nothing
/// and may be asked again later.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: File,
    /// Where the next chunk begins.
    position: u64,
    /// The block at hand: its offset in the file and its bytes.
    block: (u64, Vec<u8>),
    /// Blocks passed over for damage.
    pub damaged: u64,
}

/// What stands at a place of the file.
enum Chunk {
    Data {
        kind: u8,
        data: Vec<u8>,
        end: u64,
    },
    /// Nothing yet.
    End,
    /// Not what was written: go on at the next block.
    Damaged,
}

impl SegmentReader {
    /// # Errors
    /// Where the file can't be read or does not begin as a `.wandb` file does.
    pub fn open(path: &Path) -> Result<SegmentReader> {
        let mut file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        let mut header = [0; HEADER.len()];
        let read = file.read_exact(&mut header);
        if read.is_err() || header != HEADER {
            return Err(Error::failed(format!("{} is no .wandb file", path.display()))
                .help("it does not begin as W&B's files do: remove it, or restore it"));
        }
        let position = HEADER.len() as u64;
        Ok(SegmentReader { path: path.to_owned(), file, position, block: (0, vec![]), damaged: 0 })
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next whole record; nothing at the end of what is written, torn or not.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn read(&mut self) -> Result<Option<Record>> {
        // A record's first chunk may hold nothing of it: emptiness does not tell whether one began.
        let (mut begun, mut data) = (false, Vec::new());
        let mut place = self.position;
        loop {
            let left = BLOCK - place % BLOCK;
            if left < CHUNK_HEADER as u64 {
                place += left;
                if !begun {
                    self.position = place;
                }
                continue;
            }
            let (kind, chunk, end) = match self.chunk(place)? {
                Chunk::End => return Ok(None),
                Chunk::Damaged => {
                    self.damaged += 1;
                    place += left;
                    self.position = place;
                    begun = false;
                    continue;
                }
                Chunk::Data { kind, data, end } => (kind, data, end),
            };
            place = end;
            match kind {
                FULL | FIRST => (begun, data) = (true, chunk),
                // The rest of a record whose beginning was damaged.
                _ if !begun => {
                    self.position = place;
                    continue;
                }
                _ => data.extend(chunk),
            }
            if kind == FULL || kind == LAST {
                self.position = place;
                match Record::decode(data.as_slice()) {
                    Ok(record) => return Ok(Some(record)),
                    Err(_) => self.damaged += 1,
                }
                begun = false;
            }
        }
    }

    fn chunk(&mut self, place: u64) -> Result<Chunk> {
        let start = place - place % BLOCK;
        let inside = (place - start) as usize;
        let mut fresh = false;
        loop {
            if self.block.0 != start || self.block.1.is_empty() || fresh {
                self.load(start)?;
                fresh = true;
            }
            let bytes = &self.block.1;
            let whole = bytes.len() as u64 == BLOCK;
            let header = bytes.get(inside..inside + CHUNK_HEADER);
            let found = header.and_then(|header| {
                let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
                let from = inside + CHUNK_HEADER;
                let sum = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
                Some((sum, header[6], bytes.get(from..from + length)?, from + length))
            });
            let good = found.filter(|(sum, kind, data, _)| {
                (FULL..=LAST).contains(kind) && checksum(*kind, data) == *sum
            });
            match good {
                Some((_, kind, data, end)) => {
                    return Ok(Chunk::Data { kind, data: data.to_vec(), end: start + end as u64 });
                }
                // The file may have grown since the block was read.
                None if !fresh => fresh = true,
                None if whole => return Ok(Chunk::Damaged),
                None => return Ok(Chunk::End),
            }
        }
    }

    fn load(&mut self, start: u64) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.block.1);
        bytes.clear();
        let read = self
            .file
            .seek(SeekFrom::Start(start))
            .and_then(|_| (&mut self.file).take(BLOCK).read_to_end(&mut bytes));
        self.block = (start, bytes);
        read.map(|_| ()).map_err(|e| Error::io("read", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{History, Item, Step};
    use super::*;

    fn history(step: i64, size: usize) -> Kind {
        let json = format!("\"{}\"", "x".repeat(size));
        let item = vec![Item { json, nested: vec!["k".into()], ..Item::default() }];
        Kind::History(History { item, step: Some(Step { num: step }) })
    }

    fn all(path: &Path) -> (Vec<Record>, u64) {
        let mut reader = SegmentReader::open(path).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.read().unwrap() {
            records.push(record);
        }
        (records, reader.damaged)
    }

    /// Every way in which a record can meet the end of a block.
    #[test]
    fn records_of_any_size_come_back() {
        let folder = tempfile::tempdir().unwrap();
        for first in (32_690..32_768).chain([0, 1, 100_000]) {
            let path = folder.path().join(format!("{first}.wandb"));
            let mut writer = SegmentWriter::create(&path).unwrap();
            for (step, size) in [first, 0, 70_000, 5].into_iter().enumerate() {
                writer.write(history(step as i64, size)).unwrap();
            }
            assert_eq!(writer.position, std::fs::metadata(&path).unwrap().len());
            let (records, damaged) = all(&path);
            assert_eq!(damaged, 0);
            let kinds: Vec<_> = records.iter().map(|r| r.kind.clone().unwrap()).collect();
            let wanted = [(0, first), (1, 0), (2, 70_000), (3, 5)].map(|(n, s)| history(n, s));
            assert_eq!(kinds, wanted);
            assert_eq!(records.iter().map(|r| r.num).collect::<Vec<_>>(), [1, 2, 3, 4]);
        }
    }

    #[test]
    fn a_reader_waits_for_what_is_not_written_yet() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, growing) = (folder.path().join("a"), folder.path().join("b"));
        let mut writer = SegmentWriter::create(&whole).unwrap();
        (0..40).for_each(|step| writer.write(history(step, 3_000)).unwrap());
        let bytes = std::fs::read(&whole).unwrap();
        std::fs::write(&growing, &bytes[..7]).unwrap();
        let mut reader = SegmentReader::open(&growing).unwrap();
        let mut steps = Vec::new();
        for end in (7..bytes.len()).step_by(777).chain([bytes.len()]) {
            std::fs::write(&growing, &bytes[..end]).unwrap();
            while let Some(record) = reader.read().unwrap() {
                steps.push(record.num);
            }
        }
        assert_eq!(steps, (1..=40).collect::<Vec<_>>());
        assert_eq!(reader.damaged, 0);
    }

    #[test]
    fn damage_costs_what_it_hits_and_a_torn_end_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wandb");
        let mut writer = SegmentWriter::create(&path).unwrap();
        (0..100).for_each(|step| writer.write(history(step, 1_000)).unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let mut hurt = bytes.clone();
        hurt[40_000] ^= 1;
        std::fs::write(&path, &hurt).unwrap();
        let (records, damaged) = all(&path);
        assert_eq!(damaged, 1);
        let first = records.iter().position(|r| r.num > records[0].num + 38).unwrap();
        assert!(records.len() > 65 && records.len() < 100 && first > 30, "{}", records.len());
        assert_eq!(records.last().unwrap().num, 100);
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(all(&path).0.len(), 99);
        std::fs::write(&path, b":W&C").unwrap();
        let refused = SegmentReader::open(&path).unwrap_err().to_string();
        assert!(refused.contains("is no .wandb file"), "{refused}");
    }
}
