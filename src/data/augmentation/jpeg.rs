//! JPEG compression and back, as libjpeg-turbo does it for PIL and torchvision: the standard tables,
//! colour at half the resolution (4:2:0).
//!
//! Differs from the reference in: below a quality of 20, table entries beyond 255 are kept.

use super::dice::{Change, Dice, range};
use super::planes::Planes;
use crate::data::decode::Rgb;
use crate::data::jpeg;

crate::config_struct! {
    /// The input is compressed as JPEG and decoded again.
    pub struct Jpeg {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
        /// Least and largest quality, of 100.
        pub quality: Vec<usize> = vec![30, 95], range(1, 100);
    }
}

impl Jpeg {
    /// The quality.
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Option<usize> {
        let Self { share, quality } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::Jpeg);
        dice.happens(*share).then(|| dice.whole(quality[0], quality[1]))
    }
}

/// Keeps its working buffers between images; libjpeg has its own, anew for each.
#[derive(Default)]
pub struct Recompressor {
    interleaved: Vec<u8>,
    file: Vec<u8>,
    decoded: Rgb,
}

impl Recompressor {
    pub fn recompress(&mut self, image: &mut Planes<'_>, quality: usize) {
        let Self { interleaved, file, decoded } = self;
        image.interleave(interleaved);
        file.clear();
        jpeg::encode(interleaved, image.height, image.width, quality, file)
            .expect("writing into memory does not fail");
        let whole = jpeg::decode(file, decoded, &|_, _, _| Ok(8));
        assert!(matches!(whole, Ok(Some(_))), "libjpeg reads what it wrote");
        image.separate(&decoded.pixels);
    }
}
