//! `results/<experiment>/<run-id>/`, locked for as long as the run lives.

use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = ".lock";

/// A run folder and its lock, which goes with the value (or the process).
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
    made: Made,
}

/// What [`RunDir::abandon`] takes away.
#[derive(Debug)]
enum Made {
    /// The run was there.
    Nothing,
    /// The whole folder.
    Folder,
    /// What is in it beside these.
    Beside(Vec<OsString>),
}

impl RunDir {
    /// Makes a new folder `results/<experiment>/<YYYYMMDD-HHMMSS-xxxx>` (UTC), which no other run
    /// gets, however close in time.
    ///
    /// # Errors
    /// `Error::Input` where the results folder can't be written.
    pub fn create(results: &Path, experiment: &str) -> Result<RunDir> {
        let parent = results.join(folder_name(experiment));
        fs::create_dir_all(&parent).map_err(|e| unwritable(&parent, e))?;
        let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        // The process id tells runs of one second apart on one machine; the next number, those
        // of two machines, or two of one process.
        for suffix in (0..=0xffff).map(|n| std::process::id().wrapping_add(n)) {
            let path = parent.join(format!("{time}-{:04x}", suffix & 0xffff));
            match fs::create_dir(&path) {
                Ok(()) => return RunDir::lock(path, Made::Folder),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(unwritable(&path, e)),
            }
        }
        Err(unwritable(&parent, io::ErrorKind::AlreadyExists.into()))
    }

    /// Makes a new run in the folder that the user named.
    ///
    /// # Errors
    /// `Error::Input` where it can't be written or holds a run already.
    pub fn create_at(path: &Path) -> Result<RunDir> {
        let made = match fs::read_dir(path) {
            Ok(entries) => Made::Beside(entries.flatten().map(|entry| entry.file_name()).collect()),
            Err(_) => Made::Folder,
        };
        fs::create_dir_all(path).map_err(|e| unwritable(path, e))?;
        let run = RunDir::lock(path.to_owned(), made)?;
        if is_run(path) {
            return Err(Error::input(format!("{} holds a run already", path.display()))
                .help("continue it with --continue-train latest, or name another --run-dir"));
        }
        Ok(run)
    }

    /// Opens a run folder to go on in it.
    ///
    /// # Errors
    /// `Error::Input` where there is no run, or another process holds it.
    pub fn open(path: &Path) -> Result<RunDir> {
        if !is_run(path) {
            return Err(Error::input(format!("{} is no run folder", path.display()))
                .help("a run folder holds run.json: results/<experiment>/<run-id>"));
        }
        RunDir::lock(path.to_owned(), Made::Nothing)
    }

    /// The runs of an experiment that no process holds, newest first, each locked when it is reached.
    pub fn unlocked(
        results: &Path,
        experiment: &str,
    ) -> impl Iterator<Item = Result<RunDir>> + use<> {
        let parent = results.join(folder_name(experiment));
        let mut runs: Vec<PathBuf> = fs::read_dir(&parent)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_run(path))
            .collect();
        runs.sort();
        runs.into_iter().rev().filter_map(|path| match RunDir::lock(path, Made::Nothing) {
            Err(Error::Input { .. }) => None,
            other => Some(other),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name, which is the run's id.
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Takes away what was made of a new run, which then never was; one that was there stays. What can't
    /// be taken away stays too.
    pub fn abandon(self) {
        match &self.made {
            Made::Nothing => {}
            Made::Folder => drop(fs::remove_dir_all(&self.path)),
            Made::Beside(others) => {
                let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
                for entry in entries.filter(|entry| !others.contains(&entry.file_name())) {
                    let path = entry.path();
                    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    let _ =
                        if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                }
            }
        }
    }

    fn lock(path: PathBuf, made: Made) -> Result<RunDir> {
        let file = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(|e| unwritable(&path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy; that it is held is the point.
                let _ = lock.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                return Err(Error::input(format!("run {} is held by {holder}", path.display()))
                    .help("wait for it to end or stop it; two processes can't write one run"));
            }
            Err(TryLockError::Error(e)) => {
                return Err(Error::io("lock", &file, e).help("the file system must support flock"));
            }
        }
        let mark = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        let run = RunDir { path, _lock: lock, made };
        match mark {
            Ok(()) => Ok(run),
            Err(error) => {
                let error = unwritable(&run.path, error);
                run.abandon();
                Err(error)
            }
        }
    }
}

fn is_run(path: &Path) -> bool {
    path.join(super::run_info::FILE).is_file()
}

/// The experiment's name as one folder: no separators, no control characters, not hidden.
fn folder_name(experiment: &str) -> String {
    let plain = |c: char| if c == '/' || c == '\\' || c.is_control() { '-' } else { c };
    let name: String = experiment.chars().map(plain).collect();
    match name.trim_start_matches('.') {
        "" => "experiment".to_owned(),
        name => name.to_owned(),
    }
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::io("write to the results folder", path, error)
        .into_input()
        .help("make it writable, or choose another with paths.results or --run-dir")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn marked(run: RunDir) -> RunDir {
        fs::write(run.path().join("run.json"), "{}").unwrap();
        run
    }

    #[test]
    fn runs_of_one_second_never_share_a_folder() {
        let results = tempfile::tempdir().unwrap();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let root = results.path().to_owned();
                std::thread::spawn(move || {
                    (0..10).map(|_| RunDir::create(&root, "x").unwrap().id()).collect::<Vec<_>>()
                })
            })
            .collect();
        let ids: Vec<String> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 80);
        for id in ids {
            assert!(jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", &id[..15]).is_ok(), "{id}");
            assert!(id.len() == 20 && id.as_bytes()[15] == b'-', "{id}");
        }
    }

    #[test]
    fn the_lock_names_its_holder_and_ends_with_it() {
        let results = tempfile::tempdir().unwrap();
        let run = marked(RunDir::create(results.path(), "x").unwrap());
        let path = run.path().to_owned();
        let error = RunDir::open(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(error.exit_code(), 2);
        drop(run);
        RunDir::open(&path).unwrap();
    }

    #[test]
    fn free_runs_newest_first() {
        let results = tempfile::tempdir().unwrap();
        let root = results.path();
        assert!(RunDir::unlocked(root, "x").next().is_none());
        for id in ["20260101-000000-0001", "20260102-000000-0001", "20260103-000000-0001"] {
            drop(marked(RunDir::create_at(&root.join("x").join(id)).unwrap()));
        }
        fs::create_dir(root.join("x/20260104-000000-0001")).unwrap();
        let held = RunDir::unlocked(root, "x").next().unwrap().unwrap();
        assert_eq!(held.id(), "20260103-000000-0001");
        let rest: Vec<String> = RunDir::unlocked(root, "x").map(|run| run.unwrap().id()).collect();
        assert_eq!(rest, ["20260102-000000-0001", "20260101-000000-0001"]);
    }

    #[test]
    fn a_named_folder_takes_one_run() {
        let results = tempfile::tempdir().unwrap();
        let path = results.path().join("mine");
        assert!(RunDir::open(&path).unwrap_err().to_string().contains("is no run folder"));
        drop(marked(RunDir::create_at(&path).unwrap()));
        let error = RunDir::create_at(&path).unwrap_err();
        assert!(error.to_string().contains("holds a run already"), "{error}");
    }

    #[test]
    fn an_abandoned_run_never_was() {
        let root = tempfile::tempdir().unwrap();
        let new = marked(RunDir::create_at(&root.path().join("a/new")).unwrap());
        new.abandon();
        assert!(!root.path().join("a/new").exists());
        let own = root.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("notes"), "mine").unwrap();
        let run = marked(RunDir::create_at(&own).unwrap());
        fs::create_dir_all(own.join("checkpoints/.saved")).unwrap();
        run.abandon();
        let left: Vec<_> = fs::read_dir(&own).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["notes"]);
        // One that was there before is none of its own.
        drop(marked(RunDir::create_at(&own).unwrap()));
        RunDir::open(&own).unwrap().abandon();
        assert!(own.join("run.json").exists());
    }

    #[test]
    fn an_unwritable_results_folder_is_the_users_to_mend() {
        let results = tempfile::tempdir().unwrap();
        let file = results.path().join("results");
        fs::write(&file, "").unwrap();
        let error = RunDir::create(&file, "x").unwrap_err();
        assert!(error.to_string().contains("cannot write to the results folder"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn names_make_one_visible_folder() {
        for (name, folder) in [
            ("a/b", "a-b"),
            ("../up", "-up"),
            ("naïve 名", "naïve 名"),
            ("..", "experiment"),
            ("", "experiment"),
        ] {
            assert_eq!(folder_name(name), folder);
        }
    }
}
