//! A loader's batches as tensors.

use super::model::Model;
use crate::data::{Batch, Dataset};
use crate::profile::Stage;
use tch::{Device, Tensor};
use tracing::debug_span;

/// What a step is given, on the model's device.
#[derive(Debug)]
pub struct Inputs {
    /// uint8 [B, 3, H, W]
    pub pixels: Tensor,
    /// int64 `[B]`
    pub labels: Tensor,
    /// int64 [B, L]: the captions, where the data and the model have text.
    pub tokens: Option<Tensor>,
}

impl Inputs {
    /// Images and labels alone.
    pub fn without_text(pixels: Tensor, labels: Tensor) -> Inputs {
        Inputs { pixels, labels, tokens: None }
    }

    /// A batch of a loader over `set`.
    pub fn of(batch: &Batch, set: &Dataset, model: &Model) -> Inputs {
        let device = model.device();
        let _stage = Stage::new(debug_span!("copy"), device);
        let captions: Vec<&str> = match set.captions.is_empty() {
            true => Vec::new(),
            false => batch.indices.iter().map(|index| set.captions[*index].as_str()).collect(),
        };
        Inputs {
            pixels: to_device(pixels(batch), device),
            labels: Tensor::from_slice(&batch.labels).to_device(device),
            tokens: (!captions.is_empty()).then(|| model.tokens(&captions)).flatten(),
        }
    }
}

/// To a GPU from pinned memory, so that the copy goes on while the host does.
fn to_device(pixels: Tensor, device: Device) -> Tensor {
    match device {
        Device::Cuda(_) => pixels.pin_memory(device).to_device_(device, pixels.kind(), true, false),
        _ => pixels.to_device(device),
    }
}

/// # Shapes
/// A loader's batch as uint8 [B, 3, H, W] on the CPU.
pub fn pixels(batch: &Batch) -> Tensor {
    let shape = [batch.len() as i64, 3, batch.height as i64, batch.width as i64];
    Tensor::from_slice(&batch.images).view(shape)
}
