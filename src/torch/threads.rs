//! Threads within one operation on the CPU. The same bits need the same number of them.

/// Sets the number of threads, at least one.
pub fn set(threads: usize) {
    tch::set_num_threads(threads.clamp(1, i32::MAX as usize) as i32);
}

pub fn get() -> usize {
    tch::get_num_threads().max(1) as usize
}
