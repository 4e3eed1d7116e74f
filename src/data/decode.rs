//! Bytes to 8-bit RGB, whatever the file holds.
//!
//! The format is taken from the content, never from the name. EXIF orientation is applied, grey
//! is repeated, CMYK is converted, 16 bits are rounded to 8, and transparency is composited on
//! black: the colour that aligned face crops are padded with.

use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

/// More than any camera's image of a face; a decompression bomb claims more.
pub(super) const MAX_PIXELS: u64 = 100_000_000;
/// Bytes a decoder may allocate besides the image itself.
const MAX_ALLOCATION: u64 = 1 << 30;
pub(super) const MAX_FILE: u64 = 1 << 28;
/// Pixels times passes over them, of a progressive JPEG: its scans may be a few bytes each and still go
/// over the whole image. Cameras and encoders write a dozen.
const MAX_SCANNED: u64 = 2_000_000_000;
/// Bytes of the header of a scan of one colour.
const SCAN_HEADER: u64 = 10;
/// Pixel bytes that a buffer keeps for the next image: 16 million pixels.
const MAX_KEPT: usize = 48 << 20;

const NO_FILE: &str = "it is no file";

/// How a JPEG file begins.
const JPEG: [u8; 2] = [0xff, 0xd8];

/// An image, `height x width x 3`. Its buffer is reused from one image to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rgb {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

/// The same in somebody else's memory.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub width: usize,
    pub height: usize,
    pub pixels: &'a [u8],
}

impl Rgb {
    pub fn view(&self) -> View<'_> {
        View { width: self.width, height: self.height, pixels: &self.pixels }
    }
}

/// Why there is no image.
#[derive(Debug)]
pub enum Fault {
    /// The file is broken or gone: another image may take its place.
    Broken(String),
    /// The machine failed, not the file: no more open files, no permission, a disk error.
    System(std::io::Error),
}

impl Fault {
    /// By what the system says of a file.
    pub(super) fn of(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, IsADirectory, NotFound, UnexpectedEof};
        match error.kind() {
            InvalidData | IsADirectory | NotFound | UnexpectedEof => {
                Fault::Broken(error.to_string())
            }
            _ => Fault::System(error),
        }
    }
}

/// Reads a whole file into `bytes`. The error is a fragment that does not repeat the path.
pub fn read(path: &Path, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    bytes.clear();
    // Else opening a pipe waits for its writer; files know no such waiting.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|e| match std::fs::metadata(path) {
        // A socket can't be opened.
        Ok(about) if !about.is_file() => Fault::Broken(NO_FILE.into()),
        _ => Fault::of(e),
    })?;
    let about = file.metadata().map_err(Fault::of)?;
    if !about.is_file() {
        return Err(Fault::Broken(NO_FILE.into()));
    }
    if (1..=MAX_FILE).contains(&about.len()) {
        // In one call, where reading to the end asks once more.
        bytes.resize(about.len() as usize, 0);
        (&file).read_exact(bytes).map_err(Fault::of)?;
        return Ok(());
    }
    // Some file systems do not know how long a file is.
    file.take(MAX_FILE + 1).read_to_end(bytes).map_err(Fault::of)?;
    if bytes.is_empty() {
        return Err(Fault::Broken("the file is empty".into()));
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(Fault::Broken(format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(())
}

/// Decodes `bytes` into `image`. The error says why it can't be done.
pub fn decode(bytes: &[u8], image: &mut Rgb) -> Result<(), String> {
    decode_reduced(bytes, image, &|_, _| 1.0)
}

/// [`decode`], of JPEG files at a half, a quarter or an eighth of their sides where `needed` (of width
/// and height, upright) is not more.
pub fn decode_reduced(
    bytes: &[u8],
    image: &mut Rgb,
    needed: &dyn Fn(usize, usize) -> f64,
) -> Result<(), String> {
    if image.pixels.capacity() > MAX_KEPT {
        image.pixels = Vec::new();
    }
    // A decoder that panics on a malformed file has found a broken file, not a broken program.
    catch_unwind(AssertUnwindSafe(|| decode_guarded(bytes, image, needed)))
        .unwrap_or_else(|_| Err("the decoder gave up on it".into()))
}

fn decode_guarded(
    bytes: &[u8],
    image: &mut Rgb,
    needed: &dyn Fn(usize, usize) -> f64,
) -> Result<(), String> {
    if is_truncated_jpeg(bytes) {
        return Err("the JPEG ends before its end-of-image marker".into());
    }
    // libjpeg reads the header too: a second reader would cost as much as a small image.
    if bytes.starts_with(&JPEG) {
        let wanted = |width, height, orientation| {
            bounded(bytes, width, height)?;
            Ok(eighths(width, height, orientation, needed))
        };
        if let Some(orientation) = super::jpeg::decode(bytes, image, &wanted)? {
            if orientation != Orientation::NoTransforms {
                turn(image, orientation);
            }
            return Ok(());
        }
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|e| e.to_string())?;
    // The program writes animations; a face in one would be its first frame in 256 colours.
    if reader.format() == Some(ImageFormat::Gif) {
        return Err("GIF is not supported".into());
    }
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    bounded(bytes, width as usize, height as usize)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOCATION);
    decoder.set_limits(limits).map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    if decoder.color_type() == ColorType::Rgb8 && orientation == Orientation::NoTransforms {
        (image.width, image.height) = (width as usize, height as usize);
        image.pixels.resize(image.width * image.height * 3, 0);
        return decoder.read_image(&mut image.pixels).map_err(|e| e.to_string());
    }
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    decoded.apply_orientation(orientation);
    let rgb = match decoded.color().has_alpha() {
        true => on_black(decoded),
        false => decoded.into_rgb8(),
    };
    (image.width, image.height) = (rgb.width() as usize, rgb.height() as usize);
    image.pixels = rgb.into_raw();
    Ok(())
}

/// # Errors
/// More pixels, or passes over them, than any photograph has.
fn bounded(bytes: &[u8], width: usize, height: usize) -> Result<(), String> {
    let pixels = width as u64 * height as u64;
    if pixels > MAX_PIXELS {
        let limit = MAX_PIXELS / 1_000_000;
        return Err(format!("{width}x{height} pixels, more than {limit} million"));
    }
    // No scan is shorter than its header: few files have to be searched.
    let most = bytes.len() as u64 / SCAN_HEADER;
    if bytes.starts_with(&JPEG)
        && pixels * most > MAX_SCANNED
        && pixels * scans(bytes) > MAX_SCANNED
    {
        return Err(format!("{} passes over {width}x{height} pixels", scans(bytes)));
    }
    Ok(())
}

/// At which share of its sides a JPEG is decoded. libjpeg is fast at powers of two only.
fn eighths(
    width: usize,
    height: usize,
    orientation: Orientation,
    needed: &dyn Fn(usize, usize) -> f64,
) -> u8 {
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let needed = if turned { needed(height, width) } else { needed(width, height) };
    let found = [1, 2, 4].into_iter().find(|eighths| f64::from(*eighths) / 8.0 >= needed);
    found.unwrap_or(8)
}

/// Starts of scans in a JPEG. In compressed data 0xff is followed by 0, so other than these only a few in
/// embedded thumbnails and colour profiles look like one.
fn scans(bytes: &[u8]) -> u64 {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.filter(|(first, second)| **first == 0xff && **second == 0xda).count() as u64
}

fn turn(image: &mut Rgb, orientation: Orientation) {
    let pixels = std::mem::take(&mut image.pixels);
    let (width, height) = (image.width as u32, image.height as u32);
    let turned = image::RgbImage::from_raw(width, height, pixels);
    let mut turned = DynamicImage::from(turned.expect("an Rgb holds width x height pixels"));
    turned.apply_orientation(orientation);
    (image.width, image.height) = (turned.width() as usize, turned.height() as usize);
    image.pixels = turned.into_rgb8().into_raw();
}

fn on_black(image: DynamicImage) -> image::RgbImage {
    let rgba = image.into_rgba8();
    let over = |colour: u8, alpha: u8| ((u16::from(colour) * u16::from(alpha) + 127) / 255) as u8;
    image::RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        image::Rgb([over(r, a), over(g, a), over(b, a)])
    })
}

/// The JPEG decoder fills what is missing with grey instead of failing. A whole file has an
/// end-of-image marker after its last start of scan (an embedded thumbnail's comes before).
pub(super) fn is_truncated_jpeg(bytes: &[u8]) -> bool {
    if !bytes.starts_with(&JPEG) {
        return false;
    }
    let marker = |pair: &[u8]| pair[0] == 0xff && (pair[1] == 0xd9 || pair[1] == 0xda);
    match bytes.windows(2).rev().find(|pair| marker(pair)) {
        Some(pair) => pair[1] != 0xd9,
        None => true,
    }
}
