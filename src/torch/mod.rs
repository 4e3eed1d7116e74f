//! What tch does not wrap: devices with CUDA opened at run time, autocast with a type, fused
//! optimizer kernels, loss scaling, gradient checkpointing, deterministic kernels, groups of processes.
//! Safe faces of the shim in `native/`.

pub mod autocast;
pub mod average;
pub mod c10d;
pub mod checkpointing;
pub mod determinism;
pub mod device;
mod ffi;
pub mod foreach;
pub mod fused;
pub mod gradient;
pub mod layout;
pub mod margin_softmax;
pub mod memory;
pub mod nonfinite;
pub mod precision;
pub mod rows;
pub mod scaler;
pub mod signals;
pub mod threads;
pub mod vector;

/// Version of libtorch, such as `2.11.0`.
pub fn version() -> String {
    // SAFETY: a constant of the shim, valid for ever and closed by a zero byte.
    let version = unsafe { std::ffi::CStr::from_ptr(ffi::arcrun_torch_version()) };
    version.to_string_lossy().into_owned()
}
