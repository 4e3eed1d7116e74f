//! InsightFace's `.bin` sets: a pickle of (2N encoded image files, N booleans).
//!
//! Reference: `load_bin` of InsightFace's `eval/verification.py`, which calls `pickle.load`. Here
//! nothing is executed: a name is compared with the few that such files hold, and a call stands
//! for one known pattern of arguments. Any other opcode, name or argument is refused.
//! Differs from the reference in: protocols 0 and 1 are refused, which no such file is written in.

mod machine;
mod patterns;
#[cfg(test)]
mod tests;

use crate::pickle::{Source, Wrong};
use crate::{Error, Result};
use machine::{Kind, Machine, Value};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// What to write instead, for a file that is a pickle of something else.
const REMEDY: &str = "a .bin set is (images, same): encoded image files, two per pair, as bytes or \
                      uint8 arrays, and one boolean per pair; in Python: pickle.dump((images, same), \
                      file, protocol=4)";

/// The content of a `.bin` set: pair `i` is images `2i` and `2i + 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinFile {
    /// Encoded image files. One that the file holds once and names several times is here several
    /// times, in the same memory.
    pub images: Vec<Arc<[u8]>>,
    /// Per pair: whether both images show the same person.
    pub same: Vec<bool>,
}

/// Reads a `.bin` set. Memory: what the file holds, once.
///
/// # Errors
/// A file that can't be read or is no such pickle: named with the byte at which it goes wrong.
pub fn read_bin(path: &Path) -> Result<BinFile> {
    let io = |e| Error::io("read", path, e).into_input();
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(Error::input(format!("{} is not a file", path.display())).help(REMEDY));
    }
    read(BufReader::new(file), about.len()).map_err(|Wrong { at, what, help }| {
        let message = format!("{}: byte {at}: {what}", path.display());
        Error::input(message).help(help.unwrap_or(REMEDY))
    })
}

/// Reads a `.bin` set of `size` bytes.
fn read(from: impl Read, size: u64) -> Result<BinFile, Wrong> {
    let mut source = Source::new(from, size);
    let mut machine = Machine::default();
    let result = machine.run(&mut source)?;
    // The last opcode is the STOP that ends the file.
    bin_file(&machine, result).map_err(|what| Wrong::new(size - 1, what))
}

fn bin_file(machine: &Machine, result: Value) -> Result<BinFile, String> {
    let Some(&[images, same]) = machine.sequence(result) else {
        let what = machine.describe(result);
        return Err(format!("the pickle holds {what}, not (images, same)"));
    };
    let Some(images) = machine.sequence(images) else {
        return Err(format!("the images are {}, not a list", machine.describe(images)));
    };
    let image = |(n, value): (usize, &Value)| match (*value, machine.array(*value)) {
        (Value::Bytes(bytes), _) | (_, Some((Kind::U1, bytes))) => Ok(machine.bytes(bytes).clone()),
        (value, _) => {
            let what = machine.describe(value);
            Err(format!("image {n} is {what}, not an encoded image file"))
        }
    };
    let images = images.iter().enumerate().map(image).collect::<Result<Vec<_>, _>>()?;
    let same = flags(machine, same)?;
    match (images.len(), same.len()) {
        (0, 0) => Err("the set has no pairs".into()),
        (images, pairs) if images != 2 * pairs => Err(format!(
            "{images} images and {pairs} booleans: every pair needs two images and one boolean"
        )),
        _ => Ok(BinFile { images, same }),
    }
}

/// The booleans of the pairs: an array, or a list of what Python takes for 0 and 1.
fn flags(machine: &Machine, same: Value) -> Result<Vec<bool>, String> {
    let flag = |n: usize, number: i32| match number {
        0 | 1 => Ok(number == 1),
        _ => Err(format!("boolean {n} is {number}")),
    };
    if let Some((_, bytes)) = machine.array(same) {
        return machine
            .bytes(bytes)
            .iter()
            .enumerate()
            .map(|(n, b)| flag(n, (*b).into()))
            .collect();
    }
    let Some(list) = machine.sequence(same) else {
        return Err(format!("the booleans are {}, not a list", machine.describe(same)));
    };
    let value = |(n, value): (usize, &Value)| match *value {
        Value::Bool(same) => Ok(same),
        Value::Int(number) => flag(n, number),
        value => Err(format!("boolean {n} is {}", machine.describe(value))),
    };
    list.iter().enumerate().map(value).collect()
}
