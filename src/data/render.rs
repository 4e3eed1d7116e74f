//! One sample from its file to its place in a batch.

use super::augmentation::{Draw, Scratch};
use super::decode::{self, Fault, Rgb, View};
use super::preprocess::{Preprocess, Scaler};
use super::{Image, Stored};

/// One thread's buffers; nothing is allocated per image once they have grown.
#[derive(Default)]
pub struct Renderer {
    file: Vec<u8>,
    decoded: Rgb,
    scaler: Scaler,
    scratch: Scratch,
}

impl Renderer {
    /// Writes an image, at the input size and changed as `draw` says, to `out` (`3 x height x width`).
    /// The error says what is wrong with it.
    pub fn render(
        &mut self,
        image: &Image,
        to: &Preprocess,
        draw: &Draw,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let Self { file, decoded, scaler, scratch } = self;
        let stored = match image {
            Image::File(path) => {
                decode::read(path, file)?;
                Stored::Encoded(file)
            }
            Image::Member { container, number } => container.read(*number, file)?,
        };
        let source = match stored {
            Stored::Encoded(bytes) => {
                decode::decode(bytes, decoded).map_err(Fault::Broken)?;
                decoded.view()
            }
            Stored::Pixels { width, height, rgb } => View { width, height, pixels: rgb },
        };
        let scaled = match &draw.crop {
            Some(crop) => scaler.scale_part(source, crop.part(source.width, source.height), to),
            None => scaler.scale(source, to),
        };
        draw.apply(scaled, to.height, to.width, scratch, out);
        Ok(())
    }
}
