//! A contact sheet of a search: each query with its best hits.

use super::font::{self, FAMILY, LINE_PER_EM};
use crate::data::decode::{Rgb, decode, read};
use crate::{Error, Result};
use image::imageops::FilterType;
use image::{Rgb as Pixel, RgbImage};
use plotters::prelude::{BitMapBackend, IntoDrawingArea};
use plotters::style::{IntoFont, RGBColor, TextStyle};
use std::path::{Path, PathBuf};

/// Side of the square that an image is fitted into, pixels.
const SIDE: u32 = 112;
const GAP: u32 = 8;
/// Height of the line below an image.
const CAPTION: u32 = 16;
/// Em of the captions, pixels.
const EM: f64 = 11.0;
const PAPER: Pixel<u8> = Pixel([255, 255, 255]);
const MISSING: Pixel<u8> = Pixel([225, 225, 225]);
const FRAME: Pixel<u8> = Pixel([40, 90, 160]);

/// What was searched for.
#[derive(Clone, Debug)]
pub enum Query {
    Image(PathBuf),
    Text(String),
}

/// A query and its hits, best first.
#[derive(Clone, Debug)]
pub struct Row {
    pub query: Query,
    /// Image and its caption.
    pub hits: Vec<(PathBuf, String)>,
}

/// Writes one line of images for each row: the query, framed, then its hits. An image that can't be
/// read is a grey square.
///
/// # Errors
/// The file can't be written.
pub fn write(rows: &[Row], output: &Path) -> Result<()> {
    let sheet = draw(rows)?;
    let mut png = std::io::Cursor::new(Vec::new());
    sheet
        .write_to(&mut png, image::ImageFormat::Png)
        .map_err(|e| Error::failed(format!("cannot encode {}: {e}", output.display())))?;
    crate::checkpoint::durable::write_file(output, |out| out.write_all(png.get_ref()))
}

fn draw(rows: &[Row]) -> Result<RgbImage> {
    let columns = 1 + rows.iter().map(|row| row.hits.len()).max().unwrap_or(0) as u32;
    // The query stands apart from its hits.
    let left = |column: u32| GAP + column * (SIDE + GAP) + if column > 0 { GAP } else { 0 };
    let top = |row: u32| GAP + row * (SIDE + CAPTION + GAP);
    let (width, height) = (left(columns), top(rows.len().max(1) as u32));
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let mut captions = Vec::new();
    for (number, Row { query, hits }) in rows.iter().enumerate() {
        let y = top(number as u32);
        for frame in 1..=3 {
            outline(&mut sheet, left(0) - frame, y - frame, SIDE + 2 * frame);
        }
        match query {
            Query::Image(path) => {
                place(&mut sheet, path, left(0), y);
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                captions.push((left(0), y + SIDE, fitted(&name)));
            }
            Query::Text(text) => {
                let lines = wrapped(text, (SIDE / CAPTION) as usize);
                let lines = (0..).zip(lines);
                captions.extend(lines.map(|(at, line)| (left(0) + 2, y + at * CAPTION, line)));
            }
        }
        for (column, (hit, caption)) in hits.iter().enumerate() {
            let x = left(column as u32 + 1);
            place(&mut sheet, hit, x, y);
            captions.push((x, y + SIDE, fitted(caption)));
        }
    }
    write_captions(&mut sheet, &captions)?;
    Ok(sheet)
}

/// The image, scaled to fit and in the middle of its square.
fn place(sheet: &mut RgbImage, path: &Path, x: u32, y: u32) {
    match small(path) {
        Some(image) => {
            let (dx, dy) = ((SIDE - image.width()) / 2, (SIDE - image.height()) / 2);
            image::imageops::replace(sheet, &image, i64::from(x + dx), i64::from(y + dy));
        }
        None => {
            let square = RgbImage::from_pixel(SIDE, SIDE, MISSING);
            image::imageops::replace(sheet, &square, i64::from(x), i64::from(y));
        }
    }
}

fn small(path: &Path) -> Option<RgbImage> {
    let (mut bytes, mut rgb) = (Vec::new(), Rgb::default());
    read(path, &mut bytes).ok()?;
    decode(&bytes, &mut rgb).ok()?;
    let image = RgbImage::from_raw(rgb.width as u32, rgb.height as u32, rgb.pixels)?;
    let (width, height) = image.dimensions();
    let scale = f64::from(SIDE) / f64::from(width.max(height));
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, SIDE);
    Some(image::imageops::resize(&image, side(width), side(height), FilterType::Triangle))
}

fn outline(sheet: &mut RgbImage, x: u32, y: u32, side: u32) {
    for i in 0..side {
        for (px, py) in [(x + i, y), (x + i, y + side - 1), (x, y + i), (x + side - 1, y + i)] {
            sheet.put_pixel(px, py, FRAME);
        }
    }
}

/// As much of a text as is as wide as an image.
fn fitted(text: &str) -> String {
    let limit = f64::from(SIDE);
    if font::width(text, EM) <= limit {
        return text.to_string();
    }
    let mut kept: String = text.to_string();
    while !kept.is_empty() && font::width(&format!("{kept}…"), EM) > limit {
        kept.pop();
    }
    format!("{kept}…")
}

/// At most `count` lines of a text, as wide as an image each.
fn wrapped(text: &str, count: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or("", String::as_str);
        let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
        let fits = line.is_empty() || font::width(&longer, EM) <= f64::from(SIDE) - 4.0;
        match lines.last_mut().filter(|_| fits) {
            Some(line) => *line = longer,
            None => lines.push(word.to_string()),
        }
    }
    lines.truncate(count);
    lines.iter().map(|line| fitted(line)).collect()
}

fn write_captions(sheet: &mut RgbImage, captions: &[(u32, u32, String)]) -> Result<()> {
    font::register();
    let size = sheet.dimensions();
    let area = BitMapBackend::with_buffer(sheet, size).into_drawing_area();
    let font = (FAMILY, EM * LINE_PER_EM).into_font();
    let style = TextStyle::from(font).color(&RGBColor(30, 30, 30));
    for (x, y, text) in captions {
        area.draw_text(text, &style, (*x as i32, *y as i32 + 4))
            .map_err(|e| Error::failed(format!("cannot draw the contact sheet: {e}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_stands_before_its_hits() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        RgbImage::from_pixel(20, 40, Pixel([200, 0, 0])).save(at("q.png")).unwrap();
        RgbImage::from_pixel(400, 400, Pixel([0, 200, 0])).save(at("h.png")).unwrap();
        let hits = vec![(at("h.png"), "0.93".to_string()), (at("gone.png"), "0.1".to_string())];
        let rows = [Row { query: Query::Image(at("q.png")), hits }];
        let sheet = draw(&rows).unwrap();
        let middle = GAP + SIDE / 2;
        assert_eq!(sheet.get_pixel(middle, middle).0, [200, 0, 0]);
        assert_eq!(sheet.get_pixel(GAP + 2, middle), &PAPER, "proportions stay");
        assert_eq!(sheet.get_pixel(GAP - 1, middle), &FRAME);
        let hit = middle + SIDE + 2 * GAP;
        assert_eq!(sheet.get_pixel(hit, middle).0, [0, 200, 0]);
        assert_eq!(sheet.get_pixel(hit + SIDE + GAP, middle), &MISSING);
        let below =
            (hit - 40..hit + 40).flat_map(|x| (GAP + SIDE..GAP + SIDE + 16).map(move |y| (x, y)));
        assert!(below.clone().any(|(x, y)| sheet.get_pixel(x, y).0[0] < 128), "a caption");
        write(&rows, &at("sheet.png")).unwrap();
        assert!(fitted(&"long name ".repeat(9)).ends_with('…'));
    }
}
