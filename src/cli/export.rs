//! `run export`: a run's model as a file for other programs.

use super::args::ExportArgs;
use super::embed::writable;
use super::say;
use crate::Result;
use crate::export::{Format, export as write};
use crate::inference::{Model, checkpoint_name};

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
    let without = match model.network.has_text() {
        true => {
            "the text tower and its head are not in it: captions are embedded by the run alone, \
                 with run embed --texts\n"
        }
        false => "",
    };
    say(&format!(
        "{}: {} (epoch {}), {} x {} pixels to {} values{checked}\n{without}",
        output.display(),
        model.checkpoint,
        model.epoch,
        preprocess.height,
        preprocess.width,
        model.dim(),
    ))
}
