//! Who may run a trial: a lock on a file of its folder.
//!
//! The trial's process inherits the lock as its standard input. So the lock outlives a runner that
//! is killed, for as long as its trial still writes, and nobody starts that trial a second time.

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::process::Stdio;

const FILE: &str = ".claim";

/// A trial that nobody else can start.
#[derive(Debug)]
pub struct Claim(File);

impl Claim {
    /// None where someone else has it.
    ///
    /// # Errors
    /// A folder that can't be made or locked.
    pub fn take(run_dir: &Path) -> Result<Option<Claim>> {
        let path = run_dir.join(FILE);
        std::fs::create_dir_all(run_dir).map_err(|e| Error::io("make", run_dir, e))?;
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Claim(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => {
                Err(Error::io("lock", &path, e).help("the file system must support flock"))
            }
        }
    }

    /// Whether someone has it, without making anything.
    pub fn is_taken(run_dir: &Path) -> bool {
        let Ok(file) = File::open(run_dir.join(FILE)) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// For the trial's process: it holds the lock too.
    pub fn to_stdin(&self) -> std::io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn one_at_a_time_and_the_process_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let trial = folder.path().join("trials/a");
        assert!(!Claim::is_taken(&trial));
        let claim = Claim::take(&trial).unwrap().unwrap();
        assert!(Claim::take(&trial).unwrap().is_none());
        assert!(Claim::is_taken(&trial));
        let mut child =
            Command::new("sleep").arg("60").stdin(claim.to_stdin().unwrap()).spawn().unwrap();
        drop(claim);
        assert!(Claim::take(&trial).unwrap().is_none(), "the process has it");
        child.kill().unwrap();
        child.wait().unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while Claim::is_taken(&trial) && Instant::now() < until {}
        assert!(Claim::take(&trial).unwrap().is_some());
    }
}
