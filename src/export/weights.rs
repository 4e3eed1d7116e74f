//! Backbone and head as safetensors; the header's texts say how to use them.

use crate::Result;
use crate::checkpoint::{Named, write_with_texts};
use crate::inference::Model;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// # Errors
/// A place that can't be written to.
pub fn write(model: &Model, path: &Path) -> Result<()> {
    write_with_texts(path, &tensors(model), &texts(model))
}

/// Without the loss and what belongs to it.
pub fn tensors(model: &Model) -> Named {
    let all = model.network.tensors().into_iter();
    let kept = all.filter(|(name, _)| name.starts_with("backbone.") || name.starts_with("head."));
    kept.map(|(name, tensor)| (name, tensor.detach())).collect()
}

/// What the tensors are and what they expect: each a text of its own, tables as JSON.
fn texts(model: &Model) -> BTreeMap<String, String> {
    let experiment = &model.plan.experiment;
    let mut backbone = json!(experiment.backbone);
    if let Value::Object(keys) = &mut backbone {
        // Of the training, not of the network.
        keys.remove("pretrained");
        keys.remove("frozen");
    }
    let texts = [
        // What libraries that load safetensors by their framework look for.
        ("format", "pt".to_string()),
        ("arcrun", env!("CARGO_PKG_VERSION").to_string()),
        ("experiment", model.plan.name.clone()),
        ("checkpoint", model.checkpoint.clone()),
        ("epoch", model.epoch.to_string()),
        ("backbone", backbone.to_string()),
        ("head", json!(experiment.head).to_string()),
        ("embedding_dim", model.dim().to_string()),
        ("preprocess", json!(experiment.preprocess).to_string()),
        ("input", "RGB [B, 3, height, width], (x / 255 - mean) / std".to_string()),
        ("label_map", model.labels.fingerprint.clone()),
        ("identities", model.labels.names.len().to_string()),
    ];
    texts.into_iter().map(|(name, text)| (name.to_string(), text)).collect()
}
