//! Layouts, splits and everything that can be wrong with a folder.

use std::path::Path;

use super::*;
use crate::Error;
use crate::config::DatasetPath;

/// A folder with empty files under the given names.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
    dir
}

/// Identities `names` with `count` images each below `place`.
fn fill(dir: &Path, place: &str, names: &[&str], count: usize) {
    for name in names {
        let folder = dir.join(place).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        (0..count).for_each(|i| std::fs::write(folder.join(format!("{i}.jpg")), b"").unwrap());
    }
}

fn config(root: &Path) -> ImageFolder {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    ImageFolder { root, ..ImageFolder::default() }
}

fn open(config: &ImageFolder) -> Result<Splits> {
    config.open(Path::new("datasets"), 0)
}

/// Message and help of the error.
fn refusal(config: &ImageFolder) -> String {
    match open(config).unwrap_err() {
        Error::Input { message, help } => format!("{message} | {}", help.unwrap_or_default()),
        other => panic!("exit code {} for {other}", other.exit_code()),
    }
}

#[test]
fn a_missing_root_names_the_places_and_the_page() {
    let root = DatasetPath { raw: "vggface2".into(), base: "elsewhere".into() };
    let text = refusal(&ImageFolder { root, ..ImageFolder::default() });
    assert!(text.contains("datasets/vggface2, elsewhere/vggface2"), "{text}");
    assert!(text.contains("docs/datasets.md"), "{text}");
}

#[test]
fn wrong_folders_are_told_apart() {
    let empty = refusal(&config(folder(&["README.txt"]).path()));
    assert!(empty.contains("is empty") && empty.contains("<identity>/<image>"), "{empty}");
    let flat = refusal(&config(folder(&["1.jpg", "2.PNG", ".hidden.jpg"]).path()));
    assert!(
        flat.contains("holds 2 images directly") && flat.contains("one level too deep"),
        "{flat}"
    );
    let high = refusal(&config(folder(&["set/ann/1.jpg", "set/bob/1.jpg"]).path()));
    assert!(high.contains("none of the 1 folders") && high.contains("too high"), "{high}");
    let one = folder(&[]);
    fill(one.path(), "", &["ann"], 9);
    let one = refusal(&config(one.path()));
    assert!(one.contains("one identity"), "{one}");
}

#[test]
fn too_few_images_name_identity_and_remedy() {
    let dir = folder(&["ann/1.jpg", "ann/2.jpg"]);
    fill(dir.path(), "", &["bob", "cy"], 10);
    let text = refusal(&config(dir.path()));
    assert!(text.contains("identity `ann` has 2 images"), "{text}");
    assert!(text.contains("data.min_images = 3"), "{text}");

    let mut lenient = config(dir.path());
    lenient.min_images = 3;
    let splits = open(&lenient).unwrap();
    assert_eq!(splits.train.labels.names(), ["bob", "cy"]);
    assert!(
        splits.notes.iter().any(|note| note.contains("1 of 3 identities")),
        "{:?}",
        splits.notes
    );
    lenient.min_images = 11;
    assert!(refusal(&lenient).contains("data.min_images = 11"));
}

#[test]
fn what_stays_unused_is_said() {
    let dir = folder(&["stray.jpg", "id00/deeper/1.jpg"]);
    let names: Vec<_> = (0..20).map(|i| format!("id{i:02}")).collect();
    fill(dir.path(), "", &names.iter().map(String::as_str).collect::<Vec<_>>(), 25);
    let mut config = config(dir.path());
    config.fractions = Fractions { train: 0.768, validation: 0.072, test: 0.048 };
    let splits = open(&config).unwrap();
    let notes = splits.notes.join("\n");
    assert!(notes.contains("56 of 500 images stay unused: data.fractions sum to 0.888"), "{notes}");
    assert!(notes.contains("1 images beside") && notes.contains("1 folders inside"), "{notes}");
    assert_eq!(splits.train.len(), 384);
    assert_eq!(splits.validation.as_ref().unwrap().len(), 36);
    assert_eq!(splits.test.as_ref().unwrap().len(), 24);
    assert_eq!(splits.validation.unwrap().labels, splits.train.labels);

    config.split = Split::Identity;
    config.fractions.test = 0.1;
    let splits = open(&config).unwrap();
    assert_eq!(splits.train.labels.len(), 17);
    assert_eq!(splits.unseen.unwrap().labels.len(), 2);
    assert!(
        splits.notes.iter().any(|note| note.contains("1 unused (25 images)")),
        "{:?}",
        splits.notes
    );
}

#[test]
fn folders_decide_where_there_are_any() {
    let dir = folder(&[]);
    fill(dir.path(), "train", &["ann", "bob"], 10);
    fill(dir.path(), "test", &["cy", "dee"], 3);
    let splits = open(&config(dir.path())).unwrap();
    assert_eq!(splits.unseen.unwrap().labels.names(), ["cy", "dee"]);
    assert_eq!(splits.train.len() + splits.validation.unwrap().len(), 20);
    assert!(splits.test.is_none());
    assert!(splits.notes.iter().any(|note| note.contains("taken from train")));

    fill(dir.path(), "val", &["bob"], 4);
    let splits = open(&config(dir.path())).unwrap();
    assert_eq!(splits.train.len(), 20);
    let validation = splits.validation.unwrap();
    assert_eq!(validation.labels, splits.train.labels);
    assert!(validation.items.iter().all(|item| item.label == 1));

    fill(dir.path(), "test", &["ann"], 1);
    let mixed = refusal(&config(dir.path()));
    assert!(mixed.contains("1 of the 3 identities") && mixed.contains("cy, dee"), "{mixed}");
}

#[test]
fn other_layouts_of_the_same_folders() {
    let closed = folder(&[]);
    fill(closed.path(), "train", &["ann", "bob"], 10);
    fill(closed.path(), "test", &["bob"], 3);
    let splits = open(&config(closed.path())).unwrap();
    assert!(splits.unseen.is_none());
    assert!(splits.test.unwrap().items.iter().all(|item| item.label == 1));

    let unseen_val = folder(&[]);
    fill(unseen_val.path(), "train", &["ann", "bob"], 10);
    fill(unseen_val.path(), "val", &["cy"], 3);
    let splits = open(&config(unseen_val.path())).unwrap();
    assert_eq!(splits.unseen.unwrap().labels.names(), ["cy"]);
    assert!(splits.notes.iter().any(|note| note.contains("are the unseen identities")));

    let mut stated = config(closed.path().join("train").as_path());
    stated.split = Split::Folders;
    assert!(refusal(&stated).contains("no folder `train`"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_pipes_are_not_opened() {
    let dir = folder(&["ann/1.jpg"]);
    fill(dir.path(), "elsewhere", &["bob"], 2);
    std::os::unix::fs::symlink(dir.path().join("elsewhere/bob"), dir.path().join("bob")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("ann/loop")).unwrap();
    std::os::unix::net::UnixListener::bind(dir.path().join("ann/socket.jpg")).unwrap();
    let folder = scan::scan(dir.path()).unwrap();
    let counts: Vec<_> =
        folder.identities.iter().map(|i| (i.name.as_str(), i.images.len())).collect();
    assert_eq!(counts, [("ann", 1), ("bob", 2), ("elsewhere", 0)]);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_or_round_are_left_out_and_said() {
    use std::os::unix::fs::symlink;
    let dir = folder(&["ann/1.jpg", "ann/2.jpg", "bob/1.jpg", "bob/2.jpg"]);
    symlink("gone.jpg", dir.path().join("ann/3.jpg")).unwrap();
    symlink("4.jpg", dir.path().join("ann/4.jpg")).unwrap();
    symlink("round", dir.path().join("round")).unwrap();
    symlink(dir.path(), dir.path().join("up")).unwrap();
    let mut config = config(dir.path());
    config.fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    let splits = open(&config).unwrap();
    assert_eq!(splits.train.labels.names(), ["ann", "bob"]);
    assert_eq!(splits.train.len(), 4);
    let notes = splits.notes.join("\n");
    assert!(notes.contains("2 links named like images lead to no file"), "{notes}");
    assert!(notes.contains("1 of 3 identities have fewer than 1 images"), "{notes}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_differ_in_case_are_said_and_empty_identities_left_out() {
    let dir = folder(&[]);
    fill(dir.path(), "", &["Ann", "ann", "bob", "Éva", "éva"], 10);
    std::fs::create_dir(dir.path().join("nobody")).unwrap();
    let splits = open(&config(dir.path())).unwrap();
    assert_eq!(splits.train.labels.names(), ["Ann", "ann", "bob", "Éva", "éva"]);
    let notes = splits.notes.join("\n");
    let said = "names that differ only in case are different identities (Ann and ann, Éva and éva)";
    assert!(notes.contains(said), "{notes}");
    assert!(notes.contains("1 of 6 identities have fewer than 1 images"), "{notes}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_images_are_bytes_and_those_of_identities_text() {
    use crate::data::{Draw, PreprocessConfig, Renderer};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = folder(&["ann/1.jpg", "bob/1.jpg"]);
    let image = dir.path().join(OsStr::from_bytes(b"ann/\xff\xfe.jpg"));
    std::fs::copy("tests/fixtures/data/plain.jpg", &image).unwrap();
    let mut lenient = config(dir.path());
    lenient.fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    let train = open(&lenient).unwrap().train;
    assert_eq!(train.items[1].image.file().unwrap(), image);
    let fingerprint = train.fingerprint().unwrap();
    let (to, mut out) = (PreprocessConfig::default().build(), vec![0; 3 * 112 * 112]);
    Renderer::default().render(&train.items[1].image, &to, &Draw::NONE, &mut out).unwrap();
    assert!(out.iter().any(|value| *value > 0));
    let other = dir.path().join(OsStr::from_bytes(b"ann/\xff\xfd.jpg"));
    std::fs::rename(&image, other).unwrap();
    assert_ne!(open(&lenient).unwrap().train.fingerprint().unwrap(), fingerprint);

    std::fs::create_dir(dir.path().join(OsStr::from_bytes(b"\xff"))).unwrap();
    let text = refusal(&lenient);
    assert!(text.contains("is not UTF-8") && text.contains("rename it"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder(&["ann/1.jpg", "bob/1.jpg"]);
    let shut = dir.path().join("bob");
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&shut).is_ok() {
        eprintln!("skipped: this user may read every folder");
        return;
    }
    let text = refusal(&config(dir.path()));
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(text.contains("bob") && text.contains("permission"), "{text}");
}

/// Labeled Faces in the Wild: most persons have one image.
#[test]
fn lfw_trains_on_persons_with_several_images() {
    let dir = folder(&["Aaron_Eckhart/Aaron_Eckhart_0001.jpg"]);
    for (person, images) in [("Aaron_Peirsol", 4), ("George_W_Bush", 30), ("Zico", 3)] {
        let place = dir.path().join(person);
        std::fs::create_dir(&place).unwrap();
        for number in 1..=images {
            std::fs::write(place.join(format!("{person}_{number:04}.jpg")), b"").unwrap();
        }
    }
    let config = config(dir.path());
    assert!(refusal(&config).contains("identity `Aaron_Eckhart` has 1 image"));
    let config = ImageFolder { min_images: 4, ..config };
    let splits = open(&config).unwrap();
    assert_eq!(splits.train.labels.names(), ["Aaron_Peirsol", "George_W_Bush"]);
    assert!(splits.notes[0].contains("2 of 4 identities have fewer than 4 images"));
    assert!(splits.notes[0].contains("(4 images)"), "{}", splits.notes[0]);
}

/// How long listing takes; run by hand.
#[test]
#[ignore = "a measurement: makes 200,000 files"]
fn time_of_listing_200_000_files() {
    let dir = tempfile::tempdir().unwrap();
    for identity in 0..4000 {
        fill(dir.path(), "", &[&format!("n{identity:06}")], 50);
    }
    for round in 0..3 {
        let start = std::time::Instant::now();
        let folder = scan::scan(dir.path()).unwrap();
        println!("round {round}: {} images in {:?}", folder.images(), start.elapsed());
        let start = std::time::Instant::now();
        let splits = open(&config(dir.path())).unwrap();
        println!("with the split: {} to train on in {:?}", splits.train.len(), start.elapsed());
        let start = std::time::Instant::now();
        splits.train.fingerprint().unwrap();
        println!("fingerprint: {:?}", start.elapsed());
    }
}
