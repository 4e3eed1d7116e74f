//! Files by MXNet itself, files that contradict themselves, and damaged ones.

use super::*;
use crate::checkpoint::durable::hex;
use crate::data::mutated::{apply, changes, config as cases};
use crate::data::{Dataset, Stored};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data/record_io")
}

fn kind(root: &Path) -> RecordIo {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    RecordIo { root, fractions, ..RecordIo::default() }
}

fn open(root: &Path) -> Result<Splits> {
    kind(root).open(Path::new("datasets"), 0)
}

/// Message and help of the error.
fn refusal(root: &Path) -> String {
    match open(root).unwrap_err() {
        Error::Input { message, help } => format!("{message} | {}", help.unwrap_or_default()),
        other => panic!("exit code {} for {other}", other.exit_code()),
    }
}

/// The bytes of an image.
fn bytes(image: &Image) -> Result<Vec<u8>, Fault> {
    let Image::Member { container, number } = image else { panic!("a file") };
    match container.read(*number, &mut Vec::new())? {
        Stored::Encoded(bytes) => Ok(bytes.to_vec()),
        Stored::Pixels { .. } => panic!("decoded"),
    }
}

/// Name, class, size and hash of every image.
fn rows(set: &Dataset) -> Vec<(String, String, u64, String)> {
    let row = |item: &crate::data::Item| {
        let digest = hex(&Sha256::digest(bytes(&item.image).unwrap()));
        let name = item.image.name().strip_prefix(&set.root).unwrap().display().to_string();
        let class = set.labels.names()[item.label as usize].clone();
        (name, class, item.image.size().unwrap(), digest)
    };
    // Threads read at the same time.
    set.items.par_iter().map(row).collect()
}

fn expected(name: &str, digits: usize) -> Vec<(String, String, u64, String)> {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = |row: &serde_json::Value| {
        let class = format!("{:0digits$}", row["class"].as_u64().unwrap());
        let digest = row["sha256"].as_str().unwrap().to_string();
        let name = format!("{name}.rec#{}", row["key"]);
        (name, class, row["bytes"].as_u64().unwrap(), digest)
    };
    let mut rows: Vec<_> = value[name].as_array().unwrap().iter().map(row).collect();
    rows.sort_by(|a, b| a.1.cmp(&b.1));
    rows
}

#[test]
fn images_and_classes_are_those_that_mxnet_reads() {
    let splits = open(&fixtures()).unwrap();
    assert_eq!(splits.train.labels.names(), ["00", "02", "10"]);
    assert_eq!(rows(&splits.train), expected("train", 2));
    assert!(splits.notes[0].contains("property states 11 classes, 3 of them have images"));
    assert_eq!(splits.notes.len(), 1, "{:?}", splits.notes);

    let dir = tempfile::tempdir().unwrap();
    for ending in ["rec", "idx"] {
        let name = format!("plain.{ending}");
        std::fs::copy(fixtures().join(&name), dir.path().join(&name)).unwrap();
    }
    let plain = RecordIo { name: "plain".into(), ..kind(dir.path()) };
    let splits = plain.open(Path::new(""), 0).unwrap();
    assert_eq!(rows(&splits.train), expected("plain", 1));
    assert_eq!(splits.notes, Vec::<String>::new());
}

#[test]
fn the_fixture_has_records_in_parts() {
    let rec = std::fs::read(fixtures().join("train.rec")).unwrap();
    let idx = std::fs::read_to_string(fixtures().join("train.idx")).unwrap();
    let kinds: Vec<u32> = (idx.lines())
        .map(|line| line.split_once('\t').unwrap().1.parse::<usize>().unwrap() + 4)
        .map(|at| u32::from_le_bytes(rec[at..at + 4].try_into().unwrap()) >> 29)
        .collect();
    assert_eq!(kinds, [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
}

const MAGIC: [u8; 4] = [0x0a, 0x23, 0xd7, 0xce];

/// A record in one part.
fn record(flag: u32, labels: &[f32], image: &[u8]) -> Vec<u8> {
    let mut payload = flag.to_le_bytes().to_vec();
    payload.extend(if flag == 0 { labels[0] } else { 0.0 }.to_le_bytes());
    payload.extend([0; 16]);
    if flag > 0 {
        labels.iter().for_each(|label| payload.extend(label.to_le_bytes()));
    }
    payload.extend(image);
    part(0, &payload)
}

fn part(kind: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((kind << 29 | payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A folder with these records under these keys.
fn folder(records: &[(u64, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut rec, mut idx) = (Vec::new(), String::new());
    for (key, record) in records {
        idx.push_str(&format!("{key}\t{}\n", rec.len()));
        rec.extend(record);
    }
    std::fs::write(dir.path().join("train.rec"), rec).unwrap();
    std::fs::write(dir.path().join("train.idx"), idx).unwrap();
    dir
}

/// Images of two classes, keys from 0, no ranges.
fn two_classes() -> Vec<(u64, Vec<u8>)> {
    (0..4).map(|key| (key, record(0, &[key as f32 % 2.0], &[key as u8; 5]))).collect()
}

/// Record 0 with these ranges, then `count` images of two classes.
fn ranges(end: f32, all: f32, count: u64) -> Vec<(u64, Vec<u8>)> {
    let mut records = vec![(0, record(2, &[end, all], b""))];
    records.extend((1..=count).map(|key| (key, record(0, &[key as f32 % 2.0], b"image"))));
    records
}

#[test]
fn an_index_that_is_not_of_the_file_is_refused() {
    let change = |records: &[(u64, Vec<u8>)], line: &str| {
        let dir = folder(records);
        let path = dir.path().join("train.idx");
        let text = std::fs::read_to_string(&path).unwrap() + line;
        std::fs::write(path, text).unwrap();
        refusal(dir.path())
    };
    let all = two_classes();
    let beyond = change(&all, "9\t4000\n");
    assert!(
        beyond.contains("train.idx, line 5: key 9 has offset 4000, beyond the end"),
        "{beyond}"
    );
    assert!(beyond.contains("(160 bytes)") && beyond.contains("rec2idx.py"), "{beyond}");
    let twice = change(&all, "2\t4\n");
    assert!(twice.contains("train.idx: 1 keys stand there twice (2)"), "{twice}");
    let same = change(&all, "7\t40\n");
    assert!(same.contains("keys 1 and 7 have the same offset 40"), "{same}");
    let magic = change(&all, "7\t44\n");
    assert!(magic.contains("train.rec: key 7 (offset 44): 0x0000001d stands at 44"), "{magic}");
    for line in ["x\t3\n", "3\n", "1\t2\t3\n", "5\t-1\n", "\u{0}\n"] {
        let text = change(&all, line);
        assert!(text.contains("train.idx, line 5:") && text.contains("key<TAB>offset"), "{text}");
    }
    let missing = change(&ranges(4.0, 4.0, 2), "");
    assert!(missing.contains("train.idx: there is no key 3, but record 0"), "{missing}");
    let missing = change(&ranges(4.0, 4.0, 0), "2\t0\n");
    assert!(missing.contains("the same offset"), "{missing}");
    let empty = change(&[], "\n\n");
    assert!(empty.contains("train.idx is empty"), "{empty}");
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let dir = folder(&two_classes());
    let path = dir.path().join("train.rec");
    let whole = std::fs::read(&path).unwrap();
    for keep in [129, 130, 140, 156] {
        std::fs::write(&path, &whole[..keep]).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("train.rec") && text.contains("3"), "{text}");
    }
    // The padding of the last record may be lacking.
    std::fs::write(&path, &whole[..157]).unwrap();
    assert_eq!(open(dir.path()).unwrap().train.len(), 4);
    for (parts, said) in [
        (part(1, &[0; 40]), "the file ends at 208 before it"),
        (part(2, &[0; 40]), "can't begin with a part of kind 2"),
        ([part(1, &[0; 40]), part(0, &[0; 40])].concat(), "another record begins at 208"),
        (part(5, &[0; 40]), "unknown kind 5"),
        (part(0, &[0; 20]), "its 20 bytes are less than a head of 24"),
        (record(9, &[1.0], b""), "it states 9 labels, more than its 28 bytes hold"),
    ] {
        let dir = folder(&[two_classes(), vec![(9, parts)]].concat());
        let text = refusal(dir.path());
        assert!(text.contains("key 9 (offset 160)") && text.contains(said), "{text}");
    }
}

#[test]
fn labels_are_classes() {
    for label in [-1.0, 0.5, f32::NAN, f32::INFINITY, 3e9] {
        let dir = folder(&[two_classes(), vec![(9, record(0, &[label], b"x"))]].concat());
        let text = refusal(dir.path());
        assert!(text.contains("key 9 (offset 160) has the label"), "{text}");
    }
    let dir = folder(&two_classes());
    std::fs::write(dir.path().join("property"), "1,112,112").unwrap();
    let text = refusal(dir.path());
    assert!(
        text.contains("is of class 1, but") && text.contains("property states 1 classes"),
        "{text}"
    );
    std::fs::write(dir.path().join("property"), "many").unwrap();
    assert!(refusal(dir.path()).contains("\"many\" is no property"));
    for (end, all) in [(0.0, 3.0), (2.5, 3.0), (f32::NAN, 3.0), (3.0, 2.0), (1e30, 1e30)] {
        let text = refusal(folder(&ranges(end, all, 2)).path());
        assert!(text.contains("key 0 (offset 0) states the ranges"), "{text}");
    }
    assert!(refusal(folder(&ranges(1.0, 3.0, 2)).path()).contains("has no image"));
    let none = refusal(tempfile::tempdir().unwrap().path());
    assert!(none.contains("there is no") && none.contains("train.rec"), "{none}");
}

#[test]
fn what_is_not_read_is_said_and_an_empty_image_is_broken() {
    let mut records = ranges(3.0, 4.0, 2);
    records.push((3, record(2, &[1.0, 3.0], b"")));
    records.push((9, record(0, &[1.0], b"beyond")));
    let splits = open(folder(&records).path()).unwrap();
    assert_eq!(splits.train.len(), 2);
    assert!(splits.notes[0].contains("1 keys beyond those that record 0 states"));

    let dir = folder(&[two_classes(), vec![(9, record(0, &[1.0], b""))]].concat());
    let path = dir.path().join("train.idx");
    let text = std::fs::read_to_string(&path).unwrap().replace("1\t40\n", "");
    std::fs::write(path, text).unwrap();
    let splits = open(dir.path()).unwrap();
    let note = &splits.notes[0];
    assert!(note.contains("what follows 1 of the images has no key"), "{note}");
    assert!(note.contains("first at offset 40"), "{note}");
    let empty = splits.train.items.last().unwrap();
    assert!(empty.image.display().ends_with("train.rec#9"));
    let Err(Fault::Broken(why)) = bytes(&empty.image) else { panic!("it was read") };
    assert_eq!(why, "the record has no image");
}

#[test]
fn identities_are_divided_like_folders() {
    let all = (0..40).map(|key| (key, record(0, &[(key / 10) as f32], &[key as u8])));
    let dir = folder(&all.collect::<Vec<_>>());
    let fractions = Fractions { train: 0.4, validation: 0.1, test: 0.5 };
    let config = RecordIo { split: Division::Identity, fractions, ..kind(dir.path()) };
    let splits = config.open(Path::new(""), 1).unwrap();
    assert_eq!((splits.train.labels.len(), splits.unseen.unwrap().labels.len()), (2, 2));
    assert_eq!((splits.train.len(), splits.validation.unwrap().len()), (16, 4));
    let config = RecordIo { min_images: 11, ..config };
    assert!(config.open(Path::new(""), 1).unwrap_err().to_string().contains("min_images = 11"));
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn damaged_files_are_refused_or_read(
        of_rec in prop::option::of(changes()),
        of_idx in prop::option::of(changes()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let copy = |name: &str, changes: Option<Vec<_>>| {
            let bytes = std::fs::read(fixtures().join(name)).unwrap();
            let bytes = changes.map_or(bytes.clone(), |changes| apply(&bytes, &changes));
            std::fs::write(dir.path().join(name), &bytes).unwrap();
            bytes.len()
        };
        let length = copy("train.rec", of_rec);
        copy("train.idx", of_idx);
        match open(dir.path()) {
            Err(Error::Input { message, .. }) => prop_assert!(message.contains("train.")
                || message.contains("identit"), "{}", message),
            Err(other) => prop_assert!(false, "exit code {}: {}", other.exit_code(), other),
            Ok(splits) => {
                prop_assert!(splits.train.len() <= 12);
                let mut scratch = Vec::new();
                for item in &splits.train.items {
                    let Image::Member { container, number } = &item.image else { panic!("a file") };
                    prop_assert!(container.size(*number).unwrap() <= length as u64);
                    let read = container.read(*number, &mut scratch);
                    prop_assert!(!matches!(read, Err(Fault::System(_))));
                }
                prop_assert!(scratch.capacity() <= 2 * length);
            }
        }
    }
}
