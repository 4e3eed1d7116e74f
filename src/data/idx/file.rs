//! The IDX format: two zero bytes, the type, the number of dimensions, each as a big-endian u32, the values.

use crate::data::{Container, Fault, Stored, numbered};
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// The type of unsigned bytes.
const BYTES: u8 = 0x08;
/// Deflate makes nothing smaller than by this factor.
const BEST_DEFLATE: u64 = 1032;

/// Grey images in memory, named `FILE#NUMBER`.
#[derive(Debug)]
pub struct Grey {
    path: PathBuf,
    height: usize,
    width: usize,
    pixels: Vec<u8>,
}

impl Grey {
    pub fn count(&self) -> usize {
        self.pixels.len() / (self.height * self.width)
    }
}

impl Container for Grey {
    fn name(&self, number: u32) -> PathBuf {
        numbered(&self.path, number)
    }

    fn size(&self, _number: u32) -> io::Result<u64> {
        Ok((self.height * self.width) as u64)
    }

    fn read<'a>(&'a self, number: u32, scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault> {
        let size = self.height * self.width;
        let grey = &self.pixels[number as usize * size..][..size];
        scratch.clear();
        scratch.extend(grey.iter().flat_map(|value| [*value; 3]));
        Ok(Stored::Pixels { width: self.width, height: self.height, rgb: scratch })
    }
}

/// An idx3 file of images.
///
/// # Errors
/// A file that is none, that is cut off or goes on, images without pixels.
pub fn read_images(path: &Path) -> Result<Grey> {
    let ([_count, height, width], pixels) = read(path)?;
    if height == 0 || width == 0 {
        return Err(Error::input(format!(
            "{}: its images are {height} x {width} pixels",
            path.display()
        )));
    }
    Ok(Grey { path: path.into(), height: height as usize, width: width as usize, pixels })
}

/// An idx1 file of classes.
///
/// # Errors
/// A file that is none, that is cut off or goes on.
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    let ([_count], classes) = read(path)?;
    Ok(classes)
}

/// Dimensions and values.
fn read<const D: usize>(path: &Path) -> Result<([u32; D], Vec<u8>)> {
    let io = |e: io::Error| Error::io("read", path, e).into_input();
    let wrong = |why: String| {
        Error::input(format!("{}: {why}", path.display())).help("fetch the file again")
    };
    // A broken gzip stream fails while it is read.
    let unpack = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => wrong("the file is cut off".into()),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => wrong(e.to_string()),
        _ => io(e),
    };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut start = Vec::new();
    (&file).take(2).read_to_end(&mut start).map_err(io)?;
    file.rewind().map_err(io)?;
    let (mut reader, most): (Box<dyn Read>, u64) = match start.as_slice() {
        [0x1f, 0x8b] => {
            let unpacked = MultiGzDecoder::new(BufReader::new(file));
            (Box::new(unpacked), length.saturating_mul(BEST_DEFLATE))
        }
        _ => (Box::new(file), length),
    };
    let mut head = [0; 4];
    reader.read_exact(&mut head).map_err(unpack)?;
    if head != [0, 0, BYTES, D as u8] {
        return Err(wrong(format!(
            "it begins with {head:02x?}, not with {:02x?}",
            [0, 0, BYTES, D as u8]
        )));
    }
    let mut sizes = [0; D];
    for size in &mut sizes {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(unpack)?;
        *size = u32::from_be_bytes(bytes);
    }
    let stated = sizes.iter().try_fold(1_u64, |all, size| all.checked_mul(u64::from(*size)));
    let Some(stated) = stated.filter(|stated| *stated <= most) else {
        return Err(wrong(format!(
            "it states {sizes:?} values, more than {length} bytes can hold"
        )));
    };
    let mut values = Vec::new();
    reader.take(stated + 1).read_to_end(&mut values).map_err(unpack)?;
    match values.len() as u64 {
        found if found == stated => Ok((sizes, values)),
        found if found < stated => {
            Err(wrong(format!("it states {sizes:?} values, but ends after {found}")))
        }
        _ => Err(wrong(format!("it goes on after the {sizes:?} values that it states"))),
    }
}
