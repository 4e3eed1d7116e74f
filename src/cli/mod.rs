//! The command line: what was typed becomes calls into the library, errors become exit codes.

pub mod align;
mod args;
mod bench;
mod bench_args;
mod bench_loader;
mod bench_step;
mod celeba;
mod check;
mod compare;
mod data_args;
mod data_source;
mod embed;
mod eval;
pub mod explain;
mod export;
pub(crate) mod images;
mod inspect;
mod model_args;
mod pack;
pub mod parts;
mod plot;
pub mod progress;
mod report;
mod schedule;
pub(crate) mod search;
mod spelling;
mod submit;
mod sweep;
mod sweep_args;
mod sync;
mod synth;
mod verify;
mod weights;

use crate::config::check::seconds as check_seconds;
use crate::config::tables::Distributed;
use crate::config::{Experiment, Field, Loaded, Request, families, load};
use crate::distributed::{self, Launch};
use crate::plan::Plan;
use crate::profile;
use crate::record::Verbosity;
use crate::torch::device::gpus_beside;
use crate::torch::signals;
use crate::train::signals::StopFlag;
use crate::train::{self, Continue};
use crate::{Error, Result};
use args::{BenchCommand, Cli, Command, DataCommand, PartsArgs, PlotCommand, Settings, TrainArgs};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    crate::torch::memory::keep();
    crate::torch::memory::hush();
    crate::sweep::orphan::watch();
    let argv = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let cli = match args::parse(argv, &Experiment::shape()) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing more can be said where printing fails.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    // A training hears what has asked it to stop since the program began, and --nproc passes it on.
    let stop = match cli.command.is_none() && !cli.train.is_many() {
        true => StopFlag::listen_early().map(Some),
        false => Ok(None),
    };
    if !cli.train.is_many() {
        signals::unblock();
    }
    // A panic is a bug; its message has been printed by the panic hook.
    let run = || dispatch(cli, stop?.unwrap_or_default());
    let result = std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Error::failed("arcrun panicked: this is a bug in arcrun, not in your input"))
    });
    let finished = distributed::finish(result.is_ok());
    match result.and(finished) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// An error with its remedy, on stderr.
fn print_error(error: &Error) {
    match error {
        Error::Config(diagnostics) => crate::tell!("{diagnostics}"),
        Error::Input { message, help }
        | Error::Failed { message, help }
        | Error::Diverged { message, help } => {
            crate::tell!("error: {message}");
            help.iter().for_each(|help| crate::tell!("  help: {help}"));
        }
        Error::Stopped { message, help } => {
            crate::tell!("{message}");
            help.iter().for_each(|help| crate::tell!("{help}"));
        }
    }
}

/// `stop` is a training's.
fn dispatch(cli: Cli, stop: StopFlag) -> Result<()> {
    let verbosity = match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    if let Some(command @ (Command::Eval(_) | Command::Sweep(_))) = &cli.command {
        one_process(if matches!(command, Command::Eval(_)) { "eval" } else { "sweep" })?;
    }
    match cli.command {
        None => train(&cli.train, verbosity, &stop),
        Some(Command::Check { files, settings }) => check::check(&files, &settings),
        Some(Command::Parts(options)) => list_or_plot(&options, verbosity),
        Some(Command::Explain { key, file, settings }) => {
            let loaded: Loaded = load(&request(&file, &settings))?;
            say(&explain::explain(&loaded, &key)?)
        }
        Some(Command::Eval(options)) => eval::eval(&options, verbosity),
        Some(Command::Embed(options)) => embed::embed(&options, verbosity),
        Some(Command::Search(options)) => search::search(&options, verbosity),
        Some(Command::Export(options)) => export::export(&options),
        Some(Command::Submit(options)) => submit::submit(&options, verbosity),
        Some(Command::Compare(options)) => compare::compare(&options, verbosity),
        Some(Command::Sweep(options)) => sweep::sweep(&options, verbosity),
        Some(Command::Plot(PlotCommand::Curves(options))) => plot::curves::curves(&options),
        Some(Command::Plot(PlotCommand::Roc(options))) => plot::roc::roc(&options),
        Some(Command::Plot(PlotCommand::Embeddings(options))) => {
            plot::embeddings::embeddings(&options, verbosity)
        }
        Some(Command::Report(options)) => report::report(&options, verbosity),
        Some(Command::Sync(options)) => sync::sync(&options, verbosity),
        Some(Command::Weights { command }) => weights::weights(command.as_ref(), verbosity),
        Some(Command::Data(DataCommand::Synth(options))) => synth::synth(&options, verbosity),
        Some(Command::Data(DataCommand::Align(options))) => align::faces(&options, verbosity),
        Some(Command::Data(DataCommand::CelebaIdentities { root })) => celeba::identities(&root),
        Some(Command::Data(DataCommand::Inspect(options))) => inspect::inspect(&options, verbosity),
        Some(Command::Data(DataCommand::Verify(options))) => verify::verify(&options, verbosity),
        Some(Command::Data(DataCommand::Pack(options))) => pack::pack(&options, verbosity),
        Some(Command::Bench(BenchCommand::Step(options))) => bench_step::step(&options),
        Some(Command::Bench(BenchCommand::Loss(options))) => bench::loss(&options),
        Some(Command::Bench(BenchCommand::Topk(options))) => bench::topk(&options),
        Some(Command::Bench(BenchCommand::Loader(options))) => bench_loader::loader(&options),
    }
}

fn list_or_plot(options: &PartsArgs, verbosity: Verbosity) -> Result<()> {
    let PartsArgs { family, experiment, plot, steps_per_epoch, settings } = options;
    let picture = match (family.as_deref(), experiment, plot) {
        (Some("scheduler"), Some(experiment), Some(picture)) => Some((experiment, picture)),
        (Some(family), Some(_), _) => {
            let message = format!("a {family} can't be drawn, only a scheduler");
            let help = "run parts scheduler EXPERIMENT --plot FILE.png";
            return Err(Error::input(message).help(help));
        }
        _ => None,
    };
    let Some((experiment, picture)) = picture else {
        if !settings.sets().is_empty() {
            let message = "the list of parts has no settings: --set needs an experiment";
            return Err(Error::input(message));
        }
        return say(&match family {
            None => parts::overview(&families()),
            Some(name) => parts::family(&families(), name)?,
        });
    };
    let steps = steps_per_epoch.map(|steps| steps as usize);
    schedule::plot(experiment, picture, steps, settings, verbosity)
}

/// Results go to stdout. A reader that has gone away (`| head`) is not an error.
pub(crate) fn say(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn request(file: &Path, settings: &Settings) -> Request {
    Request { sets: settings.sets(), ..Request::new(file) }
}

/// Plans every experiment before the first one starts, then runs them one after the other. A
/// failed one does not keep the next from running.
fn train(args: &TrainArgs, verbosity: Verbosity, stop: &StopFlag) -> Result<()> {
    let files = args::experiment_files(&args.experiments)?;
    if files.len() > 1 && args.run_dir.is_some() {
        return Err(Error::input("--run-dir names one folder, but there are several experiments"));
    }
    if files.len() > 1 && args.profile.is_some() {
        let message = "--profile is of one run, but there are several experiments";
        return Err(Error::input(message).help("profile them one by one"));
    }
    let settings = args.settings();
    let loaded: Vec<Loaded> = all(&files, |file| load(&request(file, &settings)))?;
    if args.print_config {
        return loaded.iter().try_for_each(|loaded| say(&loaded.experiment.to_toml()));
    }
    let mut plans = Vec::new();
    for loaded in loaded {
        plans.push(Plan::new(loaded)?);
    }
    if start_processes(args.nproc, &plans)? {
        return Ok(());
    }
    if args.dry_run {
        return plans.iter().try_for_each(|plan| say(&check::dry_run(plan)?));
    }
    let launch = join(&mut plans, stop)?;
    // Whoever starts a job again means it to go on.
    let again = launch.as_ref().is_some_and(|launch| launch.restarts > 0).then_some(Continue::Auto);
    let (time_limit, doubt) = train::TimeLimit::resolve(args.time_limit.as_deref())?;
    // Once, by whoever writes.
    if let Some(doubt) = doubt.filter(|_| launch.as_ref().is_none_or(|launch| launch.rank == 0)) {
        crate::tell!("warning: {doubt}");
    }
    // Of torchrun and Slurm it is they who know how many.
    let ranks = launch.as_ref().filter(|_| std::env::var_os(distributed::STARTER).is_some());
    let ranks = ranks.map(|launch| launch.size);
    let options = train::Options {
        continue_train: args.continue_train.clone().or(again),
        run_dir: args.run_dir.clone(),
        verbosity,
        profile: args
            .profile
            .clone()
            .map(|file| profile::Options { file, steps: args.profile_steps }),
        again: args.again(ranks),
        time_limit,
    };
    let mut failures = Vec::new();
    let count = plans.len();
    for plan in plans {
        match train::run(&plan, &options, stop) {
            Ok(_) => {}
            Err(error @ Error::Stopped { .. }) => return Err(error),
            Err(error) if count == 1 => return Err(error),
            Err(error) => {
                print_error(&error);
                failures.push(error.exit_code());
            }
        }
    }
    let message = format!("{} of {count} experiments did not finish: see above", failures.len());
    match failures.as_slice() {
        [] => Ok(()),
        codes if codes.iter().all(|code| *code == 2) => Err(Error::input(message)),
        _ => Err(Error::failed(message)),
    }
}

/// This command in `--nproc` processes; false where that is one. Where one of them failed, which has said
/// why, the program ends with its code.
fn start_processes(nproc: Option<u64>, plans: &[Plan]) -> Result<bool> {
    let Some(count) = nproc.filter(|count| *count > 1) else { return Ok(false) };
    for plan in plans {
        let (request, gpus) = (&plan.experiment.train.device, gpus_beside(plan.device));
        distributed::check_local(request, plan.device, count as usize, gpus)
            .map_err(|error| plan.at("train.device", error))?;
    }
    let arguments = distributed::without_nproc(std::env::args_os().skip(1));
    match distributed::local_processes(count as usize, &arguments)? {
        0 => Ok(true),
        code => std::process::exit(code.into()),
    }
}

/// Joins the processes that torchrun or Slurm started beside this one, each on a GPU of its own. None of
/// one alone.
fn join(plans: &mut [Plan], stop: &StopFlag) -> Result<Option<Launch>> {
    let Some(launch) = Launch::from_environment()? else { return Ok(None) };
    for plan in plans.iter_mut() {
        let (request, gpus) = (&plan.experiment.train.device, gpus_beside(plan.device));
        let device = distributed::device_of_rank(request, plan.device, &launch, gpus);
        plan.device = device.map_err(|error| plan.at("train.device", error))?;
    }
    let Some(plan) = plans.first() else { return Ok(None) };
    if let Some(other) = plans.iter().find(|other| other.device != plan.device) {
        let message = format!(
            "several processes train on one device each, but {} and {} differ in train.device",
            plan.name, other.name
        );
        return Err(Error::input(message).help("start them one by one"));
    }
    let Distributed { timeout, sync_batch_norm } = &plan.experiment.distributed;
    let timeout = Duration::from_secs_f64(check_seconds(timeout).unwrap_or(1800.0));
    let stopped = || stop.is_set().then(|| stop.by());
    let group = distributed::meet(&launch, plan.device, timeout, &stopped)?;
    distributed::enter(Arc::new(group), *sync_batch_norm);
    Ok(Some(launch))
}

/// # Errors
/// One of several processes that a launcher started, which would each do all of it.
fn one_process(command: &str) -> Result<()> {
    let Some(launch) = Launch::from_environment()? else { return Ok(()) };
    let message =
        format!("`run {command}` is one process, but a launcher started {} of it", launch.size);
    Err(Error::input(message).help(
        "start it without torchrun, or with srun --ntasks 1; only trainings and `run bench step` are \
         divided over processes",
    ))
}

/// Every result, or every error: the files are independent of each other.
fn all<T>(files: &[PathBuf], each: impl Fn(&Path) -> Result<T>) -> Result<Vec<T>> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for file in files {
        match each(file) {
            Ok(value) => good.push(value),
            Err(error) => bad.push(error),
        }
    }
    let Some(last) = bad.pop() else { return Ok(good) };
    bad.iter().for_each(print_error);
    Err(last)
}
