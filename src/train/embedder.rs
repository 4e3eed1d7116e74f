//! A loader's batches as tensors.

use tch::Tensor;

/// # Shapes
/// A loader's batch as uint8 [B, 3, H, W] on the CPU.
pub fn pixels(batch: &crate::data::Batch) -> Tensor {
    let shape = [batch.len() as i64, 3, batch.height as i64, batch.width as i64];
    Tensor::from_slice(&batch.images).view(shape)
}
