//! The images of a .rec as a container.

use super::record::{Head, Records};
use crate::data::decode::MAX_FILE;
use crate::data::{Container, Fault, Stored};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A .rec whose images are named `train.rec#KEY`.
#[derive(Debug)]
pub struct RecordFile {
    pub path: PathBuf,
    pub records: Records,
    pub places: Vec<Place>,
}

/// Where an image is: 24 bytes each, since there are millions.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    key: u64,
    /// Of the image, or where it is in parts, of the record.
    start: u64,
    bytes: u32,
    /// Bytes of the payload before the image; 0: `start` is the image's.
    skip: u32,
}

impl Place {
    /// Of the record with this key at `offset`.
    pub fn new(key: u64, offset: u64, head: &Head) -> Self {
        let bytes = u32::try_from(head.image).unwrap_or(u32::MAX);
        match head.whole {
            Some(start) => Place { key, start: start + head.skip, bytes, skip: 0 },
            None => {
                let skip = u32::try_from(head.skip).unwrap_or(u32::MAX);
                Place { key, start: offset, bytes, skip }
            }
        }
    }
}

impl Container for RecordFile {
    fn name(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!("#{}", self.places[number as usize].key));
        name.into()
    }

    fn size(&self, number: u32) -> io::Result<u64> {
        Ok(u64::from(self.places[number as usize].bytes))
    }

    fn read<'a>(&'a self, number: u32, scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault> {
        let Place { key: _, start, bytes, skip } = self.places[number as usize];
        if bytes == 0 {
            return Err(Fault::Broken("the record has no image".into()));
        }
        if u64::from(bytes) > MAX_FILE {
            return Err(Fault::Broken(format!("larger than {} MiB", MAX_FILE >> 20)));
        }
        if skip > 0 {
            self.records.payload(start, scratch)?;
            return match scratch.get(skip as usize..) {
                Some(image) => Ok(Stored::Encoded(image)),
                None => Err(Fault::Broken("the file has changed since it was opened".into())),
            };
        }
        scratch.resize(bytes as usize, 0);
        self.records.file.read_exact_at(scratch, start).map_err(Fault::of)?;
        Ok(Stored::Encoded(scratch))
    }
}
