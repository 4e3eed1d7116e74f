//! Colour to grey, in all three channels, as PIL's `convert("L")` and torchvision's `RandomGrayscale`
//! on a PIL image.

use super::dice::{Change, Dice};
use super::planes::Planes;

crate::config_struct! {
    /// The luma of each pixel in all three channels.
    pub struct Greyscale {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
    }
}

impl Greyscale {
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> bool {
        let Self { share } = self;
        Dice::new(seed, epoch, sample, Change::Greyscale).happens(*share)
    }
}

/// Luma of ITU-R BT.601 (0.299, 0.587, 0.114) in 16-bit fixed point, rounded.
pub fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + (1 << 15)) >> 16) as u8
}

pub fn grey(image: &mut Planes<'_>) {
    image.map(|pixel| [luma(pixel); 3]);
}
