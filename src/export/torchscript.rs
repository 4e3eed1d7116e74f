//! A TorchScript module by tracing: RGB pixels in, embedding out, weights and normalisation inside.
//!
//! A trace is of one batch and may have its size in it, so what was saved is loaded again and must
//! give the model's embeddings for other batch sizes too.

use crate::checkpoint::durable;
use crate::data::{Channels, Preprocess};
use crate::inference::Model;
use crate::{Error, Result};
use std::path::Path;
use tch::{CModule, Device, Kind, Tensor};

/// Batch sizes that are compared; the trace is of the first.
const BATCHES: [i64; 3] = [3, 1, 8];
/// Of the largest value of the batch's embeddings: both are float32 by the same operations, but
/// TorchScript may fuse some.
const TOLERANCE: f64 = 1e-5;

/// # Errors
/// A place that can't be written to; a module that does not give the model's embeddings, which is a
/// bug.
pub fn write(model: &Model, path: &Path) -> Result<()> {
    let module = trace(model)?;
    let folder = durable::temporary(path);
    // The module keeps the name of its file, so it is saved under that in a folder of its own.
    let result = save(model, &module, path, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn save(model: &Model, module: &CModule, path: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e).into_input())?;
    let saved = folder.join(path.file_name().unwrap_or_default());
    make_room(model, folder).map_err(|e| Error::io("write", path, e))?;
    module.save(&saved).map_err(|e| Error::failed(format!("write {}: {e}", path.display())))?;
    check(model, &saved)?;
    let placed = std::fs::File::open(&saved)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&saved, path));
    placed.map_err(|e| Error::io("write", path, e))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    durable::sync_folder(parent.unwrap_or(Path::new(".")))
}

/// libtorch ends the program where the disk is full, so whether it is must be known before.
fn make_room(model: &Model, folder: &Path) -> std::io::Result<()> {
    const MEBIBYTE: usize = 1 << 20;
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    let weights: usize = model.network.tensors().values().map(bytes).sum();
    let probe = folder.join("probe");
    let mut file = std::fs::File::create(&probe)?;
    let zeros = vec![0; MEBIBYTE];
    // A mebibyte and a part of the weights for the code and the archive around them.
    for _ in 0..=(weights + weights / 50) / MEBIBYTE + 1 {
        std::io::Write::write_all(&mut file, &zeros)?;
    }
    file.sync_all()?;
    std::fs::remove_file(&probe)
}

fn trace(model: &Model) -> Result<CModule> {
    for tensor in model.network.tensors().into_values() {
        // What is constant in a trace has no gradient.
        let _ = tensor.set_requires_grad(false);
    }
    let Preprocess { mean, std, channels, .. } = &model.preprocess;
    let [mean, std] = [mean, std].map(|values| Tensor::from_slice(values).view([1, 3, 1, 1]));
    let mut forward = |inputs: &[Tensor]| {
        // Not in place: a caller's float pixels stay as they are.
        // The division makes floats of bytes; a conversion would keep its device in the trace.
        let mut images = &inputs[0] / 255.0;
        if *channels == Channels::Bgr {
            images = images.flip([1]);
        }
        let images = (images - &mean) / &std;
        vec![model.network.embed(&images, false)]
    };
    let example = pixels(model, BATCHES[0]);
    tch::no_grad(|| CModule::create_by_tracing("arcrun", "forward", &[example], &mut forward))
        .map_err(|e| Error::failed(format!("the network can't be traced: {e}")))
}

/// What was saved gives the model's embeddings, of bytes and of floats. TorchScript optimises a module
/// while it is used, hence twice.
fn check(model: &Model, saved: &Path) -> Result<()> {
    let failed = |what: String| {
        Error::failed(format!(
            "the exported module {what}: this is a bug in arcrun, nothing was written"
        ))
    };
    let module = CModule::load_on_device(saved, Device::Cpu)
        .map_err(|e| failed(format!("can't be loaded: {e}")))?;
    for size in BATCHES.into_iter().chain(BATCHES) {
        let pixels = pixels(model, size);
        let expected =
            tch::no_grad(|| model.network.embed(&model.network.normalize(&pixels), false));
        for pixels in [pixels.shallow_clone(), pixels.to_kind(Kind::Float)] {
            let ours = tch::no_grad(|| module.forward_ts(&[pixels]))
                .map_err(|e| failed(format!("fails on {size} images: {e}")))?;
            if ours.size() != expected.size() {
                return Err(failed(format!("gives {:?} for {size} images", ours.size())));
            }
            let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
            let difference = largest(&ours - &expected) / largest(expected.shallow_clone());
            if difference.is_nan() || difference > TOLERANCE {
                return Err(failed(format!("differs by {difference:.1e} on {size} images")));
            }
        }
    }
    Ok(())
}

/// Any pixels, the same at every call.
fn pixels(model: &Model, size: i64) -> Tensor {
    let (height, width) = (model.preprocess.height as i64, model.preprocess.width as i64);
    let count = size * 3 * height * width;
    let bytes: Vec<u8> =
        (0..count as u64).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    Tensor::from_slice(&bytes).view([size, 3, height, width])
}
