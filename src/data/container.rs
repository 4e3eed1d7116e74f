//! Files that hold many images.

use super::decode::Fault;
use super::pack::Decoded;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

/// A file, or a set of files, that holds many images: a `.bin` set, RecordIO, tar shards, a pack. Its
/// images are numbered from 0; threads read them at the same time.
pub trait Container: Debug + Send + Sync {
    /// Container and member, as messages and tables name it: `lfw.bin#17`, `00000.tar/000012.jpg`.
    fn name(&self, number: u32) -> PathBuf;

    /// Bytes that the image takes; part of the data's fingerprint.
    ///
    /// # Errors
    /// A file that is no longer there.
    fn size(&self, number: u32) -> std::io::Result<u64>;

    /// The image, in the container's memory or read into `scratch`, whose capacity is kept from one
    /// image to the next.
    ///
    /// # Errors
    /// Those of reading a file.
    fn read<'a>(&'a self, number: u32, scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault>;

    /// What the images were decoded and resized for, where that was done before: they are of use for
    /// nothing else.
    fn decoded(&self) -> Option<&Decoded> {
        None
    }
}

/// What a container holds of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// An encoded file: JPEG, PNG ...
    Encoded(&'a [u8]),
    /// Decoded: `height x width x 3`, RGB.
    Pixels { width: usize, height: usize, rgb: &'a [u8] },
}

/// Encoded images in memory, named `FILE#NUMBER`.
#[derive(Debug)]
pub struct InMemory {
    pub file: PathBuf,
    pub images: Vec<Arc<[u8]>>,
}

impl Container for InMemory {
    fn name(&self, number: u32) -> PathBuf {
        numbered(&self.file, number)
    }

    fn size(&self, number: u32) -> std::io::Result<u64> {
        Ok(self.images[number as usize].len() as u64)
    }

    fn read<'a>(&'a self, number: u32, _scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault> {
        Ok(Stored::Encoded(&self.images[number as usize]))
    }
}

/// `FILE#NUMBER`.
pub fn numbered(file: &std::path::Path, number: u32) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!("#{number}"));
    name.into()
}
