//! Small files, Fashion-MNIST where it is installed, and damaged files.

use super::*;
use crate::data::mutated::{apply, changes, config as cases};
use crate::data::{Dataset, Stored};
use proptest::prelude::*;
use std::io::Write;

fn images(count: u32, height: u32, width: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    [count, height, width].iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend((0..count * height * width).map(|at| at as u8));
    bytes
}

fn labels(labels: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend((labels.len() as u32).to_be_bytes());
    bytes.extend(labels);
    bytes
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn open(root: &Path, validation: f64) -> Result<Splits> {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    Idx { root, validation }.open(Path::new("datasets"), 0)
}

fn refusal(root: &Path) -> String {
    match open(root, 0.0).unwrap_err() {
        Error::Input { message, help } => format!("{message} | {}", help.unwrap_or_default()),
        other => panic!("exit code {} for {other}", other.exit_code()),
    }
}

/// Number in its file, class and pixels of an item.
fn item(set: &Dataset, index: usize) -> (u32, &str, usize, usize, Vec<u8>) {
    let item = &set.items[index];
    let Image::Member { container, number } = &item.image else { panic!("a file") };
    let mut scratch = Vec::new();
    let stored = container.read(*number, &mut scratch).unwrap();
    let Stored::Pixels { width, height, rgb } = stored else { panic!("encoded") };
    (*number, &set.labels.names()[item.label as usize], width, height, rgb.to_vec())
}

#[test]
fn pixels_become_grey_rgb_and_classes_sort_as_numbers() {
    let dir = folder(&[
        ("train-images-idx3-ubyte", images(4, 2, 3)),
        ("train-labels-idx1-ubyte.gz", zipped(&labels(&[10, 9, 10, 9]))),
        ("t10k-images.idx3-ubyte", images(1, 2, 3)),
        ("t10k-labels.idx1-ubyte", labels(&[10])),
    ]);
    let splits = open(dir.path(), 0.0).unwrap();
    assert_eq!(splits.train.labels.names(), ["09", "10"]);
    let (number, class, width, height, rgb) = item(&splits.train, 1);
    assert_eq!((number, class, width, height), (3, "09", 3, 2));
    assert_eq!(rgb[..6], [18, 18, 18, 19, 19, 19]);
    assert_eq!(rgb.len(), 18);
    assert!(splits.train.items[1].image.display().ends_with("train-images-idx3-ubyte#3"));
    let test = splits.test.unwrap();
    assert_eq!(item(&test, 0).1, "10");
    assert!(splits.validation.is_none() && splits.notes.is_empty());
    let splits = open(dir.path(), 0.5).unwrap();
    assert_eq!((splits.train.len(), splits.validation.unwrap().len()), (2, 2));
}

#[test]
fn wrong_files_are_named() {
    let both = |images: Vec<u8>, labels: Vec<u8>| {
        folder(&[("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)])
    };
    let four = labels(&[0, 1, 0, 1]);
    let (mut short, mut long, mut huge, mut flat) =
        (images(4, 2, 2), images(4, 2, 2), images(4, 2, 2), images(4, 2, 2));
    short.pop();
    long.push(0);
    huge[4..16].fill(0xff);
    flat[8..12].fill(0);
    flat.truncate(16);
    for (images, labels, said) in [
        (short.clone(), four.clone(), "it states [4, 2, 2] values, but ends after 15"),
        (long, four.clone(), "it goes on after the [4, 2, 2] values"),
        (huge.clone(), four.clone(), "more than 32 bytes can hold"),
        (zipped(&huge), four.clone(), "bytes can hold"),
        (flat, four.clone(), "its images are 0 x 2 pixels"),
        (four.clone(), four.clone(), "it begins with [00, 00, 08, 01]"),
        (vec![0, 0], four.clone(), "the file is cut off"),
        (zipped(&images(4, 2, 2))[..20].to_vec(), four.clone(), "the file is cut off"),
        (zipped(&short), four.clone(), "but ends after 15"),
        (images(5, 2, 2), four.clone(), "has 5 images, but"),
        (images(0, 2, 2), labels(&[]), "has no image"),
        (images(4, 2, 2), labels(&[1; 4]), "one identity"),
    ] {
        let text = refusal(both(images, labels).path());
        assert!(text.contains(said), "{text}");
    }
    let one = folder(&[("train-images-idx3-ubyte", images(4, 2, 2))]);
    assert!(refusal(one.path()).contains("train-images-idx3-ubyte has no other file beside it"));
    assert!(refusal(folder(&[]).path()).contains("there is no train-images-idx3-ubyte"));
    let strange = both(images(4, 2, 2), four);
    std::fs::write(strange.path().join("t10k-images-idx3-ubyte"), images(1, 2, 2)).unwrap();
    std::fs::write(strange.path().join("t10k-labels-idx1-ubyte"), labels(&[7])).unwrap();
    assert!(refusal(strange.path()).contains("1 classes of t10k are not in train (7)"));
}

/// Debian's package dataset-fashion-mnist.
#[test]
fn fashion_mnist() {
    let place = Path::new("/usr/share/datasets/fashion-mnist");
    if !place.is_dir() {
        eprintln!("skipped: no {} (apt-get install dataset-fashion-mnist)", place.display());
        return;
    }
    let splits = open(place, 0.1).unwrap();
    assert_eq!(splits.train.images_per_identity(), [5400; 10]);
    assert_eq!(splits.validation.unwrap().images_per_identity(), [600; 10]);
    assert_eq!(splits.test.as_ref().unwrap().images_per_identity(), [1000; 10]);
    // The first test image is an ankle boot (9): its sum by numpy.
    let test = splits.test.unwrap();
    let boot = (0..test.len()).map(|at| item(&test, at)).find(|(number, ..)| *number == 0).unwrap();
    let (_, class, width, height, rgb) = boot;
    assert_eq!((class, width, height), ("9", 28, 28));
    assert_eq!(rgb.iter().step_by(3).map(|value| u64::from(*value)).sum::<u64>(), 33456);
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn damaged_files_are_refused_or_read(
        of_images in changes(),
        of_labels in prop::option::of(changes()),
        zip in any::<bool>(),
    ) {
        let whole = images(6, 4, 4);
        let whole = if zip { zipped(&whole) } else { whole };
        let mut classes = labels(&[0, 1, 0, 1, 0, 1]);
        if let Some(changes) = of_labels {
            classes = apply(&classes, &changes);
        }
        let dir = folder(&[
            ("train-images-idx3-ubyte", apply(&whole, &of_images)),
            ("train-labels-idx1-ubyte", classes),
        ]);
        match open(dir.path(), 0.0) {
            Err(Error::Input { .. }) => {}
            Err(other) => prop_assert!(false, "exit code {}: {}", other.exit_code(), other),
            Ok(splits) => {
                for index in 0..splits.train.len() {
                    let (_, _, width, height, rgb) = item(&splits.train, index);
                    prop_assert_eq!(rgb.len(), width * height * 3);
                }
            }
        }
    }
}
