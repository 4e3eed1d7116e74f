//! Packs that are cut short, of another version, or have other bytes: an error, never a panic and
//! never a read beyond the file.

use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::layout::{ENTRY, Entry, HEADER, Header, ITEM, u32_at};
use super::tests::{faces, open, pack};
use super::*;
use crate::data::{Image, PreprocessConfig};

/// A pack of encoded images and one of decoded ones, as bytes.
static PACKS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let folder = faces();
    let path = folder.path().join("a.pack");
    let small = PreprocessConfig { height: 8, width: 8, ..PreprocessConfig::default() }.build();
    [None, Some(&small)].map(|decoded| {
        pack(&open(folder.path()), decoded, &path);
        std::fs::read(&path).unwrap()
    })
});

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pack");
    std::fs::write(&path, bytes).unwrap();
    File { _folder: folder, path }
}

fn header(bytes: &[u8]) -> Header {
    Header::read("a.pack".as_ref(), &bytes[..HEADER], bytes.len() as u64).unwrap()
}

/// Opens a pack and reads all of it; the number of images that could be read.
fn read_all(bytes: &[u8]) -> Result<usize> {
    let file = file(bytes);
    let pack = PackFile::open(&file.path)?;
    let splits = pack.splits()?;
    splits.fingerprints()?;
    let mut scratch = Vec::new();
    let mut readable = 0;
    for (_, set) in splits.parts() {
        for item in &set.items {
            let Image::Member { container, number } = &item.image else { panic!() };
            assert!(item.label >= 0 && (item.label as usize) < set.labels.len());
            readable += usize::from(container.read(*number, &mut scratch).is_ok());
        }
    }
    pack.check_texts()?;
    Ok(readable)
}

/// With checksums that fit, so that what they guard is looked at too.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let clean = header(&PACKS[0]);
    let of = if bytes[12] == 0 { clean } else { header(&PACKS[1]) };
    let at = of.sections();
    let names = at.names.min(bytes.len());
    let entries = at.entries.min(names);
    let sum = crc32c::crc32c(&bytes[entries..names]);
    bytes[88..92].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[names..]);
    bytes[92..96].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[track_caller]
fn refused(bytes: &[u8], says: &str) {
    let error = read_all(bytes).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn each_kind_of_damage_has_its_words() {
    let [encoded, decoded] = &*PACKS;
    assert_eq!((read_all(encoded).unwrap(), read_all(decoded).unwrap()), (36, 36));
    refused(b"", "is no pack");
    refused(b"PK\x03\x04 some other archive", "is no pack");
    refused(&encoded[..50], "cut short: 50 bytes");
    refused(&encoded[..encoded.len() - 1], "cut short");
    refused(&[&encoded[..], b"x"].concat(), "its length is not what its header says");
    let change = |at: usize, to: u8| {
        let mut bytes = encoded.clone();
        bytes[at] = to;
        bytes
    };
    refused(&change(8, 9), "is a pack of version 9; this arcrun reads version 1");
    refused(&change(24, 1), "the checksum of its header is wrong");
    let at = header(encoded).sections();
    refused(&change(at.entries, 1), "the checksum of its index is wrong");
    refused(&change(at.names, b'?'), "the checksum of its names is wrong");
    // A byte of an image is found when it is read.
    let mut flipped = encoded.clone();
    flipped[HEADER + 3] ^= 1;
    assert_eq!(read_all(&flipped).unwrap(), 35);
    assert!(read_all(&sealed(encoded.clone())).is_ok());
}

/// Whoever writes an index can write its checksum too.
#[test]
fn an_index_that_points_elsewhere_is_refused() {
    let [encoded, decoded] = &*PACKS;
    for bytes in [encoded, decoded] {
        let at = header(bytes).sections();
        let entry = |change: &dyn Fn(&mut Entry)| {
            let (mut bytes, place) = (bytes.clone(), at.entries + 5 * ENTRY);
            let mut entry = Entry::read(&bytes[place..place + ENTRY]);
            change(&mut entry);
            let mut written = Vec::new();
            entry.write(&mut written);
            bytes[place..place + ENTRY].copy_from_slice(&written);
            sealed(bytes)
        };
        for wrong in [
            entry(&|entry| entry.offset = u64::MAX - 3),
            entry(&|entry| entry.offset += 8),
            entry(&|entry| entry.length = u32::MAX),
            entry(&|entry| entry.name = u64::MAX),
            entry(&|entry| entry.name = 0),
        ] {
            refused(&wrong, "the place of image");
        }
        for (place, value) in [(0, u32::MAX), (4, 4), (0, 35)] {
            let (mut bytes, at) = (bytes.clone(), at.items + 3 * ITEM + place);
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            assert_eq!(u32_at(&bytes, at), value);
            refused(&sealed(bytes), "item");
        }
        let mut json = bytes.clone();
        json[at.metadata] = b'[';
        refused(&sealed(json), "its metadata can't be read");
    }
}

/// Counts in a header that would have more memory or more bytes than there are.
#[test]
fn counts_beyond_the_file_are_refused() {
    for field in 0..8 {
        for value in [0, 1, u64::from(u32::MAX), u64::MAX, u64::MAX / 32, 1 << 59] {
            let mut bytes = PACKS[0].clone();
            let at = 24 + 8 * field;
            if bytes[at..at + 8] == value.to_le_bytes() {
                continue;
            }
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let error = read_all(&sealed(bytes)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{field}: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// Any bytes of header and index changed, with checksums that fit: an error or a pack that can be
    /// read to its end.
    #[test]
    fn changed_bytes_never_panic(
        which in 0..2usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        in_header in any::<bool>(),
        seal in any::<bool>(),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = PACKS[which].clone();
        let start = header(&bytes).sections().entries;
        let places: Vec<usize> = match in_header {
            true => (8..HEADER).collect(),
            false => (start..bytes.len()).collect(),
        };
        for (place, value) in &changes {
            bytes[places[place.index(places.len())]] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(HEADER + cut.index(bytes.len() - HEADER));
        }
        let bytes = if seal { sealed(bytes) } else { bytes };
        if let Err(error) = read_all(&bytes) {
            prop_assert_eq!(error.exit_code(), 2, "{}", error);
        }
    }

    /// Every flipped bit anywhere is found by reading all of the pack.
    #[test]
    fn every_flipped_bit_is_found(
        which in 0..2usize,
        place in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let mut bytes = PACKS[which].clone();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(!matches!(read_all(&bytes), Ok(36)), "byte {}", at);
    }
}
