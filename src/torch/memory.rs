//! How the process treats freed memory on the CPU, and what tensors took on a GPU.

use super::ffi;
use crate::error::Result;

/// Keeps freed memory for the next step, where glibc's malloc would return large blocks to the
/// system and get them back page by page: a training step asks for the same buffers every time.
///
/// For a program's start, before threads. What it costs is memory between the peaks, and a peak some
/// 15 % higher (docs/measurements.md).
pub fn keep() {
    // SAFETY: it takes nothing and only sets options of malloc.
    unsafe { ffi::arcrun_keep_memory() }
}

/// The most bytes that tensors held on GPU `index` at one time, as `torch.cuda.max_memory_allocated` counts.
///
/// # Errors
/// No CUDA here.
pub fn cuda_peak(index: usize) -> Result<u64> {
    super::device::load_cuda()?;
    let mut bytes = 0;
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    unsafe { ffi::check(ffi::arcrun_cuda_peak(index, &mut bytes))? };
    Ok(bytes.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::device::load_cuda;
    use super::*;

    #[test]
    fn without_a_gpu_there_is_no_peak() {
        assert_eq!(cuda_peak(0).is_ok(), load_cuda().is_ok());
    }
}
