//! One sample from its file to its place in a batch.

use std::path::Path;

use super::Image;
use super::augmentation::Draw;
use super::decode::{self, Fault, Rgb};
use super::preprocess::{Preprocess, Scaler};
use super::rotate::Rotator;

/// One thread's buffers; nothing is allocated per image once they have grown.
#[derive(Default)]
pub struct Renderer {
    file: Vec<u8>,
    decoded: Rgb,
    scaler: Scaler,
    rotator: Rotator,
}

impl Renderer {
    /// Writes the image in `path`, at the input size and changed as `draw` says, to `out`
    /// (`3 x height x width`). The error says what is wrong with the file.
    pub fn render(
        &mut self,
        path: &Path,
        to: &Preprocess,
        draw: &Draw,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        decode::read(path, &mut self.file)?;
        decode::decode(&self.file, &mut self.decoded).map_err(Fault::Broken)?;
        self.place(to, draw, out);
        Ok(())
    }

    /// [`Renderer::render`] of an image as it is, wherever it comes from.
    pub fn render_image(
        &mut self,
        image: &Image,
        to: &Preprocess,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        match image {
            Image::File(path) => self.render(path, to, &Draw::NONE, out),
            Image::Encoded { bytes, .. } => {
                decode::decode(bytes, &mut self.decoded).map_err(Fault::Broken)?;
                self.place(to, &Draw::NONE, out);
                Ok(())
            }
        }
    }

    fn place(&mut self, to: &Preprocess, draw: &Draw, out: &mut [u8]) {
        let image = self.scaler.scale(&self.decoded, to);
        draw.apply(image, to.height, to.width, &mut self.rotator, out);
    }
}
