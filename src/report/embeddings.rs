//! `embeddings/`: networks whose embeddings have two dimensions, epoch by epoch.

use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::path::Path;

const FOLDER: &str = "embeddings";
/// Points of one epoch; of more every so-many-th is taken.
const MOST: usize = 4000;

/// The points, labels and class centres of every epoch that was kept, or nothing where none was
/// or they have more dimensions than a page has.
///
/// # Errors
/// A file that can't be read or does not hold what it should.
pub fn page_data(run: &Path) -> Result<Option<Value>> {
    let folder = run.join(FOLDER);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut files: Vec<(u64, std::path::PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let epoch = name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok()?;
            Some((epoch, entry.path()))
        })
        .collect();
    files.sort();
    let mut epochs = Vec::new();
    for (epoch, path) in files {
        let damaged = |why: String| Error::input(format!("{} is damaged: {why}", path.display()));
        let content = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let tensors = SafeTensors::deserialize(&content).map_err(|e| damaged(e.to_string()))?;
        let Some(points) = pairs(&tensors, "embeddings").map_err(damaged)? else { return Ok(None) };
        let labels = labels(&tensors, points.len()).map_err(damaged)?;
        let centres = match tensors.tensor("centres") {
            Ok(_) => pairs(&tensors, "centres").map_err(damaged)?.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let every = points.len().div_ceil(MOST).max(1);
        let points: Vec<Value> = points.iter().step_by(every).map(place).collect();
        let labels: Vec<i64> = labels.into_iter().step_by(every).collect();
        let centres: Vec<Value> = centres.iter().map(place).collect();
        let of = json!({ "epoch": epoch, "points": points, "labels": labels, "centres": centres });
        epochs.push(of);
    }
    if epochs.is_empty() {
        return Ok(None);
    }
    let names = folder.join("classes.json");
    let classes: Vec<String> = match std::fs::read(&names) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Error::input(format!("{} is damaged: {e}", names.display())))?,
        Err(_) => Vec::new(),
    };
    Ok(Some(json!({ "classes": classes, "epochs": epochs })))
}

/// Four digits are a hundredth of a pixel.
fn place(point: &[f32; 2]) -> Value {
    let short = |v: f32| -> Value {
        // A point at infinity has no place.
        format!("{v:.4e}")
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite())
            .map_or(Value::Null, |v| json!(v))
    };
    json!([short(point[0]), short(point[1])])
}

/// A [N, 2] float32 tensor; None where it has more columns.
fn pairs(tensors: &SafeTensors, name: &str) -> Result<Option<Vec<[f32; 2]>>, String> {
    let tensor = tensors.tensor(name).map_err(|e| e.to_string())?;
    match (tensor.shape(), tensor.dtype()) {
        (&[_, 2], Dtype::F32) => {}
        (&[_, _], Dtype::F32) => return Ok(None),
        (shape, dtype) => return Err(format!("{name} is {dtype:?} {shape:?}, not F32 [N, 2]")),
    }
    let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let rows = tensor.data().chunks_exact(8);
    Ok(Some(rows.map(|row| [float(&row[..4]), float(&row[4..])]).collect()))
}

fn labels(tensors: &SafeTensors, count: usize) -> Result<Vec<i64>, String> {
    let tensor = tensors.tensor("labels").map_err(|e| e.to_string())?;
    if tensor.dtype() != Dtype::I64 || tensor.shape() != [count] {
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        return Err(format!("labels is {dtype:?} {shape:?}, not I64 [{count}]"));
    }
    let eight = tensor.data().chunks_exact(8);
    Ok(eight
        .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .collect())
}
