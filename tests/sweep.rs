//! Sweeps by the program itself: run, killed, continued, extended, pruned.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arcrun::checkpoint::{Name, find, read_state};
use arcrun::sweep::journal::{Journal, Outcome, Record};
use arcrun::sweep::{Ledger, Phase};
use support::{Ended, Tiny, csv, signal, untimed, wait_until};

/// Four short trials.
const GRID: &str = "base = \"tiny.toml\"\n[objective]\nmetric = \"unseen/accuracy\"\ngoal = \"maximize\"\n\
    [grid]\noptimizer.lr = [0.1, 0.05]\nloss.margin = [0.2, 0.3]\n";

fn sweep(tiny: &Tiny, text: &str) -> PathBuf {
    tiny.write("grid.toml", text);
    tiny.path("results/sweeps/grid")
}

fn records(folder: &Path) -> Vec<Record> {
    let news = Journal::of(folder).news().unwrap();
    news.entries.into_iter().map(|entry| entry.record).collect()
}

/// How often each trial ended in this way.
fn ends(folder: &Path, wanted: Outcome) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for record in records(folder) {
        if let Record::Ended { trial, outcome, .. } = record
            && outcome == wanted
        {
            *count.entry(trial).or_default() += 1;
        }
    }
    count
}

fn phases(folder: &Path) -> Vec<Phase> {
    Ledger::open(folder).unwrap().state.trials.iter().map(|trial| trial.phase).collect()
}

fn runs(folder: &Path) -> Vec<PathBuf> {
    let ledger = Ledger::open(folder).unwrap();
    (0..ledger.manifest.trials.len()).map(|place| ledger.run_dir(place)).collect()
}

/// Nothing was lost and nothing done twice: each trial learnt what it learns undisturbed.
#[track_caller]
fn assert_same_trials(folder: &Path, expected: &Path) {
    assert_eq!(phases(folder), phases(expected));
    for (run, whole) in runs(folder).iter().zip(runs(expected)) {
        assert_eq!(run.file_name(), whole.file_name());
        let hash =
            |run: &Path| read_state(&find(run, Name::Latest).unwrap()).unwrap().checkpoint_hash();
        assert_eq!(hash(run), hash(&whole), "{}", run.display());
        for file in ["steps.csv", "epochs.csv", "eval.csv"] {
            assert_eq!(untimed(&run.join(file)), untimed(&whole.join(file)), "{file}");
        }
    }
    let finished = ends(folder, Outcome::Finished);
    assert!(finished.values().all(|count| *count == 1), "{finished:?}");
    assert_eq!(finished.len(), runs(expected).len());
}

#[test]
fn a_grid_from_the_file_to_the_best_experiment() {
    let tiny = Tiny::new();
    let folder = sweep(&tiny, GRID);
    let plan = tiny.succeed(&["sweep", "grid.toml", "--dry-run"]);
    for part in ["4 trials", "lr    margin", "12 epochs"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert!(!folder.exists(), "a dry run writes nothing");
    let ended = tiny.run(&["sweep", "grid.toml", "--jobs", "2"]).exits(0);
    assert!(ended.stdout.contains("4 finished"), "{}", ended.stdout);
    assert!(ended.stderr.contains("started lr=0.1,margin=0.2"), "{}", ended.stderr);
    assert_eq!(phases(&folder), [Phase::Finished; 4]);

    let table = csv(&folder.join("sweep.csv"));
    let head = &table[0];
    for column in
        ["trial", "status", "parameter_optimizer.lr", "parameter_loss.margin", "unseen/accuracy"]
    {
        assert!(head.contains(&column.to_string()), "{column}: {head:?}");
    }
    assert_eq!(table.len(), 5);
    let best = folder.join("best.toml");
    let config = tiny.succeed(&[best.to_str().unwrap(), "--print-config"]);
    assert!(config.contains("lr = 0."), "{config}");

    // The same again has nothing to do, and status and report read it.
    let before = records(&folder).len();
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    assert_eq!(records(&folder).len(), before);
    let status = tiny.succeed(&["sweep", "status", "results/sweeps/grid"]);
    assert!(status.contains("4 trials: 4 finished"), "{status}");
    tiny.succeed(&["report", "results/sweeps/grid"]);
    assert!(folder.join("report.html").exists());
}

/// SIGINT stops the trials with checkpoints; the same command goes on.
#[test]
fn stopped_and_gone_on_with() {
    let tiny = Tiny::new();
    let long = format!("{GRID}[set]\ntrain.epochs = 8\n");
    let folder = sweep(&tiny, &long);
    tiny.run(&["sweep", "grid.toml", "--dir", "whole", "--jobs", "2"]).exits(0);
    let args = ["sweep", "grid.toml", "--jobs", "2"];
    let child = tiny.spawn(&args);
    wait_until("two trials at work", || {
        folder.join("manifest.json").exists() && at_work(&folder) == 2
    });
    signal(&child, "INT");
    let ended = Ended::wait(child).exits(75);
    assert!(ended.stderr.contains("run sweep resume"), "{}", ended.stderr);
    assert!(phases(&folder).contains(&Phase::Interrupted));
    for run in runs(&folder).iter().filter(|run| run.join("run.json").exists()) {
        assert!(find(run, Name::Latest).is_ok(), "{} has no checkpoint", run.display());
    }
    tiny.run(&["sweep", "resume", "results/sweeps/grid", "--jobs", "2"]).exits(0);
    assert_same_trials(&folder, &tiny.path("whole"));
}

/// Trials that have done a step.
fn at_work(folder: &Path) -> usize {
    let done = |run: &PathBuf| {
        std::fs::read_to_string(run.join("steps.csv")).is_ok_and(|text| text.lines().count() > 2)
    };
    runs(folder).iter().filter(|run| done(run)).count()
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn kill(pid: u32, signal: &str) {
    // It may be gone.
    let _ = std::process::Command::new("kill").args([signal, &pid.to_string()]).output();
}

/// Kills the runner or one of its trials, again and again, with two runners at work in part of the
/// time. ARCRUN_TEST_KILLS: how often.
#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_runs_twice() {
    let kills = std::env::var("ARCRUN_TEST_KILLS").map_or(100, |kills| kills.parse().unwrap());
    let tiny = Tiny::new();
    let text = format!(
        "{GRID}[set]\ntrain.epochs = 40\ncheckpoint.every_steps = 5\n\
         [retry]\nkilled = 1000\nfailed = 0\nwait = 0.01\nlongest_wait = 0.05\n"
    );
    let folder = sweep(&tiny, &text);
    tiny.run(&["sweep", "grid.toml", "--dir", "whole", "--jobs", "2"]).exits(0);
    let args = ["sweep", "grid.toml", "--jobs", "2", "-q"];
    let mut dice = 12345u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (dice >> 33) % sides
    };
    let mut runners: Vec<std::process::Child> = Vec::new();
    let mut killed = 0;
    while killed < kills {
        runners.retain_mut(|runner| runner.try_wait().unwrap().is_none());
        if folder.join("manifest.json").exists()
            && phases(&folder).iter().all(|phase| *phase == Phase::Finished)
        {
            break;
        }
        while runners.len() < 1 + roll(2) as usize {
            runners.push(tiny.spawn(&args));
        }
        std::thread::sleep(Duration::from_millis(20 + roll(700)));
        let at = roll(runners.len() as u64) as usize;
        let pid = runners[at].id();
        let trials = children(pid);
        match roll(3) {
            0 => {
                kill(pid, "-KILL");
                runners[at].wait().unwrap();
            }
            _ if trials.is_empty() => continue,
            of => {
                let trial = trials[roll(trials.len() as u64) as usize];
                kill(trial, if of == 1 { "-KILL" } else { "-ABRT" });
            }
        }
        killed += 1;
    }
    for mut runner in runners {
        let until = Instant::now() + Duration::from_secs(120);
        while runner.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "a runner does not come to its end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    tiny.run(&args).exits(0);
    eprintln!("{killed} kills, {} records", records(&folder).len());
    assert!(killed > kills / 4, "the trials were too short: {killed} kills");
    assert_same_trials(&folder, &tiny.path("whole"));
}

/// What the others do when one trial fails, hangs or is killed.
#[test]
fn a_bad_trial_hurts_no_other() {
    let tiny = Tiny::new();
    // Diverges at once; has no such data; is fine.
    let text = "base = \"tiny.toml\"\n[retry]\nwait = 0.01\n[zip]\noptimizer.lr = [1e38, 0.05, 0.1]\n\
        preprocess.height = [32, 32, 32]\n[[block]]\n[block.grid]\ndata.root = [\"/proc/nowhere\"]\n";
    let folder = sweep(&tiny, text);
    let ended = tiny.run(&["sweep", "grid.toml"]).exits(1);
    assert!(ended.stderr.contains("diverged lr=1e38"), "{}", ended.stderr);
    let ledger = Ledger::open(&folder).unwrap();
    let last: Vec<Option<Outcome>> = ledger.state.trials.iter().map(|trial| trial.last).collect();
    assert_eq!(last.iter().filter(|o| **o == Some(Outcome::Finished)).count(), 2, "{last:?}");
    assert_eq!(ends(&folder, Outcome::Diverged).len(), 1);
    let status = tiny.succeed(&["sweep", "status", "results/sweeps/grid"]);
    assert!(status.contains("exit code 3"), "{status}");
}

/// A trial that does nothing is called slow, asked to stop, and killed.
#[test]
fn a_trial_that_hangs_is_stopped() {
    let tiny = Tiny::new();
    let text = format!(
        "{GRID}[set]\ntrain.epochs = 2000\n[run]\nslow_after = 1\nstop_after = 2\ngrace = 0.5\n\
         [retry]\ntimeout = 1000\nwait = 0.01\n"
    );
    let folder = sweep(&tiny, &text);
    let runner = tiny.spawn(&["sweep", "grid.toml"]);
    wait_until("a trial at work", || {
        folder.join("manifest.json").exists() && at_work(&folder) == 1
    });
    let trial = children(runner.id())[0];
    // It neither works nor hears a signal but SIGKILL.
    kill(trial, "-STOP");
    wait_until("its end", || !ends(&folder, Outcome::Timeout).is_empty());
    wait_until("the next attempt", || children(runner.id()).iter().any(|pid| *pid != trial));
    signal(&runner, "INT");
    let ended = Ended::wait(runner).exits(75);
    assert!(ended.stderr.contains("no step for"), "{}", ended.stderr);
    assert!(ended.stderr.contains("timeout lr="), "{}", ended.stderr);
}

#[test]
fn an_edited_file_extends_the_sweep() {
    let tiny = Tiny::new();
    let folder = sweep(&tiny, GRID);
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    let hash = |run: &Path| std::fs::read(run.join("steps.csv")).unwrap();
    let before: Vec<_> = runs(&folder).iter().map(|run| hash(run)).collect();
    tiny.write("grid.toml", &GRID.replace("[0.1, 0.05]", "[0.05, 0.025]"));
    let refused = tiny.run(&["sweep", "grid.toml"]).exits(2);
    assert!(refused.stderr.contains("run sweep extend"), "{}", refused.stderr);
    let would = tiny.succeed(&["sweep", "extend", "results/sweeps/grid", "--dry-run"]);
    assert!(would.contains("2 new") && would.contains("2 gone"), "{would}");
    tiny.run(&["sweep", "extend", "results/sweeps/grid"]).exits(0);
    assert_eq!(phases(&folder), [Phase::Finished; 6]);
    let after: Vec<_> = runs(&folder).iter().map(|run| hash(run)).collect();
    assert_eq!(after[..4], before[..], "finished trials are kept as they are");
    // What is left out has no rank, whatever it came to.
    let table = csv(&folder.join("sweep.csv"));
    let left_out: Vec<_> = table.iter().filter(|row| row.contains(&"\"lr=0.1".into())).collect();
    assert_eq!(left_out.len(), 2, "{table:?}");
    assert!(left_out.iter().all(|row| row.iter().any(|cell| cell.contains("left out"))));
    let best = std::fs::read_to_string(folder.join("best.toml")).unwrap();
    assert!(best.contains("trial lr=0.05") || best.contains("trial lr=0.025"), "{best}");
    let status = tiny.succeed(&["sweep", "status", "results/sweeps/grid"]);
    assert!(status.contains("4 trials: 4 finished; 2 more, no longer asked for"), "{status}");
}

#[test]
fn failed_trials_are_tried_again_when_asked() {
    let tiny = Tiny::new();
    let text = "base = \"tiny.toml\"\n[retry]\nfailed = 0\nwait = 0.01\n[grid]\nseed = [0, 1]\n";
    let folder = sweep(&tiny, text);
    // No room for a file of this size.
    let broken = tiny.path("results/sweeps/grid/trials/seed=1");
    std::fs::create_dir_all(broken.join("steps.csv")).unwrap();
    let ended = tiny.run(&["sweep", "grid.toml"]);
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(phases(&folder), [Phase::Finished, Phase::Failed]);
    std::fs::remove_dir(broken.join("steps.csv")).unwrap();
    tiny.run(&["sweep", "retry", "results/sweeps/grid"]).exits(2);
    tiny.run(&["sweep", "retry", "results/sweeps/grid", "seed=0"]).exits(2).says(&["is finished"]);
    tiny.run(&["sweep", "retry", "results/sweeps/grid", "--failed"]).exits(0);
    assert_eq!(phases(&folder), [Phase::Finished; 2]);
    assert_eq!(ends(&folder, Outcome::Finished).len(), 2);
}

/// The worst trials pause; what paused keeps its checkpoint and goes on when asked.
#[test]
fn pruned_trials_keep_their_checkpoint_and_can_be_promoted() {
    let tiny = Tiny::new();
    let text = "base = \"tiny.toml\"\n[objective]\nmetric = \"train_loss\"\n\
        [pruning]\nkind = \"asha\"\nmin_epochs = 2\nreduction = 3\n[set]\ntrain.epochs = 6\n\
        [grid]\noptimizer.lr = [0.05, 1e-6, 1e-7, 1e-8]\n";
    let folder = sweep(&tiny, text);
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    let ledger = Ledger::open(&folder).unwrap();
    assert!(ledger.state.count(Phase::Pruned) >= 2, "{:?}", phases(&folder));
    assert!(ledger.state.count(Phase::Finished) >= 1, "{:?}", phases(&folder));
    let pruned = (0..4).find(|at| ledger.state.trials[*at].phase == Phase::Pruned).unwrap();
    assert!(find(&ledger.run_dir(pruned), Name::Latest).is_ok());
    assert!(ledger.state.trials[pruned].epoch() < 6);
    let name = ledger.trial(pruned).name.clone();
    tiny.run(&["sweep", "promote", "results/sweeps/grid", &name]).exits(0);
    let ledger = Ledger::open(&folder).unwrap();
    assert_eq!(ledger.state.trials[pruned].phase, Phase::Finished);
    assert_eq!(ledger.state.trials[pruned].epoch(), 6);
}

#[test]
fn two_runners_share_the_work() {
    let tiny = Tiny::new();
    let folder = sweep(&tiny, &format!("{GRID}[set]\ntrain.epochs = 8\n"));
    let one = tiny.spawn(&["sweep", "grid.toml"]);
    let two = tiny.spawn(&["sweep", "grid.toml"]);
    Ended::wait(one).exits(0);
    Ended::wait(two).exits(0);
    let finished = ends(&folder, Outcome::Finished);
    assert_eq!((finished.len(), finished.values().max()), (4, Some(&1)));
    let runners: BTreeSet<u32> = records(&folder)
        .into_iter()
        .filter_map(|record| match record {
            Record::Started { runner, .. } => Some(runner.pid),
            _ => None,
        })
        .collect();
    assert_eq!(runners.len(), 2, "both had something to do");
}

/// The values of what ran before are read again.
#[test]
fn another_objective_and_a_lost_line_change_no_value() {
    let tiny = Tiny::new();
    let folder = sweep(&tiny, GRID);
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    let values = |folder: &Path| -> Vec<_> {
        let state = Ledger::open(folder).unwrap().state;
        state.trials.iter().map(|trial| trial.observations.clone()).collect()
    };
    let before = values(&folder);
    let journal = folder.join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let kept = text.lines().filter(|line| !line.contains("\"epoch\":2"));
    std::fs::write(&journal, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    assert_ne!(values(&folder), before);
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    assert_eq!(values(&folder), before);
    // A changed line is told by its checksum.
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replacen("\"epoch\":3", "\"epoch\":4", 1)).unwrap();
    let status = tiny.run(&["sweep", "status", "results/sweeps/grid"]).exits(0);
    assert!(status.stderr.contains("is left out"), "{}", status.stderr);

    tiny.write(
        "grid.toml",
        &GRID.replace("unseen/accuracy", "val_loss").replace("maximize", "auto"),
    );
    tiny.run(&["sweep", "grid.toml"]).exits(0).says(&["its new settings count"]);
    for (run, seen) in runs(&folder).iter().zip(values(&folder)) {
        let losses: Vec<String> = support::column(&run.join("epochs.csv"), "val_loss");
        let seen: Vec<String> = seen.iter().map(|seen| seen.value.to_string()).collect();
        assert_eq!(seen, losses);
    }
}

#[test]
fn an_objective_that_no_trial_logs_is_refused() {
    let tiny = Tiny::new();
    for (metric, said) in [
        ("val_lss", "did you mean \"val_loss\"?"),
        ("unseen/acuracy", "did you mean \"accuracy\"?"),
        ("lfw/accuracy", "names no evaluation set"),
    ] {
        let folder = sweep(&tiny, &GRID.replace("unseen/accuracy", metric));
        tiny.run(&["sweep", "grid.toml"]).exits(2).says(&[said]);
        assert!(!folder.exists());
    }
}

/// Nobody reads what it says: it works on.
#[test]
fn a_closed_pipe_stops_nothing() {
    let tiny = Tiny::new();
    let folder = sweep(&tiny, GRID);
    let script = "\"$0\" sweep grid.toml 2>&1 | head -n 1";
    Ended::of(&mut tiny.under_shell(script, &[])).exits(0);
    wait_until("the end", || phases(&folder) == [Phase::Finished; 4]);
}

/// Something in the way of one trial is that trial's trouble.
#[test]
fn an_obstructed_trial_hurts_no_other() {
    let tiny = Tiny::new();
    let folder = sweep(&tiny, &format!("{GRID}[retry]\nwait = 0.01\n"));
    tiny.write("results/sweeps/grid/trials/lr=0.05,margin=0.2", "not a folder");
    tiny.run(&["sweep", "grid.toml"]).exits(1).says(&["failed lr=0.05,margin=0.2", "File exists"]);
    use Phase::{Failed, Finished};
    assert_eq!(phases(&folder), [Finished, Finished, Failed, Finished]);
}

#[test]
fn bad_folders_are_named() {
    let tiny = Tiny::new();
    tiny.run(&["sweep", "status", "nowhere"]).exits(2).says(&["is no sweep's folder"]);
    tiny.run(&["sweep", "status", "tiny.toml"]).exits(2).says(&["is no sweep's folder"]);
    let run = tiny.train("run", &[]);
    sweep(&tiny, GRID);
    tiny.run(&["sweep", "grid.toml", "--dir", run.to_str().unwrap()])
        .exits(2)
        .says(&["is a run's folder"]);
    let folder = sweep(&tiny, GRID);
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    // A journal whose last line was torn.
    let journal = folder.join("journal.jsonl");
    let text = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 9]).unwrap();
    tiny.run(&["sweep", "grid.toml"]).exits(0);
    assert_eq!(phases(&folder), [Phase::Finished; 4]);
    // A manifest edited by hand.
    let manifest = folder.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("0.05", "0.06", 1)).unwrap();
    tiny.run(&["sweep", "status", "results/sweeps/grid"]).exits(2).says(&["changed by hand"]);
    tiny.run(&["sweep", "grid.toml"]).exits(2).says(&["changed by hand"]);
}
