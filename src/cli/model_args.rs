//! The command line of what uses a trained model.

use super::args::Settings;
use crate::evaluate::Flip;
use crate::evaluate::retrieval::Index;
use crate::retrieval::Metric;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct EvalArgs {
    #[arg(value_name = "RUN_DIR|EXPERIMENT")]
    pub target: PathBuf,
    /// Of a run: latest, min-loss (the default), best-METRIC, the number of an epoch
    /// (each with -ema: the average of train.ema), or all, which also writes
    /// the run's eval-all.csv with the best row marked.
    #[arg(long)]
    pub checkpoint: Option<String>,
    /// Appends the scores to this CSV file too.
    #[arg(long, value_name = "FILE.csv")]
    pub output: Option<PathBuf>,
    /// Of a run: writes what lies behind the scores: the distances of all pairs to its
    /// scores/SET/CHECKPOINT.csv, rankings to retrieval/SET/. The run is locked meanwhile; refused
    /// while another process trains it.
    #[arg(long)]
    pub scores: bool,
    #[command(flatten)]
    pub settings: Settings,
}

/// Which model.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// The folder of a run.
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// latest, min-loss, best-METRIC or the number of an epoch, each with -ema for the average
    /// of train.ema; by default min-loss.
    #[arg(long)]
    pub checkpoint: Option<String>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct EmbedArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// An image, a folder (all images below it) or a quoted pattern such as 'faces/**/*.jpg'; may be
    /// repeated.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    #[arg(required_unless_present = "texts", conflicts_with = "texts")]
    pub images: Vec<String>,
    /// Or a file of texts, one in each line, for a model with a text tower.
    #[arg(long, value_name = "FILE.txt")]
    pub texts: Option<PathBuf>,
    /// .csv (image and values), .npy (float32, with the images in .images.csv) or .safetensors.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// The flip test: none, sum or concat; by default the run's.
    #[arg(long, value_parser = flip)]
    pub flip: Option<Flip>,
    /// Divides each embedding by its L2 norm.
    #[arg(long, visible_alias = "normalize")]
    pub normalise: bool,
    /// Leaves out images that can't be read, by name, instead of ending with the first.
    #[arg(long)]
    pub skip_broken: bool,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[arg(value_name = "A.jpg")]
    pub first: PathBuf,
    #[arg(value_name = "B.jpg")]
    pub second: PathBuf,
    /// Squared L2 distance below which two images show the same person, instead of the tuned one.
    #[arg(long)]
    pub threshold: Option<f64>,
    /// The evaluation set whose tuned threshold counts; by default the first by name.
    #[arg(long, value_name = "SET", conflicts_with = "threshold")]
    pub tuned_on: Option<String>,
    /// One line of JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Images that are searched: a file, a folder or a quoted pattern; may be repeated.
    #[arg(long, required = true, value_name = "GLOB", num_args = 1..)]
    pub gallery: Vec<String>,
    /// Images that are searched for, in the same forms.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    #[arg(required_unless_present = "text", conflicts_with = "text")]
    pub query: Vec<String>,
    /// Or a text that is searched for, by a model with a text tower; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub text: Vec<String>,
    /// Hits of each query.
    #[arg(long, default_value_t = 10, value_name = "K")]
    pub top_k: usize,
    /// cosine or euclidean.
    #[arg(long, default_value = "cosine", value_parser = metric)]
    pub metric: Metric,
    /// exact, or hnsw: an approximate index, for galleries of millions; its recall against the exact
    /// search is said.
    #[arg(long, default_value = "exact", value_parser = index)]
    pub index: Index,
    /// {query file: [gallery files, best first]}
    #[arg(long, value_name = "FILE.json")]
    pub output: PathBuf,
    /// The picture of queries and hits, instead of the output's name with .png.
    #[arg(long, value_name = "FILE.png")]
    pub contact_sheet: Option<PathBuf>,
    /// Leaves out images that can't be read, by name, instead of ending with the first.
    #[arg(long)]
    pub skip_broken: bool,
}

#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The folder of a run.
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// latest, min-loss (the default), best-METRIC, the number of an epoch
    /// (each with -ema: the average of train.ema), or all, each network once.
    #[arg(long)]
    pub checkpoint: Option<String>,
    /// Images to find others for: a file, a folder or a quoted pattern; may be repeated. Without it
    /// submit.query counts.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub query: Vec<String>,
    /// Images among which they are found, in the same forms. Without it submit.gallery counts.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub gallery: Vec<String>,
    /// Gallery images for each query.
    #[arg(long, default_value_t = 10, value_name = "K")]
    pub top_k: usize,
    /// cosine or euclidean.
    #[arg(long, default_value = "cosine", value_parser = metric)]
    pub metric: Metric,
    /// Writes submissions/CHECKPOINT.dry-run.json and posts nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Posts also what the server has scored before.
    #[arg(long, conflicts_with = "dry_run")]
    pub force: bool,
    #[command(flatten)]
    pub settings: Settings,
}

pub(super) fn metric(text: &str) -> Result<Metric, String> {
    let known = Metric::ALL.iter().copied().find(|metric| metric.as_str() == text);
    known.ok_or_else(|| "it is cosine or euclidean".to_string())
}

fn index(text: &str) -> Result<Index, String> {
    let known = Index::ALL.iter().copied().find(|index| index.as_str() == text);
    known.ok_or_else(|| "it is exact or hnsw".to_string())
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The folder of a run.
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// latest, min-loss, best-METRIC or the number of an epoch, each with -ema for the average
    /// of train.ema; by default min-loss.
    #[arg(long)]
    pub checkpoint: Option<String>,
    /// .safetensors (backbone and head under their names, described in the header) or .pt (TorchScript:
    /// RGB pixels of 0 to 255 in, embedding out).
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

fn flip(text: &str) -> Result<Flip, String> {
    let known = Flip::ALL.iter().copied().find(|flip| flip.as_str() == text);
    known.ok_or_else(|| "it is none, sum or concat".to_string())
}
