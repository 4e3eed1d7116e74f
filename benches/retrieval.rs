//! The exact search, by the size of its blocks.
//!
//!     cargo bench --bench retrieval
//!
//! Top 10 of 256 queries over 20,000 x 512, all threads. `run bench topk` measures the whole.

use arcrun::random::{Stream, rng};
use arcrun::retrieval::{Blocks, Matrix, Metric, top_k_in_blocks};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;

const DIM: usize = 512;

fn embeddings(rows: usize, epoch: u64) -> Vec<f32> {
    let mut draw = rng(0, Stream::Embeddings, epoch, 0);
    (0..rows * DIM).map(|_| draw.random_range(-1.0..1.0)).collect()
}

fn top_k(criterion: &mut Criterion) {
    let (queries, gallery) = (embeddings(256, 0), embeddings(20_000, 1));
    let queries = Matrix::new(&queries, DIM).expect("rows");
    let gallery = Matrix::new(&gallery, DIM).expect("rows");
    let mut group = criterion.benchmark_group("top 10");
    group.sample_size(10).throughput(Throughput::Elements(queries.rows() as u64));
    for metric in [Metric::Cosine, Metric::Euclidean] {
        for (height, width) in [(32, 512), (128, 1024), (256, 2048), (256, 8192)] {
            let blocks = Blocks { queries: height, gallery: width, ..Blocks::default() };
            let id = BenchmarkId::new(metric.as_str(), format!("{height}x{width}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    top_k_in_blocks(queries, gallery, 10, metric, None, &|_, _| true, blocks)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, top_k);
criterion_main!(benches);
