//! Builds the parts of a run and puts a checkpoint's state into them.

use super::ema::Average;
use super::embeddings::{EmbeddingsRecord, Wanted};
use super::evaluation::Evaluation;
use super::model::Model;
use super::nonfinite::read_scaler;
use super::pretrained;
use super::progress::Progress;
use super::ranks::Ranks;
use super::same::watches_otherwise;
use super::saving::Saving;
use super::session::{Prepared, workers};
use super::signals::StopFlag;
use super::step::Stepper;
use super::time_limit::Reserve;
use super::trainer::Trainer;
use crate::Result;
use crate::checkpoint::{self, EarlyStopping, Labels, Snapshot, Store};
use crate::config::Experiment;
use crate::data::{Dataset, Loader, LoaderOptions, OnCorrupt, SamplerConfig, Shard};
use crate::loss::Needs;
use crate::plan::Plan;
use crate::record::{Event, Recorder, RunInfo};
use crate::scheduler::Horizon;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// What a run folder gave when it was opened.
pub struct Opened {
    pub recorder: Recorder,
    /// None on ranks that write nothing.
    pub store: Option<Store>,
    /// To go on from.
    pub snapshot: Option<Box<Snapshot>>,
    /// Rows in `eval.csv`.
    pub eval_rows: u64,
}

/// Builds the parts and puts a checkpoint's state into them.
pub fn build<'a>(
    plan: &'a Plan,
    prepared: Prepared,
    labels: Labels,
    stop: &StopFlag,
    path: &Path,
    info: Option<&mut RunInfo>,
    opened: Opened,
) -> Result<Trainer<'a>> {
    let ranks = Ranks::of_process();
    let Opened { mut recorder, store, snapshot, eval_rows } = opened;
    let Prepared { splits, mut evaluation, notes: _ } = prepared;
    let experiment = &plan.experiment;
    let mut model = Model::build(experiment, labels.names.len(), plan.device);
    // The others take rank 0's weights.
    if snapshot.is_none() && ranks.leads() {
        for notice in pretrained::load(&model, experiment)? {
            recorder.notice(notice)?;
        }
        if let Some(notice) = pretrained::preprocessing(experiment) {
            recorder.notice(notice)?;
        }
    }
    let grouped = model.grouped(plan)?;
    let parameters = model.divided().whole_values(&grouped);
    let epochs = experiment.train.epochs;
    for text in [&grouped.notice, &model.frozen_notice(epochs)].into_iter().flatten() {
        recorder.notice(text)?;
    }
    let mut optimizer = experiment.optimizer.build(grouped);
    if leaves_out_last(experiment, splits.train.len()) && !experiment.train.drop_last {
        recorder.notice("the last batch of one image is left out of each epoch")?;
    }
    let validation = splits.validation.filter(|set| !set.is_empty());
    if validation.as_ref().is_some_and(|set| ends_in_one_caption(experiment, set)) {
        recorder.notice("the last caption is left out of the validation: alone in its batch")?;
    }
    let wanted = Wanted {
        every: experiment.record.embeddings_every_epochs,
        samples: experiment.record.embeddings_samples,
        experiment: &plan.name,
        quiet: evaluation.quiet,
    };
    let preprocess = experiment.preprocess.build();
    let shared = LoaderOptions { shard: Shard::default(), ..options(plan, splits.on_corrupt) };
    let embeddings = match ranks.leads() {
        true => {
            let (train, validation) = (&splits.train, validation.as_ref());
            EmbeddingsRecord::new(wanted, path, train, validation, preprocess, shared)?
        }
        false => None,
    };
    let train = train_loader(plan, splits.train, splits.on_corrupt)?;
    let validation =
        validation.map(|set| validation_loader(plan, set, splits.on_corrupt)).transpose()?;

    let limits = &experiment.train;
    let steps_per_epoch = steps_per_epoch(plan, &train);
    if limits.accumulate > 1 && experiment.loss.needs() != Needs::default() {
        recorder.notice(format!(
            "train.accumulate: the loss `{}` compares the images of one batch of {}, not of all {} \
             batches of a step",
            experiment.loss.kind(),
            limits.batch_size,
            limits.accumulate
        ))?;
    }
    let horizon = Horizon::new(steps_per_epoch, limits.epochs, limits.max_steps);
    let mut scheduler = experiment.scheduler.build(experiment.optimizer.lr(), horizon);
    let mut stepper = Stepper { divided: model.divided(), ..Stepper::new(plan) };
    let mut progress = Progress::default();
    let mut average = Average::new(&limits.ema, &model);
    if let Some(snapshot) = snapshot {
        let Snapshot { mut tensors, state } = *snapshot;
        let watches_otherwise = watches_otherwise(plan, &state)?;
        let divided = model.divided();
        let mut own = |group: &str| divided.own(tensors.remove(group).unwrap_or_default());
        let weights = own("model");
        let source = path.join("checkpoints");
        let expected = checkpoint::shapes(&model.tensors());
        checkpoint::same_tensors(&source, &expected, &checkpoint::shapes(&weights))?;
        model.load(&weights);
        optimizer.slots_mut().load_state(&own("optimizer"))?;
        scheduler.load_state(&state.scheduler)?;
        model.loss.load_state(&state.loss)?;
        if let (Some(scaler), Some(value)) = (&mut stepper.scaler, state.scaler) {
            scaler.set_state(read_scaler(value)?);
        }
        if let Some(average) = &mut average {
            average.load(state.ema_updates, &own("ema"))?;
        }
        let early_stopping = match watches_otherwise {
            true => {
                let text = "early stopping counts anew: it watches otherwise than before";
                recorder.notice(text)?;
                EarlyStopping::default()
            }
            false => state.early_stopping,
        };
        progress = Progress {
            epoch: state.epoch,
            step: state.step,
            batch: state.batch_in_epoch,
            partial: state.partial,
            early_stopping,
            min_loss: state.min_loss,
            best: state.best,
            nonfinite: state.nonfinite,
            history: state.history,
            cut: false,
        };
    }
    let loss_columns = model.loss.columns();
    let divided = model.divided();
    ranks.broadcast(&model.tensors(), &divided)?;
    if let Some(info) = info {
        info.parameters = parameters as u64;
        info.write(path)?;
        evaluation.csv = Some(path.join(Evaluation::FILE));
        evaluation.written = eval_rows;
        evaluation.scores = experiment.record.scores.then(|| path.to_path_buf());
        recorder.emit(&Event::RunStarted {
            experiment: plan.name.clone(),
            run: path.to_path_buf(),
            device: info.device.clone(),
            parameters: parameters as u64,
            step: progress.step,
        })?;
    }
    Ok(Trainer {
        plan,
        model,
        optimizer,
        scheduler,
        stepper,
        average,
        train,
        validation,
        evaluation,
        embeddings,
        recorder,
        saving: store
            .map(|store| Saving::new(store, experiment.checkpoint.background, path, &progress)),
        stop: stop.clone(),
        sent: (0, 0),
        missing: BTreeSet::new(),
        progress,
        labels,
        loss_columns,
        skipped: 0,
        reserve: Reserve::default(),
        ranks,
        reducer: None,
        divided,
        over: false,
        details: None,
        run: path.to_path_buf(),
    })
}

/// The batches that are trained on; with `train.overfit_batches` the first ones of the first epoch, in
/// every epoch and without augmentation.
///
/// # Errors
/// Those of [`Loader::new`].
pub fn train_loader(plan: &Plan, train: Dataset, on_corrupt: OnCorrupt) -> Result<Loader> {
    let experiment = &plan.experiment;
    let drop_last = leaves_out_last(experiment, train.len());
    let options = LoaderOptions { drop_last, ..options(plan, on_corrupt) };
    let augmentation = Some(experiment.augmentation.clone());
    let preprocess = experiment.preprocess.build();
    let loader = Loader::new(Arc::new(train), preprocess.clone(), augmentation, options.clone())?;
    let batches = experiment.train.overfit_batches;
    if batches == 0 {
        return Ok(loader);
    }
    let subset = loader.dataset().subset(&loader.first_items(batches));
    let drop_last = leaves_out_last(experiment, subset.len());
    // Fewer images than a batch make the batch.
    let drop_last = drop_last && subset.len() >= options.batch_size;
    Loader::new(
        Arc::new(subset),
        preprocess,
        None,
        LoaderOptions { sampler: None, drop_last, ..options },
    )
}

/// Optimizer steps of an epoch.
pub fn steps_per_epoch(plan: &Plan, train: &Loader) -> usize {
    train.batches_per_epoch().div_ceil(plan.experiment.train.accumulate)
}

/// The batches that are validated on: each image once, in order, as it is.
fn validation_loader(plan: &Plan, validation: Dataset, on_corrupt: OnCorrupt) -> Result<Loader> {
    let options = LoaderOptions { sampler: None, drop_last: false, ..options(plan, on_corrupt) };
    Loader::new(Arc::new(validation), plan.experiment.preprocess.build(), None, options)
}

fn options(plan: &Plan, on_corrupt: OnCorrupt) -> LoaderOptions {
    let experiment = &plan.experiment;
    LoaderOptions {
        batch_size: experiment.train.batch_size,
        seed: experiment.seed,
        sampler: Some(experiment.sampler.clone()),
        drop_last: experiment.train.drop_last,
        workers: workers(plan),
        prefetch: experiment.loader.prefetch,
        on_corrupt,
        shard: Ranks::of_process().shard(),
    }
}

/// Whether a last batch that is smaller than the others is left out of each epoch: where that is
/// asked for, and one of a single image always, since batch norm needs two samples.
fn leaves_out_last(experiment: &Experiment, images: usize) -> bool {
    let remainder = match experiment.sampler {
        SamplerConfig::Shuffle(_) | SamplerConfig::ClassBalanced(_) => {
            images % experiment.train.batch_size
        }
        SamplerConfig::Pk(_) => 0,
    };
    experiment.train.drop_last || remainder == 1 && images > 1
}

/// Whether the last batch of a validation is a caption that there is nothing to tell apart from, which
/// [`Trainer`] leaves out.
fn ends_in_one_caption(experiment: &Experiment, set: &Dataset) -> bool {
    set.captions.len() % experiment.train.batch_size == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Batch, Draw, Renderer, scan};

    /// Whatever `[augmentation]` says.
    #[test]
    fn validation_is_never_augmented() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..12 {
            let identity = dir.path().join(["ann", "bob"][number % 2]);
            std::fs::create_dir_all(&identity).unwrap();
            let pixel = |x, y| image::Rgb([(x * 9) as u8, (y * 11) as u8, 10 * number as u8]);
            let path = identity.join(format!("{number:02}.png"));
            image::RgbImage::from_fn(20, 18, pixel).save(&path).unwrap();
        }
        let set = scan::scan(dir.path()).unwrap().dataset();
        let text = "data.kind = 'synthetic_faces'\n\
             preprocess.height = 16\npreprocess.width = 16\n\
             augmentation.horizontal_flip = 1.0\naugmentation.rotation_share = 1.0\n\
             augmentation.resized_crop.share = 1.0\naugmentation.color_jitter.share = 1.0\n\
             augmentation.greyscale.share = 1.0\naugmentation.blur.share = 1.0\n\
             augmentation.low_resolution.share = 1.0\naugmentation.jpeg.share = 1.0\n\
             augmentation.cutout.share = 1.0\ntrain.batch_size = 4\ntrain.device = 'cpu'\n";
        let plan = Plan::new(crate::config::load_str("x.toml", text, &[]).unwrap()).unwrap();
        let to = plan.experiment.preprocess.build();
        let plain = |index: usize| {
            let mut pixels = vec![0; 3 * 16 * 16];
            let image = &set.items[index].image;
            Renderer::default().render(image, &to, &Draw::NONE, &mut pixels).unwrap();
            pixels
        };
        // How many images are not as they are in the file.
        let changed = |loader: Loader| {
            let batches: Vec<Batch> = loader.epoch(1, 0).collect::<Result<_>>().unwrap();
            let images = batches.iter().flat_map(|b| b.indices.iter().zip(b.images.chunks(768)));
            images.filter(|(index, image)| **image != plain(**index)).count()
        };
        let (train, skip) = (set.clone(), OnCorrupt::Skip);
        assert_eq!(changed(validation_loader(&plan, set.clone(), skip).unwrap()), 0);
        assert_eq!(changed(train_loader(&plan, train, skip).unwrap()), 12);
    }
}
