//! What Slurm knows of the tasks: `squeue` for those that wait or run, `scontrol` for those that
//! ended lately, `sacct` for older ones where the cluster keeps accounts.

use super::{Cluster, LAUNCHER};
use crate::sweep::{Phase, Record, State};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// An array that was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    /// Place in the manifest of the trial of task 0, and indices up to the last task.
    pub first: usize,
    pub count: usize,
}

/// A task, as Slurm sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// `12_3`
    pub job: String,
    /// Slurm's word: `PENDING`, `RUNNING`, `TIMEOUT`.
    pub state: String,
    /// Why it waits or how it ended; empty where nothing is to be said.
    pub reason: String,
    /// Where it runs or ran.
    pub node: String,
    /// How often it was requeued.
    pub restarts: u32,
}

impl Queued {
    /// Whether the task's end is still to come; what is COMPLETING has ended.
    pub fn waits_or_runs(&self) -> bool {
        !matches!(
            self.state.as_str(),
            "BOOT_FAIL"
                | "CANCELLED"
                | "COMPLETED"
                | "COMPLETING"
                | "DEADLINE"
                | "FAILED"
                | "NODE_FAIL"
                | "OUT_OF_MEMORY"
                | "PREEMPTED"
                | "REVOKED"
                | "TIMEOUT"
        )
    }

    pub fn waits(&self) -> bool {
        self.waits_or_runs() && (self.state == "PENDING" || self.state.starts_with("REQUEUE"))
    }
}

/// The arrays of which a trial is not finished, in the order of submission.
pub fn jobs(state: &State) -> Vec<Job> {
    let submitted = state.submissions.iter().filter_map(|entry| match &entry.record {
        Record::Submitted { launcher, job, first, count } if launcher == LAUNCHER => {
            Some(Job { id: job.clone(), first: *first, count: *count })
        }
        _ => None,
    });
    let open = |job: &Job| {
        let trials = state.trials.iter().skip(job.first).take(job.count);
        trials.into_iter().any(|trial| trial.phase != Phase::Finished)
    };
    submitted.filter(open).collect()
}

/// What Slurm knows of the tasks of `jobs`, by their trial's place in the manifest. Where several
/// had the same trial, one that waits or runs counts, else that of the later submission.
///
/// # Errors
/// Slurm's commands are missing or it does not answer.
pub fn queue(cluster: &Cluster, jobs: &[Job]) -> Result<BTreeMap<usize, Queued>> {
    if jobs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    let ids = ids.join(",");
    let asked = format!("--jobs={ids}");
    let fields: Vec<String> =
        FIELDS.iter().map(|(name, width)| format!("{name}:{width}")).collect();
    let fields = format!("--Format={}", fields.join(","));
    let mut tasks =
        squeue(&answer(cluster, "squeue", &["--noheader", "--array", &asked, &fields])?);
    // The first that names a task counts: what waits or runs, then what Slurm remembers.
    for job in jobs {
        let remembered = answer(cluster, "scontrol", &["--oneliner", "show", "job", &job.id])?;
        tasks.extend(scontrol(&remembered));
    }
    if cluster.has_accounting()? {
        let format = "--format=JobID,State,ExitCode,NodeList";
        let arguments = ["--noheader", "--parsable2", "--allocations", &asked, format];
        // Without it the tasks of long ago are unknown, which is no reason to hide the others.
        if let Ok(text) = answer(cluster, "sacct", &arguments) {
            tasks.extend(sacct(&text));
        }
    }
    Ok(by_place(jobs, tasks))
}

/// What a command prints; nothing where it knows none of the jobs any more.
fn answer(cluster: &Cluster, program: &str, arguments: &[&str]) -> Result<String> {
    let said = cluster.say(program, arguments)?;
    if said.good {
        return Ok(said.stdout);
    }
    if said.stderr.contains("Invalid job id specified") {
        return Ok(String::new());
    }
    Err(Error::input(format!("{program} does not answer: {}", said.complaint()))
        .help("check `sinfo`, on a machine of the cluster"))
}

/// Tasks by their trial; the first that names a task counts.
pub fn by_place(jobs: &[Job], tasks: Vec<Queued>) -> BTreeMap<usize, Queued> {
    let mut known: BTreeMap<String, Queued> = BTreeMap::new();
    for task in tasks {
        known.entry(task.job.clone()).or_insert(task);
    }
    let mut places = BTreeMap::new();
    for job in jobs {
        let prefix = format!("{}_", job.id);
        let from = known.range(prefix.clone()..);
        for (id, task) in from.take_while(|(id, _)| id.starts_with(&prefix)) {
            let Ok(index) = id[prefix.len()..].parse::<usize>() else { continue };
            if index >= job.count {
                continue;
            }
            match places.entry(job.first + index) {
                Entry::Vacant(entry) => drop(entry.insert(task.clone())),
                Entry::Occupied(mut entry) => {
                    if task.waits_or_runs() || !Queued::waits_or_runs(entry.get()) {
                        entry.insert(task.clone());
                    }
                }
            }
        }
    }
    places
}

/// Columns of `squeue --Format`, which are as wide as they are asked to be.
const FIELDS: [(&str, usize); 5] =
    [("JobArrayID", 48), ("State", 24), ("RestartCnt", 12), ("NodeList", 128), ("Reason", 64)];

/// Reads what `squeue --noheader --array --Format` prints of these columns.
pub fn squeue(text: &str) -> Vec<Queued> {
    let read = |line: &str| {
        let mut rest = line.chars();
        let [job, state, restarts, node, reason] = FIELDS
            .map(|(_, width)| rest.by_ref().take(width).collect::<String>().trim().to_owned());
        let restarts = restarts.parse().unwrap_or(0);
        Queued { job, state, reason: said(&reason), node: said(&node), restarts }
    };
    text.lines().map(read).filter(|task| !task.state.is_empty()).collect()
}

/// Reads what `scontrol --oneliner show job` prints; tasks that wait together, which have no line of
/// their own, are left out.
pub fn scontrol(text: &str) -> Vec<Queued> {
    text.lines()
        .filter_map(|line| {
            let value = |key: &str| {
                let mut words = line.split_whitespace();
                words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            };
            let task: usize = value("ArrayTaskId")?.parse().ok()?;
            let reason = match (said(value("Reason")?), exit(value("ExitCode").unwrap_or(""))) {
                (reason, None) => reason,
                (reason, Some(exit)) if reason.is_empty() || reason == "NonZeroExitCode" => exit,
                (reason, Some(exit)) => format!("{reason}, {exit}"),
            };
            Some(Queued {
                job: format!("{}_{task}", value("ArrayJobId")?),
                state: value("JobState")?.to_owned(),
                reason,
                node: said(value("NodeList").unwrap_or("")),
                restarts: value("Restarts").and_then(|count| count.parse().ok()).unwrap_or(0),
            })
        })
        .collect()
}

/// Reads what `sacct --noheader --parsable2 --allocations --format=JobID,State,ExitCode,NodeList`
/// prints. It does not say how often a task was requeued.
pub fn sacct(text: &str) -> Vec<Queued> {
    text.lines()
        .filter_map(|line| {
            let mut columns = line.split('|');
            let mut next = || columns.next().map(str::trim);
            let (job, state, code, node) = (next()?, next()?, next()?, next()?);
            // Tasks that wait together are `12_[4-9]`; who cancelled follows the state.
            job.split_once('_')?.1.parse::<usize>().ok()?;
            Some(Queued {
                job: job.to_owned(),
                state: state.split(' ').next()?.to_owned(),
                reason: exit(code).unwrap_or_default(),
                node: said(node),
                restarts: 0,
            })
        })
        .collect()
}

/// Slurm has several words for nothing.
fn said(value: &str) -> String {
    match value {
        "None" | "(null)" | "None assigned" | "N/A" => String::new(),
        value => value.to_owned(),
    }
}

/// `CODE:SIGNAL` in words; none for `0:0`.
fn exit(code: &str) -> Option<String> {
    match code.split_once(':')? {
        ("0", "0") => None,
        (code, "0") => Some(format!("exit code {code}")),
        (_, signal) => Some(format!("signal {signal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUEUE: &str = include_str!("../../../tests/fixtures/slurm/squeue.txt");
    const JOBS: &str = include_str!("../../../tests/fixtures/slurm/jobs.txt");

    fn shown(task: &Queued) -> String {
        let Queued { job, state, reason, node, restarts } = task;
        format!("{job} {state} [{reason}] [{node}] {restarts}")
    }

    #[test]
    fn the_queue_as_squeue_prints_it() {
        let tasks: Vec<String> = squeue(SQUEUE).iter().map(shown).collect();
        let expected = [
            "14_2 PENDING [BeginTime] [] 1",
            "19_0 PENDING [Dependency] [] 0",
            "19_1 PENDING [Dependency] [] 0",
            "14_4 RUNNING [] [vm] 0",
            "20_2 RUNNING [] [vm] 0",
        ];
        assert_eq!(tasks, expected);
        assert!(squeue("").is_empty());
    }

    #[test]
    fn what_ended_as_scontrol_prints_it() {
        let tasks: Vec<String> = scontrol(JOBS).iter().map(shown).collect();
        let expected = [
            "14_4 RUNNING [] [vm] 0",
            "14_3 CANCELLED [signal 15] [vm] 0",
            "14_2 PENDING [BeginTime] [] 1",
            "14_1 FAILED [exit code 3] [vm] 0",
            "14_0 COMPLETED [] [vm] 0",
            "20_2 RUNNING [] [vm] 0",
            "20_1 FAILED [exit code 3] [vm] 0",
            "20_0 COMPLETED [] [vm] 0",
        ];
        assert_eq!(tasks, expected);
    }

    #[test]
    fn what_ended_long_ago_as_sacct_prints_it() {
        let text = include_str!("../../../tests/fixtures/slurm/sacct.txt");
        let tasks: Vec<String> = sacct(text).iter().map(shown).collect();
        let expected = [
            "6_0 COMPLETED [] [vm] 0",
            "6_1 FAILED [exit code 3] [vm] 0",
            "6_3 CANCELLED [] [vm] 0",
            "6_4 RUNNING [] [vm] 0",
            "6_2 PENDING [] [] 0",
        ];
        assert_eq!(tasks, expected);
    }

    #[test]
    fn tasks_find_their_trials() {
        let job = |id: &str, first, count| Job { id: id.into(), first, count };
        let tasks = || [squeue(SQUEUE), scontrol(JOBS)].concat();
        // 20 was submitted for the trials that 14 had.
        let jobs = [job("14", 0, 5), job("19", 5, 2), job("20", 0, 3)];
        let places = by_place(&jobs, tasks());
        let of: Vec<(usize, &str)> =
            places.iter().map(|(place, task)| (*place, task.job.as_str())).collect();
        let expected = [
            (0, "20_0"),
            (1, "20_1"),
            // Both are to come or run: the later one counts.
            (2, "20_2"),
            (3, "14_3"),
            (4, "14_4"),
            (5, "19_0"),
            (6, "19_1"),
        ];
        assert_eq!(of, expected);
        // An ended task of a later submission hides none that waits.
        let places = by_place(&[job("14", 2, 5), job("20", 4, 2)], tasks());
        assert_eq!(places[&4].job, "14_2");
        assert_eq!(places[&5].job, "20_1");
        // `1` is not `14`, and what is beyond the array is not of this sweep.
        assert!(by_place(&[job("1", 0, 9)], tasks()).is_empty());
        assert_eq!(by_place(&[job("14", 0, 2)], tasks()).len(), 2);
    }

    #[test]
    fn what_is_over_is_neither_waiting_nor_running() {
        let counts =
            |count: fn(&Queued) -> bool| scontrol(JOBS).iter().filter(|task| count(task)).count();
        assert_eq!((counts(Queued::waits_or_runs), counts(Queued::waits)), (3, 1));
    }
}
