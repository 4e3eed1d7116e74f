//! Writing that survives a kill or a power cut: temporary name, fsync, rename, fsync the folder.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// First letters of every temporary name, so that leftovers of a crash are known as such.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Lowercase hexadecimal, as `sha256sum` prints it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// `folder/.tmp-name-pid`: on the same file system as its final name.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY}{name}-{}", std::process::id()))
}

/// Makes a rename or a deletion inside `folder` last.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

/// Puts what `fill` writes under `path`, whole or not at all.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let temporary = temporary(path);
    let write = || -> io::Result<()> {
        let mut file = io::BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
        fill(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        // The reason to fail is what counts; a leftover is cleaned up at the next start.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path, e)
    })?;
    // The parent of a bare name is empty.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

/// Points the name `link` at the relative `target` in one step: it never names nothing.
pub(crate) fn point(link: &Path, target: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    let temporary = temporary(link);
    let swap = || -> io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        std::os::unix::fs::symlink(target, &temporary)?;
        fs::rename(&temporary, link)
    };
    swap().map_err(|e| Error::io("write", link, e))
}

/// Deletes a folder so that a kill in between leaves a temporary name, never half a folder under
/// a real one.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    let temporary = temporary(folder);
    fs::rename(folder, &temporary)
        .and_then(|()| fs::remove_dir_all(&temporary))
        .map_err(|e| Error::io("delete", folder, e))
}

/// Deletes what a killed process left behind in `folder`, which may be missing.
pub(crate) fn clean(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", folder, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", folder, e))?;
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.map_err(|e| Error::io("delete", &path, e))?;
    }
    Ok(())
}

/// Counts and hashes what passes through, so that a file is read once for both.
pub(crate) struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(crate) fn new(inner: W) -> Self {
        Hashing { inner, hash: Sha256::new(), size: 0 }
    }

    /// Size in bytes and SHA-256 of everything written.
    pub(crate) fn finish(self) -> (u64, String) {
        (self.size, hex(&self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, |w| w.write_all(b"old")).unwrap();
        let error = write_file(&path, |w| {
            w.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.txt"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_is_pointed_elsewhere_over_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("latest");
        point(&link, Path::new("one")).unwrap();
        fs::write(temporary(&link), "leftover").unwrap();
        point(&link, Path::new("two")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("two"));
    }

    #[test]
    fn cleaning_removes_only_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".tmp-x-1/inner")).unwrap();
        fs::write(folder.path().join(".tmp-y-1"), "").unwrap();
        fs::write(folder.path().join("kept"), "").unwrap();
        clean(folder.path()).unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
        clean(&folder.path().join("missing")).unwrap();
    }

    #[test]
    fn hashing_equals_sha256sum() {
        let mut writer = Hashing::new(Vec::new());
        writer.write_all(b"abc").unwrap();
        let (size, sum) = writer.finish();
        assert_eq!(size, 3);
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sum, sha256(b"abc"));
    }
}
