//! What the list of a large data set takes: a binary of its own, so that no other test's memory counts.

use arcrun::config::DatasetPath;
use arcrun::data::{
    Augmentation, Fractions, ImageFolder, Loader, LoaderOptions, OnCorrupt, PreprocessConfig,
    SamplerConfig, Shard,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const IDENTITIES: usize = 2_000;
const IMAGES: usize = 100;

/// Resident memory, bytes; None where there is no /proc.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

/// A folder of 200,000 images, listed, split and ready to be loaded.
#[test]
fn a_sample_takes_at_most_200_bytes() {
    let Some(before) = resident() else {
        println!("skipped: no /proc");
        return;
    };
    let root = tempfile::tempdir().unwrap();
    for identity in 0..IDENTITIES {
        let folder = root.path().join(format!("n{identity:06}"));
        std::fs::create_dir(&folder).unwrap();
        for image in 0..IMAGES {
            // Listing reads no file.
            std::fs::File::create(folder.join(format!("{image:04}_01.jpg"))).unwrap();
        }
    }
    let begun = Instant::now();
    let place = DatasetPath { raw: root.path().into(), base: "".into() };
    let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    let kind = ImageFolder { root: place, fractions, ..ImageFolder::default() };
    let set = Arc::new(kind.open(Path::new(""), 0).unwrap().train);
    assert_eq!(set.len(), IDENTITIES * IMAGES);
    let listed = begun.elapsed();
    let options = LoaderOptions {
        batch_size: 128,
        seed: 0,
        sampler: Some(SamplerConfig::default()),
        drop_last: true,
        workers: 1,
        prefetch: 1,
        on_corrupt: OnCorrupt::Error,
        shard: Shard::default(),
    };
    let preprocess = PreprocessConfig::default().build();
    let loader = Loader::new(set, preprocess, Some(Augmentation::default()), options).unwrap();
    let bytes = (resident().unwrap() - before) as f64 / (IDENTITIES * IMAGES) as f64;
    assert_eq!(loader.batches_per_epoch(), IDENTITIES * IMAGES / 128);
    let name = root.path().join("n000000/0000_01.jpg").as_os_str().len();
    eprintln!("{bytes:.0} bytes a sample with paths of {name} bytes, listed in {listed:.1?}");
    assert!(bytes < 200.0, "{bytes} bytes a sample");
}
