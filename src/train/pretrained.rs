//! Weights to start from: `backbone.pretrained`.

use super::model::Model;
use crate::checkpoint::{self, read_weights};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

const PREFIX: &str = "backbone.";

/// Copies the weights in `source` into the backbone; "none" leaves it as it was initialised.
///
/// The file has the backbone's own parameter names, with or without the prefix `backbone.`;
/// `head.*`, `loss.*` and a classifier (`fc.*`) in it are left out.
///
/// # Errors
/// A file of another architecture, one that can't be read, or another format.
pub fn load(model: &Model, source: &str) -> Result<()> {
    if source == "none" {
        return Ok(());
    }
    let path = Path::new(source);
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(Error::input(format!(
            "`backbone.pretrained`: {source} is no .safetensors file"
        ))
        .help("convert the weights to safetensors, or use \"none\" to train from scratch"));
    }
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
