//! Brightness, contrast, saturation and hue, by factors as torchvision's `ColorJitter` draws them.
//!
//! Differs from the reference in: the four come in this order instead of a random one. Brightness,
//! contrast and saturation give PIL's values (`ImageEnhance`); hue is turned in float, as torchvision
//! does for tensors, where its way over PIL rounds hue and saturation to 8 bits first.

use super::dice::{Change, Dice};
use super::greyscale::luma;
use super::planes::Planes;

crate::config_struct! {
    /// Brightness, contrast, saturation and hue change, in this order.
    pub struct ColorJitter {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
        /// The brightness is multiplied by 1 - this to 1 + this (0 at least).
        pub brightness: f64 = 0.4, between(0.0, 4.0);
        /// The same of the distance from the image's mean luma.
        pub contrast: f64 = 0.4, between(0.0, 4.0);
        /// The same of the distance from the pixel's luma.
        pub saturation: f64 = 0.4, between(0.0, 4.0);
        /// The hue turns to either side by up to this share of the colour circle.
        pub hue: f64 = 0.1, between(0.0, 0.5);
    }
}

/// What happens to the colours of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Factors; 1 changes nothing.
    pub brightness: f64,
    pub contrast: f64,
    pub saturation: f64,
    /// Turn of the hue; 1 is once around.
    pub hue: f64,
}

impl ColorJitter {
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Option<Jitter> {
        let Self { share, brightness, contrast, saturation, hue } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::ColorJitter);
        dice.happens(*share).then(|| {
            let mut factor = |reach: &f64| dice.between((1.0 - reach).max(0.0), 1.0 + reach);
            let (brightness, contrast, saturation) =
                (factor(brightness), factor(contrast), factor(saturation));
            Jitter { brightness, contrast, saturation, hue: dice.between(-hue, *hue) }
        })
    }
}

impl Jitter {
    /// No change.
    pub const NONE: Jitter = Jitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.0 };

    pub fn apply(&self, image: &mut Planes<'_>) {
        if self.brightness != 1.0 {
            by_table(image, self.brightness, 0);
        }
        if self.contrast != 1.0 {
            let mean = mean_luma(image);
            by_table(image, self.contrast, mean);
        }
        if self.saturation != 1.0 {
            let factor = self.saturation as f32;
            image.map(|pixel| {
                let grey = luma(pixel);
                pixel.map(|value| from(grey, value, factor))
            });
        }
        if self.hue != 0.0 {
            let sixths = 6.0 * self.hue as f32;
            image.map(|pixel| turn(pixel, sixths));
        }
    }
}

/// `factor` times as far from `base`; truncated, as PIL blends.
fn from(base: u8, value: u8, factor: f32) -> u8 {
    (f32::from(base) + factor * (f32::from(value) - f32::from(base))) as u8
}

fn by_table(image: &mut Planes<'_>, factor: f64, base: u8) {
    let table: [u8; 256] = std::array::from_fn(|value| from(base, value as u8, factor as f32));
    image.pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

fn mean_luma(image: &mut Planes<'_>) -> u8 {
    let size = image.height * image.width;
    let [red, green, blue] = image.each();
    let lumas = red.iter().zip(green).zip(blue).map(|((r, g), b)| luma([*r, *g, *b]));
    let sum: u64 = lumas.map(u64::from).sum();
    (sum as f64 / size as f64 + 0.5) as u8
}

/// Turns the hue by `sixths` of the colour circle. A hue is where a pixel stands between the six pure
/// and mixed colours; each channel is at the maximum for two sixths, at the minimum for two, and goes
/// straight between them (Smith 1978).
fn turn(pixel: [u8; 3], sixths: f32) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f32::from);
    let most = red.max(green).max(blue);
    let range = most - red.min(green).min(blue);
    if range == 0.0 {
        return pixel;
    }
    let hue = if most == red {
        (green - blue) / range
    } else if most == green {
        (blue - red) / range + 2.0
    } else {
        (red - green) / range + 4.0
    };
    // Offsets at which red, green and blue begin to fall.
    [5.0, 3.0, 1.0].map(|offset| {
        let at = (hue + sixths + offset).rem_euclid(6.0);
        let fallen = at.min(4.0 - at).clamp(0.0, 1.0);
        // torchvision's way from 0 to 1 to bytes: 256 equal steps, the last one closed.
        ((most - range * fallen) * (255.999 / 255.0)) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_colours_turn_into_each_other() {
        assert_eq!(turn([255, 0, 0], 2.0), [0, 255, 0]);
        assert_eq!(turn([255, 0, 0], -2.0), [0, 0, 255]);
        assert_eq!(turn([255, 255, 0], 3.0), [0, 0, 255]);
        assert_eq!(turn([90, 90, 90], 1.7), [90, 90, 90]);
    }

    #[test]
    fn no_change_is_none() {
        let before: Vec<u8> = (0..3 * 7 * 9).map(|i| (i * 37 % 256) as u8).collect();
        let mut pixels = before.clone();
        Jitter::NONE.apply(&mut Planes { pixels: &mut pixels, height: 7, width: 9 });
        assert_eq!(pixels, before);
    }
}
