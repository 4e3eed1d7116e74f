//! Several processes in tests: whether they can be joined here, and whether their curve is that of one.

use super::{Tiny, column};
use arcrun::checkpoint::{Name, find, read_state};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Without what differs from rank to rank by design: dropout draws its own on each.
pub const SAME: [&str; 4] = ["--set", "head.dropout=0", "--set", "record.wandb.mode=disabled"];

/// Whether several processes can be joined here; says so where they can't.
pub fn can_join(tiny: &Tiny) -> bool {
    let tried =
        tiny.run(&[&["tiny.toml", "-q", "--nproc", "2", "--run-dir", "tried"], &SAME[..]].concat());
    let without = tried.stderr.contains("this build has no Gloo");
    if without {
        println!("skipped: {}", tried.stderr.lines().next().unwrap_or_default());
    } else {
        tried.exits(0);
    }
    !without
}

/// A column of a CSV file of a run.
pub fn numbers(run: &Path, file: &str, name: &str) -> Vec<f64> {
    column(&run.join(file), name).iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect()
}

/// The curve of `run` is that of `one` to the rounding of float32.
#[track_caller]
pub fn same_curve(run: &Path, one: &Path) {
    for (file, names) in [
        ("steps.csv", &["loss", "grad_norm", "embedding_norm", "accuracy", "target_cosine"][..]),
        ("epochs.csv", &["train_loss", "train_accuracy", "val_loss", "val_accuracy"]),
    ] {
        for name in names {
            let (ours, theirs) = (numbers(run, file, name), numbers(one, file, name));
            assert_eq!(ours.len(), theirs.len(), "{file} {name}");
            for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                // float32 sums in another order, over 24 steps at a learning rate that amplifies it.
                let far = (ours - theirs).abs();
                assert!(far <= 2e-3 * theirs.abs().max(0.1), "{file} {name} {at}: {ours} {theirs}");
            }
        }
    }
}

/// steps.csv has every step once.
#[track_caller]
pub fn every_step_once(run: &Path) -> usize {
    let counted = column(&run.join("steps.csv"), "step");
    let whole: Vec<String> = (1..=counted.len()).map(|step| step.to_string()).collect();
    assert_eq!(counted, whole);
    counted.len()
}

/// A port that nothing listens at.
pub fn free_port() -> String {
    arcrun::distributed::free_port().unwrap().to_string()
}

/// Starts `command` as a rank of two by torchrun's variables, with what it prints kept.
pub fn start(command: &mut Command, rank: usize, master: &str, port: &str) -> Child {
    let number = rank.to_string();
    command.envs([("RANK", number.as_str()), ("LOCAL_RANK", &number), ("WORLD_SIZE", "2")]);
    command.envs([("MASTER_ADDR", master), ("MASTER_PORT", port), ("OMP_NUM_THREADS", "1")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The processes that `parent` started.
pub fn children(parent: &Child) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let stat = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (pid, rest) = text.split_once(' ')?;
        let of = rest.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        Some((pid.parse::<u32>().ok()?, of))
    };
    let mut found: Vec<u32> =
        all.filter_map(stat).filter(|(_, of)| *of == parent.id()).map(|(pid, _)| pid).collect();
    found.sort();
    found
}

/// Kills a process as the system does.
pub fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}

/// The run in the folder `run` goes on from its last checkpoint, with one process, for an epoch or two.
#[track_caller]
pub fn goes_on(tiny: &Tiny) {
    let run = &tiny.path("run");
    let before = read_state(&find(run, Name::Latest).unwrap()).unwrap().step;
    let epochs = before / 8 + 2;
    let set = format!("train.epochs={epochs}");
    let args = ["tiny.toml", "-q", "--run-dir", "run", "--continue-train", "auto", "--set", &set];
    tiny.run(&[&args, &SAME[..]].concat()).exits(0);
    assert_eq!(every_step_once(run) as u64, epochs * 8);
}
