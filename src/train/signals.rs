//! SIGINT and SIGTERM: the first asks training to stop after the current step with a checkpoint;
//! a second SIGINT stops the program at once.

use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

/// Exit code of a shell command that a second SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Number of SIGXFSZ on Linux and macOS.
const SIGXFSZ: i32 = 25;

static FILE_SIZE_IGNORED: Once = Once::new();

/// A write past the file-size limit then fails like one on a full disk, instead of killing the
/// program.
fn ignore_file_size_limit() {
    // Without the handler the signal keeps its default, which is no worse than before.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Whether a stop has been asked for.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Listens for the signals from now on.
    pub fn listen() -> Result<Self> {
        let flag = StopFlag::default();
        FILE_SIZE_IGNORED.call_once(ignore_file_size_limit);
        // Order matters: the conditional exit looks at what the handler after it sets.
        signal_hook::flag::register_conditional_shutdown(SIGINT, INTERRUPTED, flag.0.clone())
            .and_then(|_| signal_hook::flag::register(SIGINT, flag.0.clone()))
            .and_then(|_| signal_hook::flag::register(SIGTERM, flag.0.clone()))
            .map_err(|error| Error::failed(format!("cannot listen for signals: {error}")))?;
        Ok(flag)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for a stop as a signal would.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
