use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::DatasetPath;
use crate::data::{Augmentation, ImageFolder, Loader, LoaderOptions, OnCorrupt, PreprocessConfig};

/// A small picture that no other seed gives.
fn picture(path: &Path, seed: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| image::Rgb([x as u8 * 9, y as u8 * 7, seed]);
    image::RgbImage::from_fn(20, 16, pixel).save(path).unwrap();
}

fn open(root: &Path) -> Splits {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    ImageFolder { root, ..ImageFolder::default() }.open(Path::new("datasets"), 0).unwrap()
}

/// Two identities to train on, `Ann` and `bob`, with three images each, and `ann`, unseen.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (n, (part, name)) in
        [("train", "Ann"), ("train", "bob"), ("test", "ann")].into_iter().enumerate()
    {
        for image in 0..3 {
            let path = folder.path().join(part).join(name).join(format!("{image}.png"));
            picture(&path, (10 * n + image) as u8);
        }
    }
    folder
}

fn look(splits: &Splits, depth: Depth) -> Report {
    inspect(splits, depth, &|_, _| true).unwrap()
}

#[test]
fn a_sound_folder() {
    let folder = folder();
    let splits = open(folder.path());
    let report = look(&splits, Depth::Decode);
    assert_eq!(report.images, 9);
    assert_eq!(report.formats, BTreeMap::from([("PNG", 9)]));
    assert_eq!(report.sizes, [("20x16".to_string(), 9)]);
    assert!(report.broken.is_empty() && report.duplicates.is_empty() && report.decoded);
    let counts: usize = report.parts.iter().map(|part| part.images).sum();
    assert_eq!(counts, 9);
    let unseen = report.parts.iter().find(|part| part.name == "unseen").unwrap();
    assert_eq!((unseen.identities, unseen.images), (1, 3));
    assert_eq!(unseen.histogram, [Bin { from: 3, to: 3, identities: 1 }]);
    let [case] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(case.contains("Ann / ann"), "{case}");
    let shown = text("folder", &report);
    assert!(
        shown.contains("3 images of 1 identities, none of them trained on; 3 / 3 / 3 each"),
        "{shown}"
    );
    assert!(shown.contains("duplicates  none"), "{shown}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["formats"]["PNG"], 9);
}

#[test]
fn duplicates_are_told_by_where_they_are() {
    let folder = folder();
    let copy = |from: &str, to: &str| {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    };
    copy("train/Ann/0.png", "test/ann/0.png");
    copy("train/Ann/1.png", "train/bob/1.png");
    copy("train/bob/0.png", "train/bob/2.png");
    let mut splits = open(folder.path());
    splits.validation = None;
    // All images of train, whatever validation took.
    let all = crate::data::scan::scan(&folder.path().join("train")).unwrap();
    splits.train = all.dataset();
    let report = look(&splits, Depth::Header);
    let among: Vec<Among> = report.duplicates.iter().map(|group| group.among).collect();
    assert_eq!(among, [Among::Parts, Among::Identities, Among::Identity]);
    let (part, identity, image) = &report.duplicates[0].images[1];
    assert!(*part == "unseen" && identity == "ann" && image.ends_with("test/ann/0.png"));
    assert!(report.warnings.iter().any(|w| w.starts_with("1 images are in more than one part")));
    assert!(
        report.warnings.iter().any(|w| w.starts_with("1 images are of more than one identity"))
    );
    let shown = text("folder", &report);
    assert!(shown.contains("1 across parts, 1 across identities, 1 within an identity"), "{shown}");
}

#[test]
fn unseen_identities_that_are_trained_on_are_told() {
    let folder = folder();
    let mut splits = open(folder.path());
    splits.unseen = Some(splits.train.clone());
    let report = look(&splits, Depth::Header);
    assert!(report.warnings[0].starts_with("2 identities of unseen are trained on too (Ann, bob)"));
}

#[test]
fn broken_images_are_named() {
    let folder = folder();
    std::fs::write(folder.path().join("train/Ann/1.png"), b"").unwrap();
    std::fs::write(folder.path().join("test/ann/2.png"), b"text").unwrap();
    let report = look(&open(folder.path()), Depth::Header);
    assert_eq!(report.broken.len(), 2);
    assert!(report.broken.iter().any(|b| b.image.ends_with("1.png") && b.reason.contains("empty")));
    assert!(text("x", &report).contains("broken      2 (by the headers"));
    assert_eq!(report.formats, BTreeMap::from([("PNG", 7)]));
}

#[test]
fn it_can_be_stopped() {
    let splits = open(folder().path());
    let stopped = inspect(&splits, Depth::Header, &|done, _| done < 2).unwrap_err();
    assert_eq!(stopped.exit_code(), 75);
}

/// Column `n + 1` of the sheet is what a loader's epoch `n` delivers.
#[test]
fn the_contact_sheet_is_what_the_loader_delivers() {
    let folder = folder();
    let set = Arc::new(open(folder.path()).train);
    let preprocess = PreprocessConfig { height: 24, width: 24, ..Default::default() }.build();
    let augmentation = Augmentation::default();
    let (sheet, columns) = contact_sheet(&set, &preprocess, &augmentation, 5).unwrap().unwrap();
    assert_eq!((sheet.len(), columns), (2 * 8, 8));
    let options = LoaderOptions {
        batch_size: 4,
        seed: 5,
        sampler: Some(crate::data::SamplerConfig::default()),
        drop_last: false,
        workers: 2,
        prefetch: 2,
        on_corrupt: OnCorrupt::Error,
        shard: Default::default(),
    };
    let loader = Loader::new(Arc::clone(&set), preprocess, Some(augmentation), options).unwrap();
    let pixels = 3 * 24 * 24;
    let mut compared = 0;
    for epoch in 0..columns - 1 {
        for batch in loader.epoch(epoch, 0).map(Result::unwrap) {
            for (at, index) in batch.indices.iter().enumerate() {
                let Some(row) = (0..2).find(|row| sheet.indices[row * columns] == *index) else {
                    continue;
                };
                let cell = row * columns + 1 + epoch;
                let (ours, theirs) = (cell * pixels, at * pixels);
                assert!(
                    sheet.images[ours..ours + pixels] == batch.images[theirs..theirs + pixels],
                    "epoch {epoch}, image {index}"
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * (columns - 1));
    assert_ne!(sheet.images[..pixels], sheet.images[pixels..2 * pixels]);
}
