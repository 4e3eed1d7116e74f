//! The runner's loop: fills free slots, listens to the trials, writes the journal.

use super::child::{Child, Launch, Told, tail};
use super::choose::{Choice, Next};
use super::claim::Claim;
use super::outcome::{Stopping, classify};
use super::slots::{Slot, divide, gpus, installed};
use super::view::View;
use super::{RunOptions, Summary, trial};
use crate::config::Experiment;
use crate::record::feed::Feed;
use crate::sweep::file::SweepFile;
use crate::sweep::journal::{Outcome, Record, Runner};
use crate::sweep::pruning::Verdict;
use crate::sweep::resolve::Resolver;
use crate::sweep::{
    Ledger, Manifest, Observation, Phase, Sets, State, Trial, leaderboard, search, wandb,
};
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
    told: (mpsc::UnboundedSender<(usize, Told)>, mpsc::UnboundedReceiver<(usize, Told)>),
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
            told: mpsc::unbounded_channel(),
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
                Some((place, told)) = self.told.1.recv() => {
                    self.heard(place, told)?;
                    while let Ok((place, told)) = self.told.1.try_recv() {
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
        Ok(())
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
            let Some(claim) = Claim::take(&self.ledger.run_dir(place))? else {
                self.elsewhere.insert(place);
                continue;
            };
            if self.announce(place, promoted)? {
                self.start(place, slot, claim)?;
            }
        }
    }

    /// Writes that the trial starts, unless the journal says otherwise by now.
    fn announce(&mut self, place: usize, promoted: bool) -> Result<bool> {
        let (file, resolver, runner) = (&self.file, &self.resolver, &self.runner);
        let started = self.ledger.change(|state, manifest| {
            let (trial, now) = (&manifest.trials[place], &state.trials[place]);
            let fit = match now.phase {
                Phase::Waiting | Phase::Interrupted | Phase::Failed => !promoted,
                Phase::Pruned => promoted,
                Phase::Running | Phase::Finished => false,
            };
            if !fit {
                return Ok((false, Vec::new()));
            }
            let id = || trial.id.clone();
            let mut records = Vec::new();
            if trial.proposed.is_some() && now.proposed.is_none() {
                let set = search::propose(file, resolver, trial, &ended(state, manifest, file))?;
                records.push(Record::Proposed { trial: id(), set });
            }
            if promoted {
                records.push(Record::Promoted { trial: id(), to_the_end: false });
            }
            records.push(Record::Started { trial: id(), runner: runner.clone() });
            Ok((true, records))
        })?;
        self.stale = true;
        Ok(started)
    }

    fn start(&mut self, place: usize, slot: usize, claim: Claim) -> Result<()> {
        let run_dir = self.ledger.run_dir(place);
        let trial = self.ledger.trial(place);
        let (name, id) = (trial.name.clone(), trial.id.clone());
        let prepare = || -> Result<Child> {
            let mut experiment = self.resolver.trial(self.ledger.set(place))?;
            if experiment.name.is_empty() {
                experiment.name.clone_from(&self.ledger.manifest.name);
            }
            wandb::settings(&self.ledger.manifest, trial, &mut experiment);
            let title = format!("Trial {name} ({id}) of sweep {}.", self.ledger.manifest.name);
            let launch = Launch {
                program: &self.program,
                run_dir: &run_dir,
                experiment: &trial::write(&run_dir, &experiment, &title)?,
                slot: &self.slots[slot],
                continued: trial::has_checkpoint(&run_dir),
                own_threads: experiment.train.threads != 0,
                own_workers: experiment.loader.workers != 0,
                title: format!("session {}, {}", self.ledger.state.trials[place].sessions, now()),
            };
            Child::start(&launch, claim, &self.file.run, place, self.told.0.clone())
        };
        match prepare() {
            Ok(child) => {
                let active = Active { child, slot, stopping: false, note: None };
                self.active.insert(place, active);
                self.view.started(place, &name, self.epochs[place]);
                Ok(())
            }
            Err(error) => {
                // Not the trial's fault perhaps, but the others can go on.
                let note = Some(error.to_string());
                self.view.failed(&name, Outcome::Failed, note.as_deref(), "");
                self.end(place, Outcome::Failed, None, note, 0.0)
            }
        }
    }

    fn heard(&mut self, place: usize, told: Told) -> Result<()> {
        match told {
            Told::Slow(seconds) => {
                let name = &self.ledger.trial(place).name;
                self.view.warn(&format!("{name}: no step for {seconds:.0} s"));
                Ok(())
            }
            Told::Feed(feed) => {
                self.view.feed(place, &feed);
                if let (Feed::Ended { note, .. }, Some(active)) =
                    (&feed, self.active.get_mut(&place))
                {
                    active.note.clone_from(note);
                }
                match self.file.objective.heard(&feed) {
                    Some(seen) => self.report(place, seen),
                    None => Ok(()),
                }
            }
            Told::Ended { status, stopping, said, seconds, claim } => {
                let (code, (outcome, why)) = match status {
                    Ok(status) => (status.code(), classify(status, stopping, &said)),
                    Err(e) => (None, (Outcome::Failed, Some(format!("it can't be watched: {e}")))),
                };
                let own = self.active.remove(&place).and_then(|active| active.note);
                let note = match (why, own) {
                    (Some(why), Some(own)) if outcome != Outcome::Pruned => {
                        Some(format!("{why}: {own}"))
                    }
                    (why, own) => why.or(own),
                };
                if outcome == Outcome::Interrupted && stopping == Stopping::No {
                    self.left.insert(place);
                }
                self.end(place, outcome, code, note.clone(), seconds)?;
                drop(claim);
                self.show_end(place, outcome, note.as_deref(), &said);
                Ok(())
            }
        }
    }

    fn show_end(&mut self, place: usize, outcome: Outcome, note: Option<&str>, said: &str) {
        let name = self.ledger.trial(place).name.clone();
        match outcome {
            Outcome::Finished | Outcome::Pruned | Outcome::Interrupted => {
                let value = self.file.objective.of(&self.ledger.state.trials[place].observations);
                self.view.ended(&name, outcome, value, &self.file.objective, note);
                if outcome == Outcome::Finished && value.is_none() {
                    self.no_value(place);
                }
            }
            _ => {
                let crash = self.ledger.run_dir(place).join("crash.txt");
                let crash = if crash.exists() { tail(&crash) } else { String::new() };
                let said =
                    if crash.is_empty() { said.to_owned() } else { format!("{said}\n{crash}") };
                self.view.failed(&name, outcome, note, &said);
            }
        }
    }

    /// The objective is not among what a trial logged.
    fn no_value(&mut self, place: usize) {
        let names = crate::sweep::Objective::choices(&self.ledger.run_dir(place));
        let metric = &self.file.objective.metric;
        self.view.once(&format!(
            "warning: the trials don't log the objective {metric:?}; they log {}",
            names.join(", ")
        ));
    }

    /// Writes a trial's newest value and asks the pruning.
    fn report(&mut self, place: usize, seen: Observation) -> Result<()> {
        let trial = self.ledger.trial(place).id.clone();
        let Observation { epoch, value } = seen;
        self.ledger.write(vec![Record::Reported { trial, epoch, value }])?;
        self.stale = true;
        let whole = self.epochs[place];
        if epoch >= whole || self.ledger.state.trials[place].to_the_end {
            return Ok(());
        }
        let verdict =
            self.choice(|choice| choice.pruning.verdict(&choice.seen(&self.ledger.state), place));
        if let (Verdict::Pause, Some(active)) = (verdict, self.active.get_mut(&place))
            && !active.stopping
        {
            active.stopping = true;
            active.child.stop(Stopping::Pruned, Signal::INT);
        }
        Ok(())
    }

    /// Writes how a trial ended, with what its files have and its lines had not.
    fn end(
        &mut self,
        place: usize,
        outcome: Outcome,
        code: Option<i32>,
        note: Option<String>,
        seconds: f64,
    ) -> Result<()> {
        let recorded = self.file.objective.recorded(&self.ledger.run_dir(place));
        let recorded = recorded.unwrap_or_default();
        let id = self.ledger.trial(place).id.clone();
        self.ledger.change(|state, _| {
            let known = &state.trials[place].observations;
            let same = |a: &Observation, b: &Observation| {
                a.epoch == b.epoch && a.value.to_bits() == b.value.to_bits()
            };
            let first = recorded.iter().position(|new| !known.iter().any(|old| same(old, new)));
            let new = first.map_or(&[][..], |first| &recorded[first..]);
            let reports = new.iter().map(|seen| Record::Reported {
                trial: id.clone(),
                epoch: seen.epoch,
                value: seen.value,
            });
            let mut records: Vec<Record> = reports.collect();
            records.push(Record::Ended { trial: id.clone(), outcome, code, seconds, note });
            Ok(((), records))
        })?;
        self.stale = true;
        Ok(())
    }

    /// Trials whose journal says that they run, and that nobody holds: their runner died.
    fn recover(&mut self) -> Result<()> {
        for place in 0..self.ledger.state.trials.len() {
            let running = self.ledger.state.trials[place].phase == Phase::Running;
            if !running || self.active.contains_key(&place) {
                continue;
            }
            let run_dir = self.ledger.run_dir(place);
            let Some(claim) = Claim::take(&run_dir)? else { continue };
            // What ended before the claim was free is in the journal by now.
            self.ledger.refresh()?;
            let trial = &self.ledger.state.trials[place];
            if trial.phase == Phase::Running {
                let before = trial.seconds;
                let (outcome, note, seconds) = trial::lost(&run_dir);
                let name = self.ledger.trial(place).name.clone();
                self.end(place, outcome, None, note.clone(), (seconds - before).max(0.0))?;
                self.view.ended(&name, outcome, None, &self.file.objective, note.as_deref());
            }
            drop(claim);
        }
        Ok(())
    }

    fn stop_all(&mut self) {
        // SIGTERM says that the machine is taken away.
        let signal = if self.stop.is_terminated() { Signal::TERM } else { Signal::INT };
        for active in self.active.values_mut().filter(|active| !active.stopping) {
            active.stopping = true;
            active.child.stop(Stopping::Runner, signal);
        }
        self.view.once("stopping: each trial writes its checkpoint");
    }

    /// Until no process is left, whatever they tell.
    async fn wait_for_all(&mut self) {
        while !self.active.is_empty() {
            if let Some((place, Told::Ended { .. })) = self.told.1.recv().await {
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
        let given_up = state.trials.iter().filter(|trial| retry.is_given_up(trial)).count();
        let dropped = |place: usize| self.ledger.manifest.trials[place].dropped;
        let waiting = (0..state.trials.len())
            .filter(|place| state.trials[*place].phase == Phase::Waiting && !dropped(*place));
        Summary {
            finished: state.count(Phase::Finished),
            failed: given_up,
            pruned: state.count(Phase::Pruned),
            interrupted: state.count(Phase::Interrupted),
            waiting: waiting.count() + state.count(Phase::Failed) - given_up,
            running: state.count(Phase::Running),
        }
    }
}

/// Epochs of each trial's whole training.
fn epochs(base: &Experiment, trials: &[Trial]) -> Vec<u64> {
    let whole = base.train.epochs as u64;
    let stated = |set: &Sets| set.get("train.epochs").and_then(serde_json::Value::as_u64);
    trials.iter().map(|trial| stated(&trial.set).unwrap_or(whole)).collect()
}

/// Settings and scores of the trials, for what is proposed next.
fn ended(state: &State, manifest: &Manifest, file: &SweepFile) -> Vec<(Sets, Option<f64>)> {
    let trials = state.trials.iter().zip(&manifest.trials);
    trials
        .filter(|(trial, of)| of.proposed.is_none() || trial.proposed.is_some())
        .map(|(trial, of)| {
            let set = trial.proposed.as_ref().unwrap_or(&of.set).clone();
            (set, file.objective.of(&trial.observations).map(|value| file.objective.score(value)))
        })
        .collect()
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
