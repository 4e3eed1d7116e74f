//! SIGINT and SIGTERM: the first asks training to stop after the current step with a checkpoint;
//! a second SIGINT stops the program at once.

use crate::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};

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
pub struct StopFlag {
    asked: Arc<AtomicBool>,
    /// SIGTERM arrived.
    terminated: Arc<AtomicBool>,
    /// Who asked, where it was no signal.
    by: Arc<OnceLock<&'static str>>,
}

impl StopFlag {
    /// Listens for the signals from now on.
    pub fn listen() -> Result<Self> {
        let flag = StopFlag::default();
        FILE_SIZE_IGNORED.call_once(ignore_file_size_limit);
        // Order matters: the conditional exit looks at what the handler after it sets.
        signal_hook::flag::register_conditional_shutdown(SIGINT, INTERRUPTED, flag.asked.clone())
            .and_then(|_| signal_hook::flag::register(SIGINT, flag.asked.clone()))
            .and_then(|_| signal_hook::flag::register(SIGTERM, flag.asked.clone()))
            .and_then(|_| signal_hook::flag::register(SIGTERM, flag.terminated.clone()))
            .map_err(|error| Error::failed(format!("cannot listen for signals: {error}")))?;
        Ok(flag)
    }

    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether the system asked, as it does before it takes the machine away.
    pub fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }

    /// Who asked.
    pub fn by(&self) -> &'static str {
        self.by.get().copied().unwrap_or("a signal")
    }

    /// Asks for a stop as a signal would.
    pub fn set(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Asks for a stop on behalf of `by`, unless someone did already.
    pub fn ask(&self, by: &'static str) {
        if !self.is_set() {
            let _ = self.by.set(by);
            self.set();
        }
    }
}
