//! The loader's promises: the same bits whatever the threads, broken images replaced and counted,
//! no hang.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

/// Three identities with seven small noise images each; `broken` of them (by number) are cut.
fn folder(broken: &[usize]) -> (tempfile::TempDir, Arc<Dataset>) {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..21 {
        let identity = dir.path().join(["ann", "bob", "cy"][number / 7]);
        std::fs::create_dir_all(&identity).unwrap();
        let pixel = |x, y| image::Rgb([(x * 9) as u8, (y * 11) as u8, 10 * number as u8]);
        let path = identity.join(format!("{number:02}.png"));
        image::RgbImage::from_fn(20, 18, pixel).save(&path).unwrap();
        if broken.contains(&number) {
            std::fs::write(&path, b"\x89PNG\r\n\x1a\nnothing more").unwrap();
        }
    }
    let dataset = scan::scan(dir.path()).unwrap().dataset();
    (dir, Arc::new(dataset))
}

fn preprocess() -> Preprocess {
    PreprocessConfig { height: 16, width: 14, resize: Resize::Crop, ..Default::default() }.build()
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions {
        batch_size: 4,
        seed: 5,
        sampler: Some(SamplerConfig::default()),
        drop_last: false,
        workers,
        prefetch: 2,
        on_corrupt: OnCorrupt::Skip,
        shard: Default::default(),
    }
}

fn loader(dataset: &Arc<Dataset>, options: LoaderOptions) -> Loader {
    let augmentation = Some(Augmentation::default());
    Loader::new(Arc::clone(dataset), preprocess(), augmentation, options).unwrap()
}

fn batches(loader: &Loader, epoch: usize, first: usize) -> Vec<Batch> {
    loader.epoch(epoch, first).collect::<Result<_>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers_or_the_start() {
    let (_dir, dataset) = folder(&[]);
    let reference = batches(&loader(&dataset, options(1)), 3, 0);
    assert_eq!(reference.len(), 6);
    assert_eq!(reference.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 1]);
    for workers in [0, 2, 7] {
        let loader = loader(&dataset, options(workers));
        assert_eq!(loader.batches_per_epoch(), 6);
        assert_eq!(batches(&loader, 3, 0), reference, "{workers} workers");
        assert_eq!(batches(&loader, 3, 4), reference[4..], "{workers} workers from batch 4");
        assert_ne!(batches(&loader, 4, 0), reference);
    }
    assert!(batches(&loader(&dataset, options(2)), 3, 6).is_empty());
}

/// Everything switched on, on images larger than the input.
#[test]
fn every_change_is_the_same_whatever_the_workers_and_the_start() {
    let (_dir, dataset) = folder(&[]);
    let share = 0.8;
    let everything = Augmentation {
        resized_crop: ResizedCrop { share, ..Default::default() },
        color_jitter: ColorJitter { share, ..Default::default() },
        greyscale: Greyscale { share: 0.3 },
        blur: Blur { share, ..Default::default() },
        low_resolution: LowResolution { share, side: vec![5, 11] },
        jpeg: Jpeg { share, ..Default::default() },
        cutout: Cutout { share, fill: CutoutFill::Noise, ..Default::default() },
        ..Augmentation::default()
    };
    let loader = |options| {
        let augmentation = Some(everything.clone());
        Loader::new(Arc::clone(&dataset), preprocess(), augmentation, options).unwrap()
    };
    let reference = batches(&loader(options(1)), 3, 0);
    assert!(reference != batches(&self::loader(&dataset, options(1)), 3, 0));
    for workers in [1, 2, 7] {
        let loader = loader(options(workers));
        assert!(batches(&loader, 3, 0) == reference, "{workers} workers");
        assert!(batches(&loader, 3, 4) == reference[4..], "{workers} workers from batch 4");
        assert!(batches(&loader, 4, 0) != reference);
    }
}

#[test]
fn an_epoch_holds_every_image_once_under_its_own_label() {
    let (_dir, dataset) = folder(&[]);
    let all = batches(&loader(&dataset, options(2)), 0, 0);
    let mut indices: Vec<_> = all.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert!(!indices.is_sorted());
    indices.sort_unstable();
    assert_eq!(indices, (0..21).collect::<Vec<_>>());
    for batch in &all {
        assert_eq!(batch.images.len(), batch.len() * 3 * 16 * 14);
        for ((label, index), image) in
            batch.labels.iter().zip(&batch.indices).zip(batch.images.chunks(3 * 16 * 14))
        {
            assert_eq!(*label, dataset.items[*index].label);
            // Blue is 10 x the number of the image, at the centre also after a rotation.
            let centre = image[2 * 16 * 14 + 8 * 14 + 7];
            assert!(centre.abs_diff(10 * *index as u8) <= 1, "{centre} for image {index}");
        }
    }
}

#[test]
fn without_shuffle_and_augmentation_the_data_set_comes_in_order() {
    let (_dir, dataset) = folder(&[]);
    let options = LoaderOptions { sampler: None, drop_last: true, ..options(2) };
    let loader = Loader::new(dataset, preprocess(), None, options).unwrap();
    let indices: Vec<_> = batches(&loader, 9, 0).into_iter().flat_map(|b| b.indices).collect();
    assert_eq!(indices, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_broken_image_is_replaced_from_its_identity_and_named_once() {
    // One in 21 is more than 1 %, so the data set is repeated under other names.
    let (_dir, small) = folder(&[9]);
    let mut large = Dataset::clone(&small);
    let whole: Vec<_> = (0..21).filter(|i| *i != 9).map(|i| small.items[i].clone()).collect();
    (0..6).for_each(|_| large.items.extend(whole.clone()));
    let large = Arc::new(large);
    let reference = loader(&large, options(1));
    let batches_1 = batches(&reference, 0, 0);
    let loader_7 = loader(&large, options(7));
    assert_eq!(batches(&loader_7, 0, 0), batches_1);
    assert_eq!(batches(&loader_7, 1, 0), batches(&reference, 1, 0));
    let (mut seen, mut bobs) = (0, 0);
    for batch in &batches_1 {
        assert!(!batch.indices.contains(&9));
        seen += batch.len();
        bobs += batch.labels.iter().filter(|label| **label == 1).count();
    }
    assert_eq!((seen, bobs), (21 + 6 * 20, 7 + 6 * 6));
    let skipped = loader_7.skipped().list(&large);
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].0.ends_with("bob/09.png") && !skipped[0].1.is_empty());
}

/// Three identities with `images` each in every batch.
fn pk(images: usize, workers: usize) -> LoaderOptions {
    let sampler = SamplerConfig::Pk(sampler::pk::Pk { images_per_identity: images, min_images: 1 });
    let batch_size = 3 * images;
    LoaderOptions { batch_size, sampler: Some(sampler), drop_last: true, ..options(workers) }
}

#[test]
fn batches_of_pairs_do_not_depend_on_the_number_of_workers_or_the_start() {
    let (_dir, dataset) = folder(&[]);
    let reference = batches(&loader(&dataset, pk(2, 1)), 3, 0);
    assert_eq!(reference.iter().map(Batch::len).collect::<Vec<_>>(), [6; 4]);
    for workers in [2, 7] {
        let loader = loader(&dataset, pk(2, workers));
        assert_eq!(loader.batches_per_epoch(), 4);
        assert_eq!(batches(&loader, 3, 0), reference, "{workers} workers");
        assert_eq!(batches(&loader, 3, 1), reference[1..], "{workers} workers from batch 1");
        assert_ne!(batches(&loader, 4, 0), reference);
    }
    for batch in &reference {
        assert!(batch.labels.chunks(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(batch.labels.iter().sum::<i64>(), 6, "each of 0, 1, 2 twice");
    }
}

/// Seven images each for nine places, in a batch that is larger than the data set.
#[test]
fn a_repeated_image_is_augmented_anew() {
    let (_dir, dataset) = folder(&[]);
    // All are rotated: with fewer, two may well stay as they are.
    let augmentation = Some(Augmentation { rotation_share: 1.0, ..Augmentation::default() });
    let loader = Loader::new(dataset, preprocess(), augmentation, pk(9, 2)).unwrap();
    let all = batches(&loader, 0, 0);
    assert_eq!((all.len(), all[0].len()), (1, 27));
    let images: Vec<_> = all[0].images.chunks(3 * 16 * 14).collect();
    let mut repeated = 0;
    for (i, index) in all[0].indices.iter().enumerate() {
        for j in (0..i).filter(|j| all[0].indices[*j] == *index) {
            assert!(images[i] != images[j], "image {index}");
            repeated += 1;
        }
    }
    assert_eq!(repeated, 6);
}

#[test]
fn a_broken_image_of_a_pair_is_replaced_by_another_of_its_identity() {
    // Of the second identity's images one is broken, or all but one and two are wanted.
    for broken in [&[9][..], &[7, 8, 9, 10, 11, 12]] {
        let (_dir, small) = folder(broken);
        let mut large = Dataset::clone(&small);
        // So many that the broken ones are no 1 %.
        let whole: Vec<_> = small.items.iter().filter(|item| item.label != 1).cloned().collect();
        (0..50).for_each(|_| large.items.extend(whole.clone()));
        let large = Arc::new(large);
        let options = |workers| pk(2, workers);
        let all: Vec<_> =
            (0..10).flat_map(|epoch| batches(&loader(&large, options(2)), epoch, 0)).collect();
        let again: Vec<_> =
            (0..10).flat_map(|epoch| batches(&loader(&large, options(7)), epoch, 0)).collect();
        assert_eq!(all, again);
        for batch in &all {
            assert_eq!(batch.labels.iter().filter(|label| **label == 1).count(), 2, "{batch:?}");
            assert!(broken.iter().all(|i| !batch.indices.contains(i)));
            let pair = batch.labels.iter().position(|label| *label == 1).unwrap();
            let same = batch.indices[pair] == batch.indices[pair + 1];
            assert_eq!(same, broken.len() == 6, "taken twice only where there is no other");
        }
    }
}

#[test]
fn too_many_broken_images_or_the_strict_policy_are_errors() {
    let (_dir, dataset) = folder(&[9]);
    let error = |on_corrupt| {
        let loader = loader(&dataset, LoaderOptions { on_corrupt, ..options(2) });
        let mut epoch = loader.epoch(0, 0);
        let error = epoch.find_map(|batch| batch.err()).unwrap();
        assert!(epoch.next().is_none(), "an error ends the epoch");
        error.to_string()
    };
    let skip = error(OnCorrupt::Skip);
    assert!(skip.contains("1 of the 21 images") && skip.contains("09.png"), "{skip}");
    let strict = error(OnCorrupt::Error);
    assert!(strict.starts_with("cannot decode") && strict.contains("09.png"), "{strict}");
}

#[test]
fn a_file_that_vanishes_is_a_broken_image() {
    let (_dir, dataset) = folder(&[]);
    let loader = loader(&dataset, LoaderOptions { on_corrupt: OnCorrupt::Error, ..options(2) });
    std::fs::remove_file(dataset.items[3].image.name()).unwrap();
    let error = loader.epoch(0, 0).find_map(|batch| batch.err()).unwrap().to_string();
    assert!(error.contains("03.png"), "{error}");
}

#[test]
fn dropping_an_epoch_stops_its_workers() {
    let (_dir, dataset) = folder(&[]);
    let loader = loader(&dataset, options(3));
    let mut epoch = loader.epoch(0, 0);
    epoch.next().unwrap().unwrap();
    // Returns only once the threads have ended.
    drop(epoch);
    drop(loader.epoch(1, 0));
}

#[test]
fn what_cannot_make_a_batch_is_refused() {
    let (_dir, dataset) = folder(&[]);
    let new = |dataset: &Arc<Dataset>, batch_size| {
        let options = LoaderOptions { batch_size, drop_last: true, ..options(1) };
        Loader::new(Arc::clone(dataset), preprocess(), None, options).unwrap_err().to_string()
    };
    assert!(new(&dataset, 22).contains("a batch of 22 is larger than the data: 21 images"));
    assert!(new(&dataset, 0).contains("the batch size is 0"));
    let empty = Arc::new(Dataset { items: Vec::new(), ..Dataset::clone(&dataset) });
    assert!(new(&empty, 1).contains("no images"));
}

/// `ARCRUN_TEST_DATA` or `../shared/data`, else a loud skip.
fn real(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let place = root.join(name);
    if !place.is_dir() {
        eprintln!("skipped: no {} (set ARCRUN_TEST_DATA)", place.display());
        return None;
    }
    Some(place)
}

#[test]
fn real_faces_load_and_split() {
    let Some(root) = real("celeba") else { return };
    let open = |split| {
        let root = crate::config::DatasetPath { raw: root.clone(), base: PathBuf::new() };
        ImageFolder { root, split, ..ImageFolder::default() }.open(Path::new(""), 0).unwrap()
    };
    let by_image = open(Split::Image);
    assert_eq!(by_image.train.labels.len(), 136);
    let parts = [&Some(by_image.train), &by_image.validation, &by_image.test];
    let sizes: Vec<_> = parts.map(|part| part.as_ref().unwrap().len()).into();
    assert_eq!(sizes.iter().sum::<usize>(), 2897);
    assert!(sizes[1].abs_diff(290) <= 1 && sizes[2].abs_diff(290) <= 1, "{sizes:?}");

    let by_identity = open(Split::Identity);
    let unseen = by_identity.unseen.unwrap();
    assert_eq!((by_identity.train.labels.len(), unseen.labels.len()), (122, 14));
    let trained = by_identity.train.labels.names();
    assert!(unseen.labels.names().iter().all(|name| !trained.contains(name)));
    let unseen = Arc::new(unseen);
    let loader = loader(&unseen, options(2));
    let seen: usize = batches(&loader, 0, 0).iter().map(Batch::len).sum();
    assert_eq!((seen, loader.skipped().len()), (unseen.len(), 0));
}

#[test]
fn real_grey_pgm_faces_load() {
    let Some(root) = real("orl") else { return };
    let dataset = Arc::new(scan::scan(&root).unwrap().dataset());
    assert_eq!((dataset.labels.len(), dataset.len()), (40, 400));
    let first = loader(&dataset, options(1)).epoch(0, 0).next().unwrap().unwrap();
    assert!(first.images.chunks(3 * 16 * 14).all(|image| image[..224] == image[224..448]));
}

#[test]
fn ranks_share_the_batches_of_one_process() {
    let (_dir, dataset) = folder(&[]);
    let whole = LoaderOptions { batch_size: 8, ..options(1) };
    let whole = batches(&loader(&dataset, whole), 2, 0);
    for ranks in [2, 4] {
        let of_rank = |rank| {
            let shard = Shard { rank, ranks };
            let options = LoaderOptions { batch_size: 8, shard, ..options(2) };
            batches(&loader(&dataset, options), 2, 0)
        };
        let parts: Vec<Vec<Batch>> = (0..ranks).map(of_rank).collect();
        for (number, batch) in whole.iter().enumerate() {
            let joined: Vec<usize> =
                parts.iter().flat_map(|part| part[number].indices.clone()).collect();
            assert_eq!(joined, batch.indices, "batch {number} of {ranks} ranks");
            let pixels: Vec<u8> =
                parts.iter().flat_map(|part| part[number].images.clone()).collect();
            assert_eq!(pixels, batch.images);
        }
    }
}
