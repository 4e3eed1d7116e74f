//! What a run needs before its folder is made: threads, data, evaluation sets, where it is logged.

use super::evaluation::Evaluation;
use super::ranks::Ranks;
use super::session::Prepared;
use super::signals::StopFlag;
use crate::Result;
use crate::checkpoint::Snapshot;
use crate::cli::progress::Counter;
use crate::config::tables::Train;
use crate::data::{self, Splits};
use crate::evaluate::{self, Absent};
use crate::plan::Plan;
use crate::record::Verbosity;
use crate::torch::{determinism, precision, threads};
use crate::wandb::{Environment, Mode, Settings};

/// Where the run is logged; None: W&B is switched off.
///
/// # Errors
/// A `WANDB_*` variable that can't be used.
pub fn wandb_settings(plan: &Plan) -> Result<Option<Settings>> {
    let environment = Environment::of_process();
    let settings = Settings::resolve(&plan.experiment.record.wandb, &environment, "")?;
    Ok((settings.mode != Mode::Disabled).then_some(settings))
}

/// Threads and kernels, before the first tensor. A continued run keeps its thread count: the
/// same bits need the same number.
pub fn set_up_torch(plan: &Plan, snapshot: Option<&Snapshot>) -> Result<()> {
    let wanted = plan.experiment.train.threads;
    match (wanted, snapshot) {
        (0, Some(snapshot)) => threads::set(snapshot.state.threads),
        (0, None) => {}
        (wanted, _) => threads::set(wanted),
    }
    set_kernels(&plan.experiment.train)
}

/// Which kernels libtorch may choose: deterministic ones, TensorFloat-32, cuDNN's fastest.
pub fn set_kernels(train: &Train) -> Result<()> {
    determinism::set(train.deterministic)?;
    precision::set_tf32(train.tf32)?;
    precision::set_cudnn_benchmark(train.cudnn_benchmark)
}

/// Opens the data and the evaluation sets.
///
/// # Errors
/// What is missing or too small, named by key.
pub fn prepare(
    plan: &Plan,
    verbosity: Verbosity,
    absent: Absent,
    stop: &StopFlag,
) -> Result<Prepared> {
    let experiment = &plan.experiment;
    let mut splits = open_splits(plan, verbosity, stop)?;
    let mut notes = splits.notes.clone();
    let decoded = || splits.train.items.iter().any(|item| item.image.decoded().is_some());
    if experiment.augmentation.resized_crop.share > 0.0 && decoded() {
        notes.push(
            "augmentation.resized_crop cuts from images that were decoded at the input size: \
             coarser pixels than from their source"
                .to_string(),
        );
    }
    let said = experiment.sampler.check(&splits.train, experiment.train.batch_size);
    notes.extend(said.map_err(|no| plan.error(no.key, no.message, &no.help))?);
    let (mut evaluation, said) = evaluation(plan, Some(&splits), verbosity, absent)?;
    notes.extend(said);
    if experiment.train.overfit_batches > 0 {
        // Epochs of a few steps: looking at other images would take longer than they do.
        splits.validation = None;
        evaluation.sets.clear();
        notes.push(
            "train.overfit_batches: nothing is validated or evaluated, min-loss is the training loss"
                .to_string(),
        );
    } else if splits.validation.is_none() {
        notes.push(
            "no validation images: min-loss, early stopping and reduce_on_plateau watch the \
             epoch's mean training loss"
                .to_string(),
        );
    }
    Ok(Prepared { splits, evaluation, notes })
}

/// The data as a run trains on it and records it in `run.json`.
///
/// # Errors
/// Those of [`data::open`], and images that were decoded for another input.
pub fn open_splits(plan: &Plan, verbosity: Verbosity, stop: &StopFlag) -> Result<Splits> {
    let mut splits = open_data(plan, verbosity, stop)?;
    if plan.experiment.loss.needs().pairs {
        let note = keep_pairs(&mut splits);
        splits.notes.extend(note);
    }
    if splits.validation.as_ref().is_some_and(|set| set.captions.len() == 1) {
        splits.validation = None;
        let note = "a single caption to validate is told apart from nothing: nothing is validated";
        splits.notes.push(note.to_string());
    }
    Ok(splits)
}

fn open_data(plan: &Plan, verbosity: Verbosity, stop: &StopFlag) -> Result<Splits> {
    let experiment = &plan.experiment;
    let counter = Counter::new("drawing faces", verbosity == Verbosity::Quiet);
    let datasets = &experiment.paths.datasets;
    let splits = data::open(&experiment.data, datasets, experiment.seed, &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    })?;
    counter.finish();
    let has_captions = !splits.train.captions.is_empty();
    if has_captions != experiment.loss.needs().text {
        let (kind, holds) = (experiment.loss.kind(), if has_captions { "" } else { "no " });
        let message =
            format!("`loss.kind` = \"{kind}\" does not fit the data, which has {holds}captions");
        let help =
            "images with captions are for loss.kind = \"clip\" or \"siglip\", and only they are";
        return Err(plan.error("loss.kind", message, help));
    }
    splits.fits(&experiment.preprocess.build())?;
    Ok(splits)
}

/// The evaluation sets alone, for a model that is not trained now: the training data is opened only
/// where a set is a part of it. Also what is to be said aloud.
///
/// # Errors
/// What is missing or can't be scored, named by key.
pub fn prepare_evaluation(
    plan: &Plan,
    verbosity: Verbosity,
    stop: &StopFlag,
) -> Result<(Evaluation, Vec<String>)> {
    let splits = match plan.experiment.evaluate.needs_data() {
        true => Some(open_data(plan, verbosity, stop)?),
        false => None,
    };
    evaluation(plan, splits.as_ref(), verbosity, Absent::Refuse)
}

fn evaluation(
    plan: &Plan,
    splits: Option<&Splits>,
    verbosity: Verbosity,
    absent: Absent,
) -> Result<(Evaluation, Vec<String>)> {
    let experiment = &plan.experiment;
    let evaluate::Sets { sets, notes } = evaluate::prepare(
        &experiment.evaluate,
        &experiment.paths.datasets,
        splits,
        experiment.seed,
        absent,
    )?;
    let evaluation = Evaluation {
        config: experiment.evaluate.clone(),
        sets,
        preprocess: experiment.preprocess.build(),
        workers: workers(plan),
        prefetch: experiment.loader.prefetch,
        quiet: verbosity == Verbosity::Quiet,
        csv: None,
        written: 0,
        scores: None,
        ranks: Ranks::of_process(),
    };
    Ok((evaluation, notes))
}

/// A loss over pairs says nothing of an identity with a single validation image: leaves those out,
/// and the validation where fewer than two identities remain. Returns what is to be said aloud.
fn keep_pairs(splits: &mut Splits) -> Option<String> {
    let validation = splits.validation.as_mut().filter(|set| !set.is_empty())?;
    let counts = validation.images_per_identity();
    let present = counts.iter().filter(|&&count| count > 0).count();
    let kept = counts.iter().filter(|&&count| count > 1).count();
    if kept == present && kept > 1 {
        return None;
    }
    validation.items.retain(|item| counts[item.label as usize] > 1);
    let single = present - kept;
    if kept > 1 {
        return Some(format!(
            "{single} of {present} identities have a single validation image and are left out of the \
             validation: the loss needs pairs"
        ));
    }
    splits.validation = None;
    Some(format!(
        "{kept} of {present} identities have two validation images or more, too few for a loss over \
         pairs: nothing is validated"
    ))
}

pub fn workers(plan: &Plan) -> usize {
    match plan.experiment.loader.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}
