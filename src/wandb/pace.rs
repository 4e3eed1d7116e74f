//! A common pace for all processes of a node that talk to one W&B server.
//!
//! Eight trials of a sweep are eight uploaders, and a server counts them together. So they share a
//! small file, by user and server, in the temporary folder of the machine: who wants to send a
//! request takes the next free slot from it (a generic cell rate: one request every
//! `node_interval`, `node_burst` of them at once after a silence), and who is told to wait writes
//! that down for all. Slots after a wait are apart from each other again, so nobody comes back
//! together with the others.
//!
//! The file is locked for microseconds and holds times alone, no names and no keys. It only ever
//! delays an uploader, never longer than the server asked or the others need: what cannot be read,
//! is damaged or comes from another time is begun anew; a folder that is not this user's own is
//! left alone, and then every process keeps its own pace.

use super::timing::Timing;
use crate::checkpoint::durable;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

const MAGIC: &str = "arcrun pace 1";
/// Bytes of the file; one write.
const SIZE: usize = 192;
/// How often a lock that is taken is tried again, and the longest pause between.
const TRIES: usize = 50;
const BETWEEN: Duration = Duration::from_millis(2);
/// Files of servers that nobody has talked to for so long are deleted.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);
/// What the clocks of two readings may differ by, microseconds.
const SKEW: i64 = 100_000;

/// The pace of a node towards one server.
pub struct Pace {
    /// None: each process on its own.
    file: Option<PathBuf>,
    limits: Limits,
    trouble: Mutex<Option<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    interval: i64,
    /// How far ahead of its turn a request may be: the burst.
    ahead: i64,
    /// No wait is longer.
    longest: i64,
}

/// Times in microseconds of the system's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct State {
    written: i64,
    /// The last slot that was handed out.
    last: i64,
    /// When all that was handed out would be done at the plain rate.
    due: i64,
    /// Nothing before this: the server said so.
    blocked: i64,
    /// What the server has left is spread: so much between slots, until it has more.
    spacing: i64,
    spacing_until: i64,
}

impl Pace {
    pub fn new(server: &str, timing: &Timing) -> Pace {
        let user = rustix::process::getuid().as_raw();
        Pace::within(&std::env::temp_dir().join(format!("arcrun-wandb-{user}")), server, timing)
    }

    fn within(folder: &Path, server: &str, timing: &Timing) -> Pace {
        let limits = Limits {
            interval: micros(timing.node_interval),
            ahead: micros(timing.node_interval) * i64::from(timing.node_burst.saturating_sub(1)),
            longest: micros(timing.longest_wait()),
        };
        let (file, trouble) = match prepare(folder) {
            Ok(()) => {
                let name = &durable::sha256(server.as_bytes())[..16];
                (Some(folder.join(name)), None)
            }
            Err(e) => {
                let path = folder.display();
                let why = format!("uploads do not share their pace with other runs: {path}: {e}");
                (None, Some(why))
            }
        };
        Pace { file, limits, trouble: Mutex::new(trouble) }
    }

    /// Why nothing is shared, to be said once.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Waits for this process's turn.
    pub async fn turn(&self) {
        loop {
            let take = |state: &mut State, now| state.take(now, &self.limits) - now;
            let wait = match self.with(take).await {
                Some(wait) if wait > 0 => wait,
                _ => return,
            };
            tokio::time::sleep(Duration::from_micros(wait.unsigned_abs())).await;
            // Meanwhile another process may have been told to wait.
            let blocked = |state: &mut State, now| state.blocked > now;
            if self.with(blocked).await != Some(true) {
                return;
            }
        }
    }

    /// The server wants no request for so long.
    pub async fn told_to_wait(&self, wait: Duration) {
        let limits = self.limits;
        self.with(|state, now| state.block(now + micros(wait), &limits)).await;
    }

    /// The server has little left: so much between two requests until it has more.
    pub async fn told_what_is_left(&self, spacing: Duration, until: Duration) {
        self.with(|state, now| {
            (state.spacing, state.spacing_until) = (micros(spacing), now + micros(until));
        })
        .await;
    }

    /// Changes the shared state under its lock. None where it is not shared, or where somebody
    /// holds the lock far too long, as a process that was stopped would.
    async fn with<T>(&self, change: impl FnOnce(&mut State, i64) -> T) -> Option<T> {
        let path = self.file.as_ref()?;
        // Where the folder has gone meanwhile everyone is on their own again.
        let file = open(path).ok()?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let now = now()?;
                    let mut state = State::read(&file, now, &self.limits);
                    let before = state;
                    let result = change(&mut state, now);
                    if state != before {
                        state.written = now;
                        state.write(&file).ok()?;
                    }
                    return Some(result);
                }
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(BETWEEN.mul_f64(rand::random::<f64>())).await;
                }
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

impl State {
    /// The next slot, which is then taken.
    fn take(&mut self, now: i64, limits: &Limits) -> i64 {
        let mut at = now.max(self.blocked).max(self.due - limits.ahead);
        if now < self.spacing_until {
            let next = self.last + self.spacing;
            // When the server has more again, those who wait are apart by the plain interval.
            let later = self.spacing_until.max(self.last + limits.interval);
            at = at.max(if next <= self.spacing_until { next } else { later });
        }
        self.due = self.due.max(at) + limits.interval;
        self.last = self.last.max(at);
        at
    }

    fn block(&mut self, until: i64, limits: &Limits) {
        if until > self.blocked {
            self.blocked = until;
            // No burst afterwards.
            self.due = self.due.max(until + limits.ahead);
        }
    }

    /// What stands in the file, or a fresh state where that can't be true.
    fn read(file: &File, now: i64, limits: &Limits) -> State {
        let mut bytes = [0; SIZE];
        let whole = file.read_exact_at(&mut bytes, 0).is_ok();
        let state = whole.then(|| State::parse(&bytes)).flatten().unwrap_or_default();
        // A clock that went back, or another one: what it promised is worth nothing.
        let latest = [state.last, state.due - limits.ahead, state.blocked];
        let far = latest.iter().any(|at| *at > now + 2 * limits.longest);
        if state.written > now + SKEW || far { State::default() } else { state }
    }

    fn parse(bytes: &[u8]) -> Option<State> {
        let text = std::str::from_utf8(bytes).ok()?.trim_end();
        let (sum, rest) = text.split_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(rest.as_bytes()) {
            return None;
        }
        let numbers = rest.strip_prefix(MAGIC)?.split_whitespace().map(str::parse);
        let numbers: Vec<i64> = numbers.collect::<std::result::Result<_, _>>().ok()?;
        let [written, last, due, blocked, spacing, spacing_until] = numbers[..] else {
            return None;
        };
        Some(State { written, last, due, blocked, spacing, spacing_until })
    }

    fn write(&self, file: &File) -> Result<()> {
        let State { written, last, due, blocked, spacing, spacing_until } = self;
        let rest = format!("{MAGIC} {written} {last} {due} {blocked} {spacing} {spacing_until}");
        let text = format!("{:08x} {rest}", crc32fast::hash(rest.as_bytes()));
        file.write_all_at(format!("{text:<width$}\n", width = SIZE - 1).as_bytes(), 0)
    }
}

/// A folder of this user's that no one else can write to.
fn prepare(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let data = folder.symlink_metadata()?;
    let own = data.uid() == rustix::process::getuid().as_raw();
    if !data.is_dir() || !own || data.mode() & 0o022 != 0 {
        let why = "it is not a folder that only you can write to; move it away";
        return Err(Error::new(ErrorKind::PermissionDenied, why));
    }
    let probe = folder.join(".probe");
    open(&probe)?;
    for entry in folder.read_dir()?.flatten() {
        let age = entry.metadata().and_then(|data| data.modified()).ok();
        if age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > OLD) {
            // Whoever has it open goes on alone; the next one begins a new file.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn now() -> Option<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}

fn micros(duration: Duration) -> i64 {
    // A year: far from where sums overflow.
    duration.as_micros().min(366 * 24 * 3_600_000_000) as i64
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
