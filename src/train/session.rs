//! One run of one experiment: everything is opened and checked before the first step, and closed
//! whatever happens.

use super::again;
use super::build::{Opened, build};
use super::epoch::LEFT_OUT;
use super::evaluation::Evaluation;
use super::finetune::Finetune;
use super::model::Model;
pub use super::prepare::{
    open_splits, prepare, prepare_evaluation, set_kernels, set_up_torch, wandb_settings, workers,
};
use super::pretrained;
use super::ranks::Ranks;
use super::signals::StopFlag;
use super::start::{Continue, Start, policy};
use super::time_limit::{TimeLimit, Watchman};
use super::watch;
use crate::checkpoint::{self, Labels, Snapshot, Store};
use crate::config::Experiment;
use crate::config::tables::OnNonFinite;
use crate::data::{Dataset, Splits, Stages};
use crate::evaluate::{Absent, eval_csv, scores_csv};
use crate::plan::Plan;
use crate::profile;
use crate::record::feed::FeedSink;
use crate::record::{
    Columns, Console, CrashNote, CsvSink, EMA_LOSS, Event, LogFile, Plots, Recorder, RunDir,
    RunInfo, Status, TensorBoard, Verbosity, crash_note, csv_file, embeddings,
};
use crate::torch::{device, threads};
use crate::wandb::{self, Settings, Timing, WandbSink};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::{Device, Kind};

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
    plan.experiment.loss.fits(labels.names.len(), ranks.size())?;
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

/// What a run folder is opened for.
struct Opening<'a> {
    plan: &'a Plan,
    options: &'a Options,
    prepared: &'a Prepared,
    stop: &'a StopFlag,
    wandb: Option<Settings>,
    /// Where a profile was asked to be, elsewhere than in the run folder.
    trace: Option<profile::Trace>,
}

/// An open run folder.
struct Session {
    /// Holds the lock.
    run: RunDir,
    info: RunInfo,
    /// `info` as it was, where the run is gone on with.
    before: Option<RunInfo>,
    opened: Opened,
}

impl Session {
    /// Makes or reopens the run folder. Everything that can't be written is found here.
    fn open(opening: Opening<'_>, start: Start) -> Result<Self> {
        let Opening { plan, options, prepared, .. } = opening;
        let source = plan.file.parent().map(PathBuf::from).unwrap_or_default();
        let mut warnings = Vec::new();
        let mut notices = prepared.notes.clone();
        let mut eval_rows = 0;
        let mut before = None;
        let (run, info, snapshot, parent) = match start {
            Start::InPlace { run, snapshot, warnings: said } => {
                warnings.extend(said);
                let state = &snapshot.state;
                let path = run.path();
                // What is refused is refused before anything is changed.
                let info = RunInfo::read(path)?;
                CsvSink::check(path)?;
                let scored = eval_csv::rows(&path.join(Evaluation::FILE))?;
                warnings.extend(CsvSink::cut(path, state.epoch, state.step, &state.rows)?);
                eval_rows = state.rows.get(Evaluation::FILE).copied().unwrap_or(0);
                eval_rows = csv_file::truncate_rows(&path.join(Evaluation::FILE), eval_rows)?;
                scores_csv::remove(path, scored.get(eval_rows as usize..).unwrap_or_default())?;
                embeddings::cut(path, Some(state.epoch))?;
                before = Some(info.clone());
                notices.extend(other_threads(plan, state.threads));
                (run, info.continued(&source), Some(snapshot), None)
            }
            Start::Over { run } => {
                let none = Default::default();
                let scored = eval_csv::rows(&run.path().join(Evaluation::FILE))?;
                CsvSink::cut(run.path(), 0, 0, &none)?;
                csv_file::truncate_rows(&run.path().join(Evaluation::FILE), 0)?;
                scores_csv::remove(run.path(), &scored)?;
                embeddings::cut(run.path(), None)?;
                let info = RunInfo::new(&plan.name, &run.id(), &source);
                (run, info, None, None)
            }
            other => {
                let folder = match &other {
                    Start::Fork { into, .. } => into.as_deref(),
                    _ => options.run_dir.as_deref(),
                };
                let run = match folder {
                    Some(path) => RunDir::create_at(path)?,
                    None => RunDir::create(&plan.experiment.paths.results, &plan.name)?,
                };
                let info = RunInfo::new(&plan.name, &run.id(), &source);
                match other {
                    Start::Fork { parent, mut snapshot, .. } => {
                        // The least loss counts on in the new folder only if it comes along.
                        let state = &mut snapshot.state;
                        if !state.is_min_loss() {
                            state.min_loss = None;
                        }
                        let step = state.step;
                        state.best.retain(|_, best| best.step == step);
                        (run, info, Some(snapshot), Some(parent))
                    }
                    _ => (run, info, None, None),
                }
            }
        };
        let processes = Ranks::of_process().size();
        let device = device::describe(plan.device);
        let mut info = RunInfo {
            device: match processes {
                1 => device,
                several => format!("{several} processes of {device}"),
            },
            processes,
            threads: threads::get(),
            seed: plan.experiment.seed,
            ..info
        };
        for part in info.take_data(prepared.splits.fingerprints()?) {
            warnings.push(format!(
                "the {part} data is not what the run began with: other names, sizes, identities or \
                 captions (`first_data` in run.json has the fingerprint of then)"
            ));
        }
        info.parent = parent.or(info.parent);
        info.versions.insert("libtorch".to_string(), crate::torch::version());
        let path = run.path().to_path_buf();
        let steps_before = snapshot.as_ref().map_or(0, |snapshot| snapshot.state.step);
        let result = Self::open_files(opening, &path, &info, [&warnings, &notices], steps_before);
        let (recorder, store) = match result {
            Ok((recorder, store)) => (recorder, Some(store)),
            Err(error) => {
                run.abandon();
                return Err(error.into_input());
            }
        };
        Ok(Session { run, info, before, opened: Opened { recorder, store, snapshot, eval_rows } })
    }

    fn open_files(
        opening: Opening<'_>,
        path: &Path,
        info: &RunInfo,
        [warnings, notices]: [&[String]; 2],
        steps_before: u64,
    ) -> Result<(Recorder, Store)> {
        let Opening { plan, options, prepared, stop, wandb, trace } = opening;
        scores_csv::clean(path)?;
        checkpoint::durable::write_file(&path.join("config.toml"), |out| {
            out.write_all(plan.experiment.to_toml().as_bytes())
        })?;
        let amp: &[&str] = match plan.amp {
            Some(Kind::Half) => &["amp_scale", "amp_skipped"],
            _ => &[],
        };
        let mut steps = vec!["embedding_norm".to_string()];
        steps.extend(plan.experiment.loss.columns());
        steps.extend(amp.iter().map(ToString::to_string));
        let train = &plan.experiment.train;
        if train.on_nonfinite != OnNonFinite::Stop {
            steps.push(LEFT_OUT.to_string());
        }
        let mut epochs = loader_columns(path);
        let validated = prepared.splits.validation.as_ref().is_some_and(|set| !set.is_empty());
        if train.ema.decay > 0.0 && validated {
            epochs.push(EMA_LOSS.to_string());
        }
        let columns = Columns { steps, epochs };
        let every = plan.experiment.record.every_steps as u64;
        let mut recorder = Recorder::new()
            .with(CsvSink::open(path, columns, every)?)
            .with(LogFile::open(path)?)
            .with(CrashNote::open(path))
            .with(Console::new(options.verbosity).continuing(path)?);
        if let Some(feed) = FeedSink::of_process() {
            recorder = recorder.with(feed);
        }
        if plan.experiment.record.tensorboard {
            let config = plan.experiment.to_toml();
            recorder = recorder.with(TensorBoard::open(path, &info.host, &config, every)?);
        }
        if plan.experiment.record.plots {
            // After the console: the summary need not wait for the last pictures.
            recorder = recorder.with(Plots::open(path)?);
        }
        if let Some(mut settings) = wandb {
            if settings.display_name.is_empty() {
                settings.display_name = format!("{}-{}", info.experiment, info.run);
            }
            // The last sink: what it waits for at the end keeps no other from closing.
            let named = if settings.folder.is_some() { " (WANDB_DIR)" } else { "" };
            let sink = WandbSink::open(wandb::Open {
                settings,
                run: path,
                info,
                config: &plan.experiment.to_toml(),
                steps_before,
                stop: stop.clone(),
                timing: Timing::default(),
                quiet: options.verbosity == Verbosity::Quiet,
            });
            match sink {
                Ok(sink) => recorder = recorder.with(sink),
                // W&B never keeps a run from training.
                Err(error) => {
                    recorder.warning(format!("{error}{named}: this run is not logged to W&B"))?;
                }
            }
        }
        for text in warnings {
            recorder.warning(text)?;
        }
        for text in notices {
            recorder.notice(text)?;
        }
        let store = Store::open(path, policy(plan))?;
        if let Some(profile) = &options.profile {
            let trace = trace.map_or_else(|| profile::create_in(path), Ok)?;
            profile::start(trace, profile.steps)?;
        }
        // Last: a run is what has one, and it says that the run goes on.
        info.write(path)?;
        Ok((recorder, store))
    }

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

/// What to say where a continued run is not bit-equal to one that was never stopped.
fn other_threads(plan: &Plan, before: usize) -> Option<String> {
    let now = threads::get();
    let promised = plan.experiment.train.deterministic && plan.device == Device::Cpu;
    (promised && now != before).then(|| {
        format!(
            "train.threads: {now} now, {before} before: from here on the bits are not those of a run \
             that was never stopped"
        )
    })
}

/// The checkpoint to use afterwards: of least loss, else the last.
fn best_checkpoint(run: &std::path::Path) -> Option<PathBuf> {
    let names = [checkpoint::Name::MinLoss, checkpoint::Name::Latest];
    let folder = run.join("checkpoints");
    names.iter().map(|name| folder.join(name.to_string())).find(|path| path.exists())
}

/// Columns of `epochs.csv` for where the loader's time goes; none where a run goes on that began without.
fn loader_columns(run: &Path) -> Vec<String> {
    let columns = Stages::default().columns().map(|(name, _)| name.to_string());
    let header = std::fs::read_to_string(run.join("epochs.csv")).unwrap_or_default();
    let header = header.lines().next().unwrap_or_default().to_string();
    let has = |name: &String| header.split(',').any(|column| column == name.as_str());
    match header.is_empty() || columns.iter().all(has) {
        true => columns.to_vec(),
        false => Vec::new(),
    }
}
