//! JPEG pixels as libjpeg-turbo gives them, which PIL and OpenCV use: published scores rest on those
//! bits, and decoders differ in the rounding of the inverse DCT and in the upsampling of colour.

use super::decode::Rgb;
use mozjpeg::{ColorSpace, Compress, Decompress};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Decodes `bytes` into `image`; false, and nothing done, where libjpeg has no conversion to RGB
/// (CMYK). `eighths`: the size of the result, 1, 2, 4 or 8 eighths of the image's sides, from as many of
/// each block's frequencies. The error says why it can't be done.
pub fn decode(bytes: &[u8], image: &mut Rgb, eighths: u8) -> Result<bool, String> {
    // libjpeg's fatal errors come as panics with a text, past the panic hook.
    let result = catch_unwind(AssertUnwindSafe(|| decode_unwinding(bytes, image, eighths)));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the JPEG decoder gave up on it".into()))
    })
}

fn decode_unwinding(bytes: &[u8], image: &mut Rgb, eighths: u8) -> Result<bool, String> {
    let mut header = Decompress::new_mem(bytes).map_err(|e| e.to_string())?;
    if matches!(header.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK) {
        return Ok(false);
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
    Ok(true)
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
