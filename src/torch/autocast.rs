//! Automatic mixed precision: inside a region, matrix products and convolutions run in bfloat16
//! or float16, what needs the range runs in float32; parameters and gradients keep their type.
//!
//! Micikevicius et al., "Mixed Precision Training", ICLR 2018. Same rules per operation as
//! `torch.autocast`, whose dispatch keys these are.

use super::{device, ffi};
use crate::error::{Error, Result};
use std::marker::PhantomData;
use tch::{Device, Kind};

/// An autocast region of this thread, until it is dropped. Regions nest; drop them in the reverse
/// order (scopes do). Casts of weights are cached until the outermost region ends, so forward
/// belongs inside, the optimizer step and preferably backward outside.
#[must_use = "the region ends when the guard is dropped"]
pub struct Autocast {
    /// Device type of libtorch and the state to restore.
    device: i32,
    previous: ffi::AutocastState,
    /// Autocast is a property of the thread.
    _not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// A region that computes in `kind`.
    ///
    /// # Errors
    /// As [`supported`].
    pub fn new(device: Device, kind: Kind) -> Result<Self> {
        supported(device, kind)?;
        Self::enter(device_type(device)?, true, scalar_type(kind)?)
    }

    /// A region without autocast, for what must stay in float32 inside of another region.
    pub fn off(device: Device) -> Result<Self> {
        Self::enter(device_type(device)?, false, scalar_type(Kind::BFloat16)?)
    }

    fn enter(device: i32, enabled: bool, dtype: i32) -> Result<Self> {
        let wanted = ffi::AutocastState { enabled, dtype };
        let mut previous = wanted;
        unsafe { ffi::check(ffi::arcrun_autocast_enter(device, wanted, &mut previous))? };
        Ok(Self { device, previous, _not_send: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        let left = unsafe { ffi::check(ffi::arcrun_autocast_exit(self.device, self.previous)) };
        if let Err(error) = left {
            // Panicking while unwinding would abort; the first panic is the one to see.
            assert!(std::thread::panicking(), "cannot leave an autocast region: {error}");
        }
    }
}

/// Runs `body` in `kind`, or with autocast off where `kind` is `None`.
pub fn with<T>(device: Device, kind: Option<Kind>, body: impl FnOnce() -> T) -> Result<T> {
    let _region = match kind {
        Some(kind) => Some(Autocast::new(device, kind)?),
        // MPS has no regions that could be on.
        None if device == Device::Mps => None,
        None => Some(Autocast::off(device)?),
    };
    Ok(body())
}

/// Whether `device` computes in `kind`: bfloat16 and float16 on the CPU (where they serve
/// correctness, not speed), float16 on CUDA, bfloat16 on CUDA from compute capability 8.0 on
/// (before, it is emulated and slower than float32).
pub fn supported(device: Device, kind: Kind) -> Result<()> {
    scalar_type(kind)?;
    device_type(device)?;
    if let (Device::Cuda(index), Kind::BFloat16) = (device, kind) {
        let gpu = device::cuda_properties(index)?;
        if gpu.compute_capability < (8, 0) {
            let (major, minor) = gpu.compute_capability;
            return Err(Error::input(format!(
                "cuda:{index} ({}, compute capability {major}.{minor}) has no bfloat16 units",
                gpu.name
            ))
            .help("use train.amp = \"fp16\" or \"off\""));
        }
    }
    Ok(())
}

/// Number of libtorch's `c10::DeviceType`.
fn device_type(device: Device) -> Result<i32> {
    match device {
        Device::Cpu => Ok(0),
        Device::Cuda(_) => Ok(1),
        Device::Mps | Device::Vulkan => {
            Err(Error::input(format!("mixed precision is not supported on {device:?}"))
                .help("use train.amp = \"off\", or another --device"))
        }
    }
}

/// Number of libtorch's `c10::ScalarType`.
fn scalar_type(kind: Kind) -> Result<i32> {
    match kind {
        Kind::Half => Ok(5),
        Kind::BFloat16 => Ok(15),
        other => Err(Error::input(format!("mixed precision in {other:?} is not supported"))
            .help("use bfloat16 or float16")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    fn matrix() -> Tensor {
        (Tensor::arange(16, (Kind::Float, Device::Cpu)).reshape([4, 4]) / 7.0)
            .set_requires_grad(true)
    }

    fn product_kind() -> Kind {
        tch::no_grad(|| matrix().matmul(&matrix()).kind())
    }

    #[test]
    fn products_are_cast_and_gradients_are_not() {
        for kind in [Kind::BFloat16, Kind::Half] {
            let (a, b) = (matrix(), matrix());
            let product = with(Device::Cpu, Some(kind), || a.matmul(&b)).unwrap();
            assert_eq!(product.kind(), kind);
            let exact = a.matmul(&b);
            let error = (product.to_kind(Kind::Float) - &exact).abs().max().double_value(&[]);
            // Inputs and product are rounded to 8 (bf16) or 11 (fp16) bits, entries are below 20.
            let bound =
                20.0 * 3.0 * if kind == Kind::Half { 2f64.powi(-11) } else { 2f64.powi(-8) };
            assert!(error > 0.0 && error < bound, "{kind:?}: {error}");
            product.to_kind(Kind::Float).sum(Kind::Float).backward();
            assert_eq!(a.grad().kind(), Kind::Float);
            // d(sum(A B))/dA = 1 B^T: each row holds the row sums of B.
            let expected = b.sum_dim_intlist(1, false, Kind::Float).expand([4, 4], false);
            let error = (a.grad() - expected).abs().max().double_value(&[]);
            assert!(error < bound, "{kind:?}: {error}");
        }
    }

    #[test]
    fn nesting_restores_the_state_before() {
        assert_eq!(product_kind(), Kind::Float);
        let outer = Autocast::new(Device::Cpu, Kind::BFloat16).unwrap();
        assert_eq!(product_kind(), Kind::BFloat16);
        {
            let _half = Autocast::new(Device::Cpu, Kind::Half).unwrap();
            assert_eq!(product_kind(), Kind::Half);
            assert_eq!(with(Device::Cpu, None, product_kind).unwrap(), Kind::Float);
            assert_eq!(product_kind(), Kind::Half);
        }
        assert_eq!(product_kind(), Kind::BFloat16);
        drop(outer);
        assert_eq!(product_kind(), Kind::Float);
    }

    #[test]
    fn a_panic_inside_leaves_no_region_behind() {
        let caught = std::panic::catch_unwind(|| {
            let _ = with(Device::Cpu, Some(Kind::BFloat16), || panic!("inside"));
        });
        assert!(caught.is_err());
        assert_eq!(product_kind(), Kind::Float);
    }

    /// A weight cast in one region must not be seen stale in the next one, after a step.
    #[test]
    fn the_cache_ends_with_the_outermost_region() {
        let mut weight = matrix();
        let x = Tensor::eye(4, (Kind::Float, Device::Cpu));
        let sum = |w: &Tensor| {
            let y = with(Device::Cpu, Some(Kind::BFloat16), || x.matmul(w)).unwrap();
            y.sum(Kind::Float).double_value(&[])
        };
        assert!(sum(&weight) > 0.0);
        let _ = tch::no_grad(|| weight.zero_());
        assert_eq!(sum(&weight), 0.0);
    }

    #[test]
    fn other_types_and_mps_are_refused() {
        let error = supported(Device::Cpu, Kind::Double).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(supported(Device::Mps, Kind::Half).is_err());
        assert!(supported(Device::Cpu, Kind::Half).is_ok());
    }
}
