//! A task of a job array: it runs its one trial, and goes back into the queue when its time is up.

use super::{Cluster, LAUNCHER};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The task that this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// As Slurm's commands name it: `12_3`.
    pub id: String,
    /// Of its trial, in the manifest.
    pub place: usize,
    /// How often it was requeued.
    pub restarts: usize,
    /// CPUs that it was given.
    pub threads: Option<usize>,
}

/// What a task wants to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// The one trial.
    pub place: usize,
    pub threads: Option<usize>,
    /// For the journal: `slurm 12_3`.
    pub job: String,
}

impl Task {
    /// The task that Slurm's variables name; `offset` is the place of the array's task 0.
    ///
    /// # Errors
    /// `Input`: not in a job array.
    pub fn of_environment(offset: usize) -> Result<Task> {
        Task::of(offset, &|name| std::env::var(name).ok())
    }

    /// The same with the variables of `read`.
    pub fn of(offset: usize, read: &dyn Fn(&str) -> Option<String>) -> Result<Task> {
        let wrong = |what: String| {
            Error::input(what).help(
                "job arrays start this command; use `run sweep FILE.toml --launcher slurm` to \
                 submit one, or `run sweep FILE.toml` to run the trials here",
            )
        };
        let number = |name: &str| match read(name) {
            None => Ok(None),
            Some(value) => match value.trim().parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong(format!("{name} is no number: {value:?}"))),
            },
        };
        let needed = |name: &str| {
            number(name)?
                .ok_or_else(|| wrong(format!("not a task of a job array: {name} is not set")))
        };
        let (job, task) = (needed("SLURM_ARRAY_JOB_ID")?, needed("SLURM_ARRAY_TASK_ID")?);
        let place = offset.checked_add(task).ok_or_else(|| {
            wrong(format!("--offset {offset} with task {task} is beyond every trial"))
        })?;
        let threads = match number("SLURM_CPUS_PER_TASK")? {
            Some(threads) => Some(threads),
            None => number("SLURM_CPUS_ON_NODE")?,
        };
        Ok(Task {
            id: format!("{job}_{task}"),
            place,
            restarts: number("SLURM_RESTART_COUNT")?.unwrap_or(0),
            threads: threads.filter(|threads| *threads > 0),
        })
    }

    /// What the journal calls it.
    pub fn job(&self) -> String {
        format!("{LAUNCHER} {}", self.id)
    }
}

/// Runs the task's trial by `run`, which gets the flag that asks it to stop. SIGUSR1, which Slurm
/// sends before the time limit, sets it; once the trial has stopped with a checkpoint, this task
/// alone is requeued, at most `limit` times (0: always). After SIGTERM it is not: that is a
/// `scancel`, or a pre-emption after which Slurm requeues by itself.
///
/// # Errors
/// What `run` says; `Stopped`, exit code 75, when the trial goes on later.
pub fn run_task(
    cluster: &Cluster,
    task: &Task,
    limit: usize,
    stop: &StopFlag,
    run: impl FnOnce(&RunRequest, &StopFlag) -> Result<()>,
) -> Result<()> {
    let warned = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGUSR1])
        .map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;
    let listener = signals.handle();
    let thread = std::thread::spawn({
        let (warned, stop) = (warned.clone(), stop.clone());
        move || {
            for _ in signals.forever() {
                warned.store(true, Ordering::Relaxed);
                stop.ask("Slurm's warning before the time limit");
            }
        }
    });
    let request = RunRequest { place: task.place, threads: task.threads, job: task.job() };
    let result = run(&request, stop);
    // Until here: what Slurm does to a task that it requeues must not end this process early.
    let result = match result {
        Err(Error::Stopped { message, .. }) if warned.load(Ordering::Relaxed) => {
            Err(match requeue(cluster, task, limit) {
                Ok(()) => Error::stopped(format!("{message}; task {} is requeued", task.id)),
                Err(error) => Error::stopped(format!("{message}; {error}"))
                    .help("submit the sweep again: the trial goes on from its checkpoint"),
            })
        }
        other => other,
    };
    listener.close();
    let _ = thread.join();
    result
}

fn requeue(cluster: &Cluster, task: &Task, limit: usize) -> Result<()> {
    if limit > 0 && task.restarts >= limit {
        return Err(Error::failed(format!(
            "task {} was requeued {} times, its launcher.slurm.requeue_limit",
            task.id, task.restarts
        )));
    }
    cluster.requeue(&task.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(offset: usize, variables: &[(&str, &str)]) -> Result<Task> {
        let read = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        };
        Task::of(offset, &read)
    }

    const ARRAY: [(&str, &str); 2] = [("SLURM_ARRAY_JOB_ID", "12"), ("SLURM_ARRAY_TASK_ID", "3")];

    #[test]
    fn the_variables_say_which_task_it_is() {
        let task = of(1000, &ARRAY).unwrap();
        assert_eq!((task.id.as_str(), task.place), ("12_3", 1003));
        assert_eq!((task.restarts, task.threads), (0, None));
        assert_eq!(task.job(), "slurm 12_3");
        let more = [("SLURM_RESTART_COUNT", "2"), ("SLURM_CPUS_ON_NODE", "8")];
        let task = of(0, &[&ARRAY[..], &more].concat()).unwrap();
        assert_eq!((task.place, task.restarts, task.threads), (3, 2, Some(8)));
        let task = of(0, &[&ARRAY[..], &more, &[("SLURM_CPUS_PER_TASK", "4")]].concat()).unwrap();
        assert_eq!(task.threads, Some(4));
    }

    #[test]
    fn elsewhere_it_is_none() {
        for (variables, expected) in [
            (vec![], "not a task of a job array: SLURM_ARRAY_JOB_ID is not set"),
            (vec![ARRAY[0]], "not a task of a job array: SLURM_ARRAY_TASK_ID is not set"),
            (vec![ARRAY[0], ("SLURM_ARRAY_TASK_ID", "x")], "SLURM_ARRAY_TASK_ID is no number"),
        ] {
            let error = of(0, &variables).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(of(usize::MAX, &ARRAY).unwrap_err().to_string().contains("beyond every trial"));
    }

    /// A `scontrol` that writes down what it is asked, found before the real one.
    fn recorded(folder: &std::path::Path) -> Cluster {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.join("scontrol");
        std::fs::write(&path, "#!/bin/sh\necho \"$@\" >>\"$SAID\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Cluster::default()
            .with("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .with("SAID", folder.join("said"))
    }

    /// One test: the signal reaches the whole process.
    #[test]
    fn only_a_warned_task_is_requeued_and_only_so_often() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = recorded(folder.path());
        let said = || std::fs::read_to_string(folder.path().join("said")).unwrap_or_default();
        let mut task = of(0, &ARRAY).unwrap();
        let warn = |request: &RunRequest, stop: &StopFlag| {
            assert_eq!((request.place, request.job.as_str()), (3, "slurm 12_3"));
            signal_hook::low_level::raise(SIGUSR1).unwrap();
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while !stop.is_set() {
                assert!(std::time::Instant::now() < until, "the signal asks for no stop");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(Error::stopped("stopped at step 7"))
        };
        let run = |task: &Task, limit| run_task(&cluster, task, limit, &StopFlag::default(), warn);

        let error = run(&task, 100).unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert_eq!(error.to_string(), "stopped at step 7; task 12_3 is requeued");
        assert_eq!(said(), "requeue 12_3\n");

        task.restarts = 2;
        let error = run(&task, 2).unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert!(error.to_string().contains("was requeued 2 times"), "{error}");
        assert_eq!(said().lines().count(), 1);
        run(&task, 0).unwrap_err();
        assert_eq!(said().lines().count(), 2);

        // Stopped by something else, or done: nothing is requeued.
        let stopped = |_: &RunRequest, _: &StopFlag| Err(Error::stopped("stopped"));
        let stop = StopFlag::default();
        let error = run_task(&cluster, &task, 0, &stop, stopped).unwrap_err();
        assert_eq!(error.to_string(), "stopped");
        run_task(&cluster, &task, 0, &stop, |_, _| Ok(())).unwrap();
        assert_eq!(said().lines().count(), 2);
    }
}
