//! What an image file says about itself, and whether it can be decoded.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::metadata::Orientation;
use image::{ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::data::decode::{self, Fault, Rgb};
use crate::data::{Dataset, Image, Progress, Stored};
use crate::{Error, Result};

/// How far images are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The header, and the bytes for their hash.
    Header,
    /// Every pixel too.
    Decode,
}

/// What is known of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Of the file.
    pub bytes: u64,
    /// As stored, before it is turned as EXIF says.
    pub width: u32,
    pub height: u32,
    pub format: &'static str,
    pub colour: &'static str,
    /// EXIF says that it is to be turned or mirrored.
    pub turned: bool,
    /// The first half of the bytes' SHA-256; equal for equal files only.
    pub hash: [u8; 16],
    /// Why it can't be used.
    pub fault: Option<Box<str>>,
}

/// Looks at the images of the items `wanted`, in parallel; the answers are in their order.
///
/// # Errors
/// The machine failed to read a file, or `progress` said stop.
pub fn look_at(
    set: &Dataset,
    wanted: &[u32],
    depth: Depth,
    progress: &Progress<'_>,
) -> Result<Vec<Look>> {
    let (done, total) = (AtomicUsize::new(0), wanted.len());
    let looks = wanted.par_iter().map_init(Buffers::default, |buffers, index| {
        let image = &set.items[*index as usize].image;
        let look = buffers.look(image, depth)?;
        match progress(done.fetch_add(1, Ordering::Relaxed) + 1, total) {
            true => Ok(look),
            false => Err(Error::stopped("stopped while looking at the images")),
        }
    });
    looks.collect()
}

/// What a thread keeps from one image to the next.
#[derive(Default)]
struct Buffers {
    file: Vec<u8>,
    decoded: Rgb,
}

impl Buffers {
    fn look(&mut self, image: &Image, depth: Depth) -> Result<Look> {
        let stored = match image.read(&mut self.file) {
            Ok(stored) => stored,
            Err(Fault::System(error)) => return Err(Error::io("read", &image.name(), error)),
            Err(Fault::Broken(reason)) => {
                let bytes = image.size().unwrap_or(0);
                return Ok(Look { bytes, fault: Some(reason.into()), ..Look::default() });
            }
        };
        Ok(match stored {
            Stored::Encoded(bytes) => {
                let mut look = of_file(bytes);
                if depth == Depth::Decode && look.fault.is_none() {
                    look.fault = decode::decode(bytes, &mut self.decoded).err().map(Into::into);
                }
                look
            }
            Stored::Pixels { width, height, rgb } => Look {
                bytes: rgb.len() as u64,
                width: width as u32,
                height: height as u32,
                format: "pixels",
                colour: "RGB, 8 bits",
                turned: false,
                hash: hash(rgb),
                fault: None,
            },
        })
    }
}

fn of_file(bytes: &[u8]) -> Look {
    let look = Look { bytes: bytes.len() as u64, hash: hash(bytes), ..Look::default() };
    // A decoder that panics on a malformed file has found a broken file.
    let header = catch_unwind(AssertUnwindSafe(|| header(bytes, look.clone())));
    match header.unwrap_or_else(|_| Err("the decoder gave up on it".into())) {
        Ok(look) => look,
        Err(reason) => Look { fault: Some(reason.into()), ..look },
    }
}

/// What decoding begins with; it refuses what [`decode::decode`] refuses by the header.
fn header(bytes: &[u8], look: Look) -> Result<Look, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|e| e.to_string())?;
    let format = match reader.format() {
        Some(ImageFormat::Jpeg) => "JPEG",
        Some(ImageFormat::Png) => "PNG",
        Some(ImageFormat::Bmp) => "BMP",
        Some(ImageFormat::WebP) => "WebP",
        Some(ImageFormat::Pnm) => "PNM",
        Some(ImageFormat::Gif) => return Err("GIF is not supported".into()),
        _ => "other",
    };
    if decode::is_truncated_jpeg(bytes) {
        return Err("the JPEG ends before its end-of-image marker".into());
    }
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > decode::MAX_PIXELS {
        return Err(format!("{width}x{height} pixels are too many"));
    }
    let turned =
        decoder.orientation().is_ok_and(|orientation| orientation != Orientation::NoTransforms);
    let colour = colour(decoder.original_color_type());
    Ok(Look { width, height, format, colour, turned, ..look })
}

fn colour(of: ExtendedColorType) -> &'static str {
    match of {
        ExtendedColorType::L1 | ExtendedColorType::L2 | ExtendedColorType::L4 => {
            "grey, below 8 bits"
        }
        ExtendedColorType::L8 => "grey, 8 bits",
        ExtendedColorType::L16 => "grey, 16 bits",
        ExtendedColorType::La8 | ExtendedColorType::La16 => "grey with alpha",
        ExtendedColorType::Rgb8 | ExtendedColorType::Bgr8 => "RGB, 8 bits",
        ExtendedColorType::Rgb16 => "RGB, 16 bits",
        ExtendedColorType::Rgba8 | ExtendedColorType::Bgra8 => "RGB with alpha, 8 bits",
        ExtendedColorType::Rgba16 => "RGB with alpha, 16 bits",
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16 => "CMYK",
        _ => "other",
    }
}

fn hash(bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat};

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn the_header_tells_by_content() {
        let grey = encoded(DynamicImage::new_luma8(5, 3), ImageFormat::Png);
        let look = of_file(&grey);
        assert_eq!((look.format, look.colour), ("PNG", "grey, 8 bits"));
        assert_eq!((look.width, look.height, look.bytes), (5, 3, grey.len() as u64));
        assert!(look.fault.is_none() && !look.turned);
        for (image, format, told) in [
            (DynamicImage::new_rgb8(2, 2), ImageFormat::Jpeg, ("JPEG", "RGB, 8 bits")),
            (DynamicImage::new_luma8(2, 2), ImageFormat::Jpeg, ("JPEG", "grey, 8 bits")),
            (DynamicImage::new_rgba16(2, 2), ImageFormat::Png, ("PNG", "RGB with alpha, 16 bits")),
            (DynamicImage::new_rgb8(2, 2), ImageFormat::Bmp, ("BMP", "RGB, 8 bits")),
            (DynamicImage::new_rgb8(2, 2), ImageFormat::Pnm, ("PNM", "RGB, 8 bits")),
        ] {
            let look = of_file(&encoded(image, format));
            assert_eq!((look.format, look.colour), told);
        }
    }

    #[test]
    fn equal_files_have_equal_hashes() {
        assert_eq!(of_file(b"x").hash, of_file(b"x").hash);
        assert_ne!(of_file(b"x").hash, of_file(b"y").hash);
    }

    #[test]
    fn broken_files_are_told() {
        let jpeg = encoded(DynamicImage::new_rgb8(64, 64), ImageFormat::Jpeg);
        for (bytes, says) in [
            (&b"GIF89a..........."[..], "GIF"),
            (&jpeg[..jpeg.len() / 2], "end-of-image"),
            (b"no image at all", "format"),
        ] {
            let fault = of_file(bytes).fault.unwrap();
            assert!(fault.contains(says), "{fault}");
        }
        // Only decoding finds what is wrong behind the header.
        let mut png = encoded(DynamicImage::new_rgb8(64, 64), ImageFormat::Png);
        let middle = png.len() - 30;
        png[middle] ^= 0xff;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &png).unwrap();
        let image = Image::from(file.path());
        let look = |depth| Buffers::default().look(&image, depth).unwrap().fault;
        assert!(look(Depth::Header).is_none());
        assert!(look(Depth::Decode).is_some());
    }
}
