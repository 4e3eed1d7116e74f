//! `run export`: a run's model as a file for other programs.

use super::embed::writable;
use super::say;
use crate::Result;
use crate::export::{Format, export as write};
use crate::inference::{Model, checkpoint_name};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The folder of a run.
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// latest, min-loss or the number of an epoch; by default min-loss.
    #[arg(long)]
    pub checkpoint: Option<String>,
    /// .safetensors (backbone and head under their names, described in the header) or .pt (TorchScript:
    /// RGB pixels of 0 to 255 in, embedding out).
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

pub fn export(args: &ExportArgs) -> Result<()> {
    let ExportArgs { run, checkpoint, output } = args;
    let format = Format::of(output)?;
    writable(output)?;
    let checkpoint = checkpoint.as_deref().map(checkpoint_name).transpose()?;
    // What a file holds must not depend on the machine that wrote it.
    let model = Model::open_with(run, checkpoint, &["train.device=cpu".to_string()])?;
    write(&model, output)?;
    let preprocess = &model.preprocess;
    let checked = match format {
        Format::Safetensors => "",
        Format::TorchScript => "; loaded again, it gives the same embeddings",
    };
    say(&format!(
        "{}: {} (epoch {}), {} x {} pixels to {} values{checked}\n",
        output.display(),
        model.checkpoint,
        model.epoch,
        preprocess.height,
        preprocess.width,
        model.dim(),
    ))
}
