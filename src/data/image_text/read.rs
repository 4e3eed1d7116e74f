//! The file of pairs.

use super::quotes;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// One caption of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// As the file states it, without `./`.
    pub image: PathBuf,
    pub text: String,
}

/// What a file of pairs holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// In the file's order.
    pub captions: Vec<Caption>,
    /// What a user should know about the file, one sentence each.
    pub notes: Vec<String>,
}

impl Pairs {
    /// Gives an image the name that it has first in the file wherever the file names it otherwise (by
    /// `..` or a link), so that its captions come together. Images that are not there keep their names.
    pub fn one_name_each(mut self, root: &Path) -> Pairs {
        let mut seen = HashSet::new();
        let names = self.captions.iter().map(|caption| &caption.image);
        let names: Vec<PathBuf> = names.filter(|name| seen.insert(*name)).cloned().collect();
        let places: Vec<Option<PathBuf>> =
            names.par_iter().map(|name| root.join(name).canonicalize().ok()).collect();
        let mut first: HashMap<PathBuf, &PathBuf> = HashMap::new();
        let mut other: HashMap<&PathBuf, &PathBuf> = HashMap::new();
        let mut example = None;
        for (name, place) in names.iter().zip(places) {
            let Some(place) = place else { continue };
            let known = *first.entry(place).or_insert(name);
            if known != name {
                other.insert(name, known);
                example = example.or(Some((name, known)));
            }
        }
        let Some((name, known)) = example else { return self };
        self.notes.push(format!(
            "{} in the file of pairs for images that it names otherwise too: taken as one image each \
             (first `{}` and `{}`)",
            counted(other.len(), "name stands", "names stand"),
            known.display(),
            name.display()
        ));
        for caption in &mut self.captions {
            if let Some(known) = other.get(&caption.image) {
                caption.image = (*known).clone();
            }
        }
        self
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

const PATHS: &[&str] = &["path", "image", "file", "filename", "filepath", "image_path"];
const CAPTIONS: &[&str] = &["caption", "captions", "text", "title", "sentence"];

/// Reads a .csv, .tsv, .jsonl or .json file. `path` and `caption` are the names of the columns or keys;
/// empty: the usual ones.
///
/// # Errors
/// Another ending, another encoding than UTF-8, no such column, a line that is no pair (by its number),
/// an empty caption or path, a quote that is not closed, no line at all.
pub fn read(file: &Path, path: &str, caption: &str) -> Result<Pairs> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let form = match extension.to_ascii_lowercase().as_str() {
        "csv" => Form::Table(b','),
        "tsv" => Form::Table(b'\t'),
        "jsonl" | "json" | "ndjson" => Form::Lines,
        _ => {
            return Err(Error::input(format!(
                "{}: unknown form of image-text pairs",
                file.display()
            ))
            .help("its name ends in .csv, .tsv or .jsonl"));
        }
    };
    let text = utf_8(file)?;
    let text = text.trim_start_matches('\u{feff}');
    let help = match form {
        Form::Table(_) => "its first line names the columns, such as path and caption",
        Form::Lines => "each line is one JSON object with a path and a caption",
    };
    if text.trim().is_empty() {
        return Err(Error::input(format!("{} is empty", file.display())).help(help));
    }
    let pairs = match form {
        Form::Table(delimiter) => table(file, text, delimiter, path, caption)?,
        Form::Lines => lines(file, text, path, caption)?,
    };
    if pairs.captions.is_empty() {
        return Err(Error::input(format!("{} has no pair", file.display())).help(help));
    }
    Ok(pairs)
}

enum Form {
    /// With a header and a separator.
    Table(u8),
    /// JSON objects.
    Lines,
}

/// The text of a file.
///
/// # Errors
/// A file that can't be read; another encoding, with the first line that shows it.
fn utf_8(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).map_err(|e| Error::io("read", file, e).into_input())?;
    let other = |what: String| {
        let message = format!("{}{what}", file.display());
        Error::input(message).help("captions are read as UTF-8: save the file as UTF-8")
    };
    let line = |at: usize| 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(other(" is UTF-16".into()));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(other(format!(", line {}: a zero byte, as UTF-16 has", line(at))));
    }
    match std::str::from_utf8(&bytes) {
        Ok(_) => {}
        Err(e) => {
            return Err(other(format!(", line {}: this is not UTF-8", line(e.valid_up_to()))));
        }
    }
    String::from_utf8(bytes).map_err(|e| other(format!(": {e}")))
}

/// A pair at a line; what is empty is refused.
fn pair(file: &Path, line: u64, image: &str, text: &str) -> Result<Caption> {
    let (image, text) = (image.trim(), text.trim());
    let lacks = |what: &str| {
        Error::input(format!("{}, line {line}: the {what} is empty", file.display()))
            .help("mend or remove the line")
    };
    match (image, text) {
        ("", _) => Err(lacks("path")),
        (_, "") => Err(lacks("caption")),
        _ => {
            let parts = Path::new(image).components();
            let image = parts.filter(|part| *part != Component::CurDir).collect();
            Ok(Caption { image, text: text.to_string() })
        }
    }
}

fn table(file: &Path, text: &str, delimiter: u8, path: &str, caption: &str) -> Result<Pairs> {
    let wrong = |e: csv::Error| {
        let help =
            "each line has a path and a caption; a caption with the separator stands in \"...\"";
        Error::input(format!("{}: {e}", file.display())).help(help)
    };
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter);
    // In TSV files quotes are usually part of the text.
    builder.quoting(delimiter == b',');
    if delimiter == b',' {
        quotes::check(text).map_err(|fault| fault.error(file))?;
    }
    let mut reader = builder.from_reader(text.as_bytes());
    let header = reader.headers().map_err(wrong)?.clone();
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    let column = |stated: &str, usual: &[&str], key: &str| {
        let found = match stated {
            "" => usual
                .iter()
                .find_map(|name| names.iter().position(|n| n.eq_ignore_ascii_case(name))),
            stated => names.iter().position(|name| *name == stated),
        };
        found.ok_or_else(|| no_column(file, stated, usual, key, &names))
    };
    let image = column(path, PATHS, "path_column")?;
    let text = column(caption, CAPTIONS, "caption_column")?;
    let mut pairs = Pairs::default();
    let (mut broken, mut first) = (0, 0);
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let pair = pair(file, line, &record[image], &record[text])?;
        if pair.text.contains(['\n', '\r']) {
            broken += 1;
            first = if broken == 1 { line } else { first };
        }
        pairs.captions.push(pair);
    }
    if broken > 0 {
        pairs.notes.push(format!(
            "{} over several lines of {}, the first from line {first} on: where that is not meant, a \
             quote is missing",
            counted(broken, "caption goes", "captions go"),
            file.display()
        ));
    }
    Ok(pairs)
}

fn no_column(file: &Path, stated: &str, usual: &[&str], key: &str, names: &[&str]) -> Error {
    let wanted = match stated {
        "" => format!("none of the columns {}", usual.join(", ")),
        stated => format!("no column `{stated}`"),
    };
    Error::input(format!("{} has {wanted}; it has {}", file.display(), names.join(", ")))
        .help(format!("name the column: data.{key} = \"...\""))
}

fn lines(file: &Path, text: &str, path: &str, caption: &str) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    let (mut without, mut first) = (0, 0);
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let at = format!("{}, line {number}", file.display());
        let object: serde_json::Map<String, Value> = serde_json::from_str(line)
            .map_err(|e| Error::input(format!("{at}: {e}")).help("each line is one JSON object"))?;
        let value = |stated: &str, usual: &[&str], key: &str| {
            let found = match stated {
                "" => usual.iter().find_map(|name| object.get(*name)),
                stated => object.get(stated),
            };
            let names: Vec<&str> = object.keys().map(String::as_str).collect();
            found.cloned().ok_or_else(|| no_column(Path::new(&at), stated, usual, key, &names))
        };
        let image = value(path, PATHS, "path_column")?;
        let Some(image) = image.as_str() else {
            return Err(Error::input(format!("{at}: the path {image} is no text")));
        };
        let captions = match value(caption, CAPTIONS, "caption_column")? {
            Value::Array(captions) => captions,
            one => vec![one],
        };
        if captions.is_empty() {
            without += 1;
            first = if without == 1 { number } else { first };
        }
        for caption in captions {
            let Some(caption) = caption.as_str() else {
                return Err(Error::input(format!("{at}: the caption {caption} is no text")));
            };
            pairs.captions.push(pair(file, number, image, caption)?);
        }
    }
    if without > 0 {
        pairs.notes.push(format!(
            "{} an empty list of captions and {} left out, the first is line {first} of {}",
            counted(without, "line has", "lines have"),
            if without == 1 { "is" } else { "are" },
            file.display()
        ));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(name: &str, bytes: &[u8], path: &str, caption: &str) -> Result<Pairs> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        read(&file, path, caption)
    }

    fn of(name: &str, text: &str, path: &str, caption: &str) -> Result<Vec<(String, String)>> {
        let captions = whole(name, text.as_bytes(), path, caption)?.captions;
        Ok(captions.into_iter().map(|p| (p.image.display().to_string(), p.text)).collect())
    }

    fn pairs(name: &str, text: &str) -> Vec<(String, String)> {
        of(name, text, "", "").unwrap()
    }

    fn error(name: &str, text: &str) -> String {
        of(name, text, "", "").unwrap_err().to_string()
    }

    #[test]
    fn three_forms_read_alike() {
        let expected = [("a.png", "one, two"), ("a.png", "\"three\""), ("b/c.png", "vier")]
            .map(|(image, text)| (image.to_string(), text.to_string()));
        let csv =
            "caption,path\r\n\"one, two\",a.png\r\n\"\"\"three\"\"\",a.png\r\nvier,b/c.png\r\n";
        assert_eq!(pairs("x.csv", csv), expected);
        assert_eq!(pairs("x.csv", &format!("\u{feff}{csv}")), expected);
        let tsv = "filepath\ttitle\na.png\tone, two\na.png\t\"three\"\nb/c.png\tvier\n";
        assert_eq!(pairs("x.tsv", tsv), expected);
        let json = "{\"image\": \"a.png\", \"caption\": [\"one, two\", \"\\\"three\\\"\"]}\n\n\
                    {\"text\": \"vier\", \"image\": \"b/c.png\"}\n";
        assert_eq!(pairs("x.jsonl", json), expected);
        assert_eq!(pairs("x.jsonl", &format!("\u{feff}{json}")), expected);
        let named = of("x.csv", "id,img,de\n1,a.png,eins\n", "img", "de").unwrap();
        assert_eq!(named, [("a.png".to_string(), "eins".to_string())]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let has = |name: &str, text: &str, wanted: &str| {
            let said = error(name, text);
            assert!(said.contains(wanted), "{said}");
        };
        has("x.txt", "", "unknown form");
        has("x.csv", "", "x.csv is empty");
        has("x.tsv", "\u{feff}\n", "x.tsv is empty");
        has("x.jsonl", "\n", "x.jsonl is empty");
        has("x.csv", "a,b\nx.png,y\n", "none of the columns path, image");
        has("x.csv", "path,caption\na,b\nb,\"c\nd,e\nf,g\n", "line 3: a quote is opened and never");
        has(
            "x.csv",
            "path,caption\na,\"b\nc,\"d\"\n",
            "line 2: a quote is opened, and closed in line 3",
        );
        has("x.csv", "path,caption\n", "has no pair");
        has("x.csv", "path,words\na,b\n", "none of the columns caption");
        has("x.csv", "path,caption\na,b\nc\n", "line: 3");
        has("x.csv", "path,caption\na,b\nc, \n", "line 3: the caption is empty");
        has("x.tsv", "path\tcaption\n\tb\n", "line 2: the path is empty");
        has("x.jsonl", "{\"path\": \"a\", \"caption\": \"b\"}\n[1]\n", "line 2");
        has("x.jsonl", "{\"path\": \"a\"}\n", "line 1 has none of the columns caption");
        has("x.jsonl", "{\"path\": 1, \"caption\": \"b\"}\n", "the path 1 is no text");
        has("x.jsonl", "{\"path\": \"a\", \"caption\": [\"b\", 2]}\n", "the caption 2 is no text");
        let unknown = of("x.csv", "path,caption\na,b\n", "img", "").unwrap_err().to_string();
        assert!(unknown.contains("no column `img`; it has path, caption"), "{unknown}");
    }

    #[test]
    fn what_is_odd_is_told() {
        let notes = |name: &str, text: &str| whole(name, text.as_bytes(), "", "").unwrap().notes;
        assert_eq!(notes("x.csv", "path,caption\na,\"b, c\"\n").len(), 0);
        let said = notes("x.csv", "path,caption\na,b\nb,\"c\nd\"\ne,\"f\ng\"\nh,i\n");
        assert!(said[0].starts_with("2 captions go over several lines of"), "{said:?}");
        assert!(said[0].contains("the first from line 3 on"), "{said:?}");
        let said = notes(
            "x.jsonl",
            "{\"path\": \"a\", \"caption\": \"b\\nc\"}\n{\"path\": \"d\", \"caption\": []}\n",
        );
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("1 line has an empty list of captions and is left out"));
        assert!(said[0].contains("line 2 of"), "{said:?}");
    }

    #[test]
    fn other_encodings_are_told() {
        let said = |bytes: &[u8]| {
            let error = whole("x.csv", bytes, "", "").unwrap_err();
            let Error::Input { message, help } = error else { panic!("{error}") };
            assert!(help.unwrap().contains("save the file as UTF-8"));
            message
        };
        let utf_16 =
            |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert!(said(&utf_16("\u{feff}path,caption\na,b\n")).ends_with("x.csv is UTF-16"));
        assert!(
            said(&utf_16("path,caption\na,b\n")).ends_with("line 1: a zero byte, as UTF-16 has")
        );
        assert!(said(b"path,caption\na,b\nc,Stra\xdfe\n").ends_with("line 3: this is not UTF-8"));
    }

    #[test]
    fn an_image_has_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("images")).unwrap();
        for name in ["images/x.png", "images/y.png"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let file = root.join("p.csv");
        let of = |text: &str| {
            std::fs::write(&file, format!("path,caption\n{text}")).unwrap();
            let pairs = read(&file, "", "").unwrap().one_name_each(root);
            let names = pairs.captions.iter().map(|caption| caption.image.display().to_string());
            (names.collect::<Vec<_>>(), pairs.notes)
        };
        let (names, notes) = of("images/x.png,a\n./images/./x.png,b\nimages//x.png,c\n");
        assert_eq!((names, notes.len()), (vec!["images/x.png".to_string(); 3], 0));
        let (names, notes) = of("none.png,a\nimages/y.png,b\nimages/../images/y.png,c\n");
        assert_eq!(names, ["none.png", "images/y.png", "images/y.png"]);
        assert!(notes[0].starts_with("1 name stands in the file"), "{notes:?}");
    }
}
