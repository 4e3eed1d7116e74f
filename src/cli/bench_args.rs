//! The options of `run bench`.

use super::args::Settings;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Images/s of forward, backward and optimizer.
    Step(BenchStepArgs),
    /// Forward and backward of the loss alone on random embeddings, and the memory it takes.
    Loss(BenchStepArgs),
    /// Queries/s of the exact search on random embeddings.
    Topk(BenchTopkArgs),
    /// Batches of the experiment's training images, without a network: images/s and where the time goes.
    Loader(BenchLoaderArgs),
}

#[derive(Debug, Args)]
pub struct BenchTopkArgs {
    #[arg(long, default_value_t = 2000)]
    pub queries: usize,
    /// Embeddings that are searched.
    #[arg(long, default_value_t = 100_000)]
    pub gallery: usize,
    /// Dimensions of an embedding.
    #[arg(long, default_value_t = 512)]
    pub dim: usize,
    /// Hits per query.
    #[arg(long, default_value_t = 10)]
    pub k: usize,
    #[arg(long, value_enum, default_value_t)]
    pub metric: MetricArg,
    /// Searches that are measured, after one that isn't.
    #[arg(long, default_value_t = 3)]
    pub repeat: usize,
    /// 0: as many as the system gives.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// `--metric`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum MetricArg {
    #[default]
    Cosine,
    Euclidean,
}

impl From<MetricArg> for crate::retrieval::Metric {
    fn from(metric: MetricArg) -> Self {
        match metric {
            MetricArg::Cosine => Self::Cosine,
            MetricArg::Euclidean => Self::Euclidean,
        }
    }
}

#[derive(Debug, Args)]
pub struct BenchLoaderArgs {
    pub experiment: PathBuf,
    /// Epochs that are measured; one more goes before them.
    #[arg(long, default_value_t = 3)]
    pub epochs: usize,
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct BenchStepArgs {
    pub experiment: PathBuf,
    /// Steps that are measured.
    #[arg(long, default_value_t = 20)]
    pub steps: usize,
    /// Steps before them.
    #[arg(long, default_value_t = 3)]
    pub warm_up: usize,
    /// Classes of the loss; the data set is not opened.
    #[arg(long, default_value_t = 1000)]
    pub classes: usize,
    /// Only images to embeddings, as an evaluation does it: without loss, gradients or optimizer.
    #[arg(long)]
    pub forward: bool,
    /// Whole steps as a training does them, numbers fetched, instead of their parts.
    #[arg(long, conflicts_with = "forward")]
    pub whole: bool,
    /// Whole steps on the experiment's training images through the loader, and the share of time that was
    /// spent waiting for it; the classes are the data's.
    #[arg(long, conflicts_with = "forward")]
    pub files: bool,
    /// Whole steps of N processes on this machine, each on its part of every batch; torchrun and srun
    /// start them on several machines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    #[arg(conflicts_with = "forward")]
    pub nproc: Option<u64>,
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: Settings,
}
