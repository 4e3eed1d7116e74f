//! The file of pairs.

use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One caption of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// As the file states it.
    pub image: PathBuf,
    pub text: String,
}

const PATHS: &[&str] = &["path", "image", "file", "filename", "filepath", "image_path"];
const CAPTIONS: &[&str] = &["caption", "captions", "text", "title", "sentence"];

/// Reads a .csv, .tsv, .jsonl or .json file. `path` and `caption` are the names of the columns or keys;
/// empty: the usual ones.
///
/// # Errors
/// Another ending, no such column, a line that is no pair (by its number), an empty caption or path, no
/// line at all.
pub fn read(file: &Path, path: &str, caption: &str) -> Result<Vec<Caption>> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let pairs = match extension.to_ascii_lowercase().as_str() {
        "csv" => table(file, b',', path, caption)?,
        "tsv" => table(file, b'\t', path, caption)?,
        "jsonl" | "json" | "ndjson" => lines(file, path, caption)?,
        _ => {
            return Err(Error::input(format!(
                "{}: unknown form of image-text pairs",
                file.display()
            ))
            .help("its name ends in .csv, .tsv or .jsonl"));
        }
    };
    if pairs.is_empty() {
        return Err(Error::input(format!("{} has no pair", file.display())));
    }
    Ok(pairs)
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
        _ => Ok(Caption { image: image.into(), text: text.to_string() }),
    }
}

fn table(file: &Path, delimiter: u8, path: &str, caption: &str) -> Result<Vec<Caption>> {
    let wrong = |e: csv::Error| {
        let help =
            "each line has a path and a caption; a caption with the separator stands in \"...\"";
        Error::input(format!("{}: {e}", file.display())).help(help)
    };
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter);
    // In TSV files quotes are usually part of the text.
    builder.quoting(delimiter == b',');
    let mut reader = builder.from_path(file).map_err(wrong)?;
    let header = reader.headers().map_err(wrong)?.clone();
    let names: Vec<&str> =
        header.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
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
    let mut pairs = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        pairs.push(pair(file, line, &record[image], &record[text])?);
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

fn lines(file: &Path, path: &str, caption: &str) -> Result<Vec<Caption>> {
    let text = crate::config::read_file(file)?;
    let mut pairs = Vec::new();
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
        for caption in captions {
            let Some(caption) = caption.as_str() else {
                return Err(Error::input(format!("{at}: the caption {caption} is no text")));
            };
            pairs.push(pair(file, number, image, caption)?);
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str, path: &str, caption: &str) -> Result<Vec<(String, String)>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let pairs = read(&file, path, caption)?;
        Ok(pairs.into_iter().map(|p| (p.image.display().to_string(), p.text)).collect())
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
        has("x.csv", "", "none of the columns path, image");
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
}
