//! The segments of a run: `wandb/offline-run-YYYYMMDD_HHMMSS-ID/run-ID.wandb`, one a session.

use super::proto::{Kind, Run};
use super::segment::SegmentReader;
use crate::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Letters of an id: W&B's own are drawn from these.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const ID_LENGTH: usize = 8;
const PREFIX: &str = "offline-run-";
/// Records before the run's; W&B's own files have two.
const PREAMBLE: usize = 8;

/// One session's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub folder: PathBuf,
    pub run_id: String,
}

impl Segment {
    /// Makes the folder of a session that begins now, in `run`/wandb, or in `elsewhere`/wandb with a
    /// link from there.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn create(run: &Path, elsewhere: Option<&Path>, run_id: &str) -> Result<Segment> {
        let links = run.join("wandb");
        let parent = elsewhere.map_or(links.clone(), |folder| folder.join("wandb"));
        for folder in [&links, &parent] {
            fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e))?;
        }
        let mut second = jiff::Timestamp::now();
        loop {
            let time = second.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d_%H%M%S");
            let name = format!("{PREFIX}{time}-{run_id}");
            let folder = parent.join(&name);
            let made = match links.join(&name).symlink_metadata() {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::create_dir(&folder),
            };
            match made {
                Ok(()) => {
                    fs::create_dir(folder.join("files"))
                        .map_err(|e| Error::io("make", &folder, e))?;
                    if parent != links {
                        let target = fs::canonicalize(&folder).unwrap_or(folder.clone());
                        let link = links.join(&name);
                        std::os::unix::fs::symlink(target, &link)
                            .map_err(|e| Error::io("make", &link, e))?;
                    }
                    return Ok(Segment { folder, run_id: run_id.to_owned() });
                }
                // Two sessions within a second: names sort by time, so the later one waits less
                // than it says.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    second += jiff::SignedDuration::from_secs(1);
                }
                Err(e) => return Err(Error::io("make", &folder, e)),
            }
        }
    }

    /// The `.wandb` file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(format!("run-{}.wandb", self.run_id))
    }

    /// Where files to upload lie.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// The mark of the official client: what has it is not uploaded again.
    pub fn synced(&self) -> PathBuf {
        self.folder.join(format!("run-{}.wandb.synced", self.run_id))
    }

    /// The run's record, of a segment that got as far.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn run(&self) -> Result<Option<Run>> {
        let mut reader = SegmentReader::open(&self.file())?;
        for _ in 0..PREAMBLE {
            match reader.read()?.and_then(|record| record.kind) {
                Some(Kind::Run(run)) => return Ok(Some(run)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Seconds that the run had lasted at its last line.
    pub fn last_runtime(&self) -> Result<f64> {
        let mut reader = SegmentReader::open(&self.file())?;
        let mut last = 0.0;
        while let Some(record) = reader.read()? {
            let items = match record.kind {
                Some(Kind::History(history)) => history.item,
                Some(Kind::Summary(summary)) => summary.update,
                _ => continue,
            };
            let runtime = items.iter().find(|item| item.nested == ["_runtime"]);
            last = runtime.and_then(|item| item.json.parse().ok()).unwrap_or(last);
        }
        Ok(last)
    }
}

/// The segments of a run folder, oldest first.
pub fn segments(run: &Path) -> Vec<Segment> {
    let mut names: Vec<String> = fs::read_dir(run.join("wandb"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    names.sort();
    let segment = |name: String| {
        // offline-run-YYYYMMDD_HHMMSS-ID; an id may have a hyphen.
        let run_id = name.strip_prefix(PREFIX)?.split_once('-')?.1.to_owned();
        let segment = Segment { folder: run.join("wandb").join(&name), run_id };
        segment.file().is_file().then_some(segment)
    };
    names.into_iter().filter_map(segment).collect()
}

/// A new id.
pub fn draw_id() -> String {
    let letter = || char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
    (0..ID_LENGTH).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::segment::SegmentWriter;
    use super::*;

    #[test]
    fn sessions_of_one_second_keep_their_order() {
        let run = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut made = Vec::new();
        for n in 0..4 {
            let elsewhere = (n == 2).then(|| elsewhere.path());
            let segment = Segment::create(run.path(), elsewhere, "a-b1").unwrap();
            SegmentWriter::create(&segment.file()).unwrap();
            made.push(segment.folder.file_name().unwrap().to_owned());
        }
        let found = segments(run.path());
        let names: Vec<_> =
            found.iter().map(|s| s.folder.file_name().unwrap().to_owned()).collect();
        made.sort();
        assert_eq!(names, made);
        assert!(found.iter().all(|segment| segment.run_id == "a-b1"));
        assert_eq!(found[0].run().unwrap(), None);
        assert!(segments(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn ids_are_eight_letters_and_digits() {
        let id = draw_id();
        assert!(id.len() == 8 && id.bytes().all(|b| LETTERS.contains(&b)), "{id}");
        assert_ne!(id, draw_id());
    }
}
