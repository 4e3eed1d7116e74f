//! How a GPU computes in float32, and how cuDNN chooses its algorithms: switches of the whole process.

use super::{device, ffi};
use crate::error::{Error, Result};
use tch::Device;

/// Whether float32 matrix products and convolutions on a GPU round their inputs to TensorFloat-32 (10 bits
/// of mantissa, NVIDIA's from compute capability 8.0 on) and add up in float32. Off, both are float32
/// throughout; libtorch itself starts with products off and convolutions on.
pub fn set_tf32(on: bool) -> Result<()> {
    unsafe { ffi::check(ffi::arcrun_set_tf32(on)) }
}

/// Whether matrix products, and whether convolutions, may use TensorFloat-32.
pub fn tf32() -> Result<(bool, bool)> {
    let (mut matmul, mut convolution) = (false, false);
    unsafe { ffi::check(ffi::arcrun_tf32(&mut matmul, &mut convolution))? };
    Ok((matmul, convolution))
}

/// Whether cuDNN times its algorithms for each new shape and keeps to the fastest: not the same one in every
/// run, so not the same bits.
pub fn set_cudnn_benchmark(on: bool) -> Result<()> {
    unsafe { ffi::check(ffi::arcrun_set_cudnn_benchmark(on)) }
}

pub fn cudnn_benchmark() -> bool {
    // SAFETY: it takes nothing and reads a flag.
    unsafe { ffi::arcrun_cudnn_benchmark() }
}

/// Products and convolutions in float32 throughout, until it is dropped: how models are evaluated, whatever
/// they train in.
#[must_use = "the region ends when the guard is dropped"]
pub struct Exact {
    before: bool,
}

impl Exact {
    pub fn new() -> Result<Self> {
        let (before, _) = tf32()?;
        set_tf32(false)?;
        Ok(Self { before })
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        // It sets what it set before, which can't fail.
        let _ = set_tf32(self.before);
    }
}

/// # Errors
/// A device without TensorFloat-32.
pub fn supports_tf32(device: Device) -> Result<()> {
    let Device::Cuda(index) = device else {
        let message =
            format!("TensorFloat-32 is a number format of NVIDIA GPUs, not of {}", named(device));
        return Err(
            Error::input(message).help("set train.tf32 = false, or choose another --device")
        );
    };
    let gpu = device::cuda_properties(index)?;
    if gpu.compute_capability < (8, 0) {
        let (major, minor) = gpu.compute_capability;
        let message = format!(
            "cuda:{index} ({}, compute capability {major}.{minor}) has no TensorFloat-32, which came with 8.0",
            gpu.name
        );
        return Err(Error::input(message).help("set train.tf32 = false"));
    }
    Ok(())
}

/// # Errors
/// A device without cuDNN.
pub fn supports_cudnn(device: Device) -> Result<()> {
    match device {
        Device::Cuda(_) => Ok(()),
        _ => Err(Error::input(format!("cuDNN is NVIDIA's, and the device is {}", named(device)))
            .help("set train.cudnn_benchmark = false, or choose another --device")),
    }
}

/// As `--device` spells it.
fn named(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".to_string(),
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".to_string(),
        Device::Vulkan => "vulkan".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_gpu_has_is_refused_elsewhere() {
        for device in [Device::Cpu, Device::Mps] {
            for refused in [supports_tf32(device), supports_cudnn(device)] {
                let Err(Error::Input { message, help }) = refused else { panic!("{device:?}") };
                assert!(message.contains(&named(device)), "{message}");
                assert!(help.unwrap().contains("false"));
            }
        }
        assert!(supports_cudnn(Device::Cuda(0)).is_ok());
    }
}
