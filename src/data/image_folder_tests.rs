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
