//! What the arithmetic of verification costs, once the embeddings are there.
//!
//!     cargo bench --bench evaluate
//!
//! 6,000 pairs in 10 folds, as LFW has them: from distances to every number of a result, and the
//! distances from 12,000 embeddings of 512 values.

use arcrun::evaluate::pairs::contiguous_folds;
use arcrun::evaluate::{Pair, PairSet, score, squared_distances};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use std::hint::black_box;
use std::time::Duration;

const PAIRS: usize = 6000;
const DIM: usize = 512;

fn set() -> PairSet {
    let fold = contiguous_folds(PAIRS, 10);
    let pair = |i: usize| Pair {
        first: 2 * i,
        second: 2 * i + 1,
        same: i.is_multiple_of(2),
        fold: fold[i],
    };
    PairSet {
        images: (0..2 * PAIRS).map(|i| i.to_string().into()).collect(),
        pairs: (0..PAIRS).map(pair).collect(),
        folds: 10,
        ..PairSet::default()
    }
}

fn verification(criterion: &mut Criterion) {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let set = set();
    let distance = |pair: &Pair| {
        random.random::<f64>() * if pair.same { 1.8 } else { 2.6 } + f64::from(u8::from(!pair.same))
    };
    let distances: Vec<f64> = set.pairs.iter().map(distance).collect();
    let embeddings: Vec<f32> = (0..2 * PAIRS * DIM).map(|_| random.random::<f32>() - 0.5).collect();
    let mut group = criterion.benchmark_group("verification of 6000 pairs");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    group.bench_function("score", |bench| {
        bench.iter(|| score(black_box(&distances), &set).expect("both classes"));
    });
    group.bench_function("distances", |bench| {
        bench.iter(|| squared_distances(black_box(&embeddings), DIM, &set).expect("finite"));
    });
    group.finish();
}

criterion_group!(benches, verification);
criterion_main!(benches);
