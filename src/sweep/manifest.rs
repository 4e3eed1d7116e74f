//! `manifest.json`: the trials of a sweep, expanded once.

use crate::checkpoint::durable;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub const FILE: &str = "manifest.json";
const FORMAT_VERSION: u32 = 1;

/// Settings of a trial by full key, in the order of the axes.
pub type Sets = Map<String, Value>;

/// One trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// First 12 hexadecimal digits of the SHA-256 of its resolved configuration; of a trial that
    /// is proposed later, of its fixed settings, block and number.
    pub id: String,
    /// Says what differs; also the folder under `trials/`, unique in the sweep.
    pub name: String,
    /// What it sets over the base.
    pub set: Sets,
    /// Where the rest of its settings is proposed when it starts, by what the others came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<Proposed>,
    /// The sweep file asks for it no more: it is kept where it ran, and not started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

/// A place in the sequence of a TPE block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// Index of the block in the sweep file.
    pub block: usize,
    /// Counted from 0 within the block.
    pub number: usize,
}

/// A sweep as it was expanded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format_version: u32,
    /// Version of arcrun that expanded it.
    pub arcrun: String,
    pub name: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// The sweep file, and what it said.
    pub file: PathBuf,
    pub text: String,
    /// `--set` of the command line, which go for all trials.
    pub sets: Vec<String>,
    /// The resolved base experiment.
    pub base: String,
    /// Full keys of the axes, in the order of the file: the `parameter_*` columns.
    pub axes: Vec<String>,
    pub trials: Vec<Trial>,
}

/// As it stands in the file: the checksum is over the rest.
#[derive(Serialize, Deserialize)]
struct Sealed {
    sha256: String,
    #[serde(flatten)]
    manifest: Manifest,
}

impl Manifest {
    pub fn new(name: &str, file: &Path) -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            arcrun: env!("CARGO_PKG_VERSION").into(),
            name: name.into(),
            created: jiff::Timestamp::now().to_string(),
            file: file.into(),
            ..Manifest::default()
        }
    }

    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Writes it into the sweep's folder, whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let sealed = Sealed { sha256: self.checksum(), manifest: self.clone() };
        durable::write_file(&folder.join(FILE), |out| {
            serde_json::to_writer_pretty(&mut *out, &sealed)?;
            writeln!(out)
        })
    }

    /// Reads a sweep's manifest.
    ///
    /// # Errors
    /// `Error::Input`: no sweep there, a damaged or edited manifest, one of a newer version.
    pub fn read(folder: &Path) -> Result<Manifest> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                let message =
                    format!("{} is no sweep's folder: it has no {FILE}", folder.display());
                return Err(Error::input(message)
                    .help("name a folder such as results/sweeps/NAME, or start one with `run sweep FILE.toml`"));
            }
            Err(e) => return Err(Error::io("read", &path, e).into_input()),
        };
        let damaged = |what: String| {
            Error::input(format!("{} {what}", path.display())).help(
                "restore the file from a copy, or move the folder away and start the sweep again; \
                 edit the sweep file and use `run sweep extend` to change a sweep",
            )
        };
        // A newer one may have other fields: its version is looked at first.
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        let version = value["format_version"].as_u64().unwrap_or_default();
        if version > u64::from(FORMAT_VERSION) {
            return Err(damaged(format!(
                "has format version {version}, this arcrun knows up to {FORMAT_VERSION}"
            )));
        }
        let Sealed { sha256, manifest } =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("is damaged: {e}")))?;
        if sha256 != manifest.checksum() {
            return Err(damaged("was changed by hand: its checksum is another".into()));
        }
        Ok(manifest)
    }

    /// Where a trial's run folder is.
    pub fn run_dir(folder: &Path, trial: &Trial) -> PathBuf {
        folder.join("trials").join(&trial.name)
    }

    fn checksum(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("string keys only");
        durable::sha256(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let set: Sets = [("optimizer.lr".to_string(), Value::from(0.1)), ("seed".into(), 1.into())]
            .into_iter()
            .collect();
        let trial =
            Trial { id: "0123456789ab".into(), name: "lr=0.1".into(), set, ..Trial::default() };
        Manifest { trials: vec![trial], ..Manifest::new("x", Path::new("x.toml")) }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        manifest().write(folder.path()).unwrap();
        let back = Manifest::read(folder.path()).unwrap();
        assert_eq!(back.trials, manifest().trials);
        let keys: Vec<&String> = back.trials[0].set.keys().collect();
        assert_eq!(keys, ["optimizer.lr", "seed"]);
    }

    #[test]
    fn an_edited_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        manifest().write(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("0.1,", "0.2,")).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("was changed by hand"), "{error}");
        assert_eq!(error.exit_code(), 2);
        let newer = text.replace("\"format_version\": 1", "\"format_version\": 9");
        std::fs::write(&path, newer.replace("\"arcrun\"", "\"version\"")).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("has format version 9"), "{error}");
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
        let error = Manifest::read(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("is no sweep's folder"), "{error}");
    }
}
