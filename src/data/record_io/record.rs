//! Records of a .rec: parts with a magic, a length and a padding, put together to a payload.

use crate::data::Fault;
use crate::data::decode::MAX_FILE;
use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: u32 = 0xced7_230a;
/// A magic and the word of kind and length.
const PART_HEAD: u64 = 8;
/// Flag, label, id, id2.
const RECORD_HEAD: u64 = 24;
/// The head and two labels.
const LONGEST_HEAD: usize = 32;

/// A .rec, open; positional reads, so that threads read at the same time.
#[derive(Debug)]
pub struct Records {
    pub file: File,
    /// Bytes.
    pub length: u64,
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// Number of labels that follow the head; 0: the head has it.
    pub flag: u32,
    /// The label, or the first two of several.
    pub labels: [f32; 2],
    /// Bytes of the payload before the image.
    pub skip: u64,
    /// Bytes of the image; 0: there is none.
    pub image: u64,
    /// Where the payload begins in the file, if it is in one part.
    pub whole: Option<u64>,
    /// Where the next record begins.
    pub end: u64,
}

struct Part {
    /// 0: a whole record; 1, 2, 3: first, middle, last part.
    kind: u32,
    start: u64,
    length: u64,
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.length.next_multiple_of(4)
    }
}

impl Records {
    /// The head of the record at `offset`, once every part of it was found inside the file.
    ///
    /// # Errors
    /// No record there, a record that is cut off, or one too short for what it states.
    pub fn head(&self, offset: u64) -> Result<Head, Fault> {
        let mut bytes = [0; LONGEST_HEAD];
        // Bytes of the payload so far.
        let mut total = 0_u64;
        let (mut whole, mut end) = (None, offset);
        self.parts(offset, &mut |part| {
            if part.kind == 0 {
                whole = Some(part.start);
            }
            if part.kind > 1 {
                put(&mut bytes, total, &MAGIC.to_le_bytes());
                total += 4;
            }
            if let Some(room) = bytes.get_mut(total.min(LONGEST_HEAD as u64) as usize..) {
                let wanted = room.len().min(part.length as usize);
                self.file.read_exact_at(&mut room[..wanted], part.start).map_err(Fault::of)?;
            }
            total += part.length;
            end = part.end();
            Ok(())
        })?;
        if total < RECORD_HEAD {
            return Err(broken(format!("its {total} bytes are less than a head of {RECORD_HEAD}")));
        }
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let flag = u32::from_le_bytes(word(0));
        let skip = RECORD_HEAD + 4 * u64::from(flag);
        if skip > total {
            return Err(broken(format!(
                "it states {flag} labels, more than its {total} bytes hold"
            )));
        }
        let number = |at| f32::from_le_bytes(word(at));
        let labels = match flag {
            0 => [number(4), 0.0],
            1 => [number(24), 0.0],
            _ => [number(24), number(28)],
        };
        Ok(Head { flag, labels, skip, image: total - skip, whole, end })
    }

    /// Reads the payload of the record at `offset`, put together from its parts.
    ///
    /// # Errors
    /// As [`Self::head`], and more than 256 MiB.
    pub fn payload(&self, offset: u64, payload: &mut Vec<u8>) -> Result<(), Fault> {
        payload.clear();
        self.parts(offset, &mut |part| {
            if part.kind > 1 {
                payload.extend_from_slice(&MAGIC.to_le_bytes());
            }
            let from = payload.len();
            let size = from as u64 + part.length;
            if size > MAX_FILE {
                return Err(broken(format!("larger than {} MiB", MAX_FILE >> 20)));
            }
            payload.resize(size as usize, 0);
            self.file.read_exact_at(&mut payload[from..], part.start).map_err(Fault::of)
        })
    }

    /// Every part of the record at `offset`, in order.
    fn parts(
        &self,
        offset: u64,
        each: &mut dyn FnMut(&Part) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut part = self.part(offset)?;
        if part.kind > 1 {
            return Err(broken(format!("a record can't begin with a part of kind {}", part.kind)));
        }
        let in_parts = part.kind == 1;
        loop {
            each(&part)?;
            if !in_parts || part.kind == 3 {
                return Ok(());
            }
            let at = part.end();
            part = self.part(at)?;
            if part.kind < 2 {
                return Err(broken(format!("another record begins at {at}, before its last part")));
            }
        }
    }

    fn part(&self, offset: u64) -> Result<Part, Fault> {
        let left = self.length.saturating_sub(offset).saturating_sub(PART_HEAD);
        if offset.saturating_add(PART_HEAD) > self.length {
            return Err(broken(format!("the file ends at {} before it", self.length)));
        }
        let mut head = [0; PART_HEAD as usize];
        self.file.read_exact_at(&mut head, offset).map_err(Fault::of)?;
        let [m0, m1, m2, m3, w0, w1, w2, w3] = head;
        let magic = u32::from_le_bytes([m0, m1, m2, m3]);
        if magic != MAGIC {
            return Err(broken(format!(
                "{magic:#010x} stands at {offset} instead of {MAGIC:#010x}"
            )));
        }
        let word = u32::from_le_bytes([w0, w1, w2, w3]);
        let (kind, length) = (word >> 29, u64::from(word & ((1 << 29) - 1)));
        if kind > 3 {
            return Err(broken(format!("the part at {offset} is of the unknown kind {kind}")));
        }
        if length > left {
            return Err(broken(format!(
                "the part at {offset} has {length} bytes, but the file ends after {left}"
            )));
        }
        Ok(Part { kind, start: offset + PART_HEAD, length })
    }
}

fn put(bytes: &mut [u8], at: u64, what: &[u8]) {
    for (byte, value) in bytes.iter_mut().skip(at as usize).zip(what) {
        *byte = *value;
    }
}

fn broken(message: String) -> Fault {
    Fault::Broken(message)
}
