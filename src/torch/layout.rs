//! How a tensor lies in memory.

use super::ffi;
use crate::Result;
use tch::Tensor;

/// The same values with the channels of a pixel side by side (PyTorch's `channels_last`).
///
/// # Shapes
/// [N, C, H, W] to the same shape.
///
/// # Errors
/// A tensor of another number of dimensions.
pub fn channels_last(images: &Tensor) -> Result<Tensor> {
    let out = Tensor::new();
    // SAFETY: both handles are live for the length of the call, which sets `out`.
    unsafe {
        let (images, out) = (images.as_ptr().cast_mut(), out.as_ptr().cast_mut());
        ffi::check(ffi::arcrun_channels_last(images, out))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn values_stay_and_strides_change() {
        let images = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([1, 2, 3, 4]);
        let moved = channels_last(&images).unwrap();
        assert_eq!(moved, images);
        assert_eq!(moved.stride(), [24, 1, 8, 2]);
        assert!(channels_last(&images.view([24])).is_err());
    }
}
