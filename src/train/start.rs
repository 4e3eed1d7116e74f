//! Where a run begins: fresh, going on in its own folder, or forked from a checkpoint.

use super::same::{asks_for_more, same_experiment};
use crate::checkpoint::{self, Name, Policy, Resumed, Snapshot, State, Store, Uncut};
use crate::config::check;
use crate::config::tables::Checkpoint;
use crate::plan::Plan;
use crate::record::{Parent, RunDir, RunInfo, Status};
use crate::{Error, Result};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `--continue-train`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continue {
    /// Go on in the run's own folder from its newest checkpoint.
    Latest,
    /// A new run from the run's checkpoint of this name, such as `min-loss`.
    Named(Name),
    /// A new run from this checkpoint folder.
    Path(PathBuf),
    /// `Latest` where there is something to continue, else fresh.
    Auto,
}

impl FromStr for Continue {
    type Err = Infallible;

    /// What is no name of a checkpoint is its folder.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "latest" => Continue::Latest,
            "min_loss" => Continue::Named(Name::MinLoss),
            "auto" => Continue::Auto,
            path if Path::new(path).exists() => Continue::Path(PathBuf::from(path)),
            other => {
                Name::parse(other).map_or(Continue::Path(PathBuf::from(other)), Continue::Named)
            }
        })
    }
}

/// How this run begins.
pub enum Start {
    Fresh,
    /// From the beginning, in a folder that has no checkpoint yet.
    Over {
        run: RunDir,
    },
    /// In its own folder; with what was said while reading the checkpoint.
    InPlace {
        run: RunDir,
        snapshot: Box<Snapshot>,
        warnings: Vec<String>,
    },
    /// In a new folder: this one, or one of its own in the results.
    Fork {
        into: Option<PathBuf>,
        parent: Parent,
        snapshot: Box<Snapshot>,
    },
    /// Trained to the end before.
    Finished {
        run: PathBuf,
    },
}

impl Start {
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Start::InPlace { snapshot, .. } | Start::Fork { snapshot, .. } => Some(snapshot),
            Start::Fresh | Start::Over { .. } | Start::Finished { .. } => None,
        }
    }

    /// Where the snapshot was read.
    pub fn checkpoint(&self) -> PathBuf {
        match self {
            Start::InPlace { run, .. } => run.path().join("checkpoints").join("latest"),
            Start::Fork { parent, .. } => parent.checkpoint.clone(),
            Start::Fresh | Start::Over { .. } | Start::Finished { .. } => PathBuf::new(),
        }
    }

    /// # Errors
    /// Nothing to continue, a checkpoint that is damaged or belongs to another experiment.
    pub fn resolve(plan: &Plan, wanted: Option<&Continue>, run_dir: Option<&Path>) -> Result<Self> {
        let start = match wanted {
            None => Ok(Start::Fresh),
            Some(Continue::Latest) => match in_place(plan, run_dir)? {
                Some(found) => found.into_start(plan),
                None => Err(nothing(plan, run_dir)),
            },
            Some(Continue::Auto) => auto(plan, run_dir),
            Some(Continue::Named(name)) => fork(&named(plan, run_dir, name)?, None),
            Some(Continue::Path(path)) => {
                let folder = checkpoint::locate(path)?;
                fork(&folder, fork_folder(&folder, run_dir)?)
            }
        }?;
        if let Some(snapshot) = start.snapshot() {
            same_experiment(plan, &snapshot.state)?;
        }
        if let Start::Fork { parent, snapshot, .. } = &start {
            something_left(plan, &snapshot.state, &parent.checkpoint)?;
        }
        Ok(start)
    }
}

/// What the run keeps of its checkpoints.
pub fn policy(plan: &Plan) -> Policy {
    let Checkpoint { every_epochs, last_epochs, .. } = plan.experiment.checkpoint;
    Policy { every_epochs: every_epochs as u64, last_epochs }
}

/// The runs that may be continued: the named one, else the experiment's that no process holds, newest
/// first.
fn candidates(plan: &Plan, run_dir: Option<&Path>) -> Box<dyn Iterator<Item = Result<RunDir>>> {
    match run_dir {
        Some(path) if path.exists() => Box::new(std::iter::once(RunDir::open(path))),
        Some(_) => Box::new(std::iter::empty()),
        None => Box::new(RunDir::unlocked(&plan.experiment.paths.results, &plan.name)),
    }
}

/// The checkpoint of this name of the newest run that has one.
fn named(plan: &Plan, run_dir: Option<&Path>, name: &Name) -> Result<PathBuf> {
    let mut newest = None;
    for run in candidates(plan, run_dir) {
        match checkpoint::find(run?.path(), name.clone()) {
            Ok(folder) => return Ok(folder),
            Err(error) => {
                newest.get_or_insert(error);
            }
        }
    }
    Err(newest.unwrap_or_else(|| nothing(plan, run_dir)))
}

/// A folder that a kill left before the first checkpoint is started over in place: a scheduler
/// that names `--run-dir` and starts the same command again always gets on.
///
/// Without `--run-dir`, a newer run without a checkpoint hides no older one to go on with. But where the
/// older one is finished or of another experiment, the newer was started to be a run of its own.
fn auto(plan: &Plan, run_dir: Option<&Path>) -> Result<Start> {
    match run_dir.filter(|path| path.exists()) {
        Some(path) if !RunInfo::is_in(path) => Ok(Start::Fresh),
        Some(path) => match in_place(plan, run_dir)? {
            Some(found) => found.into_start(plan),
            None => Ok(Start::Over { run: RunDir::open(path)? }),
        },
        None => {
            let Some(found) = in_place(plan, run_dir)? else { return Ok(Start::Fresh) };
            if found.passed_over.is_empty() {
                return found.into_start(plan);
            }
            let fits = same_experiment(plan, &found.resumed.snapshot.state).is_ok();
            match fits && !found.is_finished(plan)? {
                true => found.into_start(plan),
                false => Ok(Start::Fresh),
            }
        }
    }
}

/// A run with a checkpoint to go on from.
struct Found {
    run: RunDir,
    resumed: Resumed,
    /// Newer runs, which have none.
    passed_over: Vec<PathBuf>,
}

impl Found {
    fn is_finished(&self, plan: &Plan) -> Result<bool> {
        let state = &self.resumed.snapshot.state;
        let was_finished = RunInfo::read(self.run.path())?.status == Status::Finished;
        Ok(was_finished && state.finished && !asks_for_more(plan, state)?)
    }

    fn into_start(self, plan: &Plan) -> Result<Start> {
        same_experiment(plan, &self.resumed.snapshot.state)?;
        if self.is_finished(plan)? {
            return Ok(Start::Finished { run: self.run.path().to_path_buf() });
        }
        let Found { run, mut resumed, passed_over } = self;
        if resumed.snapshot.state.cut && !steps_end_at(plan, &resumed.snapshot.state) {
            let store = Store::open(run.path(), policy(plan))?;
            // What closing the epoch took counts for a limit that still holds, not for a raised one.
            let still_ends = |state: &State| time_ends_at(plan, state);
            match store.resume_uncut(&resumed.snapshot.state, still_ends)? {
                Uncut::StillEnds => {}
                Uncut::Resumed(uncut) => {
                    resumed.warnings.extend(uncut.warnings);
                    resumed = Resumed { warnings: resumed.warnings, ..*uncut };
                }
                Uncut::Lost if time_ends_at(plan, &resumed.snapshot.state) => {}
                Uncut::Lost => resumed.warnings.push(
                    "the checkpoint in mid-epoch that the limit left is lost: going on with the next \
                     epoch"
                        .to_string(),
                ),
            }
        }
        let without = passed_over.iter().map(|newer| {
            let (run, newer) = (run.path().display(), newer.display());
            format!("{newer} has no checkpoint: continuing {run}")
        });
        let warnings = without.chain(resumed.warnings).collect();
        Ok(Start::InPlace { run, snapshot: Box::new(resumed.snapshot), warnings })
    }
}

/// The newest run with a checkpoint.
fn in_place(plan: &Plan, run_dir: Option<&Path>) -> Result<Option<Found>> {
    let mut passed_over = Vec::new();
    for run in candidates(plan, run_dir) {
        let run = run?;
        match Store::open(run.path(), policy(plan))?.resume()? {
            Some(resumed) => return Ok(Some(Found { run, resumed, passed_over })),
            None => passed_over.push(run.path().to_path_buf()),
        }
    }
    Ok(None)
}

/// # Errors
/// A fork that would end before its first step.
fn something_left(plan: &Plan, state: &State, checkpoint: &Path) -> Result<()> {
    let (epochs, checkpoint) = (plan.experiment.train.epochs as u64, checkpoint.display());
    let (limit, help) = if state.epoch >= epochs {
        let help = format!("raise it: --epochs {}", epochs.saturating_mul(2).max(1));
        (format!("train.epochs = {epochs}"), help)
    } else if steps_end_at(plan, state) {
        let most = plan.experiment.train.max_steps;
        (format!("train.max_steps = {most}"), "raise it, or leave it out".to_string())
    } else {
        return Ok(());
    };
    let State { epoch, step, .. } = state;
    let message = format!(
        "nothing is left to train: {checkpoint} is of epoch {epoch}, step {step}, and {limit}"
    );
    Err(Error::input(message).help(help))
}

/// `train.max_steps` still ends the training there.
fn steps_end_at(plan: &Plan, state: &State) -> bool {
    let most = plan.experiment.train.max_steps as u64;
    most > 0 && state.step >= most
}

/// `train.max_time` still ends the training there.
fn time_ends_at(plan: &Plan, state: &State) -> bool {
    let before: f64 = state.history.iter().map(|row| row.seconds).sum();
    let most = check::seconds(&plan.experiment.train.max_time);
    most.is_some_and(|most| before + state.partial.seconds >= most)
}

/// The folder that a fork from the checkpoint `folder` was told to make: as with min-loss, none where
/// `--run-dir` is the run that the checkpoint is of.
fn fork_folder(folder: &Path, run_dir: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(path) = run_dir.filter(|path| RunInfo::is_in(path)) else {
        return Ok(run_dir.map(PathBuf::from));
    };
    if path.canonicalize().is_ok_and(|run| folder.starts_with(run)) {
        return Ok(None);
    }
    let message = format!(
        "{} holds a run already, and the checkpoint {} is none of its own",
        path.display(),
        folder.display()
    );
    Err(Error::input(message)
        .help("go on with that run by --continue-train latest, or name another --run-dir"))
}

fn fork(folder: &Path, into: Option<PathBuf>) -> Result<Start> {
    let snapshot = Box::new(checkpoint::read(folder)?);
    let parent = Parent {
        run: snapshot.state.run.clone(),
        checkpoint: folder.to_path_buf(),
        hash: snapshot.state.checkpoint_hash(),
    };
    Ok(Start::Fork { into, parent, snapshot })
}

fn nothing(plan: &Plan, run_dir: Option<&Path>) -> Error {
    let place = match run_dir {
        Some(run) => run.to_path_buf(),
        None => plan.experiment.paths.results.join(&plan.name),
    };
    Error::input(format!("nothing to continue: no run with a checkpoint in {}", place.display()))
        .help("start one without --continue-train, or name a checkpoint folder")
}
