//! `retrieval/SET/NAME.json`: of each query the best gallery files, as an evaluation found them.

use super::image_text::ImageTextSet;
use super::retrieval::RetrievalSet;
use super::scores_csv::file_name;
use crate::checkpoint::durable;
use crate::retrieval::Hits;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The folder in a run folder.
pub const FOLDER: &str = "retrieval";

/// Where the rankings of an evaluation lie: those of `latest` under their epoch, so that each keeps its
/// own, others under the checkpoint's name.
pub fn path(run: &Path, set: &str, checkpoint: &str, epoch: u64) -> PathBuf {
    let name = match checkpoint {
        "latest" => format!("epoch-{epoch:04}"),
        other => other.to_string(),
    };
    run.join(FOLDER).join(file_name(set)).join(format!("{name}.json"))
}

/// Writes `{query file: [gallery files, best first]}`, whole or not at all.
///
/// # Errors
/// A folder that can't be written.
pub fn write(path: &Path, set: &RetrievalSet, hits: &Hits) -> Result<()> {
    let name = |image: usize| set.images[image].display().to_string();
    let mut object = serde_json::Map::new();
    for (query, image) in set.queries.iter().enumerate() {
        let found = hits.of(query).map(|(hit, _)| name(set.gallery[hit as usize]).into());
        object.insert(name(*image), serde_json::Value::Array(found.collect()));
    }
    write_object(path, &object)
}

/// Writes `{"image_to_text": {image file: [captions]}, "text_to_image": {caption: [image files]}}`, best
/// first, whole or not at all.
///
/// # Errors
/// A folder that can't be written.
pub fn write_both(
    path: &Path,
    set: &ImageTextSet,
    texts_of_image: &Hits,
    images_of_text: &Hits,
) -> Result<()> {
    let image = |image: usize| set.images[image].display();
    let caption = |caption: usize| set.captions[caption].clone();
    let direction =
        |hits: &Hits, query: &dyn Fn(usize) -> String, hit: &dyn Fn(usize) -> String| {
            let row = |row: usize| {
                let found = hits.of(row).map(|(index, _)| hit(index as usize).into());
                (query(row), serde_json::Value::Array(found.collect()))
            };
            serde_json::Value::Object((0..hits.queries()).map(row).collect())
        };
    let object = [
        ("image_to_text".to_string(), direction(texts_of_image, &image, &caption)),
        ("text_to_image".to_string(), direction(images_of_text, &caption, &image)),
    ];
    write_object(path, &object.into_iter().collect())
}

/// Writes a ranking that has been named.
///
/// # Errors
/// A folder that can't be written.
pub fn write_object(
    path: &Path,
    object: &serde_json::Map<String, serde_json::Value>,
) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    }
    durable::write_file(path, |out| {
        serde_json::to_writer_pretty(&mut *out, object)?;
        out.write_all(b"\n")
    })
}
