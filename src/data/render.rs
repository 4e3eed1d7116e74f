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
        let scaled = scale(image, to, draw, file, decoded, scaler)?;
        draw.apply(scaled, to.height, to.width, scratch, out);
        Ok(())
    }

    /// An image at the input size, `height x width x 3`, before anything random.
    pub(super) fn scaled<'a>(
        &'a mut self,
        image: &'a Image,
        to: &Preprocess,
    ) -> Result<&'a [u8], Fault> {
        scale(image, to, &Draw::NONE, &mut self.file, &mut self.decoded, &mut self.scaler)
    }
}

/// With the crop of `draw`, which resamples the image once together with its way to the input size.
fn scale<'a>(
    image: &'a Image,
    to: &Preprocess,
    draw: &Draw,
    file: &'a mut Vec<u8>,
    decoded: &'a mut Rgb,
    scaler: &'a mut Scaler,
) -> Result<&'a [u8], Fault> {
    let source = match image.read(file)? {
        Stored::Encoded(bytes) => {
            decode::decode(bytes, decoded).map_err(Fault::Broken)?;
            decoded.view()
        }
        Stored::Pixels { width, height, rgb } => View { width, height, pixels: rgb },
    };
    Ok(match &draw.crop {
        Some(crop) => scaler.scale_part(source, crop.part(source.width, source.height), to),
        None => scaler.scale(source, to),
    })
}
