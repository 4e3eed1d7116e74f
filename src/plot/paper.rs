//! From a drawing to the bytes of a picture.

use std::io::Cursor;
use std::path::Path;

use plotters::prelude::{BitMapBackend, DrawingBackend, IntoDrawingArea, SVGBackend};

use super::canvas::{Canvas, SCALE};
use super::{Format, PIXELS, present, shrink};
use crate::checkpoint::durable;
use crate::{Error, Result};

/// Something that can be drawn on either of plotters' backends.
pub(crate) trait Drawing {
    /// (width, height) in points.
    fn size(&self) -> (u32, u32);

    fn draw<D: DrawingBackend>(&self, canvas: &Canvas<'_, D>) -> Result<()>;

    /// RGB rows with [`SCALE`] pixels to a point.
    fn fine(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size();
        let large = (width * SCALE, height * SCALE);
        let mut fine = vec![255; 3 * large.0 as usize * large.1 as usize];
        {
            let area = BitMapBackend::with_buffer(&mut fine, large).into_drawing_area();
            self.draw(&Canvas { area: &area, vector: false })?;
            present(&area)?;
        }
        Ok(fine)
    }

    /// RGB rows with `pixels` (a divisor of [`SCALE`]) to a point, of what [`Drawing::fine`] gave.
    fn smooth(&self, fine: &[u8], pixels: u32) -> Vec<u8> {
        shrink(fine, (self.size().0 * SCALE) as usize, (SCALE / pixels) as usize)
    }

    /// A PNG with [`PIXELS`] pixels to a point.
    fn png(&self) -> Result<Vec<u8>> {
        self.encode(&self.fine()?)
    }

    /// The same of what [`Drawing::fine`] gave.
    fn encode(&self, fine: &[u8]) -> Result<Vec<u8>> {
        let picture = self.smooth(fine, PIXELS);
        let (width, height) = self.size();
        let mut png = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new_with_quality(
            Cursor::new(&mut png),
            image::codecs::png::CompressionType::Default,
            image::codecs::png::FilterType::Adaptive,
        );
        let colour = image::ExtendedColorType::Rgb8;
        let (width, height) = (width * PIXELS, height * PIXELS);
        image::ImageEncoder::write_image(encoder, &picture, width, height, colour)
            .map_err(|error| Error::failed(format!("cannot encode the picture: {error}")))?;
        Ok(png)
    }

    /// An SVG document, drawn finer than its size in points: the view box keeps the fine units.
    fn svg(&self) -> Result<String> {
        let (width, height) = self.size();
        let large = (width * SCALE, height * SCALE);
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, large).into_drawing_area();
            self.draw(&Canvas { area: &area, vector: true })?;
            present(&area)?;
        }
        let fine = format!("width=\"{}\" height=\"{}\"", large.0, large.1);
        Ok(text.replacen(&fine, &format!("width=\"{width}\" height=\"{height}\""), 1))
    }
}

/// Writes a picture, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // A name alone lies in the current folder, which has to be named to be synced.
    let alone = path.parent().is_some_and(|folder| folder.as_os_str().is_empty());
    let path = if alone { Path::new(".").join(path) } else { path.to_path_buf() };
    durable::write_file(&path, |out| out.write_all(bytes))
}

/// Draws to `path`, by its extension.
pub(crate) fn save(drawing: &impl Drawing, path: &Path) -> Result<()> {
    let bytes = match Format::of(path)? {
        Format::Png => drawing.png()?,
        Format::Svg => drawing.svg()?.into_bytes(),
    };
    write(path, &bytes)
}
