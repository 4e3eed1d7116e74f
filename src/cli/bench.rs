//! `run bench loss`: the loss alone. `run bench topk`: the exact search.

use super::args::{BenchStepArgs, BenchTopkArgs};
use super::{request, say};
use crate::config::{Loaded, load};
use crate::loss::LossInput;
use crate::plan::Plan;
use crate::random::{Stream, derive};
use crate::retrieval::{Matrix, Metric, top_k};
use crate::torch::{device, gradient, memory, threads};
use crate::train::session::set_kernels;
use crate::{Error, Result};
use std::time::Instant;
use tch::{Device, Kind, Tensor, nn};

/// Seconds of one step by stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stages {
    pub forward: f64,
    pub backward: f64,
    pub optimizer: f64,
}

/// The experiment, with threads and kernels set.
pub(super) fn plan(args: &BenchStepArgs) -> Result<Plan> {
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
    set_kernels(train)?;
    Ok(plan)
}

fn loaded_dim(plan: &Plan) -> i64 {
    plan.experiment.head.embedding_dim as i64
}

/// Forward and backward of the experiment's loss on normal embeddings [B, D]; of a batch, every
/// identity has two.
pub fn loss(args: &BenchStepArgs) -> Result<()> {
    let BenchStepArgs { steps, warm_up, classes, json, .. } = args;
    if args.forward || args.whole || args.files || args.nproc.is_some() {
        let message = "--forward, --whole, --files and --nproc are options of `run bench step`";
        return Err(Error::input(message));
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
    let before = resident("VmRSS");
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
    let before = resident("VmHWM");
    let mut seconds = Vec::new();
    for _ in 0..=*repeat {
        let begun = Instant::now();
        top_k(query_rows, gallery_rows, *k, metric, None, &|_, _| true)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let peak = before.zip(resident("VmHWM")).map(|(before, peak)| peak - before);
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
pub(super) fn resident(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

/// MB by which the process grew at its peak; on a GPU the most that libtorch's tensors held there.
pub(super) fn peak_beside(before: Option<f64>, device: Device) -> Option<f64> {
    match device {
        Device::Cpu => before.zip(resident("VmHWM")).map(|(before, peak)| peak - before),
        Device::Cuda(index) => memory::cuda_peak(index).ok().map(|bytes| bytes as f64 / 1e6),
        _ => None,
    }
}

/// Seconds since `begun`, everything asked of the device being done.
pub(super) fn lap(device: Device, begun: Instant) -> f64 {
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
