//! Sources put together.

use super::*;
use crate::config::{DatasetPath, Experiment, load_str};
use crate::data::{Fractions, Glob, ImageFolder, Split};

/// `names` with `count` images each.
fn fill(dir: &Path, names: &[&str], count: usize) {
    for name in names {
        let folder = dir.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        (0..count).for_each(|i| std::fs::write(folder.join(format!("{i}.jpg")), b"").unwrap());
    }
}

fn image_folder(root: &Path, [train, validation, test]: [f64; 3]) -> ImageFolder {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    ImageFolder { root, fractions: Fractions { train, validation, test }, ..ImageFolder::default() }
}

fn merged(sources: Vec<(&str, DataConfig)>, join: bool) -> Merged {
    let sources = sources.into_iter().map(|(name, source)| (name.to_string(), source)).collect();
    Merged { sources, join }
}

fn open(merged: &Merged) -> Result<Splits> {
    merged.open(Path::new(""), 0, &|_, _| true)
}

fn two(join: bool) -> (tempfile::TempDir, Splits) {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("one"), &["ann", "bob"], 4);
    fill(&dir.path().join("two"), &["bob", "cy"], 2);
    let one = image_folder(&dir.path().join("one"), [0.5, 0.25, 0.25]);
    let two = Glob {
        root: DatasetPath { raw: dir.path().join("two"), base: "".into() },
        patterns: vec!["*/*.jpg".into()],
        fractions: Fractions { train: 0.5, validation: 0.5, test: 0.0 },
        on_corrupt: OnCorrupt::Error,
        ..Glob::default()
    };
    let sources = vec![("a", DataConfig::ImageFolder(one)), ("b", DataConfig::Glob(two))];
    let splits = open(&merged(sources, join)).unwrap();
    (dir, splits)
}

fn counts(set: &Dataset) -> Vec<(&str, usize)> {
    set.labels.names().iter().map(String::as_str).zip(set.images_per_identity()).collect()
}

#[test]
fn names_are_kept_apart_by_their_source() {
    let (_dir, splits) = two(false);
    assert_eq!(counts(&splits.train), [("a/ann", 2), ("a/bob", 2), ("b/bob", 1), ("b/cy", 1)]);
    let validation = splits.validation.unwrap();
    assert_eq!(validation.labels, splits.train.labels);
    assert_eq!(validation.images_per_identity(), [1, 1, 1, 1]);
    assert_eq!(splits.test.unwrap().images_per_identity(), [1, 1, 0, 0]);
    assert_eq!(splits.on_corrupt, OnCorrupt::Error);
    let notes = splits.notes.join("\n");
    assert!(notes.contains("a broken image is an error in every source"), "{notes}");
}

#[test]
fn equal_names_are_joined_when_asked() {
    let (dir, splits) = two(true);
    assert_eq!(counts(&splits.train), [("ann", 2), ("bob", 3), ("cy", 1)]);
    assert!(splits.notes.join("\n").contains("1 identity names are in several sources"));
    let bob: Vec<_> = splits.train.items.iter().filter(|item| item.label == 1).collect();
    let of_one = |item: &&&Item| item.image.file().unwrap().starts_with(dir.path().join("one"));
    assert_eq!(bob.iter().filter(of_one).count(), 2);
    assert_eq!(splits.train.root, dir.path());
    assert!(splits.train.items.is_sorted_by_key(|item| item.label));
}

#[test]
fn the_fingerprint_follows_no_place() {
    let ((one, here), (_two, there)) = (two(false), two(false));
    let fingerprint = here.train.fingerprint().unwrap();
    assert_eq!(fingerprint, there.train.fingerprint().unwrap());
    std::fs::write(here.train.items[0].image.file().unwrap(), "longer").unwrap();
    assert_ne!(fingerprint, here.train.fingerprint().unwrap());
    drop(one);
}

#[test]
fn an_image_or_an_identity_on_both_sides_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("one"), &["ann", "bob", "cy", "dee"], 3);
    fill(&dir.path().join("two"), &["ann", "bob", "cy", "dee"], 3);
    let of = |place: &str, shares| image_folder(&dir.path().join(place), shares);
    let held_out = ImageFolder { split: Split::Identity, ..of("one", [0.5, 0.0, 0.5]) };
    let whole = of("two", [1.0, 0.0, 0.0]);
    let sources = |one: ImageFolder, two: ImageFolder| {
        vec![("x", DataConfig::ImageFolder(one)), ("y", DataConfig::ImageFolder(two))]
    };
    let splits = open(&merged(sources(held_out.clone(), whole.clone()), false)).unwrap();
    assert_eq!(splits.unseen.unwrap().labels.len(), 2);
    let both = open(&merged(sources(held_out, whole.clone()), true)).unwrap_err().to_string();
    assert!(both.contains("2 identities are trained on in one of data.sources"), "{both}");
    let same = open(&merged(sources(whole.clone(), whole.clone()), false)).unwrap_err().to_string();
    assert!(same.contains("data.sources.x and data.sources.y both have"), "{same}");
    let none = of("three", [1.0, 0.0, 0.0]);
    let none = open(&merged(sources(whole, none), false)).unwrap_err().to_string();
    assert!(none.starts_with("data.sources.y: no data folder"), "{none}");
}

#[test]
fn sources_are_checked() {
    let wrong = |sources: Vec<(&str, DataConfig)>| -> Vec<String> {
        merged(sources, false)
            .validate()
            .into_iter()
            .map(|(key, what)| format!("{key} {what}"))
            .collect()
    };
    let folder = || DataConfig::ImageFolder(ImageFolder::default());
    assert_eq!(wrong(vec![("a", folder()), ("b", folder())]), Vec::<String>::new());
    assert!(wrong(vec![("a", folder())])[0].contains("sources needs two sources"));
    assert!(wrong(vec![("a/b", folder()), ("b", folder())])[0].contains("\"a/b\""));
    let captions = DataConfig::ImageText(Default::default());
    assert!(
        wrong(vec![("a", captions), ("b", folder())])[0].contains("sources.a.kind has captions")
    );
    let nested = DataConfig::Merged(Merged::default());
    assert!(
        wrong(vec![("a", nested), ("b", folder())])[0].contains("sources.a.kind is \"merged\"")
    );
}

#[test]
fn sources_are_tables_of_the_experiment() {
    let text = "[data]\nkind = 'merged'\n[data.sources.a]\nkind = 'record_io'\nroot = 'ms1m'\n\
                [data.sources.b]\nkind = 'glob'\nroot = 'market'\npatterns = ['*.jpg']\n";
    let load = |text: &str| load_str::<Experiment>("m.toml", text, &[]);
    let experiment = load(text).unwrap().experiment;
    assert_eq!(crate::plan::conflicts(&experiment), []);
    let DataConfig::Merged(Merged { sources, join: false }) = &experiment.data else {
        panic!("{:?}", experiment.data)
    };
    assert_eq!(sources["b"].kind(), "glob");
    let again = load(&experiment.to_toml()).unwrap().experiment;
    assert_eq!(again.data, experiment.data);
    let wrong = load(&text.replace("patterns", "pattern")).unwrap_err().to_string();
    assert!(wrong.contains("`data.sources.b` of kind \"glob\" has no key `pattern`"), "{wrong}");
    let wrong = load(&text.replace("kind = 'glob'\n", "")).unwrap_err().to_string();
    assert!(wrong.contains("`data.sources.b` needs a `kind`"), "{wrong}");
    let one = text.split("[data.sources.b]").next().unwrap();
    let conflicts = crate::plan::conflicts(&load(one).unwrap().experiment);
    assert_eq!(conflicts[0].0, "data.sources");
}
