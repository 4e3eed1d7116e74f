//! `CHECKPOINT.answer.txt`: every answer as it came, but for secrets, before it is understood.
//!
//! An answer is a line `== TIME epoch E answer N of SHA256 to URL: STATUS, LENGTH bytes` (`, cut
//! short` after it where not all of it came), its bytes, and a line end.

use crate::checkpoint::durable;
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::Path;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub time: String,
    pub epoch: u64,
    pub number: usize,
    pub sha256: String,
    pub url: String,
    pub status: u16,
    /// The answer came to its end.
    pub whole: bool,
    pub body: Vec<u8>,
}

/// Adds an answer; the file is replaced as a whole, so that a kill never cuts it short.
pub(super) fn append(path: &Path, entry: &Entry) -> Result<()> {
    let old = content(path)?;
    let Entry { time, epoch, number, sha256, url, status, whole, body } = entry;
    let (length, cut) = (body.len(), if *whole { "" } else { ", cut short" });
    durable::write_file(path, |out| {
        out.write_all(&old)?;
        writeln!(
            out,
            "== {time} epoch {epoch} answer {number} of {sha256} to {url}: {status}, {length} bytes{cut}"
        )?;
        out.write_all(body)?;
        out.write_all(b"\n")
    })
}

/// Every answer, oldest first, up to what is of another form.
pub(super) fn entries(path: &Path) -> Result<Vec<Entry>> {
    let content = content(path)?;
    let mut rest = content.as_slice();
    let mut entries = Vec::new();
    while let Some((entry, after)) = first(rest) {
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

fn first(content: &[u8]) -> Option<(Entry, &[u8])> {
    let end = content.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&content[..end]).ok()?.strip_prefix("== ")?;
    let (head, whole) = match head.strip_suffix(", cut short") {
        Some(head) => (head, false),
        None => (head, true),
    };
    let (head, length) = head.strip_suffix(" bytes")?.rsplit_once(", ")?;
    let (head, status) = head.rsplit_once(": ")?;
    let (head, url) = head.split_once(" to ")?;
    let (head, sha256) = head.split_once(" of ")?;
    let (head, number) = head.split_once(" answer ")?;
    let (time, epoch) = head.split_once(" epoch ")?;
    let (start, length) = (end + 1, length.parse::<usize>().ok()?);
    let body = content.get(start..start.checked_add(length)?)?;
    let entry = Entry {
        time: time.into(),
        epoch: epoch.parse().ok()?,
        number: number.parse().ok()?,
        sha256: sha256.into(),
        url: url.into(),
        status: status.parse().ok()?,
        whole,
        body: body.to_vec(),
    };
    Some((entry, content[start + length..].strip_prefix(b"\n")?))
}

fn content(path: &Path) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        content => content.map_err(|e| Error::io("read", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_whatever_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest.answer.txt");
        assert_eq!(entries(&path).unwrap(), []);
        let entry = |number, body: &[u8], whole| Entry {
            time: "2026-01-02T03:04:05Z".into(),
            epoch: 7,
            number,
            sha256: "abc".into(),
            url: "http://x:80/a of b".into(),
            status: 200,
            whole,
            body: body.into(),
        };
        let written = [
            entry(1, b"== x epoch 1 answer 1 of a to b: 200, 3 bytes\n\n", true),
            entry(2, b"\xff\x00\n", false),
            entry(3, b"", true),
        ];
        written.iter().for_each(|entry| append(&path, entry).unwrap());
        assert_eq!(entries(&path).unwrap(), written);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"== a note by hand\n");
        std::fs::write(&path, text).unwrap();
        assert_eq!(entries(&path).unwrap(), written);
    }
}
