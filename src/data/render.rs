//! One sample from its file to its place in a batch.

use super::augmentation::{Draw, Scratch};
use super::decode::{self, Fault, Rgb, View};
use super::preprocess::Preprocess;
use super::scaler::Scaler;
use super::{Image, Stages, Stored};
use std::time::Instant;
use tracing::debug_span;

/// One thread's buffers; nothing is allocated per image once they have grown.
#[derive(Default)]
pub struct Renderer {
    file: Vec<u8>,
    decoded: Rgb,
    scaler: Scaler,
    scratch: Scratch,
    stages: Stages,
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
        let Self { file, decoded, scaler, scratch, stages } = self;
        let scaled = scale(image, to, draw, file, decoded, scaler, stages)?;
        let begun = Instant::now();
        let _span = debug_span!("augment").entered();
        draw.apply(scaled, to.height, to.width, scratch, out);
        stages.augment += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Seconds of reading, decoding and augmenting since the last time.
    pub(super) fn take_stages(&mut self) -> Stages {
        std::mem::take(&mut self.stages)
    }

    /// An image at the input size, `height x width x 3`, before anything random.
    pub(super) fn scaled<'a>(
        &'a mut self,
        image: &'a Image,
        to: &Preprocess,
    ) -> Result<&'a [u8], Fault> {
        let Self { file, decoded, scaler, stages, .. } = self;
        scale(image, to, &Draw::NONE, file, decoded, scaler, stages)
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
    stages: &mut Stages,
) -> Result<&'a [u8], Fault> {
    let begun = Instant::now();
    let reading = debug_span!("read").entered();
    let stored = image.read(file)?;
    drop(reading);
    let read = begun.elapsed().as_secs_f64();
    stages.read += read;
    let _decoding = debug_span!("decode").entered();
    let source = match stored {
        Stored::Encoded(bytes) => {
            // A random part of the image needs more pixels than the whole.
            let reduced = to.dct_scaling && draw.crop.is_none();
            let needed = |width, height| if reduced { to.needed(width, height) } else { 1.0 };
            decode::decode_reduced(bytes, decoded, &needed).map_err(Fault::Broken)?;
            decoded.view()
        }
        Stored::Pixels { width, height, rgb } => View { width, height, pixels: rgb },
    };
    let scaled = match &draw.crop {
        Some(crop) => scaler.scale_part(source, crop.part(source.width, source.height), to),
        None => scaler.scale(source, to),
    };
    stages.decode += begun.elapsed().as_secs_f64() - read;
    Ok(scaled)
}
