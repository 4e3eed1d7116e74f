//! `run bench loader`: batches of the training images, without a network.

use super::args::BenchLoaderArgs;
use super::bench::{median, resident};
use super::{request, say};
use crate::config::{Loaded, load};
use crate::data::{self, Stages};
use crate::plan::Plan;
use crate::train::build::train_loader;
use crate::{Error, Result};
use std::time::Instant;

/// Loads whole epochs as a training does and throws the batches away. The first epoch, which fills the
/// system's cache, is not measured.
pub fn loader(args: &BenchLoaderArgs) -> Result<()> {
    let BenchLoaderArgs { experiment, epochs, json, settings } = args;
    if *epochs == 0 || *epochs > 1_000_000 {
        return Err(Error::input("--epochs is from 1 to 1,000,000"));
    }
    let loaded: Loaded = load(&request(experiment, settings))?;
    let plan = Plan::without_training(loaded)?;
    let experiment = &plan.experiment;
    let before = resident("VmRSS");
    let splits =
        data::open(&experiment.data, &experiment.paths.datasets, experiment.seed, &|_, _| true)?;
    let listed = resident("VmRSS");
    let count = splits.train.len();
    let loader = train_loader(&plan, splits.train, splits.on_corrupt)?;
    let (mut speeds, mut stages, mut total) = (Vec::new(), Stages::default(), 0.0);
    for epoch in 0..=*epochs {
        let begun = Instant::now();
        let mut images = 0;
        for batch in loader.epoch(epoch, 0) {
            images += batch?.len();
        }
        let seconds = begun.elapsed().as_secs_f64();
        let taken = loader.take_stages();
        if epoch > 0 {
            speeds.push(images as f64 / seconds);
            stages.add(&taken);
            total += seconds;
        }
    }
    let speed = median(speeds);
    let workers = crate::train::session::workers(&plan);
    let skipped = loader.skipped().len();
    let bytes = before.zip(listed).map(|(before, listed)| 1e6 * (listed - before) / count as f64);
    let peak = resident("VmHWM");
    let share = |seconds: f64| seconds / stages.busy().max(1e-12);
    if *json {
        let mut object = serde_json::json!({
            "images": count, "images_per_second": speed, "workers": workers, "skipped": skipped,
            "bytes_per_sample": bytes, "peak_mb": peak,
        });
        for (name, seconds) in stages.columns() {
            object[name] = seconds.into();
        }
        return say(&format!("{object}\n"));
    }
    let Stages { read, decode, augment, collate, .. } = stages;
    let [read, decode, augment, collate] =
        [read, decode, augment, collate].map(|seconds| 100.0 * share(seconds));
    say(&format!(
        "{count} images, {workers} workers, median of {epochs} epochs: {speed:.0} images/s\n  threads: \
         read {read:.0} %, decode and resize {decode:.0} %, augment {augment:.0} %, collate {collate:.0} \
         %; busy {:.0} % of the time\n",
        100.0 * stages.busy() / (total * workers as f64).max(1e-12)
    ))?;
    match (bytes, peak) {
        (Some(bytes), Some(peak)) => say(&format!(
            "  memory:  {bytes:.0} bytes a sample for the list, {peak:.0} MB in all\n"
        )),
        _ => Ok(()),
    }
}
