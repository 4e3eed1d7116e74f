//! How the process treats freed memory on the CPU.

use super::ffi;

/// Keeps freed memory for the next step, where glibc's malloc would return large blocks to the
/// system and get them back page by page: a training step asks for the same buffers every time.
///
/// For a program's start, before threads. What it costs is memory between the peaks, and a peak some
/// 15 % higher (docs/measurements.md).
pub fn keep() {
    // SAFETY: it takes nothing and only sets options of malloc.
    unsafe { ffi::arcrun_keep_memory() }
}
