//! The samples of a shard: members of one key, an image and what it is labelled with.

use super::Labels;
use super::shard::{Member, Members, Shard, members, text};
use crate::data::{Container, Image};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const IMAGES: [&[u8]; 5] = [b"jpg", b"jpeg", b"png", b"webp", b"bmp"];
/// More than a label's or a caption's file ever has.
const LONGEST_TEXT: u64 = 1 << 20;

/// What a shard holds.
pub struct Samples {
    /// Each image with its label or caption.
    pub images: Vec<(String, Image)>,
    /// Keys with a label and no image.
    pub without_image: usize,
    /// Members that are neither, links among them.
    pub unread: usize,
    /// Whether the shard's end is marked.
    pub ended: bool,
}

#[derive(Default)]
struct Sample {
    image: Option<Member>,
    label: Option<Member>,
}

/// Reads a shard. `keep_open` tells whether its file stays open.
///
/// # Errors
/// Those of [`members`], a member that is there twice, two images of one key, an image without a label,
/// a label that is none.
pub fn samples(path: &Path, labels: Labels, field: &str, keep_open: bool) -> Result<Samples> {
    let Members { files, others, ended } = members(path)?;
    let mut unread = others;
    let mut at: HashMap<Box<[u8]>, usize> = HashMap::new();
    let mut samples: Vec<Sample> = Vec::new();
    for member in files {
        let Some((key, extension)) = split(&member.name) else {
            unread += 1;
            continue;
        };
        let is_image = IMAGES.contains(&extension.as_slice());
        let is_label = extension == labels.extension().as_bytes();
        if !is_image && !is_label {
            // What belongs to samples but not to this reading of them.
            unread += usize::from(!matches!(extension.as_slice(), b"cls" | b"json" | b"txt"));
            continue;
        }
        let index = *at.entry(key.into()).or_insert_with(|| {
            samples.push(Sample::default());
            samples.len() - 1
        });
        let sample = &mut samples[index];
        let place = if is_image { &mut sample.image } else { &mut sample.label };
        if let Some(other) = place {
            let names = [&other.name, &member.name].map(|name| String::from_utf8_lossy(name));
            return Err(Error::input(format!(
                "{}: {} and {} are of one sample",
                path.display(),
                names[0],
                names[1]
            ))
            .help("a sample has one image, and each name is there once"));
        }
        *place = Some(member);
    }
    let file = File::open(path).map_err(|e| Error::io("read", path, e).into_input())?;
    let (mut texts, mut images, mut without_image) = (Vec::new(), Vec::new(), 0);
    for Sample { image, label } in samples {
        match (image, label) {
            (Some(image), Some(label)) => {
                texts.push(read_label(path, &file, &label, labels, field)?);
                images.push(image);
            }
            (Some(image), None) => {
                let name = String::from_utf8_lossy(&image.name);
                let extension = labels.extension();
                return Err(Error::input(format!(
                    "{}/{name} has no .{extension} beside it (data.labels = \"{labels}\")",
                    path.display()
                ))
                .help(
                    "data.labels says where labels are: \"cls\", \"json\", \"txt\" or \"captions\"",
                ));
            }
            (None, _) => without_image += 1,
        }
    }
    let shard = Shard { path: path.into(), images, file: keep_open.then_some(file) };
    let container: Arc<dyn Container> = Arc::new(shard);
    let member = |number| Image::Member { container: Arc::clone(&container), number };
    let images = texts.into_iter().zip((0..).map(member)).collect();
    Ok(Samples { images, without_image, unread, ended })
}

/// Key and lower-case extension: what is before and after the first dot of the file's name. None for a
/// name without a dot, or that begins with one.
fn split(name: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let file = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let dot = name[file..].iter().position(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
    Some((&name[..file + dot], name[file + dot + 1..].to_ascii_lowercase()))
}

fn read_label(
    shard: &Path,
    file: &File,
    member: &Member,
    labels: Labels,
    field: &str,
) -> Result<String> {
    let text = text(shard, file, member, LONGEST_TEXT)?;
    let wrong = |why: String, help: &str| {
        let name = String::from_utf8_lossy(&member.name);
        Error::input(format!("{}/{name}: {why}", shard.display())).help(help)
    };
    let label = match labels {
        Labels::Captions => return Ok(text),
        Labels::Cls | Labels::Txt => text,
        Labels::Json => {
            let value: Value = serde_json::from_str(&text)
                .map_err(|e| wrong(format!("no JSON: {e}"), "mend or leave out the sample"))?;
            let found = field.split('.').try_fold(&value, |value, key| value.get(key));
            match found {
                Some(Value::String(text)) => text.trim().to_string(),
                Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                    number.to_string()
                }
                Some(other) => {
                    let why = format!("`{field}` is {other}, no string or whole number");
                    return Err(wrong(why, "data.field names the key of the label"));
                }
                None => {
                    let why = format!("there is no `{field}`");
                    return Err(wrong(
                        why,
                        "data.field names the key; dots lead into what is nested",
                    ));
                }
            }
        }
    };
    if label.is_empty() || label.contains(char::is_control) {
        let shown: String = label.chars().take(40).collect();
        return Err(wrong(
            format!("{shown:?} is no label"),
            "a label is one line; data.labels = \"captions\" reads texts",
        ));
    }
    Ok(label)
}
