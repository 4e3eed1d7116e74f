//! Stopping by itself before somebody else's time limit, with room for the checkpoint.

use super::signals::StopFlag;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Slurm's end of the job, seconds since 1970.
const SLURM: &str = "SLURM_JOB_END_TIME";
/// Time for what comes after the checkpoint: closing files, telling servers.
const CLOSING: Duration = Duration::from_secs(10);
/// Between two looks at the clock.
const INTERVAL: Duration = Duration::from_millis(100);

/// When the process must have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    end: SystemTime,
}

impl TimeLimit {
    /// `stated` (such as `3h 50m`, from now), else what Slurm says of its job.
    ///
    /// # Errors
    /// No length of time.
    pub fn resolve(stated: Option<&str>) -> Result<Option<TimeLimit>> {
        let Some(text) = stated else {
            // A trial of a sweep is told to stop by whoever runs it.
            let trial = std::env::var_os(crate::record::feed::VARIABLE).is_some();
            let end = std::env::var(SLURM).ok().filter(|_| !trial);
            let end = end.and_then(|end| end.trim().parse().ok()).map(Duration::from_secs);
            return Ok(end.map(|end| TimeLimit { end: UNIX_EPOCH + end }));
        };
        let seconds = crate::config::check::seconds(text).ok_or_else(|| {
            Error::input(format!("--time-limit {text:?} is no length of time"))
                .help("write it as 45s, 90m, 3h 50m or 1d")
        })?;
        let end = SystemTime::now().checked_add(Duration::from_secs_f64(seconds.min(3.2e9)));
        Ok(end.map(|end| TimeLimit { end }))
    }
}

/// The longest step and the longest checkpoint so far: what a stop must leave time for.
#[derive(Clone, Debug, Default)]
pub struct Reserve {
    /// Microseconds.
    step: Arc<AtomicU64>,
    save: Arc<AtomicU64>,
}

impl Reserve {
    /// A step took so many seconds.
    pub fn step(&self, seconds: f64) {
        self.step.fetch_max((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    /// A checkpoint took so many seconds.
    pub fn save(&self, seconds: f64) {
        self.save.fetch_max((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    /// Twice the longest of each, for a busy disk and a slow step, and time to close.
    fn needed(&self) -> Duration {
        let micros = self.step.load(Ordering::Relaxed) + self.save.load(Ordering::Relaxed);
        Duration::from_micros(2 * micros) + CLOSING
    }
}

/// Watches the clock until it is dropped.
pub struct Watchman {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchman {
    /// Asks `stop` as late as `reserve` allows.
    pub fn set(limit: TimeLimit, stop: StopFlag, reserve: Reserve) -> Watchman {
        let done = Arc::new(AtomicBool::new(false));
        let over = done.clone();
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let left = limit.end.duration_since(SystemTime::now()).unwrap_or_default();
                if left <= reserve.needed() {
                    return stop.ask("the time limit");
                }
                std::thread::sleep(INTERVAL);
            }
        });
        Watchman { done, thread: Some(thread) }
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was already reported by the thread itself.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(left: f64, step: f64, save: f64) -> bool {
        let (stop, reserve) = (StopFlag::default(), Reserve::default());
        reserve.step(step);
        reserve.step(step / 2.0);
        reserve.save(save);
        let limit = TimeLimit { end: SystemTime::now() + Duration::from_secs_f64(left) };
        let watchman = Watchman::set(limit, stop.clone(), reserve);
        std::thread::sleep(INTERVAL / 2);
        drop(watchman);
        stop.is_set()
    }

    #[test]
    fn the_stop_leaves_time_for_a_step_and_a_checkpoint() {
        assert!(!asked(60.0, 1.0, 1.0));
        assert!(asked(60.0, 1.0, 30.0));
        assert!(asked(60.0, 30.0, 1.0));
        assert!(asked(5.0, 0.0, 0.0));
    }

    #[test]
    fn a_limit_is_a_length_of_time() {
        let before = SystemTime::now();
        let limit = TimeLimit::resolve(Some("2h 30m")).unwrap().unwrap();
        let left = limit.end.duration_since(before).unwrap().as_secs_f64();
        assert!((9000.0..9010.0).contains(&left), "{left}");
        let refused = TimeLimit::resolve(Some("soon")).unwrap_err().to_string();
        assert!(refused.contains("--time-limit"), "{refused}");
    }
}
