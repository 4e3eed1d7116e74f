//! From a name of the registry to a file in the cache, downloaded where it is not there yet.
//!
//! A download goes to `FILE.part`, which the next attempt goes on with, and gets its name only when its
//! checksum fits.

use super::Weights;
use super::download::{Failure, download};
use super::registry::{self, Entry, Source};
use crate::checkpoint::durable::{Hashing, sync_folder};
use crate::cli::progress::Bytes;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime};

/// The folder of the cache.
const FOLDER: &str = "ARCRUN_WEIGHTS";
/// An address under which every file of the registry lies by its name.
const MIRROR: &str = "ARCRUN_WEIGHTS_MIRROR";

/// How often the lock of another process is looked at.
const POLL: Duration = Duration::from_millis(100);

const NONE: &str = "or do without: --set backbone.pretrained=none";

/// Where files of the registry are kept, and where they come from.
#[derive(Clone, Debug)]
pub struct Cache {
    pub folder: PathBuf,
    /// In place of the publishers' addresses: the files lie under it by their names in the registry.
    pub mirror: Option<String>,
}

/// What the cache has of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached {
    Absent,
    Fits,
    /// The SHA-256 that the file has instead.
    Differs(String),
}

/// The file that `backbone.pretrained` means: `source` itself, or that of a name of the registry, which
/// is downloaded if need be.
///
/// # Errors
/// `Error::Input` that says which file is missing where; `Error::Stopped` where `stop` was asked for.
pub fn resolve(source: &Path, quiet: bool, stop: &StopFlag) -> Result<PathBuf> {
    // The configuration has made files absolute: what is still a name means the registry.
    if let Some(entry) = registry::find(source) {
        return Cache::of_process()?.fetch(entry, quiet, stop);
    }
    if source.exists() {
        return Ok(source.to_path_buf());
    }
    let message = format!("`backbone.pretrained`: there is no file {}", source.display());
    // A name that was mistyped was read as a file beside the one that states it.
    let parts: Vec<_> = source.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    let near = match (source.extension(), parts.as_slice()) {
        (None, [model, owner]) => registry::near(&format!("{owner}/{model}")),
        _ => Vec::new(),
    };
    let help = match near.as_slice() {
        [] => format!("put the weights there, {NONE}"),
        near => format!("did you mean {}? `run weights` lists all; {NONE}", near.join(", ")),
    };
    Err(Error::input(message).help(help))
}

impl Cache {
    /// `ARCRUN_WEIGHTS`, else `arcrun/weights` in `XDG_CACHE_HOME`, else in `~/.cache`; and
    /// `ARCRUN_WEIGHTS_MIRROR`.
    ///
    /// # Errors
    /// There is no home folder.
    pub fn of_process() -> Result<Cache> {
        Cache::of(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn of(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Cache> {
        let home = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = home("XDG_CACHE_HOME").or_else(|| Some(home("HOME")?.join(".cache")));
        let folder = match variable(FOLDER) {
            Some(folder) => PathBuf::from(folder),
            None => caches.map(|caches| caches.join("arcrun/weights")).ok_or_else(|| {
                Error::input("there is no home folder to keep weights in")
                    .help(format!("set {FOLDER} to a folder"))
            })?,
        };
        let mirror = variable(MIRROR).map(|mirror| mirror.to_string_lossy().into_owned());
        if let Some(mirror) = mirror.as_ref().filter(|mirror| !crate::http::is_web_address(mirror))
        {
            return Err(Error::input(format!("{MIRROR}={mirror} is no web address"))
                .help("it looks like https://host/folder"));
        }
        Ok(Cache { folder, mirror })
    }

    /// Where the file of an entry is kept.
    pub fn path(&self, entry: &Entry) -> PathBuf {
        self.folder.join(entry.file)
    }

    /// The address that serves the file.
    pub fn address(&self, entry: &Entry) -> Option<String> {
        match (&self.mirror, entry.source) {
            (Some(mirror), _) => Some(format!("{}/{}", mirror.trim_end_matches('/'), entry.file)),
            (None, Source::Url(url)) => Some(url.to_owned()),
            (None, Source::Page(_)) => None,
        }
    }

    /// Whether the file is there and has the publisher's checksum; without one, whether it is there.
    ///
    /// # Errors
    /// It can't be read.
    pub fn look(&self, entry: &Entry) -> Result<Cached> {
        let path = self.path(entry);
        let about = match fs::metadata(&path) {
            Ok(about) if about.is_file() => about,
            Ok(_) => return Err(Error::input(format!("{} is not a file", path.display()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Cached::Absent),
            Err(e) => return Err(Error::io("read", &path, e).into_input()),
        };
        let Some(expected) = entry.sha256 else { return Ok(Cached::Fits) };
        // A run looks several times; hashing the largest takes seconds.
        static FITTING: LazyLock<Mutex<HashSet<(PathBuf, u64, SystemTime)>>> =
            LazyLock::new(Mutex::default);
        let fitting = || FITTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let seen = (path, about.len(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        if fitting().contains(&seen) {
            return Ok(Cached::Fits);
        }
        let sum = sum(&seen.0)?;
        if !sum.starts_with(expected) {
            return Ok(Cached::Differs(sum));
        }
        fitting().insert(seen);
        Ok(Cached::Fits)
    }

    /// The file of an entry, from the cache or downloaded into it.
    ///
    /// # Errors
    /// `Error::Input` that says which file is missing, where it is to be had and where it belongs;
    /// `Error::Stopped` where `stop` was asked for.
    pub fn fetch(&self, entry: &Entry, quiet: bool, stop: &StopFlag) -> Result<PathBuf> {
        let path = self.path(entry);
        if self.look(entry)? == Cached::Fits {
            return Ok(path);
        }
        let Some(address) = self.address(entry) else { return Err(self.by_hand(entry)) };
        let create = |e| Error::io("create", &self.folder, e).into_input();
        fs::create_dir_all(&self.folder).map_err(create)?;
        let _lock = self.lock(entry, quiet, stop)?;
        // Another process may have brought it while this one waited.
        let before = self.look(entry)?;
        if before == Cached::Fits {
            return Ok(path);
        }
        let part = self.folder.join(format!("{}.part", entry.file));
        if !quiet {
            crate::tell!("fetching {} ({} MB) from {address}", entry.name, entry.megabytes);
        }
        let bar = Bytes::new(entry.file, quiet);
        let ended = download(&address, &part, stop, &|done, total| bar.set(done, total));
        bar.finish();
        ended.map_err(|failure| self.failed(entry, &address, &before, failure))?;
        self.check(entry, &address, &part)?;
        let moved = fs::rename(&part, &path).map_err(|e| Error::io("write", &path, e));
        moved.and_then(|()| sync_folder(&self.folder)).map_err(Error::into_input)?;
        Ok(path)
    }

    /// One process downloads a file, others wait for it.
    fn lock(&self, entry: &Entry, quiet: bool, stop: &StopFlag) -> Result<File> {
        let path = self.folder.join(format!("{}.lock", entry.file));
        let io = |e| Error::io("write", &path, e).into_input();
        let lock = File::create(&path).map_err(io)?;
        let mut told = quiet;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(e)) => return Err(io(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            if stop.is_set() {
                return Err(Error::stopped("stopped while another process fetched weights"));
            }
            if !told {
                crate::tell!("another process fetches {}: waiting for it", entry.name);
                told = true;
            }
            std::thread::sleep(POLL);
        }
    }

    /// That what was downloaded is the publisher's file; removes it where it is not.
    fn check(&self, entry: &Entry, address: &str, part: &Path) -> Result<()> {
        let wrong = match entry.sha256 {
            Some(expected) => {
                let sum = sum(part)?;
                let differs = !sum.starts_with(expected);
                differs.then(|| format!("its SHA-256 is {sum}, the publisher's {expected}"))
            }
            // Without a checksum, that it is a file of weights.
            None => Weights::open(part).err().map(|error| error.to_string()),
        };
        let Some(wrong) = wrong else { return Ok(()) };
        // What counts is that it is not used.
        let _ = fs::remove_file(part);
        let name = entry.name;
        Err(Error::input(format!("what {address} sent is not `{name}`: {wrong}; it was removed"))
            .help(format!("try again; {}", self.place(entry))))
    }

    fn failed(&self, entry: &Entry, address: &str, before: &Cached, failure: Failure) -> Error {
        let why = match failure {
            Failure::Disk(error) => return error,
            Failure::Stopped => {
                return Error::stopped(
                    "stopped while fetching weights: the next time goes on from there",
                );
            }
            Failure::Refused(why) => why,
            Failure::Cut(why) => format!("{why}; the next time goes on from there"),
        };
        let there = match before {
            Cached::Differs(sum) => {
                let path = self.path(entry);
                format!("; {} is there with the SHA-256 {sum}, which is not its", path.display())
            }
            _ => String::new(),
        };
        let message = format!("`{}` can't be fetched from {address}: {why}{there}", entry.name);
        Error::input(message).help(self.place(entry))
    }

    /// The error for what no address serves.
    fn by_hand(&self, entry: &Entry) -> Error {
        let Entry { name, note, .. } = entry;
        let message = format!("`{name}` is not there, and no address serves it ({note})");
        Error::input(message).help(self.place(entry))
    }

    /// Which file belongs where.
    fn place(&self, entry: &Entry) -> String {
        let path = self.path(entry);
        let from = match entry.source {
            Source::Url(url) => url,
            Source::Page(page) => page,
        };
        format!("put the file that {from} gives at {}, {NONE}", path.display())
    }
}

/// SHA-256 of a file.
fn sum(path: &Path) -> Result<String> {
    let io = |e| Error::io("read", path, e).into_input();
    let mut hash = Hashing::new(io::sink());
    io::copy(&mut File::open(path).map_err(io)?, &mut hash).map_err(io)?;
    Ok(hash.finish().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_follows_the_environment() {
        let of = |set: &[(&str, &str)]| {
            let found = |name: &str| set.iter().find(|(known, _)| *known == name);
            Cache::of(|name| found(name).map(|(_, value)| value.into()))
        };
        let folder = |set: &[(&str, &str)]| of(set).unwrap().folder;
        assert_eq!(folder(&[("HOME", "/h")]), Path::new("/h/.cache/arcrun/weights"));
        assert_eq!(
            folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]),
            Path::new("/c/arcrun/weights")
        );
        // The specification: a relative one is ignored.
        assert_eq!(
            folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "c")]),
            Path::new("/h/.cache/arcrun/weights")
        );
        assert_eq!(folder(&[("HOME", "/h"), (FOLDER, "w")]), Path::new("w"));
        assert!(of(&[]).unwrap_err().to_string().contains("no home folder"));
        let error = of(&[("HOME", "/h"), (MIRROR, "host/x")]).unwrap_err();
        assert!(error.to_string().contains("is no web address"), "{error}");
        let cache = of(&[("HOME", "/h"), (MIRROR, "http://host/x/")]).unwrap();
        let entry = registry::find("insightface/ms1mv3-r50").unwrap();
        assert_eq!(cache.address(entry).unwrap(), format!("http://host/x/{}", entry.file));
    }
}
