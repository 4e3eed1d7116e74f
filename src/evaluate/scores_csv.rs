//! `scores/SET/CHECKPOINT.csv`: the distance of every pair of an evaluation, from which every curve
//! and number of it can be had again.

use super::eval_csv;
use super::pairs::{PairSet, PairSetBuilder};
use crate::checkpoint::durable;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder in a run folder.
pub const FOLDER: &str = "scores";
const HEADER: [&str; 5] = ["fold", "first", "second", "same", "distance"];
/// Bytes of a name before it is cut; file systems allow 255, and pictures put letters around it.
const LONGEST: usize = 150;

/// A set's name as the name of a file: the same for the same set, different for different ones.
/// Letters of any script stay; `/`, `\`, `%`, control characters and a first dot become `%` and their
/// code in hexadecimal, and a name of more than about 140 bytes ends in a part of its hash.
pub fn file_name(set: &str) -> String {
    let mut name = String::new();
    for (at, c) in set.char_indices() {
        if name.len() + 12 > LONGEST {
            let hash = durable::sha256(set.as_bytes());
            return format!("{name}%~{}", &hash[..8]);
        }
        match c {
            '/' | '\\' | '%' => name.push_str(&format!("%{:02x}", u32::from(c))),
            '.' if at == 0 => name.push_str("%2e"),
            c if c.is_ascii_control() => name.push_str(&format!("%{:02x}", u32::from(c))),
            c => name.push(c),
        }
    }
    // A set may be called "".
    if name.is_empty() { "%".into() } else { name }
}

/// The set that a name of [`file_name`] stands for; of one that was cut, its beginning.
pub fn set_name(file: &str) -> String {
    let (kept, cut) = match file.split_once("%~") {
        Some((kept, _)) => (kept, "…"),
        None => (file, ""),
    };
    let mut pieces = kept.split('%');
    let mut name = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let code = piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        name.extend(code.map(char::from));
        name.push_str(piece.get(2..).unwrap_or_default());
    }
    name + cut
}

/// Where the scores of a checkpoint on a set lie in a run folder.
pub fn path(run: &Path, set: &str, checkpoint: &str) -> PathBuf {
    run.join(FOLDER).join(file_name(set)).join(format!("{checkpoint}.csv"))
}

/// Writes the distances of an evaluation into the run folder `run`, whole or not at all. Fold 0 has
/// the pairs that tune the threshold.
///
/// # Errors
/// A folder that can't be written.
///
/// # Panics
/// Where the number of distances is not that of pairs.
pub fn write(
    run: &Path,
    set: &str,
    checkpoint: &str,
    pairs: &PairSet,
    distances: &[f64],
) -> Result<()> {
    assert_eq!(distances.len(), pairs.compared().count(), "one distance per pair");
    let path = path(run, set, checkpoint);
    let folder = path.parent().unwrap_or(run);
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let mut images = Vec::with_capacity(pairs.images.len());
    for image in &pairs.images {
        let name = image.name();
        images.push(std::path::absolute(&name).map_err(|e| Error::io("find", &name, e))?);
    }
    durable::write_file(&path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(HEADER)?;
        for (n, (pair, distance)) in pairs.compared().zip(distances).enumerate() {
            let [first, second] =
                [pair.first, pair.second].map(|i| images[i].as_os_str().as_encoded_bytes());
            let fold = if n < pairs.pairs.len() { pair.fold + 1 } else { 0 };
            let (fold, distance) = (fold.to_string(), format!("{distance:?}"));
            let same: &[u8] = if pair.same { b"1" } else { b"0" };
            writer.write_record([fold.as_bytes(), first, second, same, distance.as_bytes()])?;
        }
        writer.flush()
    })
}

/// The pairs of a file that [`write()`] made, and their distances, in the order of
/// [`PairSet::compared`].
///
/// # Errors
/// `Error::Input` for a file that is missing or has other content.
pub fn read(path: &Path) -> Result<(PairSet, Vec<f64>)> {
    let content = fs::read(path).map_err(|e| Error::io("read", path, e).into_input())?;
    let damaged = |line: u64, what: &str| {
        let message = format!("{}:{line}: {what}", path.display());
        Error::input(message).help("its columns are fold,first,second,same,distance")
    };
    let mut reader = csv::Reader::from_reader(content.as_slice());
    let header = reader.byte_headers().map_err(|e| damaged(1, &e.to_string()))?;
    if !header.iter().eq(HEADER.map(str::as_bytes)) {
        return Err(damaged(1, "these are no scores of pairs"));
    }
    let (mut builder, mut folds) = (PairSetBuilder::default(), 0);
    let (mut distances, mut tuning) = (Vec::new(), Vec::new());
    for row in reader.byte_records() {
        let row = row.map_err(|e| damaged(0, &e.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        let text = |column: usize| std::str::from_utf8(&row[column]).unwrap_or_default();
        let fold: usize = text(0).parse().map_err(|_| damaged(line, "`fold` is no number"))?;
        let same = match text(3) {
            "0" => false,
            "1" => true,
            _ => return Err(damaged(line, "`same` is neither 0 nor 1")),
        };
        let distance = text(4).parse().map_err(|_| damaged(line, "`distance` is no number"))?;
        let [first, second] = [1, 2].map(|column| PathBuf::from(file(&row[column])));
        match fold.checked_sub(1) {
            None => {
                builder.push_tuning(first, second, same);
                tuning.push(distance);
            }
            Some(from_0) => {
                builder.push(first, second, same, from_0);
                distances.push(distance);
                folds = folds.max(fold);
            }
        }
    }
    distances.append(&mut tuning);
    Ok((builder.finish(folds, Vec::new()), distances))
}

/// A file's name from its bytes.
#[cfg(unix)]
fn file(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn file(bytes: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Sets with scores in a run folder, by name, each with its checkpoints in the order of their names.
pub fn list(run: &Path) -> Vec<(String, Vec<(String, PathBuf)>)> {
    let entries = |folder: &Path| {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let mut sets = Vec::new();
    for folder in entries(&run.join(FOLDER)) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = entries(&folder).into_iter().filter_map(|path| {
            let checkpoint = path.file_name()?.to_str()?.strip_suffix(".csv")?;
            let whole = !checkpoint.starts_with(durable::TEMPORARY);
            whole.then(|| (checkpoint.to_string(), path.clone()))
        });
        let files: Vec<_> = files.collect();
        if !files.is_empty() {
            sets.push((set_name(&name), files));
        }
    }
    sets
}

/// Deletes what a killed process left half written in the scores of a run folder.
pub fn clean(run: &Path) -> Result<()> {
    let folders = fs::read_dir(run.join(FOLDER)).into_iter().flatten().flatten();
    folders
        .map(|folder| folder.path())
        .filter(|path| path.is_dir())
        .try_for_each(|folder| durable::clean(&folder))
}

/// Deletes the scores of evaluations that a run goes back behind: sets and checkpoints whose rows in
/// `eval.csv` were cut. What stood in those files before is gone too, since each evaluation replaces
/// the file of the one before.
pub fn remove(run: &Path, cut: &[eval_csv::Row]) -> Result<()> {
    for eval_csv::Row { checkpoint, set, epoch: _, metric: _ } in cut {
        let path = path(run, set, checkpoint);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("delete", &path, e));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_of_files_are_safe_and_tell_sets_apart() {
        let long = "long ".repeat(80);
        let names = [
            "lfw",
            "a/b",
            "a-b",
            "a\\b",
            "a%b",
            "a%2fb",
            "",
            "%",
            ".",
            "..",
            ".hidden",
            "naïve 名",
            "a,\"b\"\nc",
            "v1.2",
            &long,
            &format!("{long}x"),
        ];
        let files: Vec<String> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(files.iter().collect::<HashSet<_>>().len(), names.len(), "{files:?}");
        for (name, file) in names.iter().zip(&files) {
            assert!(!file.is_empty() && file.len() < 200, "{file}");
            let odd = |c: char| c.is_control() || c == '/' || c == '\\';
            assert!(!file.starts_with('.') && !file.contains(odd), "{file:?}");
            match name.len() {
                0..100 => assert_eq!(set_name(file), *name),
                _ => assert!(set_name(file).starts_with("long long"), "{file}"),
            }
        }
        assert_eq!(files[..3], ["lfw", "a%2fb", "a-b"]);
        assert_eq!(files[11], "naïve 名");
    }

    #[test]
    fn scores_read_back_and_are_removed_with_their_evaluation() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        let mut builder = PairSetBuilder::default();
        builder.push("/a/\"x, y\".jpg", "/a/two\nlines.jpg", true, 0);
        builder.push("/b/名.jpg", "/a/two\nlines.jpg", false, 1);
        let set = builder.finish(2, Vec::new());
        let distances = [1.0 / 3.0, 4e-17];
        write(run, "a/b", "latest", &set, &distances).unwrap();
        write(run, "a/b", "untrained", &set, &[1.0, 2.0]).unwrap();
        let file = path(run, "a/b", "latest");
        assert_eq!(file, run.join("scores/a%2fb/latest.csv"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with(
                "fold,first,second,same,distance\n1,\"/a/\"\"x, y\"\".jpg\",\"/a/two\nlines.jpg\",1,\
                 0.3333333333333333\n"
            ),
            "{text}"
        );
        let (pairs, back) = read(&file).unwrap();
        assert_eq!(
            (pairs.images, pairs.pairs, pairs.folds),
            (set.images.clone(), set.pairs.clone(), 2)
        );
        assert_eq!(back, distances);

        fs::write(file.with_file_name(".tmp-latest.csv-1"), "fold").unwrap();
        let sets = list(run);
        assert_eq!(sets.len(), 1);
        let names: Vec<&str> = sets[0].1.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((sets[0].0.as_str(), names), ("a/b", vec!["latest", "untrained"]));
        clean(run).unwrap();
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);

        let cut = ["a/b", "gone"].map(|set| eval_csv::Row {
            epoch: Some(3),
            checkpoint: "latest".into(),
            set: set.into(),
            metric: "accuracy".into(),
        });
        remove(run, &cut).unwrap();
        assert!(!file.exists() && path(run, "a/b", "untrained").exists());
    }

    #[test]
    fn what_are_no_scores_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.csv");
        for (text, says) in [
            ("threshold,far\n", "x.csv:1: these are no scores"),
            ("fold,first,second,same,distance\n1,a,b,1,x\n", "x.csv:2: `distance` is no number"),
            ("fold,first,second,same,distance\n1,a,b,yes,1\n", "neither 0 nor 1"),
            ("fold,first,second,same,distance\n-1,a,b,1,1\n", "`fold` is no number"),
            ("fold,first,second,same,distance\n1,a\n", "found record with 2 fields"),
        ] {
            fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(read(&folder.path().join("none.csv")).is_err());
    }
}
