//! The runner's loop: fills free slots, listens to the trials, writes the journal.

mod start;
mod told;

use super::child::{Child, Told};
use super::choose::{Choice, Next};
use super::claim::Claim;
use super::outcome::Stopping;
use super::slots::{Slot, divide, gpus, installed};
use super::view::View;
use super::{RunOptions, Summary};
use crate::config::Experiment;
use crate::sweep::file::SweepFile;
use crate::sweep::journal::{Outcome, Runner};
use crate::sweep::resolve::Resolver;
use crate::sweep::{Ledger, Manifest, Phase, Sets, Trial, leaderboard};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use rustix::process::Signal;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Between looks at signals and at what other runners wrote.
const TICK: Duration = Duration::from_millis(100);
/// Between looks for trials that lost their runner, and between leaderboards.
const LOOK: Duration = Duration::from_secs(1);

/// A trial that runs here.
struct Active {
    child: Child,
    slot: usize,
    /// It was told to stop.
    stopping: bool,
    /// Why it ended, in its own words.
    note: Option<String>,
}

pub struct Engine {
    ledger: Ledger,
    file: SweepFile,
    options: RunOptions,
    stop: StopFlag,
    resolver: Resolver,
    program: PathBuf,
    runner: Runner,
    slots: Vec<Slot>,
    active: HashMap<usize, Active>,
    teller: mpsc::UnboundedSender<(usize, Told)>,
    told: mpsc::UnboundedReceiver<(usize, Told)>,
    /// Not started again here: stopped from outside.
    left: BTreeSet<usize>,
    /// Claimed by someone else when last looked at.
    elsewhere: BTreeSet<usize>,
    epochs: Vec<u64>,
    generation: usize,
    looked: Option<Instant>,
    /// The table on the disk is older than the journal.
    stale: bool,
    sheet: leaderboard::Sheet,
    view: View,
}

impl Engine {
    pub fn new(
        ledger: Ledger,
        file: SweepFile,
        options: RunOptions,
        stop: StopFlag,
    ) -> Result<Engine> {
        let Manifest { file: path, base, trials, .. } = &ledger.manifest;
        // Relative paths that trials set start from the sweep file's folder.
        let resolver = Resolver::new(&path.to_string_lossy(), base)?;
        let base = resolver.trial(&Sets::new())?;
        let epochs = epochs(&base, trials);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let on_gpu = ["auto", "cuda"].contains(&base.train.device.as_str());
        let gpus = if on_gpu { gpus(visible.as_deref(), installed) } else { Vec::new() };
        let running = crate::sweep::Running {
            threads: options.threads.unwrap_or(file.run.threads),
            ..file.run.clone()
        };
        let slots = divide(&running, options.jobs, cores, &gpus);
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()
                .map_err(|e| Error::failed(format!("cannot find this program: {e}")))?,
        };
        let runner = Runner {
            host: sysinfo::System::host_name().unwrap_or_default(),
            pid: std::process::id(),
            job: options.job.clone(),
        };
        let (teller, told) = mpsc::unbounded_channel();
        let view = View::new(options.verbosity, &ledger, slots.len());
        Ok(Engine {
            ledger,
            file,
            options,
            stop,
            resolver,
            program,
            runner,
            slots,
            active: HashMap::new(),
            teller,
            told,
            left: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            epochs,
            generation: 0,
            looked: None,
            stale: true,
            sheet: leaderboard::Sheet::default(),
            view,
        })
    }

    pub async fn run(mut self) -> Result<Summary> {
        let result = self.work().await;
        if result.is_err() {
            // The journal can't be written: the trials keep their checkpoints.
            self.stop_all();
            self.wait_for_all().await;
        }
        self.view.close();
        result?;
        self.tables()?;
        let summary = self.summary();
        if self.stop.is_set() {
            let folder = self.ledger.folder.display();
            return Err(Error::stopped(format!("sweep stopped: {}", summary.words()))
                .help(format!("go on with: run sweep resume {folder}")));
        }
        Ok(summary)
    }

    async fn work(&mut self) -> Result<()> {
        self.reconcile()?;
        loop {
            self.ledger.refresh()?;
            if self.generation != self.ledger.generation {
                self.generation = self.ledger.generation;
                self.reread()?;
            }
            for warning in self.ledger.heard() {
                self.view.warn(&warning);
            }
            if self.looked.is_none_or(|last| last.elapsed() >= LOOK) {
                self.looked = Some(Instant::now());
                self.recover()?;
                if self.stale && !self.active.is_empty() {
                    self.tables()?;
                }
            }
            let next = match self.stop.is_set() {
                true => {
                    self.stop_all();
                    Next::Nothing
                }
                false => self.fill()?,
            };
            self.view.update(&self.ledger, &self.file.objective);
            if self.active.is_empty() && (self.stop.is_set() || self.is_over(next)) {
                return Ok(());
            }
            let tick = tokio::time::sleep(TICK);
            tokio::select! {
                Some((place, told)) = self.told.recv() => {
                    self.heard(place, told)?;
                    while let Ok((place, told)) = self.told.try_recv() {
                        self.heard(place, told)?;
                    }
                }
                () = tick => {}
            }
        }
    }

    /// The sweep was extended.
    fn reread(&mut self) -> Result<()> {
        let Manifest { base, trials, file, text, .. } = &self.ledger.manifest;
        self.file = SweepFile::parse(file, text)?;
        self.resolver = Resolver::new(&file.to_string_lossy(), base)?;
        self.epochs = epochs(&self.resolver.trial(&Sets::new())?, trials);
        self.view.extended(&self.ledger);
        self.reconcile()
    }

    /// Nothing to start, now or later, and nobody else at work whose trials might be left to us.
    fn is_over(&mut self, next: Next) -> bool {
        if next != Next::Nothing {
            return false;
        }
        let others = self.ledger.state.count(Phase::Running);
        if others > 0 && self.options.only.is_none() {
            self.view.once(&format!("nothing left to start: {others} trials run elsewhere"));
            return false;
        }
        true
    }

    fn choice<T>(&self, ask: impl FnOnce(&Choice<'_>) -> T) -> T {
        let skip = |place: usize| {
            self.active.contains_key(&place)
                || self.left.contains(&place)
                || self.elsewhere.contains(&place)
        };
        ask(&Choice {
            manifest: &self.ledger.manifest,
            retry: &self.file.retry,
            pruning: &self.file.pruning,
            objective: &self.file.objective,
            epochs: &self.epochs,
            only: self.options.only.as_deref(),
            skip: &skip,
            now: jiff::Timestamp::now(),
        })
    }

    /// Starts trials until no slot is free or nothing is left to start.
    fn fill(&mut self) -> Result<Next> {
        self.elsewhere.clear();
        loop {
            let taken: BTreeSet<usize> = self.active.values().map(|active| active.slot).collect();
            let Some(slot) = (0..self.slots.len()).find(|slot| !taken.contains(slot)) else {
                return Ok(Next::Wait(TICK));
            };
            let next = self.choice(|choice| choice.next(&self.ledger.state));
            let Next::Start { place, promoted } = next else { return Ok(next) };
            let claim = match Claim::take(&self.ledger.run_dir(place)) {
                Ok(Some(claim)) => claim,
                Ok(None) => {
                    self.elsewhere.insert(place);
                    continue;
                }
                Err(error) => {
                    // Something is in this trial's way; the others can go on.
                    let note = Some(error.to_string());
                    self.end(place, Outcome::Failed, None, note.clone(), 0.0)?;
                    self.show_end(place, Outcome::Failed, note.as_deref(), "");
                    continue;
                }
            };
            if self.announce(place, promoted)? {
                self.start(place, slot, claim)?;
            }
        }
    }

    fn stop_all(&mut self) {
        // SIGTERM says that the machine is taken away.
        let signal = if self.stop.is_terminated() { Signal::TERM } else { Signal::INT };
        for active in self.active.values_mut().filter(|active| !active.stopping) {
            active.stopping = true;
            active.child.stop(Stopping::Runner, signal);
        }
        if !self.active.is_empty() {
            self.view.once("stopping: each trial writes its checkpoint");
        }
    }

    /// Until no process is left, whatever they tell.
    async fn wait_for_all(&mut self) {
        while !self.active.is_empty() {
            if let Some((place, Told::Ended { .. } | Told::Lost)) = self.told.recv().await {
                self.active.remove(&place);
            }
        }
    }

    /// sweep.csv and best.toml as of now.
    fn tables(&mut self) -> Result<()> {
        self.stale = false;
        let Ledger { folder, manifest, state, .. } = &self.ledger;
        let objective = &self.file.objective;
        self.sheet.write(folder, manifest, state, objective)?;
        leaderboard::best_experiment(folder, manifest, state, objective, |set| {
            self.resolver.trial(set)
        })?;
        Ok(())
    }

    fn summary(&self) -> Summary {
        let state = &self.ledger.state;
        let retry = &self.file.retry;
        let asked = state.trials.iter().zip(&self.ledger.manifest.trials);
        let given_up = asked.filter(|(trial, of)| !of.dropped && retry.is_given_up(trial)).count();
        Summary {
            finished: self.ledger.count(Phase::Finished),
            failed: given_up,
            pruned: self.ledger.count(Phase::Pruned),
            interrupted: self.ledger.count(Phase::Interrupted),
            waiting: self.ledger.count(Phase::Waiting) + self.ledger.count(Phase::Failed)
                - given_up,
            running: self.ledger.count(Phase::Running),
        }
    }
}

/// Epochs of each trial's whole training.
fn epochs(base: &Experiment, trials: &[Trial]) -> Vec<u64> {
    let whole = base.train.epochs as u64;
    let stated = |set: &Sets| set.get("train.epochs").and_then(serde_json::Value::as_u64);
    trials.iter().map(|trial| stated(&trial.set).unwrap_or(whole)).collect()
}
