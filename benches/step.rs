//! Forward, backward and the whole of a training step, on random images.
//!
//!     cargo bench --bench step
//!
//! Throughput is images per second. `tools/parity/bench_step.py` times the same in PyTorch;
//! `run bench step` prints it for any experiment.

use arcrun::config::{Loaded, load_str};
use arcrun::plan::Plan;
use arcrun::train::embedder::Inputs;
use arcrun::train::model::Model;
use arcrun::train::step::Stepper;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tch::{Kind, Tensor};

const BATCH: i64 = 16;
const SIZE: i64 = 64;
const CLASSES: usize = 1000;

fn steps(criterion: &mut Criterion) {
    for backbone in ["resnet18", "efficient_fr"] {
        let text = format!(
            "data.kind = \"synthetic_faces\"\nbackbone.kind = \"{backbone}\"\n\
             optimizer.kind = \"sgd\"\ntrain.device = \"cpu\""
        );
        let loaded: Loaded = load_str("bench.toml", &text, &[]).expect("a valid experiment");
        let plan = Plan::new(loaded).expect("a valid plan");
        let mut model = Model::build(&plan.experiment, CLASSES, plan.device);
        let grouped = model.grouped(&plan).expect("default groups");
        let mut optimizer = plan.experiment.optimizer.build(grouped);
        let mut stepper = Stepper::new(&plan);
        let images = Tensor::randint(256, [BATCH, 3, SIZE, SIZE], (Kind::Uint8, plan.device));
        let labels = Tensor::randint(CLASSES as i64, [BATCH], (Kind::Int64, plan.device));
        let inputs = Inputs::without_text(images, labels);
        let mut group = criterion.benchmark_group(backbone);
        group.throughput(Throughput::Elements(BATCH as u64)).sample_size(10);
        group.bench_function("forward", |b| {
            b.iter(|| stepper.forward(&mut model, &inputs, true).expect("a step"));
        });
        group.bench_function("backward", |b| {
            b.iter_batched(
                || stepper.forward(&mut model, &inputs, true).expect("a step").output.loss,
                |loss| stepper.backward(&loss).expect("a step"),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("step", |b| {
            b.iter(|| stepper.step(&mut model, optimizer.as_mut(), 0.01, &inputs).expect("a step"));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    // Its pictures want a font that the program's own plotters has none of.
    config = Criterion::default().without_plots();
    targets = steps
}
criterion_main!(benches);
