//! The one unsafe line of the data layer: a file as memory.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file for reading.
///
/// A file that another process cuts short or writes over while it is mapped ends this process by SIGBUS
/// or changes under it; nothing can rule that out. Packs are therefore never written in place:
/// `run data pack` gives a finished file its name, and a pack that is replaced stays whole for those
/// that have it open.
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the bytes are only ever read as plain integers and byte slices, for which every value is
    // valid, and every offset was checked against the length of the mapping.
    unsafe { Mmap::map(file) }
}
