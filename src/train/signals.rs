//! SIGINT, SIGTERM and those that `train.stop_signals` names: the first asks training to stop after
//! the current step with a checkpoint; a second SIGINT stops the program at once.

use crate::config::tables::{StopSignal, Train};
use crate::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};

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
    /// The signal that arrived last; 0 where none did.
    signal: Arc<AtomicUsize>,
    /// Signals beside SIGINT and SIGTERM.
    more: Arc<Mutex<Vec<Heard>>>,
}

/// A signal that asks for a stop where the experiment says so.
#[derive(Debug)]
struct Heard {
    number: i32,
    arrived: Arc<AtomicBool>,
    /// It does what it would do if nobody listened.
    by_default: Arc<AtomicBool>,
}

fn number(signal: StopSignal) -> i32 {
    match signal {
        StopSignal::Usr1 => SIGUSR1,
        StopSignal::Usr2 => SIGUSR2,
        StopSignal::Hup => SIGHUP,
    }
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
            .map_err(deaf)?;
        for signal in [SIGINT, SIGTERM] {
            let arrived = flag.signal.clone();
            signal_hook::flag::register_usize(signal, arrived, signal as usize).map_err(deaf)?;
        }
        Ok(flag)
    }

    /// Listens as a training does before it knows which signals its experiment names: to the default ones.
    pub fn listen_early() -> Result<Self> {
        let flag = StopFlag::listen()?;
        flag.listen_to(&Train::default().stop_signals)?;
        Ok(flag)
    }

    /// Listens to these signals too, and to no others. One of the others that has arrived does now what it
    /// would have done if nobody had listened.
    pub fn listen_to(&self, signals: &[StopSignal]) -> Result<()> {
        let wanted: Vec<i32> = signals.iter().map(|signal| number(*signal)).collect();
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        for heard in more.iter() {
            let by_default = !wanted.contains(&heard.number);
            heard.by_default.store(by_default, Ordering::Relaxed);
            if by_default && heard.arrived.load(Ordering::Relaxed) {
                signal_hook::low_level::emulate_default_handler(heard.number).map_err(deaf)?;
            }
        }
        for signal in wanted {
            if more.iter().any(|heard| heard.number == signal) {
                continue;
            }
            let heard =
                Heard { number: signal, arrived: Arc::default(), by_default: Arc::default() };
            let (arrived, by_default) = (heard.arrived.clone(), heard.by_default.clone());
            let last = self.signal.clone();
            // Order matters: what ends the program comes first.
            signal_hook::flag::register_conditional_default(signal, by_default)
                .and_then(|_| signal_hook::flag::register_usize(signal, last, signal as usize))
                .and_then(|_| signal_hook::flag::register(signal, arrived))
                .and_then(|_| signal_hook::flag::register(signal, self.asked.clone()))
                .map_err(deaf)?;
            more.push(heard);
        }
        Ok(())
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
        let signal = match self.signal.load(Ordering::Relaxed) as i32 {
            SIGINT => "SIGINT",
            SIGTERM => "SIGTERM",
            SIGUSR1 => "SIGUSR1",
            SIGUSR2 => "SIGUSR2",
            SIGHUP => "SIGHUP",
            _ => "a signal",
        };
        self.by.get().copied().unwrap_or(signal)
    }

    /// Asks for a stop as a signal would.
    pub fn set(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Asks for a stop on behalf of `by`, the first of whom is remembered.
    pub fn ask(&self, by: &'static str) {
        let _ = self.by.set(by);
        self.set();
    }
}

fn deaf(error: std::io::Error) -> Error {
    Error::failed(format!("cannot listen for signals: {error}"))
}
