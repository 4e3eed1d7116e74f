//! Many small images on one picture, to look at.

use std::path::Path;

use super::Batch;
use crate::{Error, Result};

/// Writes the images of a batch as a PNG, row by row, `columns` to a row, with a margin of two
/// pixels around each.
///
/// # Errors
/// The file can't be written.
pub fn write(batch: &Batch, columns: usize, output: &Path) -> Result<()> {
    draw(batch, columns).save_with_format(output, image::ImageFormat::Png).map_err(|error| {
        let error = match error {
            image::ImageError::IoError(error) => error,
            other => std::io::Error::other(other),
        };
        Error::io("write", output, error)
    })
}

/// The first `most` images of a batch as a PNG, with its width and height in pixels.
///
/// # Errors
/// The picture can't be encoded.
pub fn png(batch: &Batch, columns: usize, most: usize) -> Result<(Vec<u8>, u32, u32)> {
    let count = batch.len().min(most);
    let first = Batch {
        images: batch.images[..3 * count * batch.height * batch.width].to_vec(),
        labels: batch.labels[..count].to_vec(),
        indices: batch.indices[..count].to_vec(),
        ..*batch
    };
    let sheet = draw(&first, columns);
    let mut bytes = std::io::Cursor::new(Vec::new());
    sheet
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| Error::failed(format!("cannot encode a picture: {e}")))?;
    Ok((bytes.into_inner(), sheet.width(), sheet.height()))
}

fn draw(batch: &Batch, columns: usize) -> image::RgbImage {
    const MARGIN: usize = 2;
    let columns = columns.clamp(1, batch.len().max(1));
    let (height, width) = (batch.height, batch.width);
    let rows = batch.len().div_ceil(columns);
    let mut sheet = image::RgbImage::from_pixel(
        (columns * (width + MARGIN) + MARGIN) as u32,
        (rows * (height + MARGIN) + MARGIN) as u32,
        image::Rgb([255; 3]),
    );
    for (n, pixels) in batch.images.chunks_exact(3 * height * width).enumerate() {
        let left = n % columns * (width + MARGIN) + MARGIN;
        let top = n / columns * (height + MARGIN) + MARGIN;
        for i in 0..height * width {
            let colour = image::Rgb([0, 1, 2].map(|c| pixels[c * height * width + i]));
            sheet.put_pixel((left + i % width) as u32, (top + i / width) as u32, colour);
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_row_by_row() {
        let images = (0..3u8).flat_map(|n| [10 * n; 12]).collect();
        let labels = vec![0; 3];
        let batch = Batch { images, labels, height: 2, width: 2, indices: vec![0, 1, 2], whole: 3 };
        let sheet = draw(&batch, 2);
        assert_eq!(sheet.dimensions(), (10, 10));
        assert_eq!(sheet.get_pixel(2, 2).0, [0; 3]);
        assert_eq!(sheet.get_pixel(7, 3).0, [10; 3]);
        assert_eq!(sheet.get_pixel(3, 7).0, [20; 3]);
        assert_eq!(sheet.get_pixel(7, 7).0, [255; 3]);
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&batch, 2, &dir.path().join("missing/sheet.png")).is_err());
        write(&batch, 2, &dir.path().join("sheet.png")).unwrap();
    }
}
