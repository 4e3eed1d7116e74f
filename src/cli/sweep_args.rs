//! The options of `run sweep`.

use super::args::Settings;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SweepArgs {
    #[command(subcommand)]
    pub command: Option<SweepCommand>,
    /// The sweep file; or a sweep's folder, to go on with it.
    #[arg(required = true, value_name = "SWEEP.toml")]
    pub file: Option<PathBuf>,
    /// The sweep's folder, instead of results/sweeps/NAME.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Prints the table of trials and the estimated cost, and ends.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub running: RunArgs,
}

/// Where and how trials run.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Trials at a time, by default one for each GPU, or one.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub jobs: Option<usize>,
    /// On this machine, or as a job array of Slurm.
    #[arg(long, value_enum, default_value_t)]
    pub launcher: Launcher,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Launcher {
    #[default]
    Local,
    Slurm,
}

#[derive(Debug, Subcommand)]
pub enum SweepCommand {
    /// What became of the trials, the best of them, the time left.
    Status {
        #[arg(value_name = "SWEEP_DIR")]
        dir: PathBuf,
    },
    /// Goes on with what is left.
    Resume {
        #[arg(value_name = "SWEEP_DIR")]
        dir: PathBuf,
        #[command(flatten)]
        running: RunArgs,
    },
    /// Tries failed trials again, and goes on with what is left.
    Retry {
        #[arg(value_name = "SWEEP_DIR")]
        dir: PathBuf,
        /// All that failed.
        #[arg(long)]
        failed: bool,
        /// These, by name or id.
        #[arg(value_name = "TRIAL")]
        trials: Vec<String>,
        #[command(flatten)]
        running: RunArgs,
    },
    /// Lets pruned trials go on to their end, and goes on with what is left.
    Promote {
        #[arg(value_name = "SWEEP_DIR")]
        dir: PathBuf,
        /// These, by name or id; none: all that were pruned.
        #[arg(value_name = "TRIAL")]
        trials: Vec<String>,
        #[command(flatten)]
        running: RunArgs,
    },
    /// Takes over the edited sweep file: new trials are added, finished ones kept.
    Extend {
        #[arg(value_name = "SWEEP_DIR")]
        dir: PathBuf,
        /// The file, where it is another than before.
        #[arg(value_name = "SWEEP.toml")]
        file: Option<PathBuf>,
        /// Says what would change, and ends.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        running: RunArgs,
    },
    /// One task of a cluster's job array.
    #[command(hide = true)]
    Task {
        dir: PathBuf,
        /// Place of the array's task 0 among the trials.
        #[arg(long, default_value_t = 0)]
        offset: usize,
    },
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one trial has to run at a time".into()),
        Ok(jobs) if jobs > 4096 => Err("at most 4096 trials run at a time".into()),
        Ok(jobs) => Ok(jobs),
        Err(_) => Err("it is a number of trials".into()),
    }
}
