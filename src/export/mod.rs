//! A run's model for other programs: weights as safetensors, or a TorchScript module with its weights
//! and its normalisation.

mod torchscript;
mod weights;

use crate::inference::Model;
use crate::{Error, Result};
use std::path::Path;

/// What a model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Backbone and head under their names, described in the header.
    Safetensors,
    /// RGB pixels to embedding, for `torch.jit.load`.
    TorchScript,
}

impl Format {
    /// # Errors
    /// Another ending than `.safetensors` and `.pt`.
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Ok(Format::Safetensors),
            Some("pt") => Ok(Format::TorchScript),
            _ => Err(Error::input(format!("--output {}: unknown form", path.display()))
                .help("its name ends in .safetensors (weights) or .pt (TorchScript)")),
        }
    }
}

/// Writes a model that was opened on the CPU to `path`, whole or not at all; a TorchScript module only
/// after it has given the model's own embeddings.
///
/// # Errors
/// Another ending, a place that can't be written to.
pub fn export(model: &Model, path: &Path) -> Result<()> {
    match Format::of(path)? {
        Format::Safetensors => weights::write(model, path),
        Format::TorchScript => torchscript::write(model, path),
    }
}
