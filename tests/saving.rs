//! Checkpoints that can't be written: the training goes on or stops with what it has, and `latest` is
//! whole at every moment. And checkpoints that are written while it goes on.

mod support;

use arcrun::checkpoint::{Name, find, list, read, read_state};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{Ended, Tiny, assert_same_training, signal, status, steps, wait_until};

/// A model of 0.4 MB, so that a checkpoint is larger than everything else that a run writes.
const LARGE: [&str; 8] = [
    "--set",
    "head.embedding_dim=2048",
    "--set",
    "backbone.channels=[16, 32]",
    "--set",
    "record.wandb.mode=disabled",
    "--set",
    "checkpoint.every_steps=3",
];

fn log(run: &Path) -> String {
    std::fs::read_to_string(run.join("log.txt")).unwrap_or_default()
}

/// Waits until the log says so behind `from`, and returns where in it that ends.
#[track_caller]
fn heard(child: &mut Child, run: &Path, text: &str, from: usize) -> usize {
    let found = || log(run).get(from..).and_then(|log| log.find(text));
    wait_until(text, || found().is_some() || child.try_wait().unwrap().is_some());
    let at = found().unwrap_or_else(|| panic!("the program ended without {text:?}"));
    from + at + text.len()
}

/// Every name leads to something whole, and `latest` is among them.
#[track_caller]
fn all_whole(run: &Path) {
    let named = list(run);
    assert_eq!(named[0].0, Name::Latest);
    for (name, folder) in named {
        read(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

fn model(run: &Path) -> Vec<u8> {
    std::fs::read(find(run, Name::Latest).unwrap().join("model.safetensors")).unwrap()
}

/// Files of a running process may have `size` bytes from now on: writing more fails as on a full disk.
#[cfg(target_os = "linux")]
fn limit(child: &Child, size: &str) {
    let limit = format!("--fsize={size}:");
    let pid = child.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, &LARGE, more].concat()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_checkpoints_until_there_is_room() {
    let tiny = Tiny::new();
    let sets = ["--set", "train.epochs=40", "--set", "evaluate.every_epochs=0"];
    let whole = tiny.train("whole", &with(&[], &sets));
    let run = tiny.path("run");
    let mut child = tiny.spawn(&with(&["tiny.toml", "--run-dir", "run"], &sets));
    let at = heard(&mut child, &run, "checkpoint latest", 0);
    limit(&child, "100000");
    let at = heard(&mut child, &run, "no checkpoint of step", at);
    all_whole(&run);
    let kept = read_state(&find(&run, Name::Latest).unwrap()).unwrap();
    limit(&child, "unlimited");
    heard(&mut child, &run, "checkpoints are written again", at);
    Ended::wait(child).exits(0).says(&["training goes on, and the next checkpoint tries again"]);
    all_whole(&run);
    assert!(read_state(&find(&run, Name::Latest).unwrap()).unwrap().step > kept.step);
    assert!(model(&run) == model(&whole), "the training was disturbed");
    assert_eq!(steps(&run), steps(&whole));
}

#[cfg(target_os = "linux")]
#[test]
fn a_stop_on_a_full_disk_says_what_there_is() {
    let tiny = Tiny::new();
    let args = with(&["tiny.toml", "--run-dir", "run"], &["--set", "train.epochs=200"]);
    let run = tiny.path("run");
    let mut child = tiny.spawn(&args);
    let at = heard(&mut child, &run, "checkpoint latest", 0);
    limit(&child, "100000");
    heard(&mut child, &run, "no checkpoint of step", at);
    signal(&child, "TERM");
    let said = Ended::wait(child).exits(1);
    said.says(&[
        "the last state (epoch ",
        "is not saved: cannot write",
        "help: latest is that of epoch",
    ]);
    assert_eq!(status(&run), "failed");
    all_whole(&run);
}

/// Nothing could ever be saved; the record of the training is there, and so is the way to do it again.
#[test]
fn a_run_without_room_for_a_checkpoint_fails_at_its_end() {
    let tiny = Tiny::new();
    // 200 blocks of 512 bytes.
    let script = "ulimit -f 200; exec \"$0\" \"$@\"";
    let args =
        with(&["tiny.toml", "--run-dir", "run"], &["--set", "checkpoint.weights_every_epochs=3"]);
    for background in ["checkpoint.background=true", "checkpoint.background=false"] {
        let _ = std::fs::remove_dir_all(tiny.path("run"));
        let args = [&args[..], &["--set", background]].concat();
        let ended = Ended::of(&mut tiny.under_shell(script, &args)).exits(1).says(&[
            "no checkpoint of step 3: cannot write",
            "the weights of epoch 3 are not kept: cannot write",
            "the last state (epoch 3, step 24) is not saved",
            "help: there is no checkpoint; mend the cause and start again",
        ]);
        // Of seven failures the first and those at the ends of epochs; the last is one try more.
        assert_eq!(ended.stderr.matches("no checkpoint of step").count(), 4, "{}", ended.stderr);
        let run = tiny.path("run");
        assert_eq!((steps(&run), status(&run)), (24, "failed".to_string()));
        assert!(list(&run).is_empty());
        let saved = std::fs::read_dir(run.join("checkpoints/.saved")).unwrap();
        assert_eq!(saved.count(), 0, "leftovers");
    }
    let again = [&args[..], &["--continue-train", "auto"]].concat();
    tiny.succeed(&again);
    let whole = tiny.train("whole", &args[3..]);
    assert_same_training(&tiny.path("run"), &whole);
}

/// The program without root's privilege to write where nobody may.
fn unprivileged(tiny: &Tiny, args: &[&str]) -> Child {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let script = match root {
        true => "exec setpriv --bounding-set=-dac_override,-dac_read_search \"$0\" \"$@\"",
        false => "exec \"$0\" \"$@\"",
    };
    let mut command = tiny.under_shell(script, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn chmod(mode: &str, path: &Path) {
    assert!(Command::new("chmod").args(["-R", mode]).arg(path).status().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_without_permission_costs_checkpoints_until_it_has_one() {
    let tiny = Tiny::new();
    let sets = ["--set", "train.epochs=40", "--set", "evaluate.every_epochs=0"];
    let args = with(&["tiny.toml", "--run-dir", "run"], &sets);
    let run = tiny.path("run");
    let mut child = unprivileged(&tiny, &args);
    // The folders that checkpoints are written into, and the one of their names.
    let mut at = 0;
    for folder in ["checkpoints/.saved", "checkpoints"] {
        at = heard(&mut child, &run, "checkpoint latest", at);
        let chmod = |mode| {
            let done = Command::new("chmod").arg(mode).arg(run.join(folder)).status();
            assert!(done.unwrap().success());
        };
        chmod("555");
        at = heard(&mut child, &run, "no checkpoint of step", at);
        all_whole(&run);
        chmod("755");
        at = heard(&mut child, &run, "checkpoints are written again", at);
    }
    Ended::wait(child).exits(0).says(&["Permission denied"]);
    all_whole(&run);
    let whole = tiny.train("whole", &with(&[], &sets));
    assert!(model(&run) == model(&whole), "the training was disturbed");
}

/// Whoever takes the permission to write away from a checkpoint wants it kept.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_checkpoint_stays_and_hinders_nothing() {
    let tiny = Tiny::new();
    let args = with(&["tiny.toml", "--run-dir", "run"], &["--set", "train.epochs=30"]);
    let run = tiny.path("run");
    let mut child = unprivileged(&tiny, &args);
    heard(&mut child, &run, "checkpoint latest", 0);
    let (kept, state) = loop {
        // It may be gone before it is protected.
        let Ok(folder) = find(&run, Name::Latest) else { continue };
        let _ =
            Command::new("chmod").args(["-R", "a-w"]).arg(&folder).stderr(Stdio::null()).status();
        if let Ok(state) = read_state(&folder) {
            break (folder, state);
        }
    };
    Ended::wait(child).exits(0);
    assert_eq!(status(&run), "finished");
    all_whole(&run);
    assert_eq!(read(&kept).unwrap().state, state);
    assert!(state.step < 240);
    let again = [&args[..], &["--continue-train", "latest", "--set", "train.epochs=31"]].concat();
    Ended::wait(unprivileged(&tiny, &again)).exits(0);
    assert_eq!(read(&kept).unwrap().state, state);
    chmod("u+w", &kept);
}

/// A file system of its own, gone with the value.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: PathBuf, size: &str) -> Option<Disk> {
        std::fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Disk(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Not even a row of the record has room: the run stops, and goes on from its last checkpoint.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_to_the_last_byte_stops_the_run() {
    let tiny = Tiny::new();
    let Some(disk) = Disk::mount(tiny.path("disk"), "size=12m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let sets = ["--set", "train.epochs=40", "--set", "evaluate.every_epochs=0"];
    let run = disk.0.join("run");
    let args = with(&["tiny.toml", "--run-dir", "disk/run"], &sets);
    let mut child = tiny.spawn(&args);
    heard(&mut child, &run, "checkpoint latest", 0);
    use std::io::Read;
    let ballast = disk.0.join("ballast");
    let mut fill = std::fs::File::create(&ballast).unwrap();
    // Until nothing more fits, and again what the program frees.
    while child.try_wait().unwrap().is_none() {
        let _ = std::io::copy(&mut std::io::repeat(7).take(1 << 24), &mut fill);
    }
    Ended::wait(child).exits(1).says(&["No space left on device"]);
    all_whole(&run);
    drop(fill);
    std::fs::remove_file(ballast).unwrap();
    tiny.succeed(&[&args[..], &["--continue-train", "latest"]].concat());
    let whole = tiny.train("whole", &with(&[], &sets));
    assert_eq!(status(&run), "finished");
    assert!(model(&run) == model(&whole), "the training was disturbed");
    let rows = |run: &Path| support::untimed(&run.join("steps.csv"));
    assert_eq!(rows(&run), rows(&whole));
}

/// No room for the files of a run: it never was.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_room_for_a_run_has_none_afterwards() {
    let tiny = Tiny::new();
    for (number, size) in ["size=4k", "size=8k", "size=16k"].into_iter().enumerate() {
        let Some(disk) = Disk::mount(tiny.path(format!("disk{number}")), size) else {
            println!("skipped: no file system can be mounted here");
            return;
        };
        let run = disk.0.join("run");
        let args = ["tiny.toml", "--run-dir", run.to_str().unwrap()];
        tiny.run(&args).exits(2).says(&["No space left on device"]);
        assert!(!run.exists(), "{size}");
    }
}

/// The weights move on while they are written.
#[test]
fn what_is_written_in_the_background_is_the_same() {
    let tiny = Tiny::new();
    let sets = ["--set", "checkpoint.every_epochs=1", "--set", "checkpoint.weights_every_epochs=1"];
    let every = ["--set", "checkpoint.every_steps=1"];
    let train = |run: &str, background: &str| {
        let sets = [&sets[..], &every, &["--set", background]].concat();
        tiny.train(run, &with(&[], &sets))
    };
    let background = train("background", "checkpoint.background=true");
    let here = train("here", "checkpoint.background=false");
    assert_same_training(&background, &here);
    let all = |run: &Path| -> Vec<String> {
        let hash = |folder: &PathBuf| read_state(folder).unwrap().checkpoint_hash();
        list(run).iter().map(|(name, folder)| format!("{name} {}", hash(folder))).collect()
    };
    assert_eq!(all(&background).len(), 6);
    assert_eq!(all(&background), all(&here));
    for epoch in 1..=3 {
        let file = format!("weights/epoch-000{epoch}.safetensors");
        let bytes = |run: &Path| std::fs::read(run.join(&file)).unwrap();
        assert!(bytes(&background) == bytes(&here), "{file}");
    }
    // Each is told of once, in order.
    let told = |run: &Path| -> Vec<String> {
        let log = log(run);
        let lines = log.lines().filter_map(|line| line.split("at epoch ").nth(1));
        lines.map(|line| line.split(':').next().unwrap().to_string()).collect()
    };
    assert_eq!(told(&background).len(), 24);
    assert_eq!(told(&background), told(&here));
}
