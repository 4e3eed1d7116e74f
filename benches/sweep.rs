//! Time to expand a sweep into 10,000 trials, and to tell the status of one with as many that ended:
//! `cargo bench --bench sweep`. The aim is below 1 s each on two cores.

use arcrun::sweep::journal::{Outcome, Record, Runner};
use arcrun::sweep::{Expansion, Journal, Ledger, Manifest, SweepFile, expand, status};
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

/// All trials ran for three epochs, one in a hundred failed.
fn status_of_many(c: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/bench.toml");
    let file = SweepFile::parse(&path, SWEEP).expect("a sweep file");
    let Expansion { base, axes, trials, .. } = expand(&file, &[]).expect("valid trials");
    let folder = tempfile::tempdir().expect("a folder");
    let text = SWEEP.to_owned();
    let manifest = Manifest { text, base, axes, trials, ..Manifest::new("bench", &path) };
    manifest.write(folder.path()).expect("a manifest");
    let records = manifest.trials.iter().enumerate().flat_map(|(at, trial)| {
        let trial = || trial.id.clone();
        let outcome = if at % 100 == 7 { Outcome::Failed } else { Outcome::Finished };
        let mut records = vec![Record::Started { trial: trial(), runner: Runner::default() }];
        records.extend((1..=3).map(|epoch| {
            let value = (at % 997) as f64 / epoch as f64;
            Record::Reported { trial: trial(), epoch, value }
        }));
        let (code, note) = (Some(0), None);
        records.push(Record::Ended { trial: trial(), outcome, code, seconds: 60.0, note });
        records
    });
    let records: Vec<Record> = records.collect();
    Journal::of(folder.path()).exchange(|_| Ok(records)).expect("a journal");
    let mut group = c.benchmark_group("sweep");
    group.sample_size(10);
    group.bench_function("status_10000", |bencher| {
        bencher.iter(|| {
            let ledger = Ledger::open(folder.path()).expect("a sweep");
            let text = status::status(ledger, false).expect("its status");
            assert!(text.contains("9900 finished"), "{text}");
        });
    });
    group.finish();
}

criterion_group!(benches, expansion, status_of_many);
criterion_main!(benches);
