//! How a trial's process ended, in terms of what to do next.

use crate::sweep::journal::Outcome;
use crate::sweep::{Phase, Retry, TrialState};
use std::process::ExitStatus;
use std::time::Duration;

/// What the runner did to the process before it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopping {
    #[default]
    No,
    /// The runner itself is asked to stop.
    Runner,
    Pruned,
    /// It took too long, or did nothing for too long.
    Timeout,
}

/// Words of an allocator that found no more memory, on the CPU and on CUDA.
const OUT_OF_MEMORY: [&str; 4] =
    ["out of memory", "not enough memory", "Cannot allocate memory", "memory allocation of"];

/// Reads an exit. `said` is the end of what the trial printed.
pub fn classify(status: ExitStatus, stopping: Stopping, said: &str) -> (Outcome, Option<String>) {
    use std::os::unix::process::ExitStatusExt;
    let killed = status.signal().map(|signal| format!("killed by {}", name(signal)));
    let memory = || OUT_OF_MEMORY.iter().any(|words| said.contains(words));
    match (status.code(), stopping) {
        // It came to its end before it heard of the stop.
        (Some(0), _) => (Outcome::Finished, None),
        (_, Stopping::Pruned) => (Outcome::Pruned, killed),
        (_, Stopping::Runner) => (Outcome::Interrupted, killed),
        (_, Stopping::Timeout) => (Outcome::Timeout, killed),
        (Some(2), _) => (Outcome::Input, Some("exit code 2: its input is wrong".into())),
        (Some(3), _) => (Outcome::Diverged, Some("exit code 3: its loss is not finite".into())),
        (Some(75), _) => (Outcome::Interrupted, Some("stopped from outside".into())),
        // The standard library aborts where it gets no memory.
        (_, _) if memory() => {
            let end = killed.unwrap_or_else(|| "exit code 1".into());
            (Outcome::OutOfMemory, Some(format!("{end}: out of memory")))
        }
        (Some(code), _) => (Outcome::Failed, Some(format!("exit code {code}"))),
        (None, _) => {
            let hint = match status.signal() {
                Some(9) => ", as the system does when memory runs out",
                _ => "",
            };
            (Outcome::Killed, killed.map(|killed| killed + hint))
        }
    }
}

fn name(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal);
    name.map_or_else(|| format!("signal {signal}"), str::to_owned)
}

impl Retry {
    /// How often a trial may end like this before it is left.
    pub fn allowed(&self, outcome: Outcome) -> usize {
        let Retry { failed, killed, out_of_memory, timeout, diverged, wait: _, longest_wait: _ } =
            *self;
        match outcome {
            Outcome::Failed => failed,
            Outcome::Killed => killed,
            Outcome::OutOfMemory => out_of_memory,
            Outcome::Timeout => timeout,
            Outcome::Diverged => diverged,
            Outcome::Finished | Outcome::Interrupted | Outcome::Pruned | Outcome::Input => 0,
        }
    }

    /// Whether a trial failed and will be left as it is.
    pub fn is_given_up(&self, trial: &TrialState) -> bool {
        let failed = trial.last.filter(|_| trial.phase == Phase::Failed);
        failed.is_some_and(|outcome| {
            trial.failures.get(&outcome).copied().unwrap_or(0) > self.allowed(outcome)
        })
    }

    /// Before the attempt that follows the `failures`-th failure (from 1).
    pub fn pause(&self, failures: usize) -> Duration {
        let doublings = failures.saturating_sub(1).min(30) as i32;
        Duration::from_secs_f64((self.wait * 2f64.powi(doublings)).min(self.longest_wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn classes() {
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        let of = |status, stopping, said: &str| classify(status, stopping, said).0;
        assert_eq!(of(code(0), Stopping::Pruned, ""), Outcome::Finished);
        assert_eq!(of(code(75), Stopping::Pruned, ""), Outcome::Pruned);
        assert_eq!(of(code(75), Stopping::Runner, ""), Outcome::Interrupted);
        assert_eq!(of(code(75), Stopping::No, ""), Outcome::Interrupted);
        assert_eq!(of(code(2), Stopping::No, ""), Outcome::Input);
        assert_eq!(of(code(3), Stopping::No, ""), Outcome::Diverged);
        assert_eq!(of(code(1), Stopping::No, "CUDA out of memory. Tried"), Outcome::OutOfMemory);
        assert_eq!(of(code(1), Stopping::No, "disk"), Outcome::Failed);
        let kill = ExitStatus::from_raw(9);
        let (outcome, note) = classify(kill, Stopping::No, "");
        assert_eq!(outcome, Outcome::Killed);
        assert!(note.unwrap().contains("SIGKILL"));
        assert_eq!(of(kill, Stopping::Timeout, ""), Outcome::Timeout);
        assert_eq!(of(kill, Stopping::Runner, ""), Outcome::Interrupted);
        assert_eq!(
            of(ExitStatus::from_raw(6), Stopping::No, "memory allocation of 8 bytes failed"),
            Outcome::OutOfMemory
        );
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let retry = Retry { wait: 2.0, longest_wait: 5.0, ..Retry::default() };
        let waits: Vec<f64> = (1..5).map(|n| retry.pause(n).as_secs_f64()).collect();
        assert_eq!(waits, [2.0, 4.0, 5.0, 5.0]);
    }
}
