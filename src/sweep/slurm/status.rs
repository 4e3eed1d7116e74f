//! The status of a sweep's tasks: what Slurm says, joined with what the journal says.

use super::{Cluster, LAUNCHER, Queued, jobs, queue};
use crate::sweep::{Manifest, Phase, State};
use std::collections::BTreeMap;

/// Asks Slurm and says what it knows; nothing for a sweep that was never submitted. Where Slurm
/// can't be asked, that is the one line.
pub fn report(cluster: &Cluster, manifest: &Manifest, state: &State) -> Vec<String> {
    let jobs = jobs(state);
    if jobs.is_empty() {
        return Vec::new();
    }
    match queue(cluster, &jobs) {
        Ok(queue) => status_lines(manifest, state, &queue),
        Err(error) => vec![format!("slurm: unknown: {error}")],
    }
}

/// What becomes of a trial that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Running,
    Requeued,
    Pending,
    /// The task ended and left the trial unfinished.
    Ended,
    /// The journal says that a task runs it, and Slurm knows no such task.
    Vanished,
}

/// A line for each trial that runs, was requeued, lost its task or vanished, after one that counts
/// them; those that wait are counted by reason.
pub fn status_lines(
    manifest: &Manifest,
    state: &State,
    queue: &BTreeMap<usize, Queued>,
) -> Vec<String> {
    let mut counts: BTreeMap<Fate, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for (place, trial) in state.trials.iter().enumerate() {
        let name = &manifest.trials[place].name;
        let task = queue.get(&place);
        let Some(fate) = fate(trial.phase, runner(state, place), task) else { continue };
        *counts.entry(fate).or_default() += 1;
        let shown = task.cloned().unwrap_or_default();
        let Queued { job, state: word, reason, node, restarts } = &shown;
        let times = match restarts {
            0 => String::new(),
            1 => ", requeued once".into(),
            times => format!(", requeued {times} times"),
        };
        match fate {
            Fate::Pending => {
                let reason = task.map_or("", |task| task.reason.as_str());
                *reasons.entry(reason).or_default() += 1;
            }
            Fate::Running => lines.push((fate, format!("{name}: runs as {job} on {node}{times}"))),
            Fate::Requeued => {
                lines.push((fate, format!("{name}: {job} waits{}{times}", because(reason))));
            }
            Fate::Ended => {
                let on = if node.is_empty() { String::new() } else { format!(" on {node}") };
                let why = because(reason);
                lines.push((
                    fate,
                    format!("{name}: {job} ended{on}: {word}{why}{times}; submit again"),
                ));
            }
            Fate::Vanished => {
                let job = runner(state, place).unwrap_or("its task");
                let line = format!(
                    "{name}: {job} vanished: the journal says that it runs, Slurm does not; submit again"
                );
                lines.push((fate, line));
            }
        }
    }
    if counts.is_empty() {
        return Vec::new();
    }
    lines.sort_by_key(|(fate, _)| *fate);
    let summary = format!("{LAUNCHER}: {}", summary(&counts, &reasons));
    let lines = lines.into_iter().map(|(_, line)| format!("  {line}"));
    std::iter::once(summary).chain(lines).collect()
}

/// The task that the journal says to run a trial.
fn runner(state: &State, place: usize) -> Option<&str> {
    let job = state.trials[place].runner.as_ref()?.job.as_deref()?;
    job.strip_prefix(LAUNCHER).map(str::trim_start)
}

fn fate(phase: Phase, runner: Option<&str>, task: Option<&Queued>) -> Option<Fate> {
    if matches!(phase, Phase::Finished | Phase::Pruned | Phase::Failed) {
        return None;
    }
    match task {
        Some(task) if task.waits() && task.restarts > 0 => Some(Fate::Requeued),
        Some(task) if task.waits() => Some(Fate::Pending),
        Some(task) if task.waits_or_runs() => Some(Fate::Running),
        // One that another submission's task has: what this one came to does not matter.
        Some(task)
            if phase == Phase::Running && runner.is_some_and(|runner| runner != task.job) =>
        {
            Some(Fate::Vanished)
        }
        // On this machine, besides the cluster.
        _ if phase == Phase::Running && runner.is_none() => None,
        Some(task) if task.state == "COMPLETING" => Some(Fate::Running),
        Some(_) => Some(Fate::Ended),
        None if phase == Phase::Running => Some(Fate::Vanished),
        None => None,
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn summary(counts: &BTreeMap<Fate, usize>, reasons: &BTreeMap<&str, usize>) -> String {
    let part = |(fate, count): (&Fate, &usize)| {
        let word = match fate {
            Fate::Running => "running",
            Fate::Requeued => "requeued",
            Fate::Pending => "pending",
            Fate::Ended => "ended unfinished",
            Fate::Vanished => "vanished",
        };
        let of = |(reason, count): (&&str, &usize)| match *reason {
            "" => format!("{count} without a reason"),
            reason => format!("{reason} {count}"),
        };
        match fate {
            Fate::Pending => {
                let reasons: Vec<String> = reasons.iter().map(of).collect();
                format!("{count} {word} ({})", reasons.join(", "))
            }
            _ => format!("{count} {word}"),
        }
    };
    counts.iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Trial;
    use crate::sweep::journal::{Entry, Outcome, Record, Runner};
    use crate::sweep::slurm::Job;
    use crate::sweep::slurm::queue::{by_place, scontrol, squeue};

    /// Trials `t0` to `t8`; those of `running` are run by that task, as the journal says.
    fn sweep(running: &[(usize, &str)], ended: &[(usize, Outcome)]) -> (Manifest, State) {
        let trial =
            |n: usize| Trial { id: format!("t{n}"), name: format!("t{n}"), ..Trial::default() };
        let manifest = Manifest { trials: (0..9).map(trial).collect(), ..Manifest::default() };
        let mut state = State::new(&manifest);
        let mut told = |record| state.apply(&Entry { time: "2026-01-01T00:00:00Z".into(), record });
        for (place, job) in running {
            let runner = Runner { job: Some(job.to_string()), ..Runner::default() };
            told(Record::Started { trial: format!("t{place}"), runner });
        }
        for (place, outcome) in ended {
            let (code, note, seconds) = (None, None, 1.0);
            told(Record::Ended {
                trial: format!("t{place}"),
                outcome: *outcome,
                code,
                seconds,
                note,
            });
        }
        (manifest, state)
    }

    fn recorded(jobs: &[(&str, usize, usize)]) -> BTreeMap<usize, Queued> {
        let squeue = squeue(include_str!("../../../tests/fixtures/slurm/squeue.txt"));
        let scontrol = scontrol(include_str!("../../../tests/fixtures/slurm/jobs.txt"));
        let job = |(id, first, count): &(&str, usize, usize)| Job {
            id: id.to_string(),
            first: *first,
            count: *count,
        };
        let jobs: Vec<Job> = jobs.iter().map(job).collect();
        by_place(&jobs, [squeue, scontrol].concat())
    }

    #[test]
    fn slurm_and_the_journal_joined() {
        let running = [(3, "slurm 14_3"), (4, "slurm 14_4"), (7, "slurm 9_1")];
        let ended = [(0, Outcome::Finished), (1, Outcome::Failed), (2, Outcome::Interrupted)];
        let (manifest, state) = sweep(&running, &ended);
        let lines = status_lines(&manifest, &state, &recorded(&[("14", 0, 5), ("19", 5, 2)]));
        let expected = [
            "slurm: 1 running, 1 requeued, 2 pending (Dependency 2), 1 ended unfinished, 1 vanished",
            "  t4: runs as 14_4 on vm",
            "  t2: 14_2 waits (BeginTime), requeued once",
            "  t3: 14_3 ended on vm: CANCELLED (signal 15); submit again",
            "  t7: 9_1 vanished: the journal says that it runs, Slurm does not; submit again",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn trials_of_this_machine_are_not_slurms() {
        let (manifest, mut state) = sweep(&[(0, "slurm 14_0")], &[]);
        state.trials[0].runner = Some(Runner::default());
        assert!(status_lines(&manifest, &state, &BTreeMap::new()).is_empty());
        assert!(report(&Cluster::default(), &manifest, &state).is_empty());
    }
}
