//! Sweeps as job arrays of a real Slurm, which `tools/slurm/start.sh` starts on this machine. Skipped,
//! aloud, where Slurm, munge or root are missing.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arcrun::sweep::journal::{Outcome, Record, Runner};
use arcrun::sweep::{Journal, Ledger, Phase};
use support::slurm::{Slurm, eventually_or};
use support::{Ended, Tiny, column, run_json, status};

/// The tests share one node: who takes it away from the others waits for them.
static NODE: RwLock<()> = RwLock::new(());

enum Share {
    Some { _held: RwLockReadGuard<'static, ()> },
    All { _held: RwLockWriteGuard<'static, ()> },
}

impl Share {
    // A test that panicked has given its share back.
    fn some() -> Share {
        Share::Some { _held: NODE.read().unwrap_or_else(|poisoned| poisoned.into_inner()) }
    }

    fn all() -> Share {
        Share::All { _held: NODE.write().unwrap_or_else(|poisoned| poisoned.into_inner()) }
    }
}

/// A sweep of the tiny experiment, in a folder with a space.
struct Sweep {
    slurm: Arc<Slurm>,
    tiny: Tiny,
    _share: Share,
}

const FOLDER: &str = "all sweeps/it's 100%";

impl Sweep {
    /// Trials of `epochs` epochs that differ in the learning rate; `launcher` is its table.
    fn new(trials: usize, epochs: usize, launcher: &str) -> Option<Sweep> {
        Sweep::with(Share::some(), trials, epochs, launcher)
    }

    fn with(share: Share, trials: usize, epochs: usize, launcher: &str) -> Option<Sweep> {
        let slurm = Slurm::get()?;
        let tiny = Tiny::new();
        let rates: Vec<String> = (1..=trials).map(|n| format!("{}", n as f64 / 100.0)).collect();
        let text = format!(
            "base = \"tiny.toml\"\n[objective]\nmetric = \"val_loss\"\n[set]\ntrain.epochs = {epochs}\n\
             [grid]\noptimizer.lr = [{}]\n[launcher.slurm]\n{launcher}\n",
            rates.join(", ")
        );
        tiny.write("grid.toml", &text);
        Some(Sweep { slurm, tiny, _share: share })
    }

    fn folder(&self) -> PathBuf {
        self.tiny.path(FOLDER)
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.tiny.command(args).env("SLURM_CONF", self.slurm.conf()))
    }

    /// Submits what is left; returns what it said.
    fn submit(&self) -> String {
        let args = ["sweep", "grid.toml", "--dir", FOLDER, "--launcher", "slurm"];
        self.run(&args).exits(0).stdout
    }

    fn status(&self) -> String {
        self.run(&["sweep", "status", FOLDER]).exits(0).stdout
    }

    fn records(&self) -> Vec<Record> {
        let news = Journal::of(&self.folder()).news().unwrap();
        news.entries.into_iter().map(|entry| entry.record).collect()
    }

    /// Array job, place of its first trial, number of tasks.
    fn submitted(&self) -> Vec<(String, usize, usize)> {
        let of = |record| match record {
            Record::Submitted { job, first, count, launcher } => {
                assert_eq!(launcher, "slurm");
                Some((job, first, count))
            }
            _ => None,
        };
        self.records().into_iter().filter_map(of).collect()
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.folder()).unwrap()
    }

    fn phases(&self) -> Vec<Phase> {
        self.ledger().state.trials.iter().map(|trial| trial.phase).collect()
    }

    fn sessions(&self) -> Vec<usize> {
        self.ledger().state.trials.iter().map(|trial| trial.sessions).collect()
    }

    fn run_dir(&self, place: usize) -> PathBuf {
        self.ledger().run_dir(place)
    }

    fn steps(&self, place: usize) -> usize {
        let text = std::fs::read_to_string(self.run_dir(place).join("steps.csv"));
        text.map_or(0, |text| text.lines().count().saturating_sub(1))
    }

    fn finish(&self) {
        let done = || self.phases().iter().all(|phase| *phase == Phase::Finished);
        eventually_or("all trials are finished", done, || self.story());
    }

    /// Waits until a trial has begun to learn; returns its task, `JOB_TASK`.
    fn learning(&self, place: usize) -> String {
        let before = self.steps(place);
        let learns = || self.phases()[place] == Phase::Running && self.steps(place) > before;
        eventually_or("a trial at work", learns, || self.story());
        let runner = self.ledger().state.trials[place].runner.clone().unwrap();
        runner.job.unwrap().strip_prefix("slurm ").unwrap().to_owned()
    }

    /// Every step once, in order, although it was stopped in between.
    fn went_on(&self, place: usize, sessions: u64) {
        let run = self.run_dir(place);
        assert_eq!(status(&run), "finished");
        assert_eq!(run_json(&run)["continued"], sessions);
        let steps = column(&run.join("steps.csv"), "step");
        let counted: Vec<String> = (1..=steps.len()).map(|step| step.to_string()).collect();
        assert_eq!(steps, counted);
    }

    /// What happened, for whoever reads that a test failed.
    fn story(&self) -> String {
        let mut story = format!("{:#?}\n", self.records());
        story += &self.slurm.say("squeue", &["--array"]).stdout;
        for entry in std::fs::read_dir(self.folder().join("slurm")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            story += &format!("{}:\n{text}\n", path.display());
        }
        story
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        // The tests share one node.
        for (job, _, _) in self.submitted() {
            self.slurm.say("scancel", &[&job]);
        }
    }
}

/// How many trials ran at the same time, by the journal.
fn most_at_once(records: &[Record]) -> usize {
    let (mut now, mut most) = (0usize, 0);
    for record in records {
        match record {
            Record::Started { .. } => now += 1,
            Record::Ended { .. } => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

#[test]
fn arrays_with_a_limit_finish_every_trial_once() {
    let Some(sweep) = Sweep::new(7, 12, "concurrent = 2\ncpus = 1") else { return };
    let said = sweep.submit();
    assert!(said.contains("submitted 7 trials as 2 job arrays"), "{said}");
    let arrays = sweep.submitted();
    let shapes: Vec<(usize, usize)> = arrays.iter().map(|(_, first, n)| (*first, *n)).collect();
    assert_eq!(shapes, [(0, 5), (5, 2)], "arrays of at most five tasks");

    // Again: everything has its task. And the same arrays a second time, past that look.
    let said = sweep.submit();
    assert!(said.contains("nothing to submit: 7 trials have a task"), "{said}");
    let again = sweep.folder().join("slurm/from-0.sh");
    let again = sweep.slurm.say("sbatch", &["--parsable", again.to_str().unwrap()]).exits(0).stdout;
    sweep.finish();
    let states = || {
        let args = ["--oneliner", "show", "job", again.trim()];
        let shown = sweep.slurm.say("scontrol", &args).stdout;
        shown.lines().filter(|line| line.contains("JobState=COMPLETED")).count()
    };
    eventually_or("the second array is through", || states() == 5, || sweep.story());

    assert_eq!(sweep.sessions(), [1; 7], "nothing ran twice");
    let mut finished = BTreeMap::new();
    for record in sweep.records() {
        if let Record::Ended { trial, outcome, .. } = record {
            assert_eq!(outcome, Outcome::Finished);
            *finished.entry(trial).or_insert(0) += 1;
        }
    }
    assert!(finished.len() == 7 && finished.values().all(|count| *count == 1), "{finished:?}");
    for place in 0..7 {
        assert_eq!(status(&sweep.run_dir(place)), "finished");
        assert_eq!(run_json(&sweep.run_dir(place))["continued"], 0);
    }
    let said = sweep.submit();
    assert!(said.contains("nothing to submit: every trial is done"), "{said}");
    assert_eq!(sweep.submitted().len(), 2);
}

#[test]
fn the_limit_holds_for_all_arrays_together() {
    let Some(sweep) = Sweep::new(7, 6, "concurrent = 2\ncpus = 1") else { return };
    sweep.submit();
    sweep.finish();
    let most = most_at_once(&sweep.records());
    assert!((1..=2).contains(&most), "{most} at once");
}

#[test]
fn a_warned_task_alone_is_requeued_and_its_trial_goes_on() {
    let Some(sweep) = Sweep::new(2, 250, "cpus = 1") else { return };
    sweep.submit();
    let task = sweep.learning(0);
    // Nobody waits for it: where the task is requeued at once, scancel tries on for a minute.
    let mut scancel = Command::new("scancel")
        .args(["--signal=USR1", "--batch", &task])
        .env("SLURM_CONF", sweep.slurm.conf())
        .spawn()
        .unwrap();
    let requeued = || sweep.slurm.field(&task, "Reason") == "BeginTime";
    eventually_or("the task is requeued", requeued, || sweep.story());
    let _ = scancel.kill();
    scancel.wait().unwrap();
    assert_eq!(sweep.slurm.field(&task, "Restarts"), "1");
    assert_eq!(sweep.phases()[0], Phase::Interrupted);
    assert_eq!(status(&sweep.run_dir(0)), "stopped");
    let stopped_after = sweep.steps(0);
    assert!(stopped_after > 0 && stopped_after < 250 * 8, "{stopped_after}");
    let shown = sweep.status();
    assert!(shown.contains(&format!("{task} waits (BeginTime), requeued once")), "{shown}");
    // It has its task: submitting again adds none.
    sweep.submit();
    assert_eq!(sweep.submitted().len(), 1);

    sweep.slurm.start_now(&task);
    sweep.finish();
    sweep.went_on(0, 1);
    sweep.went_on(1, 0);
    assert_eq!(sweep.sessions(), [2, 1]);
}

#[test]
fn killed_tasks_are_submitted_again_and_finish() {
    let Some(sweep) = Sweep::new(2, 250, "cpus = 1") else { return };
    sweep.submit();
    let (killed, cancelled) = (sweep.learning(0), sweep.learning(1));
    sweep.slurm.say("scancel", &["--signal=KILL", "--full", &killed]).exits(0);
    sweep.slurm.say("scancel", &[&cancelled]).exits(0);
    let over = |task: &str| {
        let state = sweep.slurm.field(task, "JobState");
        ["FAILED", "CANCELLED"].contains(&state.as_str())
    };
    eventually_or("both tasks ended", || over(&killed) && over(&cancelled), || sweep.story());
    eventually_or(
        "the cancelled trial stopped",
        || sweep.phases()[1] == Phase::Interrupted,
        || sweep.story(),
    );
    for task in [&killed, &cancelled] {
        assert_eq!(sweep.slurm.field(task, "Restarts"), "0");
    }
    let shown = sweep.status();
    assert!(shown.contains("2 ended unfinished"), "{shown}");
    assert!(shown.contains(&format!("{killed} ended on ")), "{shown}");
    assert!(shown.contains(&format!("{cancelled} ended on ")), "{shown}");

    let said = sweep.submit();
    assert!(said.contains("submitted 2 trials as job array"), "{said}");
    sweep.finish();
    assert_eq!(sweep.submitted().len(), 2);
    // The cancelled one had a checkpoint of the step that it was stopped at.
    sweep.went_on(1, 1);
    assert_eq!(status(&sweep.run_dir(0)), "finished");
    assert_eq!(sweep.sessions(), [2, 2]);
}

#[test]
fn a_pre_empted_task_is_requeued_by_slurm_and_goes_on() {
    let launcher = "cpus = 1\npartition = \"normal\"";
    let Some(sweep) = Sweep::with(Share::all(), 1, 250, launcher) else { return };
    sweep.submit();
    let task = sweep.learning(0);
    let args = ["--parsable", "--partition=urgent", "--exclusive", "--output=/dev/null"];
    let urgent = sweep.slurm.say("sbatch", &[&args[..], &["--wrap=sleep 1"]].concat()).exits(0);
    let requeued = || sweep.slurm.field(&task, "Restarts") == "1";
    eventually_or("the task makes way", requeued, || sweep.story());
    eventually_or(
        "its trial stopped with a checkpoint",
        || sweep.phases()[0] == Phase::Interrupted,
        || sweep.story(),
    );
    let through = || sweep.slurm.field(urgent.stdout.trim(), "JobState") == "COMPLETED";
    eventually_or("the urgent job is through", through, || sweep.story());
    sweep.slurm.start_now(&task);
    sweep.finish();
    sweep.went_on(0, 1);
}

#[test]
fn status_joins_slurm_and_the_journal() {
    let launcher =
        "cpus = 1\ngpus = 1\nextra = [\"#SBATCH --hold\", \"echo visible: $CUDA_VISIBLE_DEVICES\"]";
    let Some(sweep) = Sweep::new(2, 3, launcher) else { return };
    sweep.submit();
    let shown = sweep.status();
    assert!(shown.contains("slurm: 2 pending (JobHeldUser 2)"), "{shown}");
    let (job, _, _) = sweep.submitted().remove(0);
    sweep.slurm.say("scontrol", &["release", &format!("{job}_0")]).exits(0);
    eventually_or("the released one", || sweep.phases()[0] == Phase::Finished, || sweep.story());
    let output = sweep.folder().join(format!("slurm/{job}_0.out"));
    let output = std::fs::read_to_string(output).unwrap();
    assert!(output.contains("visible: 0") || output.contains("visible: 1"), "{output}");
    sweep.slurm.say("scancel", &[&format!("{job}_1")]).exits(0);
    let shown = sweep.status();
    assert!(shown.contains(&format!("{job}_1 ended: CANCELLED")), "{shown}");
    // As if a node had gone with everything that it knew, and Slurm had forgotten the job.
    let mut ledger = sweep.ledger();
    let trial = ledger.manifest.trials[1].id.clone();
    let runner = Runner { job: Some("slurm 999999_1".into()), ..Runner::default() };
    ledger.write(vec![Record::Started { trial, runner }]).unwrap();
    let shown = sweep.status();
    assert!(shown.contains("999999_1 vanished"), "{shown}");
}

#[test]
fn refusals_are_shown_in_slurms_words() {
    let Some(sweep) = Sweep::new(1, 3, "partition = \"nowhere\"") else { return };
    let args = ["sweep", "grid.toml", "--dir", FOLDER, "--launcher", "slurm"];
    let ended = sweep.run(&args).exits(2);
    ended.says(&["invalid partition specified: nowhere", "slurm/from-0.sh", "[launcher.slurm]"]);
    assert!(sweep.submitted().is_empty());
}

/// Needs no Slurm.
#[test]
fn without_slurm_it_says_what_is_missing() {
    let tiny = Tiny::new();
    tiny.write("grid.toml", "base = \"tiny.toml\"\n[grid]\noptimizer.lr = [0.1, 0.2]\n");
    let args = ["sweep", "grid.toml", "--launcher", "slurm"];
    let ended = Ended::of(tiny.command(&args).env("PATH", tiny.path("nowhere"))).exits(2);
    ended.says(&["`scontrol` is not installed", "--launcher local"]);
    let folder = "results/sweeps/grid";
    let ended = tiny.run(&["sweep", "task", folder, "--offset", "0"]).exits(2);
    ended.says(&["not a task of a job array: SLURM_ARRAY_JOB_ID is not set"]);
}
