use super::*;
use crate::config::DatasetPath;
use crate::data::celeba::{CelebASplit, write_identities};
use tempfile::TempDir;

/// A folder with these files; what is listed as an image is an empty file, for nothing is decoded.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

/// Four identities with 5, 4, 3 and 3 images, ids 2, 10, 7 and 100.
fn faces() -> TempDir {
    let root = folder(&[]);
    std::fs::create_dir(root.path().join("img_align_celeba")).unwrap();
    let ids = [2, 2, 2, 2, 2, 10, 10, 10, 10, 7, 7, 7, 100, 100, 100];
    let mut list = String::new();
    for (n, id) in ids.iter().enumerate() {
        let name = format!("{:06}.jpg", n + 1);
        std::fs::write(root.path().join("img_align_celeba").join(&name), "").unwrap();
        list.push_str(&format!("{name} {id}\n"));
    }
    std::fs::write(root.path().join("identity_CelebA.txt"), list).unwrap();
    root
}

fn celeba(root: &TempDir) -> CelebA {
    let root = DatasetPath { raw: root.path().into(), base: "".into() };
    let fractions = Fractions { train: 0.6, validation: 0.2, test: 0.2 };
    CelebA { root, fractions, ..CelebA::default() }
}

fn open(celeba: &CelebA) -> Splits {
    celeba.open(Path::new("datasets"), 0).unwrap()
}

#[track_caller]
fn refused(celeba: &CelebA, parts: &[&str]) {
    let error = celeba.open(Path::new("datasets"), 0).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    for part in parts {
        assert!(error.to_string().contains(part), "no {part:?} in: {error}");
    }
}

fn partition(root: &TempDir, of: impl Fn(usize) -> String) {
    let lines = (0..15).map(|n| format!("{:06}.jpg {}\n", n + 1, of(n))).collect::<String>();
    std::fs::write(root.path().join("list_eval_partition.txt"), lines).unwrap();
}

#[test]
fn classes_are_the_numbers_in_their_order() {
    let root = faces();
    let splits = open(&celeba(&root));
    assert_eq!(splits.train.labels.names(), ["002", "007", "010", "100"]);
    let parts = [Some(&splits.train), splits.validation.as_ref(), splits.test.as_ref()];
    assert_eq!(parts.map(|set| set.unwrap().len()), [9, 3, 3]);
    assert!(splits.train.images_per_identity().iter().all(|count| *count > 0));
    assert!(splits.unseen.is_none());
}

#[test]
fn the_largest_identities_are_kept() {
    let root = faces();
    let splits = open(&CelebA { identities: 3, ..celeba(&root) });
    // Of the two with three images the lower number.
    assert_eq!(splits.train.labels.names(), ["002", "007", "010"]);
    assert!(
        splits.notes.iter().any(|note| note.contains("data.identities = 3")),
        "{:?}",
        splits.notes
    );
    let splits = open(&CelebA { min_images: 4, ..celeba(&root) });
    assert_eq!(splits.train.labels.names(), ["002", "010"]);
}

#[test]
fn whole_identities_are_held_out() {
    let root = faces();
    let fractions = Fractions { train: 0.25, validation: 0.25, test: 0.5 };
    let splits = open(&CelebA { split: CelebASplit::Identity, fractions, ..celeba(&root) });
    let unseen = splits.unseen.unwrap();
    assert_eq!((splits.train.labels.len(), unseen.labels.len()), (2, 2));
    assert!(unseen.labels.names().iter().all(|name| splits.train.labels.label(name).is_none()));
}

#[test]
fn images_may_lie_in_root_or_elsewhere_and_have_spaces() {
    let list = ("identity_CelebA.txt", "a b.jpg 1\na/2.jpg  1\r\n\nc.jpg\t2\nd.jpg 2\n");
    let names = ["a b.jpg", "a/2.jpg", "c.jpg", "d.jpg"];
    let inside = folder(&[&[list][..], &names.map(|name| (name, ""))].concat());
    let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    let in_root = CelebA { fractions: fractions.clone(), ..celeba(&inside) };
    assert_eq!(open(&in_root).train.len(), 4);
    let elsewhere = names.map(|name| format!("faces/{name}"));
    let elsewhere = elsewhere.each_ref().map(|name| (name.as_str(), ""));
    let root = folder(&[&[list][..], &elsewhere].concat());
    let stated = CelebA { images: "faces".into(), fractions, ..celeba(&root) };
    assert_eq!(open(&stated).train.len(), 4);
    refused(&CelebA { images: "photos".into(), ..stated }, &["photos", "data.images"]);
}

#[test]
fn the_partition_is_followed() {
    // Closed: the last image of each identity tests, the one before validates.
    let root = faces();
    let role = [0, 0, 0, 1, 2, 0, 0, 1, 2, 0, 1, 2, 0, 1, 2];
    partition(&root, |n| role[n].to_string());
    let splits = open(&celeba(&root));
    assert_eq!((splits.train.len(), splits.validation.unwrap().len()), (7, 4));
    assert_eq!((splits.test.unwrap().len(), splits.unseen.is_none()), (4, true));
    let few = open(&CelebA { identities: 2, ..celeba(&root) });
    assert_eq!(
        (few.train.len(), few.validation.unwrap().len(), few.test.unwrap().len()),
        (5, 2, 2)
    );
    let none = open(&CelebA { split: CelebASplit::Image, ..celeba(&root) });
    assert_eq!(none.train.len(), 9);

    // Open, as CelebA's own: the identities of the parts differ.
    partition(&root, |n| match n {
        0..9 => "0".into(),
        9..12 => "1".into(),
        _ => "2".into(),
    });
    let splits = open(&celeba(&root));
    assert_eq!(splits.train.labels.names(), ["002", "010"]);
    assert_eq!(splits.train.len() + splits.validation.unwrap().len(), 9);
    assert_eq!(splits.unseen.unwrap().labels.names(), ["100"]);
    assert!(
        splits.notes.iter().any(|note| note.contains("part 1 stays unused")),
        "{:?}",
        splits.notes
    );
}

#[test]
fn a_wrong_list_is_named_with_its_line() {
    let nowhere = CelebA {
        root: DatasetPath { raw: "/nowhere/celeba".into(), base: "".into() },
        ..CelebA::default()
    };
    refused(&nowhere, &["/nowhere/celeba", "data.root"]);
    let root = folder(&[("a.jpg", ""), ("b.jpg", "")]);
    refused(&celeba(&root), &["there is no", "identity_CelebA.txt"]);
    for (list, parts) in [
        (
            "a.jpg 1\nb.jpg\n",
            &["identity_CelebA.txt line 2", "not a file and a number", "b.jpg"][..],
        ),
        ("a.jpg 1\nb.jpg x\n", &["line 2", "not a number", "`b.jpg x`"]),
        ("a.jpg -1\n", &["line 1", "not a number"]),
        ("a.jpg 1\n\nb.jpg 2\na.jpg 2\n", &["line 4", "a.jpg is on line 1 already"]),
        ("a.jpg 1\nc.jpg 2\nd.jpg 2\n", &["line 2", "there is no", "c.jpg", "2 of 3 images"]),
        ("../a.jpg 1\n", &["line 1", "not a file below"]),
        ("/etc/passwd 1\n", &["line 1", "not a file below"]),
        ("\n\n", &["lists no image"]),
        ("a.jpg 1\nb.jpg 1\n", &["one identity"]),
    ] {
        std::fs::write(root.path().join("identity_CelebA.txt"), list).unwrap();
        refused(&celeba(&root), parts);
    }
    std::fs::write(root.path().join("identity_CelebA.txt"), b"a.jpg 1\nb\xff.jpg 2\n").unwrap();
    refused(&celeba(&root), &["line 2 is not UTF-8"]);
}

#[test]
fn a_wrong_partition_is_named_with_its_line() {
    let root = faces();
    let split = CelebASplit::Partition;
    refused(&CelebA { split, ..celeba(&root) }, &["there is no", "list_eval_partition.txt"]);
    let list = root.path().join("list_eval_partition.txt");
    partition(&root, |n| if n == 4 { "3".into() } else { "0".into() });
    refused(&celeba(&root), &["list_eval_partition.txt line 5", "000005.jpg is in part 3"]);
    partition(&root, |_| "1".into());
    refused(&celeba(&root), &["trains on nothing"]);
    partition(&root, |n| if n < 5 || n == 8 { "0".into() } else { "1".into() });
    refused(&celeba(&root), &["1 of the 3 identities in part 1", "2 are not (007, 100)"]);
    std::fs::write(&list, "000001.jpg 0\n").unwrap();
    refused(&celeba(&root), &["identity_CelebA.txt line 2: 000002.jpg is not in"]);
    std::fs::write(&list, "000099.jpg 0\n").unwrap();
    refused(&celeba(&root), &["list_eval_partition.txt line 1: 000099.jpg is not in"]);
    std::fs::write(&list, "000001.jpg 0\n000001.jpg 1\n").unwrap();
    refused(&celeba(&root), &["line 2", "on line 1 already"]);
}

#[test]
fn a_folder_of_identities_gets_its_list() {
    let root =
        folder(&[("ann/1.jpg", ""), ("ann/2 b.jpg", ""), ("bob/1.png", ""), ("empty/x", "")]);
    let mut notes = Vec::new();
    assert_eq!(write_identities(root.path(), &mut notes).unwrap(), (2, 3));
    assert!(notes.iter().any(|note| note.contains("left out")), "{notes:?}");
    let list = root.path().join("identity_CelebA.txt");
    assert_eq!(
        std::fs::read_to_string(&list).unwrap(),
        "ann/1.jpg 1\nann/2 b.jpg 1\nbob/1.png 2\n"
    );
    // Once more changes nothing; another list is left alone.
    assert_eq!(write_identities(root.path(), &mut Vec::new()).unwrap(), (2, 3));
    let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    let splits = open(&CelebA { fractions, ..celeba(&root) });
    assert_eq!(
        (splits.train.len(), splits.train.labels.names()),
        (3, &["1".into(), "2".into()][..])
    );
    std::fs::write(&list, "ann/1.jpg 7\n").unwrap();
    let error = write_identities(root.path(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("says something else"), "{error}");
    std::fs::write(root.path().join("bob/a\nb.jpg"), "").unwrap();
    let error = write_identities(root.path(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("no line of a list"), "{error}");
}
