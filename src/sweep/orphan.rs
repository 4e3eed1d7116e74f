//! A trial whose runner dies stops with a checkpoint, and so does a rank of `--nproc` whose starter dies.

use crate::distributed::STARTER;
use crate::record::feed::VARIABLE;
use rustix::process::{Signal, getpid, getppid, kill_process};

/// Called first thing in every process: where a runner or `--nproc` started it, the system is asked to
/// send SIGTERM when that one ends, however it ends.
pub fn watch() {
    // A trial may itself start ranks, whose parent it is.
    let started = [STARTER, VARIABLE].iter().find_map(|name| std::env::var(name).ok());
    let Some(runner) = started.and_then(|pid| pid.parse::<i32>().ok()) else {
        return;
    };
    #[cfg(target_os = "linux")]
    // Where the system can't, a trial without a runner goes on to its end, holding its claim.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    // It may have died before that.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != runner) {
        let _ = kill_process(getpid(), Signal::TERM);
    }
}
