//! torchrun and Slurm's srun as they are: the curve of one process, stops, restarts.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use arcrun::checkpoint::{Name, find};
use support::ranks::{SAME, can_join, children, every_step_once, free_port, kill, same_curve};
use support::slurm::{Slurm, eventually, eventually_or};
use support::{Ended, Tiny, run_json, status};

/// torchrun with these options; none, aloud, where there is no PyTorch.
fn torchrun(tiny: &Tiny, options: &[&str], args: &[&str]) -> Option<Command> {
    let Some(python) = std::env::var("ARCRUN_TEST_TORCH_PYTHON").ok() else {
        println!("skipped: torchrun (ARCRUN_TEST_TORCH_PYTHON names no Python with torch)");
        return None;
    };
    let words = [&[&python, "-m", "torch.distributed.run", "--no-python"], options].concat();
    let mut command = tiny.under(&words, &[args, &SAME[..]].concat());
    command.env("OMP_NUM_THREADS", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

fn one(tiny: &Tiny) -> PathBuf {
    tiny.train("one", &SAME)
}

#[test]
fn torchrun_on_one_machine_has_the_curve_of_one_process() {
    let tiny = Tiny::new();
    let options = ["--nproc-per-node", "2", "--master-port", &free_port()];
    let args = ["tiny.toml", "-q", "--run-dir", "run"];
    let Some(mut command) = torchrun(&tiny, &options, &args) else { return };
    if can_join(&tiny) {
        Ended::of(&mut command).exits(0);
        same_curve(&tiny.path("run"), &one(&tiny));
    }
}

#[test]
fn two_agents_of_torchrun_have_the_curve_of_one_process() {
    let tiny = Tiny::new();
    let endpoint = format!("127.0.0.1:{}", free_port());
    let options = [
        ["--nnodes", "2", "--nproc-per-node", "1"],
        ["--rdzv-backend", "c10d", "--rdzv-endpoint", &endpoint],
        ["--rdzv-id", "two", "--local-addr", "127.0.0.1"],
    ];
    let options = options.concat();
    // Each machine has results of its own; the first rank's are written.
    let run = |name| ["tiny.toml", "-q", "--run-dir", name];
    let Some(mut first) = torchrun(&tiny, &options, &run("a")) else { return };
    let Some(mut second) = torchrun(&tiny, &options, &run("b")) else { return };
    if !can_join(&tiny) {
        return;
    }
    let agents = [first.spawn().unwrap(), second.spawn().unwrap()];
    for agent in agents {
        Ended::wait(agent).exits(0);
    }
    let written = ["a", "b"].map(|name| tiny.path(name));
    let written: Vec<_> = written.iter().filter(|run| run.exists()).collect();
    assert_eq!(written.len(), 1, "{written:?}");
    same_curve(written[0], &one(&tiny));
}

/// `kill -9` of one rank: torchrun ends the other and starts both again, which go on by themselves.
#[test]
fn torchruns_restart_goes_on() {
    let tiny = Tiny::new();
    let options = ["--nproc-per-node", "2", "--max-restarts", "2", "--master-port", &free_port()];
    let args = ["tiny.toml", "-q", "--run-dir", "run", "--set", "train.epochs=16"];
    let more = ["--set", "checkpoint.every_steps=1", "--set", "evaluate.every_epochs=0"];
    let Some(mut command) = torchrun(&tiny, &options, &[&args[..], &more].concat()) else {
        return;
    };
    if !can_join(&tiny) {
        return;
    }
    let agent = command.spawn().unwrap();
    let run = tiny.path("run");
    eventually("a checkpoint", || find(&run, Name::Latest).is_ok());
    let ranks = programs(&agent);
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    kill(ranks[1]);
    Ended::wait(agent).exits(0);
    assert_eq!(status(&run), "finished");
    assert_eq!(run_json(&run)["continued"], 1);
    assert_eq!(every_step_once(&run), 16 * 8);
}

/// The ranks below an agent, which starts other processes too.
fn programs(agent: &Child) -> Vec<u32> {
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let ours = |pid: &u32| name(pid).is_ok_and(|name| name.trim() == "run");
    children(agent).into_iter().filter(ours).collect()
}

/// `srun` of two tasks.
fn srun(slurm: &Slurm, tiny: &Tiny, options: &[&str], args: &[&str]) -> Command {
    let words = [&["srun", "--ntasks", "2", "--job-name", "ranks"], options].concat();
    let mut command = tiny.under(&words, &[args, &SAME[..]].concat());
    command.env("SLURM_CONF", slurm.conf()).env("OMP_NUM_THREADS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn srun_has_the_curve_of_one_process() {
    let tiny = Tiny::new();
    let Some(slurm) = Slurm::get() else { return };
    if can_join(&tiny) {
        let args = ["tiny.toml", "-q", "--run-dir", "run"];
        Ended::of(&mut srun(&slurm, &tiny, &[], &args)).exits(0);
        same_curve(&tiny.path("run"), &one(&tiny));
        // What is refused is refused by both.
        let args = ["tiny.toml", "--run-dir", "none", "--continue-train", "latest"];
        let refused = Ended::of(&mut srun(&slurm, &tiny, &[], &args)).exits(2);
        assert_eq!(refused.stderr.matches("nothing to continue").count(), 2, "{}", refused.stderr);
        assert_eq!(exits(&refused.stderr), ["2", "2"]);
    }
}

/// The exit codes of both tasks, as srun tells them: `task 0: Exited ...` or `tasks 0-1: Exited ...`.
fn exits(stderr: &str) -> Vec<&str> {
    let lines = stderr.lines().filter_map(|line| line.split_once(": Exited with exit code "));
    let codes = lines.map(|(tasks, code)| vec![code; 1 + usize::from(tasks.contains("tasks"))]);
    codes.flatten().collect()
}

/// A signal to the step, as Slurm sends it before the time of a job is over or it makes way.
#[test]
fn a_signal_to_a_step_stops_both_tasks_with_one_checkpoint() {
    let tiny = Tiny::new();
    let Some(slurm) = Slurm::get() else { return };
    if !can_join(&tiny) {
        return;
    }
    for signal in ["TERM", "USR1"] {
        let args = ["tiny.toml", "--run-dir", signal, "--set", "train.epochs=100000"];
        let more = ["--set", "checkpoint.every_steps=2", "--set", "train.stop_signals=['SIGUSR1']"];
        let options = ["--job-name", signal];
        let child = srun(&slurm, &tiny, &options, &[&args[..], &more].concat()).spawn().unwrap();
        let run = tiny.path(signal);
        eventually("a checkpoint", || find(&run, Name::Latest).is_ok());
        let said = slurm.say("squeue", &["-h", "-o", "%i", "--name", signal]).exits(0).stdout;
        let step = format!("{}.0", said.trim());
        slurm.say("scancel", &[&format!("--signal={signal}"), &step]).exits(0);
        let ended = Ended::wait(child).exits(75);
        assert_eq!(exits(&ended.stderr), ["75", "75"], "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("stopped by SIG{signal} after step")));
        assert_eq!(status(&run), "stopped");
        let steps = every_step_once(&run) as u64;
        let kept = find(&run, Name::Latest).unwrap();
        assert_eq!(arcrun::checkpoint::read_state(&kept).unwrap().step, steps);
    }
}

#[test]
fn a_requeued_job_goes_on() {
    let tiny = Tiny::new();
    let Some(slurm) = Slurm::get() else { return };
    if !can_join(&tiny) {
        return;
    }
    let args = ["tiny.toml", "-q", "--run-dir", "run", "--set", "train.epochs=16"];
    let more = ["--set", "checkpoint.every_steps=1", "--set", "evaluate.every_epochs=0"];
    // A batch script of the words that `srun` takes.
    let inner = srun(&slurm, &tiny, &[], &[&args[..], &more].concat());
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let script = format!("#!/bin/sh\ncd '{}'\n{}\n", tiny.path("").display(), words.join(" "));
    let script = tiny.write("job.sh", &script);
    let output = format!("--output={}", tiny.path("job.out").display());
    let options = ["--parsable", "--ntasks=2", "--requeue", "--open-mode=append", &output];
    let job = slurm.say("sbatch", &[&options[..], &[script.to_str().unwrap()]].concat());
    let job = job.exits(0).stdout.trim().to_string();
    let run = tiny.path("run");
    let story = || std::fs::read_to_string(tiny.path("job.out")).unwrap_or_default();
    eventually_or("a checkpoint", || find(&run, Name::Latest).is_ok(), story);
    slurm.say("scontrol", &["requeue", &job]).exits(0);
    eventually_or("it waits", || slurm.field(&job, "Reason") == "BeginTime", story);
    slurm.start_now(&job);
    let through = || slurm.field(&job, "JobState") == "COMPLETED";
    eventually_or("it is through", through, story);
    assert_eq!(status(&run), "finished");
    assert_eq!(run_json(&run)["continued"], 1);
    assert_eq!(every_step_once(&run), 16 * 8);
}
