//! Makes or reopens a run folder and what writes into it.

use super::build::Opened;
use super::epoch::LEFT_OUT;
use super::evaluation::Evaluation;
use super::ranks::Ranks;
use super::session::{Options, Prepared};
use super::signals::StopFlag;
use super::start::{Start, policy};
use crate::Result;
use crate::checkpoint::{self, Store};
use crate::config::tables::OnNonFinite;
use crate::data::Stages;
use crate::evaluate::{eval_csv, scores_csv};
use crate::plan::Plan;
use crate::profile;
use crate::record::feed::FeedSink;
use crate::record::{
    Columns, Console, CrashNote, CsvSink, EMA_LOSS, LogFile, Plots, Recorder, RunDir, RunInfo,
    TensorBoard, Verbosity, csv_file, embeddings,
};
use crate::torch::{device, threads};
use crate::wandb::{self, Settings, Timing, WandbSink};
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// What a run folder is opened for.
pub(super) struct Opening<'a> {
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
    pub(super) prepared: &'a Prepared,
    pub(super) stop: &'a StopFlag,
    pub(super) wandb: Option<Settings>,
    /// Where a profile was asked to be, elsewhere than in the run folder.
    pub(super) trace: Option<profile::Trace>,
}

/// An open run folder.
pub(super) struct Session {
    /// Holds the lock.
    pub(super) run: RunDir,
    pub(super) info: RunInfo,
    /// `info` as it was, where the run is gone on with.
    pub(super) before: Option<RunInfo>,
    pub(super) opened: Opened,
}

impl Session {
    /// Makes or reopens the run folder. Everything that can't be written is found here.
    pub(super) fn open(opening: Opening<'_>, start: Start) -> Result<Self> {
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
