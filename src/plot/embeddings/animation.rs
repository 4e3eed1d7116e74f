//! The epochs one after the other as an animated GIF.

use std::collections::HashMap;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, RgbaImage};

use super::palette;
use crate::plot::colour::{self, Colour};
use crate::{Error, Result};

/// How long a frame is shown, milliseconds.
const FRAME: u32 = 300;
const LAST: u32 = 3000;

/// A GIF that goes round for ever.
pub struct Animation<'a> {
    encoder: GifEncoder<&'a mut Vec<u8>>,
    inks: Inks,
}

impl<'a> Animation<'a> {
    pub fn new(bytes: &'a mut Vec<u8>) -> Result<Self> {
        let mut encoder = GifEncoder::new_with_speed(bytes, 10);
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        Ok(Animation { encoder, inks: Inks::new() })
    }

    /// Adds a frame of RGB rows, all of one size.
    pub fn add(&mut self, pixels: &[u8], (width, height): (u32, u32), last: bool) -> Result<()> {
        let rgba = pixels.chunks_exact(3).flat_map(|rgb| {
            let (r, g, b) = self.inks.nearest((rgb[0], rgb[1], rgb[2]));
            [r, g, b, 255]
        });
        let image = RgbaImage::from_raw(width, height, rgba.collect())
            .ok_or_else(|| Error::failed("a frame of the animation has another size"))?;
        let delay = Delay::from_numer_denom_ms(if last { LAST } else { FRAME }, 1);
        let frame = image::Frame::from_parts(image, 0, 0, delay);
        self.encoder.encode_frame(frame).map_err(failed)
    }
}

fn failed(error: image::ImageError) -> Error {
    Error::failed(format!("cannot encode the animation: {error}"))
}

/// Fewer colours than a GIF's 256, the same in all frames: an encoder that chose them anew for each
/// would make the paper flicker.
struct Inks {
    all: Vec<Colour>,
    known: HashMap<Colour, Colour>,
}

impl Inks {
    fn new() -> Self {
        const STEPS: u32 = 18;
        let fade = |colour: Colour, step: u32| {
            let mix = |value: u8| (u32::from(value) * step + 255 * (STEPS - step)) / STEPS;
            (mix(colour.0) as u8, mix(colour.1) as u8, mix(colour.2) as u8)
        };
        let inks = palette::COLOURS.into_iter().chain([colour::TEXT, colour::FRAME]);
        let mut all = vec![(255, 255, 255), colour::GRID, colour::MUTED];
        all.extend(inks.flat_map(|ink| (1..=STEPS).map(move |step| fade(ink, step))));
        Inks { all, known: HashMap::new() }
    }

    fn nearest(&mut self, colour: Colour) -> Colour {
        let Inks { all, known } = self;
        *known.entry(colour).or_insert_with(|| {
            let distance = |other: &&Colour| {
                let square = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2);
                square(colour.0, other.0) + square(colour.1, other.1) + square(colour.2, other.2)
            };
            all.iter().min_by_key(distance).copied().unwrap_or(colour)
        })
    }
}
