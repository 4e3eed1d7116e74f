//! Trains an experiment for some steps and leaves what `tools/parity/train_curve.py` needs to do
//! the same in PyTorch: initial weights, batches, settings, and the losses.
//!
//!     cargo run --release --example curve -- EXPERIMENT.toml STEPS FOLDER [KEY=VALUE ...]

use arcrun::checkpoint::write_weights;
use arcrun::config::{Loaded, Request, load};
use arcrun::data::{Loader, LoaderOptions};
use arcrun::evaluate::Absent;
use arcrun::plan::Plan;
use arcrun::random::{Stream, derive};
use arcrun::record::Verbosity;
use arcrun::scheduler::Horizon;
use arcrun::torch::threads;
use arcrun::train::embedder::{Inputs, pixels};
use arcrun::train::model::Model;
use arcrun::train::session::{prepare, set_kernels};
use arcrun::train::signals::StopFlag;
use arcrun::train::step::Stepper;
use arcrun::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tch::Tensor;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [experiment, steps, folder, sets @ ..] = arguments.as_slice() else {
        eprintln!("usage: curve EXPERIMENT.toml STEPS FOLDER [KEY=VALUE ...]");
        return ExitCode::from(2);
    };
    let Ok(steps) = steps.parse() else {
        eprintln!("{steps} is no number of steps");
        return ExitCode::from(2);
    };
    match curve(Path::new(experiment), steps, Path::new(folder), sets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn curve(experiment: &Path, steps: usize, folder: &Path, sets: &[String]) -> Result<()> {
    let request = Request { sets: sets.to_vec(), ..Request::new(experiment) };
    let loaded: Loaded = load(&request)?;
    let plan = Plan::new(loaded)?;
    let experiment = &plan.experiment;
    if experiment.train.threads > 0 {
        threads::set(experiment.train.threads);
    }
    set_kernels(&experiment.train)?;
    let splits = prepare(&plan, Verbosity::Normal, Absent::LeaveOut, &StopFlag::default())?.splits;
    let classes = splits.train.labels.len();
    let options = LoaderOptions {
        batch_size: experiment.train.batch_size,
        seed: experiment.seed,
        sampler: Some(experiment.sampler.clone()),
        drop_last: true,
        workers: 1,
        prefetch: 2,
        on_corrupt: splits.on_corrupt,
        shard: Default::default(),
    };
    let augmentation = Some(experiment.augmentation.clone());
    let preprocess = experiment.preprocess.build();
    let loader = Loader::new(Arc::new(splits.train), preprocess, augmentation, options)?;
    let mut model = Model::build(experiment, classes, plan.device);
    let grouped = model.grouped(&plan)?;
    if grouped.notice.is_some() {
        return Err(Error::input("`groups` is not compared: train_curve.py has one group")
            .help("leave the table out; tests/parity_optimizer.rs holds groups to references"));
    }
    let mut optimizer = experiment.optimizer.build(grouped);
    let mut stepper = Stepper::new(&plan);
    let horizon = Horizon { steps, steps_per_epoch: loader.batches_per_epoch() };
    let scheduler = experiment.scheduler.build(experiment.optimizer.lr(), horizon);

    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let initial = model.tensors().into_iter().map(|(name, tensor)| (name, tensor.detach().copy()));
    write_weights(&folder.join("initial.safetensors"), &initial.collect())?;
    let mut batches = BTreeMap::new();
    let (mut losses, mut rates) = (Vec::new(), Vec::new());
    let epochs = (0..).flat_map(|epoch| loader.epoch(epoch, 0));
    for (step, batch) in epochs.take(steps).enumerate() {
        let batch = batch?;
        let (images, labels) = (pixels(&batch), Tensor::from_slice(&batch.labels));
        tch::manual_seed(derive(experiment.seed, Stream::Step, 0, step as u64) as i64);
        let lr = scheduler.lr(step);
        let inputs = Inputs::without_text(images.shallow_clone(), labels.shallow_clone());
        let outcome = stepper.step(&mut model, optimizer.as_mut(), lr, &inputs)?;
        losses.push(outcome.loss);
        rates.push(lr);
        batches.insert(format!("images_{step:04}"), images);
        batches.insert(format!("labels_{step:04}"), labels);
    }
    write_weights(&folder.join("batches.safetensors"), &batches)?;
    let json = serde_json::json!({
        "backbone": without(serde_json::json!(experiment.backbone), &["pretrained", "frozen"]),
        "head": experiment.head,
        "loss": experiment.loss,
        "optimizer": optimizer_keys(serde_json::json!(experiment.optimizer)),
        "mean": experiment.preprocess.mean,
        "std": experiment.preprocess.std,
        "channels_last": experiment.train.channels_last,
        "steps": steps,
        "lrs": rates,
        "arcrun_losses": losses,
    });
    let path = folder.join("config.json");
    std::fs::write(&path, json.to_string()).map_err(|e| Error::io("write", &path, e))?;
    println!(
        "{steps} steps, loss {:.6} to {:.6}: {}",
        losses[0],
        losses[steps - 1],
        path.display()
    );
    Ok(())
}

fn without(mut value: serde_json::Value, keys: &[&str]) -> serde_json::Value {
    if let Some(object) = value.as_object_mut() {
        keys.iter().for_each(|key| drop(object.remove(*key)));
    }
    value
}

/// PyTorch takes the two betas as a pair.
fn optimizer_keys(mut value: serde_json::Value) -> serde_json::Value {
    if let (Some(first), Some(second)) = (value.get("beta1").cloned(), value.get("beta2").cloned())
    {
        value = without(value, &["beta1", "beta2"]);
        value["betas"] = serde_json::json!([first, second]);
    }
    value
}
