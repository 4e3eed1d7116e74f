//! JPEG pixels as libjpeg-turbo gives them, which PIL and OpenCV use: published scores rest on those
//! bits, and decoders differ in the rounding of the inverse DCT and in the upsampling of colour.

use super::decode::Rgb;
use image::metadata::Orientation;
use mozjpeg::{ColorSpace, Compress, Decompress, Marker};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What to make of a JPEG file: called with width and height as they are stored, and the EXIF
/// orientation; answers the size of the result, 1, 2, 4 or 8 eighths of the image's
/// sides, from as many of each block's frequencies. Its error is the file's.
pub type Wanted<'a> = &'a dyn Fn(usize, usize, Orientation) -> Result<u8, String>;

/// libjpeg has a fast loop for as long as this many bytes are left, 512 for each block of a step, of which
/// there are ten at most, and one that looks for the end at every byte for the rest: half of a small file.
const SLACK: usize = 10 * 512;
/// Of a larger file the rest is a small part.
const PADDED: usize = 1 << 20;

thread_local! {
    /// A file with zeros after it.
    static LONGER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Decodes `bytes` into `image`, as stored, and returns how it is to be turned; None, and nothing done,
/// where libjpeg has no conversion to RGB (CMYK). The error says why it can't be done.
pub fn decode(
    bytes: &[u8],
    image: &mut Rgb,
    wanted: Wanted<'_>,
) -> Result<Option<Orientation>, String> {
    // libjpeg's fatal errors come as panics with a text, past the panic hook.
    let result = catch_unwind(AssertUnwindSafe(|| match bytes.len() <= PADDED {
        true => LONGER.with_borrow_mut(|longer| {
            longer.clear();
            longer.reserve(bytes.len() + SLACK);
            longer.extend_from_slice(bytes);
            longer.resize(bytes.len() + SLACK, 0);
            decode_unwinding(longer, image, wanted)
        }),
        false => decode_unwinding(bytes, image, wanted),
    }));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the JPEG decoder gave up on it".into()))
    })
}

fn decode_unwinding(
    bytes: &[u8],
    image: &mut Rgb,
    wanted: Wanted<'_>,
) -> Result<Option<Orientation>, String> {
    let header = Decompress::with_markers(&[Marker::APP(1)]).from_mem(bytes);
    let mut header = header.map_err(|e| e.to_string())?;
    let exif = header.markers().find_map(|marker| marker.data.strip_prefix(b"Exif\0\0"));
    let orientation = exif.and_then(Orientation::from_exif_chunk);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let eighths = wanted(header.width(), header.height(), orientation)?;
    if matches!(header.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
        return Ok(None);
    }
    if eighths < 8 {
        header.scale(eighths);
    }
    let mut started = header.rgb().map_err(|e| e.to_string())?;
    let (width, height) = (started.width(), started.height());
    image.pixels.resize(width * height * 3, 0);
    (image.width, image.height) = (width, height);
    started.read_scanlines_into(&mut image.pixels).map_err(|e| e.to_string())?;
    started.finish().map_err(|e| e.to_string())?;
    Ok(Some(orientation))
}

/// Appends `height x width x 3` pixels to `file` as JPEG, with libjpeg's standard tables and colour at half the
/// resolution.
///
/// # Errors
/// None, since memory takes what is written; libjpeg's interface has one.
pub fn encode(
    pixels: &[u8],
    height: usize,
    width: usize,
    quality: usize,
    file: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(width, height);
    compress.set_fastest_defaults();
    compress.set_quality(quality as f32);
    let mut started = compress.start_compress(file)?;
    started.write_scanlines(pixels)?;
    started.finish()?;
    Ok(())
}
