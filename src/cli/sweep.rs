//! `run sweep`.

use super::args::{Launcher, RunArgs, SweepArgs, SweepCommand};
use super::say;
use crate::record::Verbosity;
use crate::sweep::file::SweepFile;
use crate::sweep::journal::Record;
use crate::sweep::open::Planned;
use crate::sweep::runner::{RunOptions, Summary, run};
use crate::sweep::{Ledger, Manifest, Phase, dry_run, slurm, status};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::io::Write;
use std::path::Path;

pub fn sweep(args: &SweepArgs, verbosity: Verbosity) -> Result<()> {
    match (&args.command, &args.file) {
        (Some(command), _) => perform(command, verbosity),
        (None, Some(folder)) if Manifest::is_in(folder) => work(folder, &args.running, verbosity),
        (None, Some(file)) => {
            let planned = Planned::read(file, &args.settings.sets(), args.dir.as_deref())?;
            if args.dry_run {
                let jobs = args.running.jobs.unwrap_or(planned.file.run.jobs).max(1);
                let table = match verbosity {
                    Verbosity::Verbose => dry_run::dry_run_all,
                    _ => dry_run::dry_run,
                };
                let text = table(&planned.file, &planned.expansion, jobs)?;
                return say(&text);
            }
            if verbosity > Verbosity::Quiet {
                planned.expansion.notes.iter().for_each(|note| note_aloud(note));
            }
            planned.open()?.iter().for_each(|note| note_aloud(note));
            work(&planned.folder, &args.running, verbosity)
        }
        (None, None) => Err(Error::input("no sweep file given").help("run sweep SWEEP.toml")),
    }
}

fn perform(command: &SweepCommand, verbosity: Verbosity) -> Result<()> {
    match command {
        SweepCommand::Status { dir } => {
            let mut ledger = Ledger::open(dir)?;
            ledger.heard().iter().for_each(|said| note_aloud(&format!("warning: {said}")));
            say(&status::status(ledger, verbosity == Verbosity::Verbose)?)
        }
        SweepCommand::Resume { dir, running } => work(dir, running, verbosity),
        SweepCommand::Retry { dir, failed, trials, running } => {
            let count = retry(dir, *failed, trials)?;
            note_aloud(&format!("to be tried again: {count}"));
            work(dir, running, verbosity)
        }
        SweepCommand::Promote { dir, trials, running } => {
            let count = promote(dir, trials)?;
            note_aloud(&format!("to go on to their end: {count}"));
            work(dir, running, verbosity)
        }
        SweepCommand::Extend { dir, file, dry_run, settings, running } => {
            let old = Manifest::read(dir)?;
            let file = file.as_deref().unwrap_or(&old.file);
            let sets = match settings.sets() {
                sets if sets.is_empty() => old.sets.clone(),
                sets => sets,
            };
            let planned = Planned::read(file, &sets, Some(dir))?;
            if *dry_run {
                return say(&format!("{}\n", planned.change()?.words()));
            }
            note_aloud(&planned.extend()?.words());
            work(dir, running, verbosity)
        }
        SweepCommand::Task { dir, offset } => task(dir, *offset, verbosity),
    }
}

/// Runs what is left, here or on the cluster, and says what came of it.
fn work(folder: &Path, running: &RunArgs, verbosity: Verbosity) -> Result<()> {
    if running.launcher == Launcher::Slurm {
        return submit(folder);
    }
    let stop = StopFlag::listen()?;
    let options = RunOptions { jobs: running.jobs, verbosity, ..RunOptions::default() };
    let summary = run(folder, &options, &stop)?;
    let ledger = Ledger::open(folder)?;
    say(&status::ended(&ledger, &summary)?)?;
    let Summary { failed, interrupted, .. } = summary;
    if interrupted > 0 {
        let help = format!("go on with: run sweep resume {}", folder.display());
        let message = format!("stopped from outside: {interrupted}");
        return Err(Error::stopped(message).help(help));
    }
    match failed {
        0 => Ok(()),
        failed => {
            let help = format!(
                "run sweep status {0} says why; run sweep retry {0} --failed tries them again",
                folder.display()
            );
            let of = ledger.asked();
            Err(Error::failed(format!("{failed} of {of} trials failed")).help(help))
        }
    }
}

/// A line on standard error. One that can't be written is no reason to stop.
fn note_aloud(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Submits a task for each trial that is left.
fn submit(folder: &Path) -> Result<()> {
    let mut ledger = Ledger::open(folder)?;
    let file = SweepFile::parse(&ledger.manifest.file, &ledger.manifest.text)?;
    let Ledger { manifest, state, journal, .. } = &mut ledger;
    let left = |place: usize| {
        manifest.trials[place].dropped
            || state.trials[place].phase == Phase::Pruned
            || file.retry.is_given_up(&state.trials[place])
    };
    let (cluster, settings) = (slurm::Cluster::default(), &file.launcher.slurm);
    let said = slurm::submit(&cluster, folder, manifest, state, settings, &left, journal)?;
    say(&format!("{}\n", said.trim_end()))
}

/// One task of a job array: runs its trial, and those that are promoted meanwhile.
fn task(folder: &Path, offset: usize, verbosity: Verbosity) -> Result<()> {
    let stop = StopFlag::listen()?;
    let manifest = Manifest::read(folder)?;
    let file = SweepFile::parse(&manifest.file, &manifest.text)?;
    let task = slurm::Task::of_environment(offset)?;
    let limit = file.launcher.slurm.requeue_limit;
    let cluster = slurm::Cluster::default();
    slurm::run_task(&cluster, &task, limit, &stop, |wanted, stop| {
        if wanted.place >= manifest.trials.len() {
            return Ok(());
        }
        let options = RunOptions {
            only: Some(vec![wanted.place]),
            jobs: Some(1),
            threads: wanted.threads,
            job: Some(wanted.job.clone()),
            verbosity,
            ..RunOptions::default()
        };
        let summary = run(folder, &options, stop)?;
        let name = &manifest.trials[wanted.place].name;
        note_aloud(&format!("{name} is done here; the sweep: {}", summary.words()));
        let trial = &Ledger::open(folder)?.state.trials[wanted.place];
        match file.retry.is_given_up(trial) {
            true => Err(Error::failed(format!("trial {name} failed: {}", status::word(trial)))),
            false => Ok(()),
        }
    })
}

/// Marks failed trials to be tried again. Returns how many.
fn retry(folder: &Path, failed: bool, names: &[String]) -> Result<usize> {
    let mut ledger = Ledger::open(folder)?;
    if failed == names.is_empty() {
        let count = mark(&mut ledger, names, &[Phase::Failed], |trial| Record::Retry { trial })?;
        return Ok(count);
    }
    Err(Error::input("which trials are to be tried again?")
        .help("--failed for all that failed, or the names of trials"))
}

fn promote(folder: &Path, names: &[String]) -> Result<usize> {
    let mut ledger = Ledger::open(folder)?;
    let record = |trial| Record::Promoted { trial, to_the_end: true };
    mark(&mut ledger, names, &[Phase::Pruned], record)
}

/// Writes a record for each trial of `phases`, of those named if any are.
fn mark(
    ledger: &mut Ledger,
    names: &[String],
    phases: &[Phase],
    record: impl Fn(String) -> Record,
) -> Result<usize> {
    let mut places = Vec::new();
    for name in names {
        places.push(find(&ledger.manifest, name)?);
    }
    ledger.change(|state, manifest| {
        let fit = |place: &usize| {
            phases.contains(&state.trials[*place].phase) && !manifest.trials[*place].dropped
        };
        if let Some(place) = places.iter().find(|place| !fit(place)) {
            let phase = status::word(&state.trials[*place]);
            let name = &manifest.trials[*place].name;
            return Err(Error::input(format!("trial {name} is {phase}"))
                .help("`run sweep status` lists the trials"));
        }
        let all = (0..manifest.trials.len()).filter(|place| names.is_empty() && fit(place));
        let all: Vec<usize> = places.iter().copied().chain(all).collect();
        let records = all.iter().map(|place| record(manifest.trials[*place].id.clone()));
        Ok((all.len(), records.collect()))
    })
}

/// A trial by its name, its id or the beginning of one of them.
fn find(manifest: &Manifest, name: &str) -> Result<usize> {
    let trials = manifest.trials.iter();
    if let Some(place) = trials.clone().position(|t| t.name == name || t.id == name) {
        return Ok(place);
    }
    let near =
        trials.enumerate().filter(|(_, t)| t.name.starts_with(name) || t.id.starts_with(name));
    let near: Vec<(usize, &str)> = near.map(|(place, t)| (place, t.name.as_str())).collect();
    match near.as_slice() {
        [(place, _)] => Ok(*place),
        [] => {
            let names: Vec<&str> = manifest.trials.iter().map(|t| t.name.as_str()).collect();
            let error = Error::input(format!("there is no trial {name:?} in the sweep"));
            Err(match crate::config::suggest(name, &names) {
                Some(near) => error.help(format!("did you mean {near:?}?")),
                None => error.help("`run sweep status -v` lists the trials"),
            })
        }
        several => {
            let names: Vec<&str> = several.iter().take(8).map(|(_, name)| *name).collect();
            Err(Error::input(format!("{} trials begin with {name:?}", several.len()))
                .help(format!("write one of {}", names.join(", "))))
        }
    }
}
