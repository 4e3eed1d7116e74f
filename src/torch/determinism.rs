//! Deterministic kernels.

use super::ffi;
use crate::error::Result;

/// On: operations use deterministic kernels and fail where there is none. Off: the fastest kernels
/// that need no trying ([`precision::set_cudnn_benchmark`](super::precision::set_cudnn_benchmark) tries).
///
/// Call it before the first tensor lives on a GPU, from the only thread: cuBLAS reads its part of
/// it from the environment (`CUBLAS_WORKSPACE_CONFIG`, set here unless the user has set it).
pub fn set(on: bool) -> Result<()> {
    unsafe { ffi::check(ffi::arcrun_set_deterministic(on)) }
}
