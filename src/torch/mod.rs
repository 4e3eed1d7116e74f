//! What tch does not wrap: devices with CUDA opened at run time, autocast with a type, fused
//! optimizer kernels, loss scaling, deterministic kernels. Safe faces of the shim in `native/`.

pub mod autocast;
pub mod determinism;
pub mod device;
mod ffi;
pub mod fused;
pub mod gradient;
pub mod scaler;
pub mod threads;
