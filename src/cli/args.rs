//! The command line: options, subcommands, and spellings that people bring from other trainers.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use super::bench_args::{BenchCommand, BenchLoaderArgs, BenchStepArgs, BenchTopkArgs};
pub use super::data_args::{AlignArgs, DataCommand, InspectArgs, PackArgs, SynthArgs, VerifyArgs};
pub use super::model_args::{
    CompareArgs, EmbedArgs, EvalArgs, ExportArgs, ModelArgs, SearchArgs, SubmitArgs,
};
use super::spelling::{normalise, setting_for};
pub use super::sweep_args::{Launcher, RunArgs, SweepArgs, SweepCommand};
pub use super::weights::WeightsCommand;
use crate::config::{Shape, read_file};
use crate::train::Continue;
use crate::{Error, Result};

/// Trains and evaluates face recognition models: one TOML file is one experiment.
#[derive(Debug, Parser)]
#[command(name = "run", version, arg_required_else_help = true)]
#[command(override_usage = "run [OPTIONS] EXPERIMENT...\n       run COMMAND ...")]
#[command(
    after_help = "Shorthands: --batch-size N, --epochs N, --lr X, --weight-decay X, --seed N \
    stand for --set KEY=VALUE.\nExit codes: 0 done, 1 the run failed, 2 the input is wrong, \
    3 diverged, 75 stopped with a checkpoint."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub train: TrainArgs,
    /// Warnings and results only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// Training, the command without a name.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Experiment files or quoted patterns such as 'experiments/*face.toml', one after the other.
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<String>,
    #[command(flatten)]
    pub settings: Settings,
    /// Goes on from a checkpoint: latest, auto (latest, else a fresh run), min-loss,
    /// best-METRIC, epoch-NNNN or its folder; all but the first two make a new run.
    /// Without --run-dir it is of the newest run of the experiment that has one and that no process
    /// holds. Where a newer run has none, auto goes on with the older one only if that is not
    /// finished and of the same configuration.
    #[arg(long, value_name = "CHECKPOINT")]
    pub continue_train: Option<Continue>,
    /// The run's folder, instead of results/EXPERIMENT/RUN-ID: to be made, or to be gone on with by
    /// --continue-train latest and auto. With min-loss the run whose checkpoint is meant.
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Trains in N processes on this machine, each on its part of every batch. torchrun and srun start
    /// them on several machines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    #[arg(conflicts_with_all = ["dry_run", "print_config"])]
    pub nproc: Option<u64>,
    /// Stops with a checkpoint so early that the program has ended after this time, such as 3h 50m;
    /// in a job of Slurm's, by default, before the job's own limit.
    #[arg(long, value_name = "TIME")]
    pub time_limit: Option<String>,
    /// Trains on one batch alone, without augmentation: shows within minutes whether the network can
    /// learn at all. The same as --set train.overfit_batches=1.
    #[arg(long)]
    pub overfit_one_batch: bool,
    /// Writes where the time goes, for https://ui.perfetto.dev, to profile.json in the run's folder or
    /// to --profile=FILE, and prints each part's share of a step.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[arg(conflicts_with_all = ["dry_run", "print_config"])]
    pub profile: Option<Option<PathBuf>>,
    /// With --profile: steps whose parts are recorded, after three that are not.
    #[arg(long, value_name = "N", requires = "profile", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub profile_steps: u64,
    /// Does everything up to the first training step.
    #[arg(long)]
    pub dry_run: bool,
    /// Prints the resolved configuration and ends.
    #[arg(long)]
    pub print_config: bool,
}

/// What changes the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Sets a key of the configuration by its full name or any unique last part.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// auto, cpu, cuda:0 or mps; the same as --set train.device=.
    #[arg(long)]
    pub device: Option<String>,
}

impl TrainArgs {
    /// What changes the configuration, flags included.
    pub fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        if self.overfit_one_batch {
            settings.set.push("train.overfit_batches=1".to_string());
        }
        settings
    }

    /// Whether other processes are to do the training.
    pub fn is_many(&self) -> bool {
        self.nproc.is_some_and(|count| count > 1)
    }

    /// What the command that continues the run repeats; `ranks` of --nproc.
    pub fn again(&self, ranks: Option<usize>) -> Vec<String> {
        let option = |name: &str, value: &dyn Display| [name.to_string(), value.to_string()];
        let sets = self.settings().sets();
        let mut again: Vec<String> = sets.iter().flat_map(|set| option("--set", set)).collect();
        again.extend(ranks.iter().flat_map(|ranks| option("--nproc", ranks)));
        again.extend(self.time_limit.iter().flat_map(|limit| option("--time-limit", limit)));
        let Some(file) = &self.profile else { return again };
        again.push(match file {
            Some(file) => format!("--profile={}", file.display()),
            None => "--profile".to_string(),
        });
        again.extend(option("--profile-steps", &self.profile_steps));
        again
    }
}

impl Settings {
    /// All of them as `KEY=VALUE`.
    pub fn sets(&self) -> Vec<String> {
        let device = self.device.iter().map(|device| format!("train.device={device}"));
        self.set.iter().cloned().chain(device).collect()
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Does everything up to the first training step, on the real data; all errors at once.
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists the parts: every kind of a family with its keys, defaults and paper. Draws a schedule.
    Parts(PartsArgs),
    /// Says which layer gave a key its value.
    Explain {
        key: String,
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Evaluates a run's checkpoint, or an experiment's model without training.
    Eval(EvalArgs),
    /// Embeds images with a run's model: to CSV, NumPy's format or safetensors.
    Embed(EmbedArgs),
    /// Says whether two images show the same person: cosine, distance, the tuned threshold.
    Compare(CompareArgs),
    /// Finds the most similar images of a gallery for each query: JSON and a contact sheet.
    Search(SearchArgs),
    /// Writes a run's model for other programs: safetensors or TorchScript.
    Export(ExportArgs),
    /// Posts the most similar images of a gallery for each query to a competition's server.
    Submit(SubmitArgs),
    /// Runs the trials of a sweep file, or goes on with them; safe to repeat.
    Sweep(SweepArgs),
    /// Draws what runs recorded.
    #[command(subcommand)]
    Plot(PlotCommand),
    /// Makes one self-contained HTML page of a run, or of several to compare.
    Report(ReportArgs),
    /// Uploads to W&B what was logged offline; safe to repeat.
    Sync(SyncArgs),
    /// Published weights for backbone.pretrained: lists and fetches them, shows what a file holds.
    Weights {
        #[command(subcommand)]
        command: Option<WeightsCommand>,
    },
    /// Makes, inspects, verifies and packs data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Measures throughput.
    #[command(subcommand)]
    Bench(BenchCommand),
}

#[derive(Debug, Args)]
pub struct PartsArgs {
    /// backbone, loss, optimizer ...
    pub family: Option<String>,
    /// With `scheduler` and --plot: the experiment whose schedule is drawn.
    #[arg(requires = "plot")]
    pub experiment: Option<PathBuf>,
    /// Draws the learning rate over the steps of the training to this .png or .svg.
    #[arg(long, value_name = "FILE", requires = "experiment")]
    pub plot: Option<PathBuf>,
    /// Steps of an epoch, for the picture, instead of counting them in the data set.
    #[arg(long, value_name = "N", requires = "plot")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub steps_per_epoch: Option<u32>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum PlotCommand {
    /// Loss, accuracy, learning rate and throughput over the training.
    Curves(PlotArgs),
    /// ROC and score histograms of the evaluation sets.
    Roc(PlotArgs),
    /// Embeddings and class centres over the epochs: PNG, GIF and an interactive page.
    Embeddings(PlotEmbeddingsArgs),
}

#[derive(Debug, Args)]
pub struct PlotArgs {
    /// Run folders; several are drawn over each other.
    #[arg(required = true, value_name = "RUN_DIR")]
    pub runs: Vec<PathBuf>,
    /// The folder for the pictures, instead of the run's plots/.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PlotEmbeddingsArgs {
    /// Run folders; several are drawn side by side.
    #[arg(required = true, value_name = "RUN_DIR")]
    pub runs: Vec<PathBuf>,
    /// The folder for the pictures, instead of the run's plots/.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// How embeddings of more than two dimensions get to the plane: principal components of the last
    /// recorded epoch, or t-SNE of each epoch.
    #[arg(long, value_enum, default_value_t)]
    pub projection: ProjectionArg,
    /// Of t-SNE: about how many neighbours count; by default 30, or a third of the images.
    #[arg(long, value_name = "N")]
    pub perplexity: Option<f64>,
}

/// `--projection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProjectionArg {
    #[default]
    Pca,
    Tsne,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folders.
    #[arg(required = true, value_name = "RUN_DIR")]
    pub runs: Vec<PathBuf>,
    /// The page to write, instead of report.html in the run's folder (of several: in the current
    /// one).
    #[arg(long, value_name = "FILE.html")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    /// Run folders.
    #[arg(required = true, value_name = "RUN_DIR")]
    pub runs: Vec<PathBuf>,
}

/// Reads `argv` (with the program's name); `root` is the configuration, for suggestions.
/// The error prints itself and knows its exit code (2, or 0 for `--help`).
pub fn parse(argv: Vec<String>, root: &Shape) -> Result<Cli, clap::Error> {
    let argv = normalise(argv);
    match Cli::try_parse_from(&argv) {
        Ok(cli) if cli.command.is_some() && !cli.train.experiments.is_empty() => {
            let message = "an experiment and a command cannot be given together";
            Err(Cli::command().error(ErrorKind::ArgumentConflict, message))
        }
        Ok(cli) if cli.command.is_none() && cli.train.experiments.is_empty() => {
            let message = "no experiment file given";
            Err(Cli::command().error(ErrorKind::MissingRequiredArgument, message))
        }
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
                return Err(error);
            };
            match setting_for(option, &argv, root) {
                Some(setting) => {
                    let message =
                        format!("there is no option {option}; did you mean --set {setting}?");
                    Err(Cli::command().error(ErrorKind::UnknownArgument, message))
                }
                None => Err(error),
            }
        }
        other => other,
    }
}

/// The experiment files that names and patterns stand for, in order.
pub fn experiment_files(patterns: &[String]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let literal = Path::new(pattern);
        if literal.exists() || !pattern.contains(['*', '?', '[']) {
            read_file(literal)?;
            files.push(literal.to_path_buf());
            continue;
        }
        let matches = glob::glob(pattern)
            .map_err(|e| Error::input(format!("{pattern} is not a pattern: {e}")))?;
        let before = files.len();
        for file in matches {
            let file = file.map_err(|e| Error::input(format!("cannot list {pattern}: {e}")))?;
            files.push(file);
        }
        if files.len() == before {
            return Err(Error::input(format!("no file matches {pattern}")));
        }
    }
    Ok(files)
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
