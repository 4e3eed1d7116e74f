//! Stopping by itself before somebody else's time limit, with room for the checkpoint.

use super::signals::StopFlag;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Slurm's end of the job, seconds since 1970.
const SLURM: &str = "SLURM_JOB_END_TIME";
/// Slurm would have killed a job that is over for so long: another one's end was inherited.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);
/// Time for what comes after the checkpoint: closing files, telling servers.
const CLOSING: Duration = Duration::from_secs(10);
/// Between two looks at the clock.
const INTERVAL: Duration = Duration::from_millis(100);

/// When the process must have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    end: End,
}

/// By the clock that it was said in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A length of time from a start, whatever is done to the wall clock meanwhile.
    Since(Instant, Duration),
    /// A time of day.
    At(SystemTime),
}

impl TimeLimit {
    /// `stated` (such as `3h 50m`, from now), else what Slurm says of its job; with what must be said
    /// aloud.
    ///
    /// # Errors
    /// No length of time.
    pub fn resolve(stated: Option<&str>) -> Result<(Option<TimeLimit>, Option<String>)> {
        let Some(text) = stated else {
            // A trial of a sweep is told to stop by whoever runs it.
            let trial = std::env::var_os(crate::record::feed::VARIABLE).is_some();
            let end = std::env::var_os(SLURM).filter(|_| !trial);
            return Ok(
                end.map_or((None, None), |end| of_slurm(&end.to_string_lossy(), SystemTime::now()))
            );
        };
        let seconds = crate::config::check::seconds(text).ok_or_else(|| {
            Error::input(format!("--time-limit {text:?} is no length of time"))
                .help("write it as 45s, 90m, 3h 50m or 1d")
        })?;
        let length = Duration::from_secs_f64(seconds.min(3.2e9));
        Ok((Some(TimeLimit { end: End::Since(Instant::now(), length) }), None))
    }

    /// What is left of it at this moment of both clocks.
    fn left(&self, now: Instant, time: SystemTime) -> Duration {
        match self.end {
            End::Since(start, length) => length.saturating_sub(now.duration_since(start)),
            End::At(end) => end.duration_since(time).unwrap_or_default(),
        }
    }
}

/// The end of Slurm's job, or why it says nothing.
fn of_slurm(text: &str, now: SystemTime) -> (Option<TimeLimit>, Option<String>) {
    let doubt = |why: &str| {
        let text = format!("{SLURM}={text:?} {why}: --time-limit sets a limit");
        (None, Some(text))
    };
    let Ok(seconds) = text.trim().parse::<u64>() else {
        return doubt("is no time in seconds since 1970, so the job's end is not known");
    };
    let Some(end) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else {
        return doubt("is no time that will come, so the job's end is not known");
    };
    match now.duration_since(end) {
        Ok(past) if past > LEFT_OVER => doubt("is long past, so it is not this job's end"),
        _ => (Some(TimeLimit { end: End::At(end) }), None),
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
                let left = limit.left(Instant::now(), SystemTime::now());
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
        let limit = TimeLimit { end: End::Since(Instant::now(), Duration::from_secs_f64(left)) };
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
        let (limit, _) = TimeLimit::resolve(Some("2h 30m")).unwrap();
        let left = limit.unwrap().left(Instant::now(), SystemTime::now()).as_secs_f64();
        assert!((8990.0..=9000.0).contains(&left), "{left}");
        let refused = TimeLimit::resolve(Some("soon")).unwrap_err().to_string();
        assert!(refused.contains("--time-limit"), "{refused}");
    }
    #[test]
    fn only_a_limit_by_the_wall_clock_follows_its_steps() {
        let (now, time) = (Instant::now(), SystemTime::now());
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let stated = TimeLimit { end: End::Since(now, minutes(60)) };
        let slurms = TimeLimit { end: End::At(time + minutes(60)) };
        for stepped in [time - minutes(600), time + minutes(600)] {
            assert_eq!(stated.left(now + minutes(20), stepped), minutes(40));
        }
        assert_eq!(slurms.left(now + minutes(20), time + minutes(50)), minutes(10));
        assert_eq!(slurms.left(now, time + minutes(600)), Duration::ZERO);
    }

    #[test]
    fn what_slurm_says_is_its_end_or_is_doubted() {
        let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for (text, end) in [("2000003600", 2_000_003_600), ("1999999990 ", 1_999_999_990)] {
            let at = UNIX_EPOCH + Duration::from_secs(end);
            assert_eq!(of_slurm(text, now), (Some(TimeLimit { end: End::At(at) }), None));
        }
        for (text, why) in [
            ("banana", "is no time"),
            ("", "is no time"),
            ("-5", "is no time"),
            ("18446744073709551615", "is no time that will come"),
            ("1000000000", "is long past"),
        ] {
            let (limit, warning) = of_slurm(text, now);
            let warning = warning.unwrap();
            assert_eq!(limit, None);
            assert!(
                warning.starts_with(&format!("SLURM_JOB_END_TIME={text:?} {why}")),
                "{warning}"
            );
            assert!(warning.ends_with("--time-limit sets a limit"), "{warning}");
        }
    }
}
