//! Signals that wait while the shared libraries are loaded.

use super::ffi;

/// Lets the signals through that the program held back from its start on (`native/early.c`): for whoever
/// listens to them by now, or else has no use for them. In other programs it does nothing.
pub fn unblock() {
    // SAFETY: it takes nothing and changes only the thread's mask.
    unsafe { ffi::arcrun_unblock_signals() }
}
