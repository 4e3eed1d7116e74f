//! Slurm's own commands, which are all that is known of a cluster.

use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// A cluster, as the commands of this machine reach it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Set for each command besides the environment of this process.
    variables: Vec<(OsString, OsString)>,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    pub good: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Its complaint, in its own words.
    pub fn complaint(&self) -> &str {
        match self.stderr.trim() {
            "" => "it said nothing",
            words => words,
        }
    }
}

impl Cluster {
    /// The same with a variable, such as SLURM_CONF, set for every command.
    pub fn with(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Cluster {
        self.variables.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Runs one of Slurm's commands to its end.
    ///
    /// # Errors
    /// It is not installed (exit code 2), or it can't be started.
    pub fn say(&self, program: &str, arguments: &[&str]) -> Result<Said> {
        let output = Command::new(program)
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound => missing(program),
                _ => Error::failed(format!("cannot run {program}: {e}")),
            })?;
        Ok(Said {
            good: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// A setting of the cluster.
    ///
    /// # Errors
    /// Slurm can't be asked, or does not state it.
    pub fn setting(&self, name: &str) -> Result<String> {
        let said = self.say("scontrol", &["show", "config"])?;
        if !said.good {
            return Err(unreachable(said.complaint()));
        }
        setting(&said.stdout, name).map(str::to_owned).ok_or_else(|| {
            Error::failed(format!("`scontrol show config` says nothing of {name}"))
                .help("use `--launcher local` on a machine of the cluster")
        })
    }

    /// Tasks that an array may have; indices are below it.
    pub fn max_array_size(&self) -> Result<usize> {
        let value = self.setting("MaxArraySize")?;
        match value.parse() {
            Ok(0) => Err(Error::input("this Slurm runs no job arrays: its MaxArraySize is 0")
                .help("ask who runs the cluster, or use `--launcher local` in a job of your own")),
            Ok(size) => Ok(size),
            Err(_) => Err(Error::failed(format!("Slurm's MaxArraySize is no number: {value}"))),
        }
    }

    /// Whether it keeps the jobs of the past.
    pub fn has_accounting(&self) -> Result<bool> {
        let kind = self.setting("AccountingStorageType")?;
        Ok(!matches!(kind.as_str(), "" | "(null)" | "none" | "accounting_storage/none"))
    }

    /// Puts one task of an array back into the queue.
    ///
    /// # Errors
    /// Slurm refuses, in its words.
    pub fn requeue(&self, task: &str) -> Result<()> {
        let said = self.say("scontrol", &["requeue", task])?;
        match said.good {
            true => Ok(()),
            false => {
                Err(Error::failed(format!("Slurm does not requeue {task}: {}", said.complaint())))
            }
        }
    }
}

/// The value of a line `Name    = value` of `scontrol show config`.
pub fn setting<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn missing(program: &str) -> Error {
    Error::input(format!(
        "`{program}` is not installed: it takes Slurm's commands to use a cluster"
    ))
    .help(
        "run this on a login node of the cluster, install Slurm's commands (Debian: `apt install \
             slurm-client`), or use `--launcher local` to run the trials on this machine",
    )
}

fn unreachable(words: &str) -> Error {
    Error::input(format!("Slurm does not answer: {words}")).help(
        "check `sinfo`; run this on a login node of the cluster, or use `--launcher local` to run \
         the trials on this machine",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let text = include_str!("../../../tests/fixtures/slurm/config.txt");
        assert_eq!(setting(text, "MaxArraySize"), Some("5"));
        assert_eq!(setting(text, "accountingstoragetype"), Some("accounting_storage/none"));
        assert_eq!(setting(text, "MaxArray"), None);
    }

    #[test]
    fn what_is_not_installed_is_said() {
        let error = Cluster::default().say("sbatch-of-nowhere", &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`sbatch-of-nowhere` is not installed"), "{error}");
    }

    #[test]
    fn a_command_complains_in_its_own_words() {
        let cluster = Cluster::default().with("WORD", "no");
        let said = cluster.say("sh", &["-c", "echo a; echo $WORD >&2; exit 3"]).unwrap();
        assert_eq!((said.good, said.stdout.as_str(), said.complaint()), (false, "a\n", "no"));
    }
}
