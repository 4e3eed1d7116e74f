//! `run.json`: what ran, where, from which code and data, and how it ended.

use crate::checkpoint::durable;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const FILE: &str = "run.json";
const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Running,
    Finished,
    /// An error; `note` says which.
    Failed,
    /// A signal; a checkpoint was written.
    Stopped,
    /// The loss stopped being finite.
    Diverged,
}

impl Status {
    /// The program's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Status::Finished => 0,
            // Still running at its end: something went wrong.
            Status::Failed | Status::Running => 1,
            Status::Diverged => 3,
            Status::Stopped => 75,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Running => "running",
            Status::Finished => "finished",
            Status::Failed => "failed",
            Status::Stopped => "stopped",
            Status::Diverged => "diverged",
        })
    }
}

/// The commit that the experiment's folder is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    pub commit: String,
    /// Tracked files differ from the commit.
    pub dirty: bool,
    /// Address of the remote `origin`, without a password in it.
    #[serde(default)]
    pub remote: Option<String>,
}

/// Where a forked run comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub run: String,
    /// The checkpoint folder.
    pub checkpoint: PathBuf,
    /// [`crate::checkpoint::State::checkpoint_hash`].
    pub hash: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    pub format_version: u32,
    pub status: Status,
    pub experiment: String,
    pub run: String,
    /// arcrun, libtorch and what else matters, by name.
    pub versions: BTreeMap<String, String>,
    pub git: Option<Git>,
    pub host: String,
    /// Operating system and processor architecture.
    pub platform: String,
    /// Device in words.
    pub device: String,
    /// Of each process.
    pub threads: usize,
    /// That train together.
    pub processes: usize,
    pub seed: u64,
    /// The fingerprint of each part of the data: `train`, `validation`, `test`, `unseen`.
    pub data: BTreeMap<String, String>,
    /// Those that the run began with, where it was continued on other data; else empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub first_data: BTreeMap<String, String>,
    /// Trainable parameters.
    pub parameters: u64,
    pub parent: Option<Parent>,
    /// The command line, as it was split by the shell.
    pub command: Vec<String>,
    /// RFC 3339, UTC: when the run was first started, when this session of it was, when it ended.
    pub created: String,
    pub started: String,
    pub ended: Option<String>,
    /// How often it was continued in place.
    pub continued: u32,
    /// By stage, over all sessions: `total`.
    pub seconds: BTreeMap<String, f64>,
    /// Why it ended, where it did not finish.
    pub note: Option<String>,
}

impl RunInfo {
    /// A run that starts now on this machine; `folder` is asked for its git commit.
    pub fn new(experiment: &str, run: &str, folder: &Path) -> RunInfo {
        let now = jiff::Timestamp::now().to_string();
        let arcrun = ("arcrun".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        RunInfo {
            format_version: FORMAT_VERSION,
            experiment: experiment.into(),
            run: run.into(),
            versions: [arcrun].into(),
            git: git(folder),
            host: host(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            command: std::env::args().collect(),
            created: now.clone(),
            started: now,
            ..RunInfo::default()
        }
    }

    /// Whether the folder is a run's.
    pub fn is_in(run: &Path) -> bool {
        run.join(FILE).is_file()
    }

    /// Reads `run.json` of a run folder.
    pub fn read(run: &Path) -> Result<RunInfo> {
        let path = run.join(FILE);
        let content = std::fs::read(&path).map_err(|e| Error::io("read", &path, e).into_input())?;
        serde_json::from_slice(&content).map_err(|e| {
            Error::input(format!("{} is damaged: {e}", path.display())).help(format!(
                "bring it back from a copy; to train on, fork the run: --continue-train {}",
                run.join("checkpoints/latest").display()
            ))
        })
    }

    /// Marks a run that goes on in place: this command, this machine, running again.
    pub fn continued(mut self, folder: &Path) -> RunInfo {
        let RunInfo { git, host, platform, command, started, versions, .. } =
            RunInfo::new(&self.experiment, &self.run, folder);
        self.versions.extend(versions);
        self.continued += 1;
        let (status, ended, note) = (Status::Running, None, None);
        RunInfo { git, host, platform, command, started, status, ended, note, ..self }
    }

    /// Takes the fingerprints of the data as it is now and returns the parts that are not as the run
    /// began with them, whose fingerprints are kept beside.
    pub fn take_data(&mut self, data: BTreeMap<String, String>) -> Vec<String> {
        let before = std::mem::replace(&mut self.data, data);
        if self.first_data.is_empty() {
            self.first_data = before;
        }
        // A run that has recorded none begins with these.
        let first = &self.first_data;
        let parts: BTreeSet<&String> = match first.is_empty() {
            true => BTreeSet::new(),
            false => first.keys().chain(self.data.keys()).collect(),
        };
        let differs = |part: &&String| first.get(*part) != self.data.get(*part);
        let changed: Vec<String> = parts.into_iter().filter(differs).cloned().collect();
        if changed.is_empty() {
            self.first_data.clear();
        }
        changed
    }

    /// Marks how it ended, now.
    pub fn end(&mut self, status: Status, note: Option<String>) {
        self.status = status;
        self.note = note;
        self.ended = Some(jiff::Timestamp::now().to_string());
    }

    /// Writes `run.json` of a run folder, whole or not at all.
    pub fn write(&self, run: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("string keys only");
        durable::write_file(&run.join(FILE), |out| writeln!(out, "{text}"))
    }
}

fn host() -> String {
    let known = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    known.or_else(|| output(&mut Command::new("hostname"))).unwrap_or_default().trim().to_owned()
}

/// Standard output of a command that succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Nothing where the folder is in no repository, or git is missing.
fn git(folder: &Path) -> Option<Git> {
    let ask =
        |arguments: &[&str]| output(Command::new("git").arg("-C").arg(folder).args(arguments));
    let commit = ask(&["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
    let changes = ask(&["status", "--porcelain", "--untracked-files=no"])?;
    let remote = ask(&["remote", "get-url", "origin"]).map(|url| without_password(url.trim()));
    Some(Git { commit, dirty: !changes.trim().is_empty(), remote })
}

/// `https://name:secret@host/x` without what stands before the @.
fn without_password(url: &str) -> String {
    match url.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('@'))) {
        Some((scheme, Some((user, host)))) if !user.contains('/') => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_with_a_continue() {
        let folder = tempfile::tempdir().unwrap();
        let mut info = RunInfo::new("quickstart", "20261122-124500-abcd", folder.path());
        info.parameters = 7;
        info.end(Status::Stopped, Some("SIGTERM".into()));
        info.write(folder.path()).unwrap();
        let back = RunInfo::read(folder.path()).unwrap();
        assert_eq!(back, info);
        assert_eq!(back.status.to_string(), "stopped");
        assert!(!back.host.is_empty() && back.versions.contains_key("arcrun"));

        let again = back.continued(folder.path());
        assert_eq!((again.status, again.continued, again.parameters), (Status::Running, 1, 7));
        assert_eq!((again.ended, again.note, again.created), (None, None, info.created));
    }

    #[test]
    fn the_first_data_stays_while_it_differs() {
        let of = |parts: &[(&str, &str)]| -> BTreeMap<String, String> {
            parts.iter().map(|(part, print)| (part.to_string(), print.to_string())).collect()
        };
        let (first, other) = (of(&[("train", "a"), ("test", "b")]), of(&[("train", "c")]));
        let mut info = RunInfo::default();
        assert!(info.take_data(first.clone()).is_empty());
        assert!(info.take_data(first.clone()).is_empty() && info.first_data.is_empty());
        for _ in 0..2 {
            assert_eq!(info.take_data(other.clone()), ["test", "train"]);
            assert_eq!((&info.data, &info.first_data), (&other, &first));
        }
        assert!(info.take_data(first.clone()).is_empty() && info.first_data.is_empty());
    }

    #[test]
    fn the_commit_and_whether_it_is_dirty() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(git(folder), None);
        let run = |line: &str| {
            let line = format!("git -c user.name=a -c user.email=a@b {line}");
            output(Command::new("sh").args(["-c", &line]).current_dir(folder)).is_some()
        };
        if !run("init") {
            eprintln!("skipped: no git");
            return;
        }
        std::fs::write(folder.join("a"), "1").unwrap();
        assert!(run("add a") && run("commit -m a"));
        let clean = git(folder).unwrap();
        assert_eq!((clean.commit.len(), clean.dirty), (40, false));
        assert_eq!(clean.remote, None);
        assert!(run("remote add origin https://me:secret@host/a/b"));
        std::fs::write(folder.join("a"), "2").unwrap();
        let changed = git(folder).unwrap();
        assert!(changed.dirty);
        assert_eq!(changed.remote.as_deref(), Some("https://host/a/b"));
        assert_eq!(without_password("git@host:a/b@c"), "git@host:a/b@c");
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.json"), "{\"status\"").unwrap();
        let error = RunInfo::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("run.json is damaged"), "{error}");
        let Error::Input { help: Some(help), .. } = error else { panic!("no help: {error}") };
        assert!(help.contains("--continue-train") && help.contains("checkpoints/latest"), "{help}");
    }
}
