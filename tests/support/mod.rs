//! A tiny experiment in a folder of its own, and the program that runs it.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod pairs;
pub mod ranks;
pub mod slurm;

use arcrun::checkpoint::{Name, find, read_state};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Eight identities of eight training images and a validation image each, 32 x 32; 24 batches of
/// training in all, a fraction of a second.
pub const TINY: &str = r#"
[data]
kind = "synthetic_faces"
identities = 8
images_per_identity = 9
unseen_identities = 4
unseen_images_per_identity = 4
size = 32
pairs = 0
validation = 0.125

[preprocess]
height = 32
width = 32

[backbone]
kind = "efficient_fr"
channels = [8, 16]
depths = [1, 1]

[head]
embedding_dim = 16
dropout = 0.2

[loss]
kind = "arcface"
scale = 16.0
margin = 0.2

[optimizer]
kind = "sgd"
lr = 0.05

[scheduler]
kind = "cosine"
warmup = { steps = 4 }

[train]
epochs = 3
batch_size = 8
device = "cpu"
threads = 1

[loader]
workers = 1

[record]
every_steps = 1
plots = false

[evaluate]
every_epochs = 2

[evaluate.sets.unseen]
kind = "unseen_pairs"
pairs = 40
folds = 2
"#;

const PROGRAM: &str = env!("CARGO_BIN_EXE_run");

/// A folder with `tiny.toml`, where the program is started; gone with the value.
pub struct Tiny {
    folder: TempDir,
}

/// How the program ended.
#[derive(Debug)]
pub struct Ended {
    /// None: by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Tiny {
    pub fn new() -> Tiny {
        let tiny = Tiny { folder: tempfile::tempdir().unwrap() };
        tiny.write("tiny.toml", TINY);
        tiny
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program in this folder, with nothing of the environment that sets a key.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.any(PROGRAM);
        command.args(args);
        command
    }

    /// The program under a shell, which runs `script` with the program as `$0`.
    pub fn under_shell(&self, script: &str, args: &[&str]) -> Command {
        let mut command = self.any("sh");
        command.args(["-c", script, PROGRAM]).args(args);
        command
    }

    /// The program started by another one, such as a launcher: its words come first.
    pub fn under(&self, words: &[&str], args: &[&str]) -> Command {
        let mut command = self.any(words[0]);
        command.args(&words[1..]).arg(PROGRAM).args(args);
        command
    }

    fn any(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("ARCRUN_") || name.starts_with("WANDB_") {
                command.env_remove(&*name);
            }
        }
        // Nothing of a test reaches the server of whoever runs it.
        command.env("WANDB_MODE", "offline").env("NETRC", "/nowhere");
        command.current_dir(self.folder.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        Ended::of(&mut self.command(args))
    }

    /// Runs to a good end and returns what it printed as its result.
    pub fn succeed(&self, args: &[&str]) -> String {
        self.run(args).exits(0).stdout
    }

    /// `tiny.toml` trained to the end in the folder `run` below this one.
    pub fn train(&self, run: &str, more: &[&str]) -> PathBuf {
        self.succeed(&[&["tiny.toml", "-q", "--run-dir", run], more].concat());
        self.path(run)
    }

    /// Starts the program and does not wait for it.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The run folders of the experiment, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("results/tiny")).into_iter().flatten();
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs
    }

    /// Nothing was started: neither a run folder nor a data set is left behind.
    pub fn is_untouched(&self) -> bool {
        !self.path("results").exists() && !self.path("datasets").exists()
    }
}

impl Ended {
    pub fn of(command: &mut Command) -> Ended {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Ended { code: output.status.code(), stdout, stderr }
    }

    #[track_caller]
    pub fn wait(child: Child) -> Ended {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Ended { code: output.status.code(), stdout, stderr }
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Every part is in what it printed to stderr.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Ended {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in:\n{}", self.stderr);
        }
        self
    }
}

/// Sends a signal by its name, as `kill` takes it.
pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

/// Waits for a condition. Only to give up on a program that hangs: nothing is measured.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("waited a minute in vain: {what}");
}

/// A CSV file: the header, then the rows.
pub fn csv(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split(',').map(String::from).collect()).collect()
}

/// One column of a CSV file.
pub fn column(path: &Path, name: &str) -> Vec<String> {
    let rows = csv(path);
    let at = rows[0].iter().position(|column| column == name).unwrap();
    rows[1..].iter().map(|row| row[at].clone()).collect()
}

/// A CSV file without the columns that tell the time.
pub fn untimed(path: &Path) -> Vec<Vec<String>> {
    let mut rows = csv(path);
    let timed = |name: &String| {
        ["images_per_second", "seconds"].contains(&name.as_str()) || name.starts_with("loader_")
    };
    let keep: Vec<bool> = rows[0].iter().map(|name| !timed(name)).collect();
    for row in &mut rows {
        let mut keep = keep.iter();
        row.retain(|_| *keep.next().unwrap());
    }
    rows
}

/// `run.json` of a run.
pub fn run_json(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// How a run ended, by its `run.json`.
pub fn status(run: &Path) -> String {
    run_json(run)["status"].as_str().unwrap().to_string()
}

/// What was learnt, and the record of it, is the same to the last bit.
#[track_caller]
pub fn assert_same_training(run: &Path, expected: &Path) {
    for name in [Name::Latest, Name::MinLoss] {
        let of = |run: &Path| find(run, name.clone()).unwrap();
        let (ours, theirs) = (of(run), of(expected));
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let bytes = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
            assert!(bytes(&ours) == bytes(&theirs), "{name}: {file} differs");
        }
        let hash = |folder: &Path| read_state(folder).unwrap().checkpoint_hash();
        assert_eq!(hash(&ours), hash(&theirs), "{name}");
    }
    for file in ["steps.csv", "epochs.csv", "eval.csv"] {
        assert_eq!(untimed(&run.join(file)), untimed(&expected.join(file)), "{file}");
    }
    let steps = column(&run.join("steps.csv"), "step");
    let counted: Vec<String> = (1..=steps.len()).map(|step| step.to_string()).collect();
    assert_eq!(steps, counted);
    assert_eq!(status(run), "finished");
}

/// Rows of steps.csv so far.
pub fn steps(run: &Path) -> usize {
    std::fs::read_to_string(run.join("steps.csv"))
        .map_or(0, |text| text.lines().count().saturating_sub(1))
}
