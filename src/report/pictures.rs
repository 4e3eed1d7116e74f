//! Images as small pictures inside the page, each once.

use crate::data::decode::{Rgb, decode, read};
use crate::evaluate::bin_set::member;
use crate::evaluate::pickle::{BinFile, read_bin};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, thumbnail};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Longest edge, pixels.
const EDGE: u32 = 112;
const QUALITY: u8 = 82;

/// The pictures that the page holds; pairs refer to them by number.
#[derive(Default)]
pub struct Pictures {
    list: Vec<Value>,
    index: HashMap<PathBuf, usize>,
    /// `.bin` sets that pictures are in, or why one can't be read.
    sets: HashMap<PathBuf, Result<BinFile, String>>,
}

impl Pictures {
    /// The number of the picture of the image `path`, which may be missing or broken: the page
    /// then shows its path and the reason.
    pub fn take(&mut self, path: &Path) -> usize {
        if let Some(&number) = self.index.get(path) {
            return number;
        }
        let mut picture = json!({ "path": path.to_string_lossy() });
        match self.encoded(path).and_then(|bytes| data_uri(&bytes)) {
            Ok((uri, width, height)) => {
                picture["src"] = json!(uri);
                picture["width"] = json!(width);
                picture["height"] = json!(height);
            }
            Err(why) => picture["missing"] = json!(why),
        }
        self.list.push(picture);
        self.index.insert(path.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    /// The bytes of an image file or of an image in a `.bin` set.
    fn encoded(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        if let Some((file, number)) = member(path).filter(|_| !path.exists()) {
            let read = || read_bin(&file).map_err(|error| error.to_string());
            let set = self.sets.entry(file.clone()).or_insert_with(read);
            let image = set.as_ref().map_err(Clone::clone)?.images.get(number);
            return image.map(|bytes| bytes.to_vec()).ok_or("the set has no such image".into());
        }
        let mut bytes = Vec::new();
        match read(path, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(crate::data::Fault::Broken(why)) => Err(why),
            Err(crate::data::Fault::System(e)) => Err(e.to_string()),
        }
    }

    pub fn into_value(self) -> Value {
        Value::Array(self.list)
    }
}

fn data_uri(bytes: &[u8]) -> Result<(String, u32, u32), String> {
    let mut image = Rgb::default();
    decode(bytes, &mut image)?;
    let (width, height) = (image.width as u32, image.height as u32);
    let image = RgbImage::from_raw(width, height, image.pixels).ok_or("the image is incomplete")?;
    let small = shrink(&image);
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    encoder.encode_image(&small).map_err(|e| e.to_string())?;
    let uri = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg));
    Ok((uri, small.width(), small.height()))
}

/// Never larger than the image itself.
fn shrink(image: &RgbImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    if longest <= EDGE {
        return image.clone();
    }
    let scaled = |edge: u32| ((edge * EDGE + longest / 2) / longest).max(1);
    let (w, h) = (scaled(width), scaled(height));
    // Averages first: the filter alone would be slow on a photograph.
    let near = if longest > 8 * EDGE { thumbnail(image, 4 * w, 4 * h) } else { image.clone() };
    image::imageops::resize(&near, w, h, FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_once_and_never_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large.png");
        RgbImage::from_fn(1000, 500, |x, _| image::Rgb([(x / 4) as u8, 90, 10]))
            .save(&large)
            .unwrap();
        let broken = folder.path().join("broken.jpg");
        std::fs::write(&broken, "no image").unwrap();
        let mut pictures = Pictures::default();
        assert_eq!(pictures.take(&large), 0);
        assert_eq!(pictures.take(&folder.path().join("none.jpg")), 1);
        assert_eq!(pictures.take(&broken), 2);
        assert_eq!(pictures.take(&large), 0);
        let list = pictures.into_value();
        assert_eq!((&list[0]["width"], &list[0]["height"]), (&json!(112), &json!(56)));
        let uri = list[0]["src"].as_str().unwrap();
        let jpeg = BASE64_STANDARD.decode(uri.split_once(',').unwrap().1).unwrap();
        assert_eq!(image::load_from_memory(&jpeg).unwrap().width(), 112);
        assert!(list[1]["missing"].is_string() && list[2]["missing"].is_string(), "{list}");
        assert!(list[1]["path"].as_str().unwrap().ends_with("none.jpg"));
    }
}
