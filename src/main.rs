use std::alloc::{GlobalAlloc, Layout, System};

fn main() -> std::process::ExitCode {
    arcrun::cli::main()
}

/// The system's memory, without which the process ends at once.
///
/// Rust's own way of saying so takes the lock of backtraces, and waits for ever where memory ran out while
/// the backtrace of another failure was made.
struct EndsWithoutMemory;

/// What is larger may be asked for by who can do without.
const ESSENTIAL: usize = 64 << 20;

#[global_allocator]
static MEMORY: EndsWithoutMemory = EndsWithoutMemory;

fn checked(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() && size < ESSENTIAL {
        // Neither takes memory.
        let _ = rustix::io::write(rustix::stdio::stderr(), b"error: out of memory\n");
        std::process::abort();
    }
    block
}

// SAFETY: the system's allocator, whose results are only looked at.
unsafe impl GlobalAlloc for EndsWithoutMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        checked(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}
