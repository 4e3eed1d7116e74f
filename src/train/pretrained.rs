//! Weights to start from: `backbone.pretrained`.

use super::model::Model;
use crate::checkpoint::{self, read_weights};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

const PREFIX: &str = "backbone.";

/// # Errors
/// No such file.
pub fn present(source: Option<&Path>) -> Result<()> {
    let missing = source.filter(|path| !path.is_file());
    missing.map_or(Ok(()), |path| {
        Err(Error::input(format!("`backbone.pretrained`: there is no file {}", path.display()))
            .help("put the weights there, or do without: --set backbone.pretrained=none"))
    })
}

/// Copies the weights in the file `source` into the backbone; without one it stays as it was
/// initialised.
///
/// The file has the backbone's own parameter names, with or without the prefix `backbone.`;
/// `head.*`, `loss.*` and a classifier (`fc.*`) in it are left out.
///
/// # Errors
/// No such file, one of another architecture, one that can't be read, or another format.
pub fn load(model: &Model, source: Option<&Path>) -> Result<()> {
    let Some(path) = source else { return Ok(()) };
    let shown = path.display();
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(Error::input(format!(
            "`backbone.pretrained`: {shown} is no .safetensors file"
        ))
        .help("convert the weights to safetensors, or use \"none\" to train from scratch"));
    }
    present(source)?;
    let mut weights = BTreeMap::new();
    for (name, tensor) in read_weights(path)? {
        let elsewhere = ["head.", "loss.", "fc."].iter().any(|other| name.starts_with(other));
        // PyTorch counts batches in batch norm; nothing reads the count.
        if elsewhere || name.ends_with(".num_batches_tracked") {
            continue;
        }
        let bare = name.strip_prefix(PREFIX).unwrap_or(&name);
        weights.insert(format!("{PREFIX}{bare}"), tensor);
    }
    let mut expected = model.tensors();
    expected.retain(|name, _| name.starts_with(PREFIX));
    checkpoint::same_tensors(path, &checkpoint::shapes(&expected), &checkpoint::shapes(&weights))?;
    model.load(&weights);
    Ok(())
}
