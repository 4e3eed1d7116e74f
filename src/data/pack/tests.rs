//! A pack is its source: samples, order, labels, split, batches.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::config::{DatasetPath, Experiment, load_str};
use crate::data::{
    Augmentation, Batch, Container, Image, ImageFolder, ImageText, InMemory, Interpolation, Loader,
    LoaderOptions, Preprocess, PreprocessConfig, Resize, SamplerConfig,
};

/// Four identities to train on and two unseen ones, six images each of several formats and sizes.
pub(super) fn faces() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (part, names) in [("train", &["ann", "bob", "Cy", "zoë"][..]), ("test", &["dee", "eve"])] {
        for (n, name) in names.iter().enumerate() {
            for image in 0..6u32 {
                let extension = ["png", "jpg", "bmp"][image as usize % 3];
                let path = folder.path().join(part).join(name).join(format!("{image}.{extension}"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let pixel = |x: u32, y: u32| {
                    image::Rgb([(x * 7 + image) as u8, (y * 11) as u8, (40 * n + part.len()) as u8])
                };
                image::RgbImage::from_fn(20 + image, 24 - image, pixel).save(&path).unwrap();
            }
        }
    }
    folder
}

pub(super) fn open(root: &Path) -> Splits {
    let root = DatasetPath { raw: root.into(), base: "".into() };
    ImageFolder { root, ..ImageFolder::default() }.open(Path::new("datasets"), 0).unwrap()
}

fn input(height: usize, width: usize) -> Preprocess {
    PreprocessConfig { height, width, ..PreprocessConfig::default() }.build()
}

pub(super) fn pack(splits: &Splits, decoded: Option<&Preprocess>, to: &Path) -> Written {
    write(splits.clone(), decoded, to, 2, &|_, _| true).unwrap()
}

/// Every batch of two epochs.
fn batches(set: &Dataset, to: &Preprocess) -> Vec<Batch> {
    let options = LoaderOptions {
        batch_size: 5,
        seed: 3,
        sampler: Some(SamplerConfig::default()),
        drop_last: false,
        workers: 2,
        prefetch: 2,
        on_corrupt: OnCorrupt::Skip,
        shard: Default::default(),
    };
    let set = Arc::new(set.clone());
    let loader = Loader::new(set, to.clone(), Some(Augmentation::default()), options).unwrap();
    (0..2).flat_map(|epoch| loader.epoch(epoch, 0)).map(Result::unwrap).collect()
}

use crate::data::Dataset;

#[track_caller]
fn assert_same(source: &Splits, packed: &Splits, to: &Preprocess) {
    let names = |splits: &Splits| splits.parts().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(source), names(packed));
    assert_eq!(source.notes, packed.notes);
    assert_eq!(source.fingerprints().unwrap(), packed.fingerprints().unwrap());
    for ((name, ours), (_, theirs)) in source.parts().zip(packed.parts()) {
        assert_eq!(ours.labels, theirs.labels, "{name}");
        assert_eq!(ours.captions, theirs.captions, "{name}");
        let labels = |set: &Dataset| set.items.iter().map(|item| item.label).collect::<Vec<_>>();
        assert_eq!(labels(ours), labels(theirs), "{name}");
        let below = |set: &Dataset| -> Vec<PathBuf> {
            set.items.iter().map(|i| set.relative(&i.image.name()).to_owned()).collect()
        };
        assert_eq!(below(ours), below(theirs), "{name}");
        assert!(batches(ours, to) == batches(theirs, to), "the batches of {name} differ");
    }
}

/// The source is gone when the pack is read: an epoch touches no other file.
#[test]
fn batches_are_bit_equal_encoded_and_decoded() {
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    let source = open(folder.path());
    let to = input(16, 18);
    let expected: Vec<Vec<Batch>> = source.parts().map(|(_, set)| batches(set, &to)).collect();
    let crop = PreprocessConfig {
        resize: Resize::Crop,
        shorter_side: 20,
        interpolation: Interpolation::Bicubic,
        ..PreprocessConfig { height: 16, width: 18, ..PreprocessConfig::default() }
    };
    for (name, to, decoded) in [("a", &to, false), ("b", &to, true), ("c", &crop.build(), true)] {
        let path = packs.path().join(format!("{name}.pack"));
        let written = pack(&source, decoded.then_some(to), &path);
        assert_eq!((written.images, written.items), (36, 36));
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
        assert!(written.broken.is_empty());
        assert_same(&source, &PackFile::open(&path).unwrap().splits().unwrap(), to);
    }
    drop(folder);
    for name in ["a", "b"] {
        let file = packs.path().join(format!("{name}.pack"));
        let config =
            Pack { file: DatasetPath { raw: file, base: "".into() }, on_corrupt: OnCorrupt::Error };
        let splits = config.open(Path::new("datasets")).unwrap();
        assert_eq!(splits.on_corrupt, OnCorrupt::Error);
        let now: Vec<Vec<Batch>> = splits.parts().map(|(_, set)| batches(set, &to)).collect();
        assert!(now == expected, "{name}");
    }
    assert_eq!(std::fs::read_dir(packs.path()).unwrap().count(), 3, "something was left behind");
}

#[test]
fn the_same_source_gives_the_same_bytes() {
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    let path = |n: usize| packs.path().join(format!("{n}.pack"));
    for threads in [1, 2, 7] {
        write(open(folder.path()), None, &path(threads), threads, &|_, _| true).unwrap();
    }
    let bytes = |n| std::fs::read(path(n)).unwrap();
    assert!(bytes(1) == bytes(2) && bytes(1) == bytes(7));
}

#[test]
fn a_decoded_pack_serves_its_input_only() {
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    let path = packs.path().join("a.pack");
    pack(&open(folder.path()), Some(&input(16, 18)), &path);
    let splits = PackFile::open(&path).unwrap().splits().unwrap();
    splits.fits(&input(16, 18)).unwrap();
    let mut other = input(16, 20);
    other.interpolation = Interpolation::Bicubic;
    other.dct_scaling = true;
    let error = splits.fits(&other).unwrap_err().to_string();
    for part in [
        "preprocess.width = 18, not 20",
        "preprocess.interpolation = \"bilinear\", not \"bicubic\"",
        "preprocess.dct_scaling = false, not true",
        "a.pack/train",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let options = LoaderOptions {
        batch_size: 2,
        seed: 0,
        sampler: None,
        drop_last: false,
        workers: 1,
        prefetch: 1,
        on_corrupt: OnCorrupt::Skip,
        shard: Default::default(),
    };
    assert!(Loader::new(Arc::new(splits.train.clone()), other, None, options).is_err());
    // Normalisation and the order of channels come later.
    let later = Preprocess { mean: [0.1; 3], std: [0.2; 3], ..input(16, 18) };
    splits.fits(&later).unwrap();

    let again = packs.path().join("b.pack");
    let encoded = write(splits.clone(), None, &again, 1, &|_, _| true).unwrap_err();
    assert!(encoded.to_string().contains("is decoded already"), "{encoded}");
    pack(&splits, Some(&input(16, 18)), &again);
    assert_same(&splits, &PackFile::open(&again).unwrap().splits().unwrap(), &input(16, 18));
}

#[test]
fn members_of_other_containers_and_pixels_are_packed() {
    #[derive(Debug)]
    struct Squares;
    impl Container for Squares {
        fn name(&self, number: u32) -> PathBuf {
            crate::data::numbered(Path::new("squares"), number)
        }
        fn size(&self, _: u32) -> std::io::Result<u64> {
            Ok(27)
        }
        fn read<'a>(
            &'a self,
            number: u32,
            scratch: &'a mut Vec<u8>,
        ) -> Result<crate::data::Stored<'a>, crate::data::Fault> {
            scratch.clear();
            scratch.extend((0..27u8).map(|byte| byte.wrapping_mul(number as u8 + 1)));
            Ok(crate::data::Stored::Pixels { width: 3, height: 3, rgb: scratch })
        }
    }
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    let mut source = open(folder.path());
    let images = source
        .train
        .items
        .iter()
        .map(|item| std::fs::read(item.image.file().unwrap()).unwrap().into());
    let memory = Arc::new(InMemory { file: "set.bin".into(), images: images.collect() });
    let squares = Arc::new(Squares);
    for (at, item) in source.train.items.iter_mut().enumerate() {
        let number = at as u32;
        item.image = match at % 2 {
            0 => Image::Member { container: memory.clone(), number },
            _ => Image::Member { container: squares.clone(), number },
        };
    }
    source.train.root = "".into();
    let to = input(16, 16);
    for decoded in [None, Some(&to)] {
        let path = packs.path().join("a.pack");
        pack(&source, decoded, &path);
        assert_same(&source, &PackFile::open(&path).unwrap().splits().unwrap(), &to);
    }
}

/// RecordIO, tar shards with captions and without, pixels of IDX, and several sources as one.
#[test]
fn every_container_is_packed() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data");
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    let idx = packs.path().join("idx");
    std::fs::create_dir(&idx).unwrap();
    let head = |kind: u8, sizes: &[u32]| -> Vec<u8> {
        let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, kind].into_iter().chain(sizes).collect()
    };
    let pixels = (0..12 * 9 * 7u32).map(|at| (at * 5) as u8);
    let images: Vec<u8> = head(3, &[12, 9, 7]).into_iter().chain(pixels).collect();
    let labels = [&head(1, &[12])[..], &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]].concat();
    std::fs::write(idx.join("train-images-idx3-ubyte"), images).unwrap();
    std::fs::write(idx.join("train-labels-idx1-ubyte"), labels).unwrap();
    let place = |path: &Path| path.display().to_string();
    let (records, shards) =
        (place(&fixtures.join("record_io")), place(&fixtures.join("webdataset")));
    let (idx, faces) = (place(&idx), place(folder.path()));
    for data in [
        format!(
            "kind = 'record_io'\nroot = '{records}'\nfractions.train = 1.0\nfractions.validation = 0.0\nfractions.test = 0.0"
        ),
        format!("kind = 'webdataset'\nroot = '{shards}'\nlabels = 'captions'"),
        format!("kind = 'idx'\nroot = '{idx}'"),
        format!(
            "kind = 'merged'\nsources.a.kind = 'image_folder'\nsources.a.root = '{faces}'\n\
             sources.b.kind = 'idx'\nsources.b.root = '{idx}'"
        ),
    ] {
        let loaded = load_str::<Experiment>("a.toml", &format!("[data]\n{data}\n"), &[]);
        let config = loaded.unwrap_or_else(|e| panic!("{e}")).experiment.data;
        let source = crate::data::open(&config, Path::new(""), 0, &|_, _| true).unwrap();
        let to = input(16, 16);
        for decoded in [None, Some(&to)] {
            let path = packs.path().join("a.pack");
            pack(&source, decoded, &path);
            assert_same(&source, &PackFile::open(&path).unwrap().splits().unwrap(), &to);
        }
    }
}

#[test]
fn captions_stay_with_their_images() {
    let folder = faces();
    let mut lines = String::from("path,caption\n");
    for n in 0..6 {
        let extension = ["png", "jpg", "bmp"][n % 3];
        for name in ["ann", "bob", "Cy"] {
            let image = format!("train/{name}/{n}.{extension}");
            lines.push_str(&format!("{image},\"{name}, {n}\"\n{image},é again\n"));
        }
    }
    std::fs::write(folder.path().join("pairs.csv"), lines).unwrap();
    let file = DatasetPath { raw: "pairs.csv".into(), base: folder.path().into() };
    let source = ImageText { file, ..ImageText::default() }.open(folder.path(), 0).unwrap();
    let path = folder.path().join("a.pack");
    let written = pack(&source, None, &path);
    assert_eq!((written.images, written.items), (18, 36));
    assert_same(&source, &PackFile::open(&path).unwrap().splits().unwrap(), &input(16, 16));
    let other = format!(
        "[data]\nkind = 'merged'\nsources.a.kind = 'pack'\nsources.a.file = '{0}'\n\
                         sources.b.kind = 'image_folder'\nsources.b.root = '{1}'\n",
        path.display(),
        folder.path().display()
    );
    let data = load_str::<Experiment>("a.toml", &other, &[]).unwrap().experiment.data;
    let error = crate::data::open(&data, Path::new(""), 0, &|_, _| true).unwrap_err().to_string();
    assert!(error.contains("data.sources.a: it has captions"), "{error}");
}

/// What is broken in the source is passed over in the same way from the pack.
#[test]
fn broken_images_keep_their_places() {
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    // 1 % may be broken: 130 sound images beside.
    for n in 0..130 {
        let from = folder.path().join("train/ann/0.png");
        std::fs::copy(from, folder.path().join(format!("train/bob/copy{n:03}.png"))).unwrap();
    }
    std::fs::write(folder.path().join("train/Cy/0.png"), b"").unwrap();
    let source = open(folder.path());
    let to = input(16, 16);
    for decoded in [None, Some(&to)] {
        let path = packs.path().join("a.pack");
        let written = pack(&source, decoded, &path);
        let [(name, reason)] = written.broken.as_slice() else { panic!("{:?}", written.broken) };
        assert!(name.ends_with("Cy/0.png") && reason.contains("empty"), "{reason}");
        assert_same(&source, &PackFile::open(&path).unwrap().splits().unwrap(), &to);
    }
    let strict = Splits { on_corrupt: OnCorrupt::Error, ..source };
    let error = write(strict, None, &packs.path().join("b.pack"), 1, &|_, _| true).unwrap_err();
    assert!(error.to_string().contains("Cy/0.png"), "{error}");
    assert_eq!(std::fs::read_dir(packs.path()).unwrap().count(), 1);
}

#[test]
fn a_stop_leaves_nothing_and_other_files_are_left_alone() {
    let (folder, packs) = (faces(), tempfile::tempdir().unwrap());
    let path = packs.path().join("a.pack");
    let stopped = write(open(folder.path()), None, &path, 2, &|done, _| done < 5).unwrap_err();
    assert_eq!(stopped.exit_code(), 75);
    assert_eq!(std::fs::read_dir(packs.path()).unwrap().count(), 0);
    std::fs::write(&path, "notes").unwrap();
    let error = write(open(folder.path()), None, &path, 2, &|_, _| true).unwrap_err();
    assert!(error.to_string().contains("is there already and is no pack"), "{error}");
    std::fs::remove_file(&path).unwrap();
    pack(&open(folder.path()), None, &path);
    // A pack that is open when it is replaced stays as it was.
    let held = PackFile::open(&path).unwrap().splits().unwrap();
    let before = batches(&held.train, &input(16, 16));
    pack(&open(folder.path()), Some(&input(8, 8)), &path);
    assert!(batches(&held.train, &input(16, 16)) == before);
}

#[test]
fn a_missing_pack_names_the_places() {
    let file = DatasetPath { raw: "faces.pack".into(), base: "beside".into() };
    let error = Pack { file, ..Pack::default() }.open(Path::new("datasets")).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("datasets/faces.pack, beside/faces.pack"), "{said}");
}
