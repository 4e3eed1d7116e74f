//! `run bench step`: throughput of a training step, by stage.

use super::args::BenchStepArgs;
use super::{request, say};
use crate::config::{Loaded, load};
use crate::plan::Plan;
use crate::random::{Stream, derive};
use crate::torch::{determinism, device, threads};
use crate::train::model::Model;
use crate::train::step::Stepper;
use crate::{Error, Result};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

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
    let BenchStepArgs { experiment, steps, warm_up, classes, json, settings } = args;
    let loaded: Loaded = load(&request(experiment, settings))?;
    let plan = Plan::new(loaded)?;
    if *steps == 0 || *classes == 0 {
        return Err(Error::input("--steps and --classes need at least 1"));
    }
    let train = &plan.experiment.train;
    if train.threads > 0 {
        threads::set(train.threads);
    }
    determinism::set(train.deterministic)?;
    let (batch, pixels) = (train.batch_size as i64, &plan.experiment.preprocess);
    let (height, width) = (pixels.height as i64, pixels.width as i64);
    let mut model = Model::build(&plan.experiment, *classes, plan.device);
    let mut optimizer = plan.experiment.optimizer.build(model.grouped(&plan, &[])?);
    let mut stepper = Stepper::new(&plan);
    tch::manual_seed(derive(plan.experiment.seed, Stream::Step, 0, 0) as i64);
    let images = Tensor::randint(256, [batch, 3, height, width], (Kind::Uint8, plan.device));
    let labels = Tensor::randint(*classes as i64, [batch], (Kind::Int64, plan.device));
    let lr = plan.experiment.optimizer.lr();
    let mut measured = Vec::new();
    for step in 0..warm_up + steps {
        let begun = Instant::now();
        let output = stepper.forward(&mut model, &images, &labels, true)?;
        let forward = lap(plan.device, begun);
        stepper.backward(&output.loss);
        let backward = lap(plan.device, begun);
        stepper.update(optimizer.as_mut(), lr)?;
        let all = lap(plan.device, begun);
        if step >= *warm_up {
            let (backward, optimizer) = (backward - forward, all - backward);
            measured.push(Stages { forward, backward, optimizer });
        }
    }
    let milliseconds = |of: fn(&Stages) -> f64| 1e3 * median(measured.iter().map(of).collect());
    let total = milliseconds(|s| s.forward + s.backward + s.optimizer);
    let rows = [
        ("forward", milliseconds(|s| s.forward)),
        ("backward", milliseconds(|s| s.backward)),
        ("optimizer", milliseconds(|s| s.optimizer)),
        ("total", total),
    ];
    let backbone = plan.experiment.backbone.kind();
    if *json {
        let mut object = serde_json::json!({
            "model": backbone,
            "images_per_second": 1e3 * batch as f64 / total,
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
    Ok(())
}

/// Seconds since `begun`, everything asked of the device being done.
fn lap(device: Device, begun: Instant) -> f64 {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
