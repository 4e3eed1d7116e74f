//! What a logged step costs the training thread.
//!
//!     cargo bench --bench record
//!
//! Time is per step: the CSV files alone, with W&B's file beside them, and with a server that is
//! not there. Every 500th step ends an epoch, whose checkpoint brings everything to the disk.

use arcrun::record::{Columns, CsvSink, EpochRow, Event, Recorder, RunInfo, StepRow};
use arcrun::train::signals::StopFlag;
use arcrun::wandb::{Environment, Open, Settings, Timing, Wandb, WandbSink};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const EPOCH: u64 = 500;

fn row(step: u64) -> Event {
    let extras = ["embedding_norm", "target_cosine", "top_cosine"];
    Event::Step(StepRow {
        step,
        epoch: step.div_ceil(EPOCH),
        loss: 1.0 / step as f64,
        lr: 0.1 / step as f64,
        images_per_second: 1234.5 + 1.0 / step as f64,
        accuracy: Some(0.25),
        grad_norm: Some(1.0 / (step + 1) as f64),
        extras: extras.iter().map(|name| (name.to_string(), 1.0 / (step + 2) as f64)).collect(),
        wait: 0.0,
    })
}

fn recorder(run: &Path, wandb: Option<&[(&str, &str)]>) -> Recorder {
    let columns = ["embedding_norm", "target_cosine", "top_cosine"].map(String::from).to_vec();
    let columns = Columns { steps: columns, epochs: vec![] };
    let recorder = Recorder::new().with(CsvSink::open(run, columns, 50).expect("a folder"));
    let Some(variables) = wandb else { return recorder };
    let values: BTreeMap<String, String> =
        variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let environment = Environment::new(values, Path::new("/nowhere"));
    let settings = Settings::resolve(&Wandb::default(), &environment, "bench").expect("settings");
    let sink = WandbSink::open(Open {
        settings,
        run,
        info: &RunInfo::new("bench", "bench", run),
        config: "",
        steps_before: 0,
        stop: StopFlag::default(),
        timing: Timing { give_up: Duration::ZERO, ..Timing::default() },
        quiet: true,
    });
    recorder.with(sink.expect("a sink"))
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("logged step");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let offline: &[(&str, &str)] = &[];
    // Nothing listens there.
    let down: &[(&str, &str)] =
        &[("WANDB_BASE_URL", "http://127.0.0.1:9"), ("WANDB_API_KEY", "key")];
    for (name, wandb) in
        [("csv", None), ("csv + offline", Some(offline)), ("csv + W&B down", Some(down))]
    {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let run = tempfile::tempdir().expect("a folder");
                let mut recorder = recorder(run.path(), wandb);
                let mut spent = Duration::ZERO;
                for step in 1..=count {
                    let event = row(step);
                    let begun = Instant::now();
                    recorder.emit(&event).expect("a step");
                    spent += begun.elapsed();
                    if step % EPOCH == 0 {
                        let ended = EpochRow { epoch: step / EPOCH, ..EpochRow::default() };
                        recorder.emit(&Event::EpochEnded(ended)).expect("an epoch");
                    }
                }
                recorder.close().expect("an end");
                spent
            });
        });
    }
}

criterion_group! {
    name = benches;
    // Its pictures want a font that the program's own plotters has none of.
    config = Criterion::default().without_plots();
    targets = steps
}
criterion_main!(benches);
