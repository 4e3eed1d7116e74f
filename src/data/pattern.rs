//! Patterns of file names: `*`, `?`, `[abc]`, `**` for any depth, `{a,b}` and `{0000..0009}`.

use crate::{Error, Result};
use glob::{MatchOptions, Pattern};
use std::path::{Path, PathBuf};

/// More names than anybody means.
const MOST_ALTERNATIVES: usize = 1_000_000;

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    // As the shell: `*` matches no hidden file.
    require_literal_leading_dot: true,
};

/// The files below `root` that a pattern matches, sorted bytewise. Symbolic links are followed, but not
/// by `**`. Names that are not UTF-8 are matched too, each strange byte as one character.
///
/// # Errors
/// A pattern that can't be read (`key` is the configuration's), a folder that can't, or an alternative in
/// braces that matches nothing.
pub fn find(root: &Path, pattern: &str, key: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for alternative in braces(pattern, key)? {
        let before = found.len();
        let parts = parts(&alternative, key)?;
        let start = if alternative.starts_with('/') { Path::new("/") } else { root };
        walk(start, &parts, &mut found)?;
        if found.len() == before {
            let said =
                if alternative == pattern { String::new() } else { format!(" of {pattern}") };
            return Err(Error::input(format!(
                "{key}: nothing in {} matches {alternative}{said}",
                root.display()
            ))
            .help("patterns are relative to data.root; `**` stands for folders of any depth"));
        }
    }
    found.sort_unstable_by(|a, b| {
        a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes())
    });
    found.dedup();
    Ok(found)
}

/// A component of a pattern.
enum Part {
    /// To be there under this name.
    Name(String),
    Matching(Pattern),
    /// Folders of any depth.
    Any,
}

fn parts(pattern: &str, key: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        match component {
            "**" if matches!(parts.last(), Some(Part::Any)) => {}
            "**" => parts.push(Part::Any),
            name if !name.contains(['*', '?', '[']) => parts.push(Part::Name(name.to_string())),
            _ => {
                let pattern = Pattern::new(component).map_err(|e| {
                    Error::input(format!("{key}: {component:?} is no pattern: {}", e.msg))
                })?;
                parts.push(Part::Matching(pattern));
            }
        }
    }
    if let Some(Part::Any) = parts.last() {
        let all = Pattern::new("*").map_err(|e| Error::input(e.to_string()))?;
        parts.push(Part::Matching(all));
    }
    Ok(parts)
}

fn walk(place: &Path, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<()> {
    let [part, rest @ ..] = parts else { return Ok(()) };
    let mut go_on = |path: PathBuf| match rest {
        // Opening a pipe waits for its writer.
        [] if path.is_file() => {
            found.push(path);
            Ok(())
        }
        [_, ..] if path.is_dir() => walk(&path, rest, found),
        _ => Ok(()),
    };
    match part {
        Part::Name(name) => go_on(place.join(name)),
        Part::Matching(pattern) => {
            for name in names(place)? {
                if pattern.matches_with(&name.to_string_lossy(), OPTIONS) {
                    go_on(place.join(name))?;
                }
            }
            Ok(())
        }
        Part::Any => {
            walk(place, rest, found)?;
            for name in names(place)? {
                let path = place.join(&name);
                let hidden = name.as_encoded_bytes().starts_with(b".");
                if !hidden && path.is_dir() && !path.is_symlink() {
                    walk(&path, parts, found)?;
                }
            }
            Ok(())
        }
    }
}

fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    entries.map_err(|e| Error::io("read", folder, e).into_input())
}

/// `{a,b}` and `{00..11}` written out, as a shell does; other braces stay.
///
/// # Errors
/// More than a million.
pub fn braces(pattern: &str, key: &str) -> Result<Vec<String>> {
    let (mut done, mut todo) = (Vec::new(), vec![pattern.to_string()]);
    while let Some(text) = todo.pop() {
        match first_group(&text) {
            None => done.push(text),
            Some((before, choices, after)) => {
                if done.len() + todo.len() + choices.len() > MOST_ALTERNATIVES {
                    return Err(Error::input(format!(
                        "{key}: {pattern:?} stands for more than a million names"
                    )));
                }
                let written = choices.iter().rev().map(|choice| format!("{before}{choice}{after}"));
                todo.extend(written);
            }
        }
    }
    Ok(done)
}

/// The first innermost group in braces that has choices: what is before, the choices, what is after.
fn first_group(text: &str) -> Option<(&str, Vec<String>, &str)> {
    let mut from = 0;
    while let Some(close) = text[from..].find('}').map(|at| from + at) {
        if let Some(open) = text[..close].rfind('{').filter(|open| *open >= from)
            && let Some(choices) = choices(&text[open + 1..close])
        {
            return Some((&text[..open], choices, &text[close + 1..]));
        }
        from = close + 1;
    }
    None
}

fn choices(inside: &str) -> Option<Vec<String>> {
    if let Some((low, high)) = inside.split_once("..") {
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(low) || !digits(high) {
            return None;
        }
        let width = if low.starts_with('0') { low.len().max(high.len()) } else { 0 };
        let (low, high) = (low.parse::<u64>().ok()?, high.parse::<u64>().ok()?);
        if low > high {
            return None;
        }
        // One more than is allowed, for the refusal.
        let numbers = (low..=high).take(MOST_ALTERNATIVES + 1);
        return Some(numbers.map(|number| format!("{number:0width$}")).collect());
    }
    inside.contains(',').then(|| inside.split(',').map(str::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str) -> Vec<String> {
        braces(pattern, "data.shards").unwrap()
    }

    #[test]
    fn braces_are_written_out() {
        assert_eq!(expanded("t-{08..11}.tar"), ["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]);
        assert_eq!(expanded("{a,b}/{1..2}"), ["a/1", "a/2", "b/1", "b/2"]);
        assert_eq!(expanded("{x,{1..2}y}"), ["x", "1y", "x", "2y"]);
        assert_eq!(expanded("{8..10}"), ["8", "9", "10"]);
        for plain in ["a{b}c", "{", "}{", "{3..1}", "{a..c}", "*.jpg", ""] {
            assert_eq!(expanded(plain), [plain]);
        }
        let many = braces("{0..999}{0..999}{0..999}", "data.shards").unwrap_err().to_string();
        assert!(many.contains("more than a million"), "{many}");
    }

    #[test]
    fn files_are_found_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "d/4.png", "d/.5.jpg", "6.jpg"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let find = |pattern: &str| -> Vec<String> {
            let found = super::find(dir.path(), pattern, "data.patterns").unwrap();
            let below =
                |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
            found.iter().map(below).collect()
        };
        assert_eq!(find("*.jpg"), ["6.jpg"]);
        assert_eq!(find("**/*.jpg"), ["6.jpg", "a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"]);
        assert_eq!(find("a/**"), ["a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg"]);
        assert_eq!(find("**/**/b/*.jpg"), ["a/b/2.jpg"]);
        assert_eq!(find("{d/*.png,a/?.jpg}"), ["a/1.jpg", "d/4.png"]);
        assert_eq!(find("a/loop/a/[0-9].jpg"), ["a/loop/a/1.jpg"]);
        assert_eq!(find(&format!("{}/d/4.png", dir.path().display())), ["d/4.png"]);
        let none = super::find(dir.path(), "d/{4.png,7.png}", "data.patterns").unwrap_err();
        assert!(none.to_string().contains("matches d/7.png of d/{4.png,7.png}"), "{none}");
        let wrong = super::find(dir.path(), "a/***", "data.patterns").unwrap_err();
        assert!(wrong.to_string().contains("is no pattern"), "{wrong}");
    }
}
