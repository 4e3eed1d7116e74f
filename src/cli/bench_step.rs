//! `run bench step`: throughput of a training step, by part or as a whole.

use super::args::BenchStepArgs;
use super::bench::{Stages, lap, median, peak_beside, plan, resident};
use super::say;
use crate::data;
use crate::distributed::Reducer;
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::random::{Stream, derive};
use crate::torch::c10d::Times;
use crate::torch::device;
use crate::train::build::train_loader;
use crate::train::embedder::Inputs;
use crate::train::model::Model;
use crate::train::ranks::{Asked, Ranks};
use crate::train::signals::StopFlag;
use crate::train::step::{Stepper, Window};
use crate::{Error, Result};
use std::time::Instant;
use tch::{Kind, Tensor};

/// What is trained.
struct Bench {
    plan: Plan,
    model: Model,
    optimizer: Box<dyn Optimizer>,
    stepper: Stepper,
    ranks: Ranks,
    /// Of several processes.
    reducer: Option<Reducer>,
    /// Bytes that were sent before the measured steps.
    sent: u64,
}

/// What is told.
#[derive(Default)]
struct Measured {
    /// Milliseconds by part, the whole last.
    rows: Vec<(&'static str, f64)>,
    images_per_second: f64,
    /// Share of the time that was spent waiting for the loader.
    wait: Option<f64>,
    peak: Option<f64>,
    /// The most that a process ever held, MB.
    resident: Option<f64>,
    /// Several processes.
    ranks: Option<RankFigures>,
}

/// What several processes have besides.
struct RankFigures {
    count: usize,
    /// MB that each sends in a step, and of the gradients that are averaged.
    sent: f64,
    gradients: f64,
    times: Times,
}

/// Steps of the experiment's model, on random images of its input size in the device's memory or on its
/// training images, as text or JSON.
///
/// # Errors
/// Those of the experiment and of its data; numbers of steps and classes that can't be.
pub fn step(args: &BenchStepArgs) -> Result<()> {
    let mut plan = plan(args)?;
    if super::start_processes(args.nproc, std::slice::from_ref(&plan))? {
        return Ok(());
    }
    let stop = StopFlag::listen()?;
    let joined = super::join(std::slice::from_mut(&mut plan), &stop)?.is_some();
    if joined && args.forward {
        return Err(Error::input("--forward is of one process").help("start it without a launcher"));
    }
    let (plan, measured) = match args.files {
        true => files(args, plan)?,
        false => random(args, plan)?,
    };
    if !Ranks::of_process().leads() {
        return Ok(());
    }
    tell(args, &plan, measured)
}

fn tell(args: &BenchStepArgs, plan: &Plan, measured: Measured) -> Result<()> {
    let Measured { rows, images_per_second, wait, peak, resident, ranks } = measured;
    let (backbone, device) = (plan.experiment.backbone.kind(), device::describe(plan.device));
    if args.json {
        let mut object = serde_json::json!({
            "model": backbone,
            "device": device,
            "images_per_second": images_per_second,
            "peak_mb": peak,
            "resident_mb": resident,
        });
        rows.iter().for_each(|(name, value)| object[format!("{name}_ms")] = (*value).into());
        if let Some(wait) = wait {
            object["wait_share"] = wait.into();
        }
        if let Some(RankFigures { count, sent, gradients, times }) = ranks {
            object["processes"] = count.into();
            object["sent_mb"] = sent.into();
            object["gradients_mb"] = gradients.into();
            object["communication_ms"] = (1e3 * times.communication).into();
            object["hidden_share"] = times.hidden().into();
        }
        return say(&format!("{object}\n"));
    }
    let batch = plan.experiment.train.batch_size;
    let (height, width) = (plan.experiment.preprocess.height, plan.experiment.preprocess.width);
    let how = if args.whole || args.files || ranks.is_some() { "mean" } else { "median" };
    let (classes, steps) = (args.classes, args.steps);
    let classes = if args.files { String::new() } else { format!(" {classes} classes,") };
    say(&format!(
        "{backbone}, batch {batch} of {width}x{height},{classes} {device}, {how} of {steps} steps\n"
    ))?;
    for (name, value) in rows {
        let speed = 1e3 * batch as f64 / value;
        say(&format!("  {name:<10}{value:>10.1} ms{speed:>10.1} images/s\n"))?;
    }
    if let Some(wait) = wait {
        say(&format!("  {:<10}{:>10.1} % of the time for the loader\n", "waited", 100.0 * wait))?;
    }
    match (peak, plan.device) {
        (Some(peak), tch::Device::Cpu) => {
            say(&format!("  {:<10}{peak:>10.0} MB beside the weights\n", "peak"))?;
        }
        (Some(peak), _) => say(&format!("  {:<10}{peak:>10.0} MB on the device\n", "peak"))?,
        (None, _) => {}
    }
    if let Some(resident) = resident {
        let of = if ranks.is_some() { " of the largest process" } else { "" };
        say(&format!("  {:<10}{resident:>10.0} MB of memory in all{of}\n", "resident"))?;
    }
    let Some(RankFigures { count, sent, gradients, times }) = ranks else { return Ok(()) };
    let hidden = times.hidden().map_or(String::new(), |hidden| {
        let took = 1e3 * times.communication;
        format!(", {took:.1} ms of which the backward pass hides {:.0} %", 100.0 * hidden)
    });
    let sends = format!("MB a step by each of {count}, to average {gradients:.3} MB{hidden}");
    say(&format!("  {:<10}{sent:>10.3} {sends}\n", "sent"))
}

fn build(plan: Plan, classes: usize) -> Result<Bench> {
    let ranks = Ranks::of_process();
    plan.fits_ranks(classes, ranks.size())?;
    let mut model = Model::build(&plan.experiment, classes, plan.device);
    let optimizer = plan.experiment.optimizer.build(model.grouped(&plan)?);
    let divided = model.divided();
    ranks.broadcast(&model.tensors(), &divided)?;
    let reducer = ranks.reducer(&model.parameters(), &divided)?;
    let stepper = Stepper { divided, ..Stepper::new(&plan) };
    let stream = 2 * ranks.rank() as u64;
    tch::manual_seed(derive(plan.experiment.seed, Stream::Step, stream, 0) as i64);
    Ok(Bench { plan, model, optimizer, stepper, ranks, reducer, sent: 0 })
}

impl Bench {
    /// As a training does it: the numbers of the step are fetched, a divergence is none of ours. `whole`:
    /// images of all processes.
    fn step(&mut self, inputs: &Inputs, whole: usize) -> Result<()> {
        let lr = self.plan.experiment.optimizer.lr();
        if !self.ranks.are_several() {
            self.stepper.step(&mut self.model, self.optimizer.as_mut(), lr, inputs)?;
            return Ok(());
        }
        let (mut window, own) = (Window::default(), inputs.labels.size()[0] as u64);
        let reducer = self.reducer.as_mut();
        let scalars = self.stepper.accumulate(&mut self.model, inputs, 1.0, reducer)?;
        self.ranks.add(&mut window, scalars, own, whole as u64)?;
        self.stepper.update(self.optimizer.as_mut(), lr, 1.0)?;
        self.model.loss.after_step();
        self.ranks.any(Asked::default())?;
        Ok(())
    }

    /// All processes begin what is measured together.
    fn begin(&mut self) -> Result<Instant> {
        lap(self.plan.device, Instant::now());
        self.ranks.meet()?;
        self.sent = self.ranks.sent().unwrap_or_default();
        Ok(Instant::now())
    }

    /// What is told of `rows` that took `steps` steps.
    fn measured(self, steps: usize, measured: Measured) -> Result<(Plan, Measured)> {
        let most = |value: Option<f64>| -> Result<Option<f64>> {
            Ok(Some(self.ranks.most(value.unwrap_or(-1.0))?).filter(|value| *value >= 0.0))
        };
        let (peak, resident) = (most(measured.peak)?, most(resident("VmHWM"))?);
        let ranks = match (self.ranks.sent(), &self.reducer) {
            (Some(sent), Some(reducer)) => Some(RankFigures {
                count: self.ranks.size(),
                sent: (sent - self.sent) as f64 / steps as f64 / 1e6,
                gradients: reducer.bytes() as f64 / 1e6,
                times: reducer.times()?,
            }),
            _ => None,
        };
        Ok((self.plan, Measured { peak, resident, ranks, ..measured }))
    }

    fn parts(&mut self, inputs: &Inputs, forward_only: bool) -> Result<Stages> {
        let (device, begun) = (self.plan.device, Instant::now());
        if forward_only {
            drop(self.stepper.embed(&self.model, &inputs.pixels)?);
            return Ok(Stages { forward: lap(device, begun), backward: 0.0, optimizer: 0.0 });
        }
        let pass = self.stepper.forward(&mut self.model, inputs, true)?;
        let forward = lap(device, begun);
        self.stepper.backward(&pass.output.loss)?;
        let backward = lap(device, begun);
        self.stepper.update(self.optimizer.as_mut(), self.plan.experiment.optimizer.lr(), 1.0)?;
        let all = lap(device, begun);
        Ok(Stages { forward, backward: backward - forward, optimizer: all - backward })
    }
}

/// On random images, which lie on the device before the first step.
fn random(args: &BenchStepArgs, plan: Plan) -> Result<(Plan, Measured)> {
    let BenchStepArgs { steps, warm_up, classes, forward, whole, .. } = args;
    let mut bench = build(plan, *classes)?;
    let (device, experiment) = (bench.plan.device, &bench.plan.experiment);
    let whole_batch = experiment.train.batch_size;
    let batch = bench.ranks.shard().range(whole_batch).len() as i64;
    let (height, width) = (experiment.preprocess.height, experiment.preprocess.width);
    let shape = [batch, 3, height as i64, width as i64];
    let images = Tensor::randint(256, shape, (Kind::Uint8, device));
    let labels = Tensor::randint(*classes as i64, [batch], (Kind::Int64, device));
    let captions: Vec<String> = (0..batch).map(|at| caption(experiment.seed, at)).collect();
    let tokens = bench.model.tokens(&captions);
    let inputs = Inputs { tokens, ..Inputs::without_text(images, labels) };
    let before = resident("VmRSS");
    let rows = if *whole || bench.ranks.are_several() {
        for _ in 0..*warm_up {
            bench.step(&inputs, whole_batch)?;
        }
        let begun = bench.begin()?;
        for _ in 0..*steps {
            bench.step(&inputs, whole_batch)?;
        }
        vec![("total", 1e3 * lap(device, begun) / *steps as f64)]
    } else {
        let mut measured = Vec::new();
        for step in 0..warm_up + steps {
            let parts = bench.parts(&inputs, *forward)?;
            if step >= *warm_up {
                measured.push(parts);
            }
        }
        let of = |of: fn(&Stages) -> f64| 1e3 * median(measured.iter().map(of).collect());
        let total = of(|s| s.forward + s.backward + s.optimizer);
        let mut rows = vec![("forward", of(|s| s.forward))];
        if !forward {
            rows.extend([("backward", of(|s| s.backward)), ("optimizer", of(|s| s.optimizer))]);
            rows.push(("total", total));
        }
        rows
    };
    let total = rows.last().map_or(f64::NAN, |(_, milliseconds)| *milliseconds);
    let images_per_second = 1e3 * whole_batch as f64 / total;
    let peak = peak_beside(before, device);
    bench.measured(*steps, Measured { rows, images_per_second, peak, ..Measured::default() })
}

/// On the training images, epoch after epoch, from files to updated weights.
fn files(args: &BenchStepArgs, plan: Plan) -> Result<(Plan, Measured)> {
    let BenchStepArgs { steps, warm_up, .. } = args;
    let experiment = &plan.experiment;
    let splits =
        data::open(&experiment.data, &experiment.paths.datasets, experiment.seed, &|_, _| true)?;
    let classes = splits.train.labels.len();
    let loader = train_loader(&plan, splits.train, splits.on_corrupt)?;
    if loader.batches_per_epoch() == 0 {
        return Err(Error::input("the data has no batch").help("lower train.batch_size"));
    }
    let mut bench = build(plan, classes)?;
    let device = bench.plan.device;
    let before = resident("VmRSS");
    let (mut begun, mut images) = (Instant::now(), 0);
    let batches = (0..).flat_map(|epoch| loader.epoch(epoch, 0));
    for (step, batch) in batches.take(warm_up + steps).enumerate() {
        let batch = batch?;
        if step == *warm_up {
            loader.take_stages();
            (begun, images) = (bench.begin()?, 0);
        }
        let inputs = Inputs::of(&batch, loader.dataset(), &bench.model);
        bench.step(&inputs, batch.whole)?;
        images += batch.whole;
    }
    let seconds = lap(device, begun);
    let measured = Measured {
        rows: vec![("total", 1e3 * seconds / *steps as f64)],
        images_per_second: images as f64 / seconds,
        wait: Some(loader.take_stages().wait / seconds),
        peak: peak_beside(before, device),
        ..Measured::default()
    };
    bench.measured(*steps, measured)
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
