//! `run bench step`: throughput of a training step, by stage. `run bench loss`: the loss alone.
//! `run bench topk`: the exact search.

use super::args::{BenchStepArgs, BenchTopkArgs};
use super::{request, say};
use crate::config::{Loaded, load};
use crate::loss::LossInput;
use crate::plan::Plan;
use crate::random::{Stream, derive};
use crate::retrieval::{Matrix, Metric, top_k};
use crate::torch::{determinism, device, gradient, threads};
use crate::train::embedder::Inputs;
use crate::train::model::Model;
use crate::train::step::Stepper;
use crate::{Error, Result};
use std::time::Instant;
use tch::{Device, Kind, Tensor, nn};

/// Seconds of one step by stage.
#[derive(Clone, Copy, Debug)]
struct Stages {
    forward: f64,
    backward: f64,
    optimizer: f64,
}

/// Steps of the experiment's model on random images of its input size, without a loader: median
/// over the measured steps, as text or JSON.
pub fn step(args: &BenchStepArgs) -> Result<()> {
    let BenchStepArgs { steps, warm_up, classes, json, .. } = args;
    let plan = plan(args)?;
    let train = &plan.experiment.train;
    let (batch, pixels) = (train.batch_size as i64, &plan.experiment.preprocess);
    let (height, width) = (pixels.height as i64, pixels.width as i64);
    let mut model = Model::build(&plan.experiment, *classes, plan.device);
    let mut optimizer = plan.experiment.optimizer.build(model.grouped(&plan)?);
    let mut stepper = Stepper::new(&plan);
    tch::manual_seed(derive(plan.experiment.seed, Stream::Step, 0, 0) as i64);
    let images = Tensor::randint(256, [batch, 3, height, width], (Kind::Uint8, plan.device));
    let labels = Tensor::randint(*classes as i64, [batch], (Kind::Int64, plan.device));
    let captions: Vec<String> = (0..batch).map(|at| caption(plan.experiment.seed, at)).collect();
    let tokens = model.tokens(&captions);
    let inputs = Inputs { tokens, ..Inputs::without_text(images, labels) };
    let lr = plan.experiment.optimizer.lr();
    let before = memory("VmRSS");
    let mut measured = Vec::new();
    for step in 0..warm_up + steps {
        let begun = Instant::now();
        if args.forward {
            drop(stepper.embed(&model, &inputs.pixels)?);
            if step >= *warm_up {
                let forward = lap(plan.device, begun);
                measured.push(Stages { forward, backward: 0.0, optimizer: 0.0 });
            }
            continue;
        }
        let forward_pass = stepper.forward(&mut model, &inputs, true)?;
        let forward = lap(plan.device, begun);
        stepper.backward(&forward_pass.output.loss);
        let backward = lap(plan.device, begun);
        stepper.update(optimizer.as_mut(), lr, 1.0)?;
        let all = lap(plan.device, begun);
        if step >= *warm_up {
            let (backward, optimizer) = (backward - forward, all - backward);
            measured.push(Stages { forward, backward, optimizer });
        }
    }
    let milliseconds = |of: fn(&Stages) -> f64| 1e3 * median(measured.iter().map(of).collect());
    let total = milliseconds(|s| s.forward + s.backward + s.optimizer);
    let mut rows = vec![
        ("forward", milliseconds(|s| s.forward)),
        ("backward", milliseconds(|s| s.backward)),
        ("optimizer", milliseconds(|s| s.optimizer)),
        ("total", total),
    ];
    if args.forward {
        rows.truncate(1);
    }
    let backbone = plan.experiment.backbone.kind();
    let peak = peak_beside(before, plan.device);
    if *json {
        let mut object = serde_json::json!({
            "model": backbone,
            "images_per_second": 1e3 * batch as f64 / total,
            "peak_mb": peak,
        });
        for (name, value) in rows {
            object[format!("{name}_ms")] = value.into();
        }
        return say(&format!("{object}\n"));
    }
    say(&format!(
        "{backbone}, batch {batch} of {width}x{height}, {classes} classes, {}, median of {steps} steps\n",
        device::describe(plan.device)
    ))?;
    for (name, value) in rows {
        let speed = 1e3 * batch as f64 / value;
        say(&format!("  {name:<10}{value:>10.1} ms{speed:>10.1} images/s\n"))?;
    }
    match peak {
        Some(peak) => say(&format!("  {:<10}{peak:>10.0} MB beside the weights\n", "peak")),
        None => Ok(()),
    }
}

/// Forty random words, the same for the same place: a text tower's time does not depend on them.
fn caption(seed: u64, at: i64) -> String {
    let mut words = derive(seed, Stream::Step, 1, at as u64);
    let word = |_| {
        words =
            words.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ["red", "green", "large", "small", "round", "square", "on", "under"][(words >> 61) as usize]
    };
    (0..40).map(word).collect::<Vec<_>>().join(" ")
}

/// The experiment, with threads and determinism set.
fn plan(args: &BenchStepArgs) -> Result<Plan> {
    let BenchStepArgs { experiment, steps, warm_up, classes, settings, .. } = args;
    let loaded: Loaded = load(&request(experiment, settings))?;
    let plan = Plan::new(loaded)?;
    if *steps == 0 || *classes == 0 {
        return Err(Error::input("--steps and --classes need at least 1"));
    }
    if *steps > 1_000_000 || *warm_up > 1_000_000 {
        return Err(Error::input("--steps and --warm-up are at most 1,000,000"));
    }
    // What cannot be had ends libtorch; the weights alone are asked for first.
    let shape = [*classes as i64, loaded_dim(&plan)];
    if classes.checked_mul(shape[1] as usize).is_none_or(|size| size > 1 << 40)
        || Tensor::f_empty(shape, (Kind::Float, plan.device)).is_err()
    {
        let message = format!("there is no memory for --classes {classes} x {} weights", shape[1]);
        return Err(Error::input(message).help("lower --classes or head.embedding_dim"));
    }
    let train = &plan.experiment.train;
    if train.threads > 0 {
        threads::set(train.threads);
    }
    determinism::set(train.deterministic)?;
    Ok(plan)
}

fn loaded_dim(plan: &Plan) -> i64 {
    plan.experiment.head.embedding_dim as i64
}

/// Forward and backward of the experiment's loss on normal embeddings [B, D]; of a batch, every
/// identity has two.
pub fn loss(args: &BenchStepArgs) -> Result<()> {
    let BenchStepArgs { steps, warm_up, classes, json, .. } = args;
    if args.forward {
        return Err(Error::input("--forward is an option of `run bench step`"));
    }
    let plan = plan(args)?;
    let experiment = &plan.experiment;
    let (batch, dim) = (experiment.train.batch_size as i64, experiment.head.embedding_dim as i64);
    tch::manual_seed(derive(experiment.seed, Stream::Init, 0, 0) as i64);
    let store = nn::VarStore::new(plan.device);
    let mut loss = experiment.loss.build(&(store.root() / "loss"), dim, *classes as i64);
    let options = (Kind::Float, plan.device);
    let embedding = Tensor::randn([batch, dim], options).set_requires_grad(true);
    let text = experiment.loss.needs().text;
    let text = text.then(|| Tensor::randn([batch, dim], options).set_requires_grad(true));
    let labels = Tensor::arange(batch, (Kind::Int64, plan.device))
        .divide_scalar_mode(2, "floor")
        .remainder(*classes as i64);
    let leaves: Vec<Tensor> =
        store.variables().into_values().chain([embedding.shallow_clone()]).collect();
    let leaves: Vec<Tensor> =
        leaves.into_iter().chain(text.as_ref().map(Tensor::shallow_clone)).collect();
    let before = memory("VmRSS");
    let mut measured = Vec::new();
    for step in 0..warm_up + steps {
        let begun = Instant::now();
        let input =
            LossInput { embedding: &embedding, labels: &labels, text: text.as_ref(), train: true };
        let output = loss.forward(&input)?;
        let forward = lap(plan.device, begun);
        output.loss.backward();
        let all = lap(plan.device, begun);
        drop(output);
        gradient::clear(&leaves)?;
        if step >= *warm_up {
            measured.push(Stages { forward, backward: all - forward, optimizer: 0.0 });
        }
    }
    let milliseconds = |of: fn(&Stages) -> f64| 1e3 * median(measured.iter().map(of).collect());
    let (forward, backward) = (milliseconds(|s| s.forward), milliseconds(|s| s.backward));
    let total = milliseconds(|s| s.forward + s.backward);
    let peak = peak_beside(before, plan.device);
    let kind = experiment.loss.kind();
    if *json {
        let object = serde_json::json!({
            "loss": kind, "batch": batch, "dim": dim, "classes": classes,
            "forward_ms": forward, "backward_ms": backward, "total_ms": total,
            "peak_mb": peak,
        });
        return say(&format!("{object}\n"));
    }
    let beside = match peak {
        Some(peak) => format!(", {peak:.0} MB at the peak beside the weights"),
        None => String::new(),
    };
    say(&format!(
        "{kind}, {batch} x {dim} over {classes} classes, {}, median of {steps}: forward {forward:.1} ms, \
         backward {backward:.1} ms{beside}\n",
        device::describe(plan.device)
    ))
}

/// The exact search on normal embeddings.
pub fn topk(args: &BenchTopkArgs) -> Result<()> {
    let BenchTopkArgs { queries, gallery, dim, k, metric, repeat, threads: count, json } = args;
    if [queries, gallery, dim, k, repeat].contains(&&0) {
        let message = "--queries, --gallery, --dim, --k and --repeat need at least 1";
        return Err(Error::input(message));
    }
    if *count > 0 {
        threads::set(*count);
    }
    let metric = Metric::from(*metric);
    tch::manual_seed(0);
    let embeddings = |rows: usize| -> Result<Vec<f32>> {
        let no_memory = || Error::input(format!("there is no memory for {rows} x {dim} values"));
        let shape = [rows, *dim].map(|length| i64::try_from(length).unwrap_or(i64::MAX));
        rows.checked_mul(*dim).filter(|size| *size <= 1 << 40).ok_or_else(no_memory)?;
        let tensor = Tensor::f_randn(shape, (Kind::Float, Device::Cpu)).map_err(|_| no_memory())?;
        Vec::try_from(tensor.view(-1)).map_err(|_| no_memory())
    };
    let (query_values, gallery_values) = (embeddings(*queries)?, embeddings(*gallery)?);
    let query_rows = Matrix::new(&query_values, *dim)?;
    let gallery_rows = Matrix::new(&gallery_values, *dim)?;
    let before = memory("VmHWM");
    let mut seconds = Vec::new();
    for _ in 0..=*repeat {
        let begun = Instant::now();
        top_k(query_rows, gallery_rows, *k, metric, None, &|_, _| true)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let peak = before.zip(memory("VmHWM")).map(|(before, peak)| peak - before);
    let seconds = median(seconds.split_off(1));
    let speed = *queries as f64 / seconds;
    let threads = threads::get();
    if *json {
        let object = serde_json::json!({
            "queries": queries, "gallery": gallery, "dim": dim, "k": k, "metric": metric,
            "threads": threads, "seconds": seconds, "queries_per_second": speed, "peak_mb": peak,
        });
        return say(&format!("{object}\n"));
    }
    say(&format!(
        "top {k} of {queries} queries over {gallery} x {dim}, {metric}, {threads} threads, median of \
         {repeat}: {seconds:.3} s, {speed:.0} queries/s\n"
    ))
}

/// A figure of this process's memory, MB; None where the system does not tell.
pub(super) fn memory(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

/// MB by which the process grew at its peak; what a GPU allocates is not seen here.
fn peak_beside(before: Option<f64>, device: Device) -> Option<f64> {
    match device {
        Device::Cpu => before.zip(memory("VmHWM")).map(|(before, peak)| peak - before),
        _ => None,
    }
}

/// Seconds since `begun`, everything asked of the device being done.
fn lap(device: Device, begun: Instant) -> f64 {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
    begun.elapsed().as_secs_f64()
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
