//! Batches from a folder, from a pack of pixels, and of larger images that are scaled down, on one thread.
//!
//!     cargo bench --bench loader
//!
//! Throughput is images per second. `libjpeg alone` decodes the same files from memory: what the loader
//! takes beyond it is reading, scaling, augmentation and the batch. `run bench loader` times
//! any experiment's data, tools/parity/compare_loader.py sets it beside PyTorch's.

use arcrun::config::DatasetPath;
use arcrun::data::{
    Augmentation, Dataset, Fractions, ImageFolder, Loader, LoaderOptions, OnCorrupt, Pack,
    PreprocessConfig, SamplerConfig, Shard, Splits, pack,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mozjpeg::{ColorSpace, Compress, Decompress};
use std::path::Path;
use std::sync::Arc;

/// Of the network's input, pixels.
const INPUT: usize = 112;

/// A smooth picture with some noise, about as many bytes a pixel as a photograph.
fn picture(size: usize, seed: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(3 * size * size);
    let mut noise = seed as u64 + 1;
    for i in 0..size * size {
        let (x, y) = ((i % size) as f64 / size as f64, (i / size) as f64 / size as f64);
        for channel in 0..3 {
            noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let wave = (9.0 * x + seed as f64).sin() * (7.0 * y + channel as f64).cos();
            pixels.push((128.0 + 90.0 * wave + (noise >> 60) as f64) as u8);
        }
    }
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(size, size);
    compress.set_fastest_defaults();
    compress.set_quality(90.0);
    let mut started = compress.start_compress(Vec::new()).expect("a compressor");
    started.write_scanlines(&pixels).expect("rows");
    started.finish().expect("a file")
}

/// Files in `root/<identity>/`, and their bytes.
fn folder(root: &Path, size: usize, count: usize) -> Vec<Vec<u8>> {
    let files: Vec<Vec<u8>> = (0..count).map(|number| picture(size, number)).collect();
    for (number, file) in files.iter().enumerate() {
        let identity = root.join(format!("{:03}", number / 8));
        std::fs::create_dir_all(&identity).expect("a folder");
        std::fs::write(identity.join(format!("{number:04}.jpg")), file).expect("a file");
    }
    files
}

fn listed(root: &Path) -> Splits {
    let fractions = Fractions { train: 1.0, validation: 0.0, test: 0.0 };
    let folder = ImageFolder { root: place(root), fractions, ..ImageFolder::default() };
    folder.open(Path::new(""), 0).expect("a folder of images")
}

fn place(path: &Path) -> DatasetPath {
    DatasetPath { raw: path.to_owned(), base: "".into() }
}

fn loader(set: Dataset, dct_scaling: bool) -> Loader {
    let preprocess = PreprocessConfig { dct_scaling, ..PreprocessConfig::default() }.build();
    let options = LoaderOptions {
        batch_size: 64,
        seed: 0,
        sampler: Some(SamplerConfig::default()),
        drop_last: false,
        workers: 1,
        prefetch: 2,
        on_corrupt: OnCorrupt::Error,
        shard: Shard::default(),
    };
    Loader::new(Arc::new(set), preprocess, Some(Augmentation::default()), options)
        .expect("a loader")
}

fn decode(files: &[Vec<u8>]) -> usize {
    let pixels = |file: &Vec<u8>| {
        let mut started = Decompress::new_mem(file).expect("a JPEG").rgb().expect("colours");
        started.read_scanlines::<u8>().expect("pixels").len()
    };
    files.iter().map(pixels).sum()
}

fn load(loader: &Loader) -> usize {
    loader.epoch(0, 0).map(|batch| batch.expect("a batch").len()).sum()
}

fn epochs(criterion: &mut Criterion) {
    for (size, count) in [(INPUT, 512), (400, 96)] {
        let root = tempfile::tempdir().expect("a folder");
        let files = folder(root.path(), size, count);
        let mut group = criterion.benchmark_group(format!("loader, {size} pixels"));
        group.throughput(Throughput::Elements(count as u64)).sample_size(10);
        group.bench_function("libjpeg alone", |b| b.iter(|| decode(&files)));
        let whole = loader(listed(root.path()).train, false);
        group.bench_function("folder", |b| b.iter(|| load(&whole)));
        if size > INPUT {
            let scaled = loader(listed(root.path()).train, true);
            group.bench_function("folder, dct_scaling", |b| b.iter(|| load(&scaled)));
        }
        let file = root.path().join("images.pack");
        let preprocess = PreprocessConfig::default().build();
        pack::write(listed(root.path()), Some(&preprocess), &file, 1, &|_, _| true)
            .expect("a pack");
        let splits = Pack { file: place(&file), ..Pack::default() }.open(Path::new(""));
        let packed = loader(splits.expect("a pack").train, false);
        group.bench_function("pack of pixels", |b| b.iter(|| load(&packed)));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // Its pictures want a font that the program's own plotters has none of.
    config = Criterion::default().without_plots();
    targets = epochs
}
criterion_main!(benches);
