//! One run of one experiment: everything is opened and checked before the first step, and closed
//! whatever happens.

use super::again;
use super::build::{Opened, build};
use super::evaluation::Evaluation;
use super::finetune::Finetune;
use super::model::Model;
use super::opening::{Opening, Session};
pub use super::prepare::{
    open_splits, prepare, prepare_evaluation, set_kernels, set_up_torch, wandb_settings, workers,
};
use super::pretrained;
use super::ranks::Ranks;
use super::signals::StopFlag;
use super::start::{Continue, Start};
use super::time_limit::{TimeLimit, Watchman};
use super::watch;
use crate::checkpoint::{self, Labels, Snapshot};
use crate::config::Experiment;
use crate::data::{Dataset, Splits};
use crate::evaluate::Absent;
use crate::plan::Plan;
use crate::profile;
use crate::record::{Event, Recorder, Status, Verbosity, crash_note};
use crate::{Error, Result};
use std::path::PathBuf;
use std::time::Instant;
use tch::Device;

/// What the command line says about a run beside the experiment.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub continue_train: Option<Continue>,
    pub run_dir: Option<PathBuf>,
    pub verbosity: Verbosity,
    /// Where the time goes is to be recorded.
    pub profile: Option<profile::Options>,
    /// Arguments of the command that continues the run, beside which run it is.
    pub again: Vec<String>,
    /// When the process must have ended, whatever the experiment says.
    pub time_limit: Option<TimeLimit>,
}

/// The data of a run, checked against its plan.
pub struct Prepared {
    pub splits: Splits,
    pub evaluation: Evaluation,
    /// To be said aloud.
    pub notes: Vec<String>,
}

/// Trains the plan's experiment in a run folder of its own and returns that folder.
///
/// # Errors
/// `Input` before anything was started; `Failed`, `Diverged` or `Stopped` after.
pub fn run(plan: &Plan, options: &Options, stop: &StopFlag) -> Result<PathBuf> {
    stop.listen_to(&plan.experiment.train.stop_signals)?;
    let ranks = Ranks::of_process();
    ranks.agree_on_plan(plan)?;
    if !ranks.leads() {
        return follow(plan, stop, &ranks);
    }
    let (wanted, run_dir) = (options.continue_train.as_ref(), options.run_dir.as_deref());
    let start = ranks.together(Start::resolve(plan, wanted, run_dir))?;
    let finished = matches!(start, Start::Finished { .. });
    ranks.of_first(finished)?;
    if let Start::Finished { run } = &start {
        println!("{} is finished: nothing to continue", run.display());
        return Ok(run.clone());
    }
    if let (Start::InPlace { run, .. }, true, false) = (&start, stop.is_set(), ranks.are_several())
    {
        // Nothing is to be saved that is not there.
        let again = again::command(&plan.file, run.path(), &options.again);
        let message = format!("stopped by {} before the training went on", stop.by());
        return Err(Error::stopped(message).help(format!("continue with: {again}")));
    }
    ranks.tell_snapshot(start.snapshot())?;
    let ready = || {
        let named = options.profile.as_ref().and_then(|profile| profile.file.as_deref());
        let trace = named.map(profile::create).transpose()?;
        if start.snapshot().is_none() {
            pretrained::present(&plan.experiment, options.verbosity == Verbosity::Quiet, stop)?;
        }
        let wandb = wandb_settings(plan)?;
        set_up_torch(plan, start.snapshot())?;
        Ok((trace, wandb))
    };
    let (trace, wandb) = ranks.together(ready())?;
    let (prepared, labels) = prepare_all(plan, options.verbosity, stop, &ranks)?;
    let open = || {
        fits(plan, &labels, &start)?;
        Session::open(Opening { plan, options, prepared: &prepared, stop, wandb, trace }, start)
    };
    let session = ranks.together(open())?;
    ranks.of_first(session.run.path().to_path_buf())?;
    session.train(plan, prepared, labels, stop, options)
}

/// Whether checkpoint, labels and what is said of parts of the model fit each other.
fn fits(plan: &Plan, labels: &Labels, start: &Start) -> Result<()> {
    let snapshot = start.snapshot();
    if let Some(Snapshot { state, .. }) = snapshot {
        checkpoint::same_labels(&start.checkpoint(), labels, &state.labels)?;
    }
    let (_, frozen) = plan.experiment.backbone.common();
    let Experiment { groups, finetune, .. } = &plan.experiment;
    let starts_from_weights = snapshot.is_none() && pretrained::stated(&plan.experiment);
    if frozen || !groups.rules.is_empty() || *finetune != Finetune::default() || starts_from_weights
    {
        // What fits nothing in the model, a model with nothing to train and weights of another network
        // are refused before anything is written.
        let mut model = Model::build(&plan.experiment, labels.names.len(), Device::Cpu);
        if starts_from_weights {
            pretrained::load(&model, &plan.experiment)?;
        }
        model.grouped(plan)?;
    }
    Ok(())
}

/// The data, which all ranks refuse alike, and its labels.
fn prepare_all(
    plan: &Plan,
    verbosity: Verbosity,
    stop: &StopFlag,
    ranks: &Ranks,
) -> Result<(Prepared, Labels)> {
    let prepared = ranks.first_then_others(|| prepare(plan, verbosity, Absent::LeaveOut, stop))?;
    ranks.agree_on_data(&prepared.splits)?;
    if prepared.splits.validation.as_ref().is_none_or(|set| set.is_empty()) {
        watch::without_validation(plan)?;
    }
    let labels = labels(&prepared.splits.train);
    plan.fits_ranks(labels.names.len(), ranks.size())?;
    Ok((prepared, labels))
}

/// Trains beside rank 0, which decides where the training starts and writes everything. Returns the run
/// folder as rank 0 has it; empty where there was nothing to continue.
fn follow(plan: &Plan, stop: &StopFlag, ranks: &Ranks) -> Result<PathBuf> {
    ranks.together(Ok(()))?;
    if ranks.of_first(false)? {
        return Ok(PathBuf::new());
    }
    let snapshot = ranks.hear_snapshot()?;
    ranks.together(set_up_torch(plan, snapshot.as_deref()))?;
    let (prepared, labels) = prepare_all(plan, Verbosity::Quiet, stop, ranks)?;
    ranks.together(Ok(()))?;
    let run: PathBuf = ranks.of_first(PathBuf::new())?;
    let opened = Opened { recorder: Recorder::new(), store: None, snapshot, eval_rows: 0 };
    let mut trainer = build(plan, prepared, labels, stop, &run, None, opened)?;
    trainer.run()?;
    Ok(run)
}

pub fn labels(dataset: &Dataset) -> Labels {
    let names = dataset.labels.names().to_vec();
    Labels { names, fingerprint: dataset.labels.fingerprint() }
}

impl Session {
    fn train(
        self,
        plan: &Plan,
        prepared: Prepared,
        labels: Labels,
        stop: &StopFlag,
        options: &Options,
    ) -> Result<PathBuf> {
        let begun = Instant::now();
        let Session { run, mut info, before, opened } = self;
        let path = run.path().to_path_buf();
        let built = build(plan, prepared, labels, stop, &path, Some(&mut info), opened);
        let mut trainer = match built {
            Ok(trainer) => trainer,
            Err(error) => {
                match before.filter(|_| error.exit_code() == 2) {
                    Some(before) => before.write(&path)?,
                    None => {
                        info.end(Status::Failed, Some(error.to_string()));
                        info.write(&path)?;
                    }
                }
                return Err(error);
            }
        };
        let watchman = options
            .time_limit
            .map(|limit| Watchman::set(limit, stop.clone(), trainer.reserve.clone()));
        let result = trainer.run();
        drop(watchman);
        let profiled = profile::summary().map_or(Ok(()), |text| trainer.recorder.notice(text));
        let (status, note) = match &result {
            Ok(()) => (Status::Finished, None),
            Err(error @ Error::Stopped { .. }) => (Status::Stopped, Some(error.to_string())),
            Err(error @ Error::Diverged { .. }) => (Status::Diverged, Some(error.to_string())),
            Err(error) => (Status::Failed, Some(error.to_string())),
        };
        if let (Status::Failed | Status::Diverged, Some(text)) = (status, &note) {
            let details = trainer.details.take().map(|text| format!("\n{text}"));
            crash_note(&format!("{text}{}", details.unwrap_or_default()), None);
        }
        let progress = &trainer.progress;
        let seconds = begun.elapsed().as_secs_f64();
        let ended = Event::RunEnded {
            status,
            note: note.clone(),
            best: progress.min_loss.as_ref().map(|best| (best.epoch, best.value)),
            checkpoint: best_checkpoint(&path),
            seconds,
        };
        info.end(status, note);
        *info.seconds.entry("total".to_string()).or_default() += seconds;
        // The run's own failure comes before that of saying so.
        let told = trainer.recorder.emit(&ended);
        let written = info.write(&path);
        let closed = trainer.recorder.close();
        if let Err(error) = profile::end() {
            // It takes nothing from the run.
            crate::tell!("warning: {error}");
        }
        result.map_err(|error| match error {
            Error::Stopped { message, .. } => {
                let again = again::command(&plan.file, &path, &options.again);
                Error::stopped(message).help(format!("continue with: {again}"))
            }
            other => other,
        })?;
        profiled.and(told).and(written).and(closed)?;
        Ok(path)
    }
}

/// The checkpoint to use afterwards: of least loss, else the last.
fn best_checkpoint(run: &std::path::Path) -> Option<PathBuf> {
    let names = [checkpoint::Name::MinLoss, checkpoint::Name::Latest];
    let folder = run.join("checkpoints");
    names.iter().map(|name| folder.join(name.to_string())).find(|path| path.exists())
}
