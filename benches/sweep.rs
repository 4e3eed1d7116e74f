//! Time to expand a sweep into 10,000 trials: `cargo bench --bench sweep`. The aim is below 1 s on two cores.

use arcrun::sweep::{SweepFile, expand};
use criterion::{Criterion, criterion_group, criterion_main};
use std::path::Path;

/// Every kind of axis: 10 rates x 2 losses x 10 margins that go for both x 5 scales x 10 seeds.
const SWEEP: &str = r#"
base = "../experiments/cosface.toml"
seeds = 10
skip_if = ["optimizer.lr > 5 && train.batch_size < 64"]
[grid]
optimizer.lr = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1]
loss = [{ kind = "arcface" }, { kind = "cosface" }]
"loss.margin" = { values = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55], when = 'loss.kind != "triplet"' }
[random]
count = 5
[random.space]
loss.scale = { uniform = [16, 96] }
"#;

fn expansion(c: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/bench.toml");
    let file = SweepFile::parse(&path, SWEEP).expect("a sweep file");
    let mut group = c.benchmark_group("sweep");
    group.sample_size(10);
    group.bench_function("expand_10000", |bencher| {
        bencher.iter(|| {
            let expansion = expand(&file, &[]).expect("valid trials");
            assert_eq!(expansion.trials.len(), 10_000);
        });
    });
    group.finish();
}

criterion_group!(benches, expansion);
criterion_main!(benches);
