//! Shards by the package webdataset and by tarfile, shards that are wrong, and damaged ones.

use super::*;
use crate::checkpoint::durable::hex;
use crate::data::mutated::{apply, changes, config as cases};
use crate::data::{Dataset, Fault, Stored};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data/webdataset")
}

fn kind(root: &Path) -> WebDataset {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    WebDataset { root, fractions, ..WebDataset::default() }
}

fn open(config: &WebDataset) -> Result<Splits> {
    config.open(Path::new("datasets"), 0)
}

fn refusal(config: &WebDataset) -> String {
    match open(config).unwrap_err() {
        Error::Input { message, help } => format!("{message} | {}", help.unwrap_or_default()),
        other => panic!("exit code {} for {other}", other.exit_code()),
    }
}

fn bytes(image: &Image) -> Vec<u8> {
    let Image::Member { container, number } = image else { panic!("a file") };
    match container.read(*number, &mut Vec::new()).unwrap() {
        Stored::Encoded(bytes) => bytes.to_vec(),
        Stored::Pixels { .. } => panic!("decoded"),
    }
}

/// Name, hash and `text` of every image, by name.
fn rows(set: &Dataset, text: impl Fn(usize) -> String + Sync) -> Vec<[String; 3]> {
    let row = |(index, item): (usize, &crate::data::Item)| {
        let content = bytes(&item.image);
        assert_eq!(item.image.size().unwrap(), content.len() as u64);
        let name = item.image.name().strip_prefix(&set.root).unwrap().display().to_string();
        [name, hex(&Sha256::digest(content)), text(index)]
    };
    let mut rows: Vec<_> = set.items.par_iter().enumerate().map(row).collect();
    rows.sort();
    rows
}

fn expected(text: impl Fn(&Value) -> String) -> Vec<[String; 3]> {
    let json = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let str = |row: &Value, key: &str| row[key].as_str().unwrap().to_string();
    let row = |row: &Value| {
        let [shard, key, ending] = ["shard", "key", "ending"].map(|key| str(row, key));
        [format!("{shard}/{key}.{ending}"), str(row, "sha256"), text(row)]
    };
    let mut rows: Vec<_> = json.as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn samples_are_those_that_webdataset_reads() {
    let with = |labels, field: &str| {
        let field = field.to_string();
        let splits = open(&WebDataset { labels, field, ..kind(&fixtures()) }).unwrap();
        assert_eq!(splits.notes, Vec::<String>::new());
        let train = splits.train;
        let names = train.labels.names().to_vec();
        (rows(&train, |index| names[train.items[index].label as usize].clone()), names)
    };
    let (by_class, names) = with(Labels::Cls, "label");
    assert_eq!(names, ["09", "10", "11"]);
    assert_eq!(by_class, expected(|row| format!("{:0>2}", row["class"].as_str().unwrap())));
    assert_eq!(by_class.len(), 16);
    let (by_name, names) = with(Labels::Json, "person.name");
    assert_eq!(names, ["name 0", "name 1"]);
    assert_eq!(by_name, expected(|row| row["name"].as_str().unwrap().to_string()));
    let (_, names) = with(Labels::Json, "person.number");
    assert_eq!(names, ["0", "1"]);
    let (_, names) = with(Labels::Txt, "label");
    assert_eq!(names.len(), 16);
}

#[test]
fn captions_are_those_of_the_images() {
    let config = WebDataset { labels: Labels::Captions, ..kind(&fixtures()) };
    let splits = open(&config).unwrap();
    let train = splits.train;
    assert_eq!(train.captions.len(), 16);
    let found = rows(&train, |index| train.captions[index].clone());
    assert_eq!(found, expected(|row| row["caption"].as_str().unwrap().to_string()));
    assert!(splits.notes[0].contains("16 images with 16 captions"), "{:?}", splits.notes);
    assert!(config.has_captions() && config.validate().is_empty());
    let odd = WebDataset { split: Division::Identity, min_images: 2, ..config };
    assert_eq!(odd.validate().len(), 2);
}

#[test]
fn shards_are_chosen_by_patterns() {
    let count = |shards: &str| {
        open(&WebDataset { shards: shards.into(), ..kind(&fixtures()) }).unwrap().train.len()
    };
    assert_eq!(count("train-{0001..0002}.tar"), 8);
    assert_eq!(count("train-000[03].tar"), 8);
    let one = kind(&fixtures().join("train-0000.tar"));
    assert_eq!(open(&one).unwrap().train.len(), 6);
    let more = WebDataset { shards: "train-{0000..0004}.tar".into(), ..kind(&fixtures()) };
    let text = refusal(&more);
    assert!(text.contains("matches train-0004.tar of train-{0000..0004}.tar"), "{text}");
    let gone = refusal(&kind(Path::new("nowhere")));
    assert!(gone.contains("tried datasets/nowhere"), "{gone}");
}

/// A shard with these members.
fn shard(path: &Path, members: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn wrong_samples_name_shard_and_member() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.tar");
    let said = |members: &[(&str, &[u8])], config: &dyn Fn(WebDataset) -> WebDataset| {
        shard(&path, members);
        refusal(&config(kind(dir.path())))
    };
    let plain: &dyn Fn(WebDataset) -> WebDataset = &|config| config;
    let json: &dyn Fn(WebDataset) -> WebDataset =
        &|config| WebDataset { labels: Labels::Json, ..config };
    for (members, config, what) in [
        (&[("a.jpg", b"x".as_slice())][..], plain, "s.tar/a.jpg has no .cls beside it"),
        (&[("a.jpg", b"x"), ("a.PNG", b"y"), ("a.cls", b"1")], plain, "a.jpg and a.PNG are of one"),
        (&[("a.cls", b"x"), ("a.jpg", b"y"), ("a.cls", b"1")], plain, "a.cls and a.cls are of one"),
        (&[("a.jpg", b"x"), ("a.cls", b" \n")], plain, "s.tar/a.cls is empty"),
        (&[("a.jpg", b"x"), ("a.cls", b"\xff")], plain, "s.tar/a.cls is not UTF-8"),
        (&[("a.jpg", b"x"), ("a.cls", b"1\n2")], plain, "s.tar/a.cls: \"1\\n2\" is no label"),
        (&[("a.jpg", b"x"), ("a.json", b"{")], json, "s.tar/a.json: no JSON"),
        (&[("a.jpg", b"x"), ("a.json", b"{}")], json, "s.tar/a.json: there is no `label`"),
        (&[("a.jpg", b"x"), ("a.json", b"{\"label\": 1.5}")], json, "`label` is 1.5, no string"),
        (&[("a.gif", b"x"), ("a.cls", b"1")], plain, "holds an image with a .cls"),
        (&[], plain, "none of the 1 shards"),
    ] {
        let text = said(members, config);
        assert!(text.contains(what), "{text}");
    }
    let long = vec![b'1'; (1 << 20) + 1];
    let text = said(&[("a.jpg", b"x"), ("a.cls", &long)], plain);
    assert!(text.contains("s.tar/a.cls has 1048577 bytes"), "{text}");
}

#[test]
fn what_is_not_read_is_said() {
    let dir = tempfile::tempdir().unwrap();
    shard(
        &dir.path().join("s.tar"),
        &[
            ("./a.b.jpg", b"no image of a"),
            ("x/a.cls", b"ann"),
            ("x/a.json", b"{}"),
            ("x/a.jpeg", b"1"),
            ("b.cls", b"bob"),
            ("c.cls", b"alone"),
            ("b.webp", b"22"),
            ("README", b"words"),
            (".hidden.jpg", b"no"),
        ],
    );
    let splits = open(&kind(dir.path())).unwrap();
    assert_eq!(splits.train.labels.names(), ["ann", "bob"]);
    assert_eq!(bytes(&splits.train.items[1].image), b"22");
    let notes = splits.notes.join("\n");
    assert!(notes.contains("1 .cls without an image"), "{notes}");
    assert!(notes.contains("3 members of other kinds"), "{notes}");
}

#[test]
fn shards_that_are_no_plain_tar_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.tar");
    let whole = std::fs::read(fixtures().join("train-0000.tar")).unwrap();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zipped, &whole).unwrap();
    let zipped = zipped.finish().unwrap();
    std::fs::write(&path, &zipped).unwrap();
    let text = refusal(&kind(dir.path()));
    assert!(text.contains("s.tar is compressed (gzip)") && text.contains("plain .tar"), "{text}");
    std::fs::write(&path, &whole[..600]).unwrap();
    let text = refusal(&kind(dir.path()));
    assert!(text.contains("but the file ends at 600"), "{text}");
    // Every entry, but not the zeros after the last.
    let entries = tar::Archive::new(whole.as_slice()).entries().unwrap().count();
    let end = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    std::fs::write(&path, &whole[..end.next_multiple_of(512)]).unwrap();
    let splits = open(&kind(dir.path())).unwrap();
    assert_eq!((splits.train.len(), entries), (6, 24));
    assert!(splits.notes[0].contains("1 shards lack the mark of their end"), "{:?}", splits.notes);
    std::fs::write(&path, &whole[100..]).unwrap();
    let text = refusal(&kind(dir.path()));
    assert!(text.contains("s.tar is no whole tar: at its beginning"), "{text}");
    std::fs::rename(&path, dir.path().join("s.tar.gz")).unwrap();
    let text = refusal(&kind(dir.path()));
    assert!(text.contains("there are 1 compressed ones"), "{text}");
}

#[test]
fn many_shards_are_opened_for_each_image() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..=MOST_OPEN {
        let name = format!("{number}.tar");
        let class = (number % 2).to_string();
        let members = [("a.jpg", name.as_bytes()), ("a.cls", class.as_bytes())];
        shard(&dir.path().join(&name), &members);
    }
    let train = open(&kind(dir.path())).unwrap().train;
    for item in &train.items {
        let shard = item.image.name().parent().unwrap().file_name().unwrap().to_owned();
        assert_eq!(bytes(&item.image), shard.as_encoded_bytes());
    }
    let gone = &train.items[0].image;
    std::fs::remove_file(gone.name().parent().unwrap()).unwrap();
    let Image::Member { container, number } = gone else { panic!("a file") };
    assert!(matches!(container.read(*number, &mut Vec::new()), Err(Fault::Broken(_))));
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn damaged_shards_are_refused_or_read(
        changes in changes(),
        which in 0..4,
        labels in prop::sample::select(Labels::ALL),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let whole = std::fs::read(fixtures().join(format!("train-000{which}.tar"))).unwrap();
        let damaged = apply(&whole, &changes);
        std::fs::write(dir.path().join("s.tar"), &damaged).unwrap();
        let field = "person.name".to_string();
        match open(&WebDataset { labels, field, ..kind(dir.path()) }) {
            Err(Error::Input { .. }) => {}
            Err(other) => prop_assert!(false, "exit code {}: {}", other.exit_code(), other),
            Ok(splits) => {
                let mut scratch = Vec::new();
                for item in &splits.train.items {
                    let Image::Member { container, number } = &item.image else { panic!("a file") };
                    let read = container.read(*number, &mut scratch);
                    prop_assert!(!matches!(read, Err(Fault::System(_))));
                }
                prop_assert!(scratch.capacity() <= 2 * damaged.len());
            }
        }
    }
}
