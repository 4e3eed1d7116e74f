//! Gaussian blur as torchvision's `gaussian_blur`: a sampled Gaussian, the image mirrored at its
//! edges without repeating them.
//!
//! Differs from the reference in: the kernel reaches three standard deviations to either side, where
//! torchvision wants its size to be stated; rows and columns are filtered one after the other.

use super::dice::{Change, Dice, range};
use super::planes::Planes;

crate::config_struct! {
    /// Gaussian blur.
    pub struct Blur {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
        /// Least and largest standard deviation, pixels of the input.
        pub sigma: Vec<f64> = vec![0.1, 2.0], range(0.01, 64.0);
    }
}

impl Blur {
    /// The standard deviation.
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Option<f64> {
        let Self { share, sigma } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::Blur);
        dice.happens(*share).then(|| dice.between(sigma[0], sigma[1]))
    }
}

/// Keeps its working buffers between images.
#[derive(Default)]
pub struct Blurrer {
    kernel: Vec<f32>,
    plane: Vec<f32>,
    /// One row, filtered along the columns, with its mirrored ends.
    row: Vec<f32>,
    sums: Vec<f32>,
}

impl Blurrer {
    pub fn blur(&mut self, image: &mut Planes<'_>, sigma: f64) {
        let (height, width) = (image.height, image.width);
        // A mirrored edge is no wider than the image without its last line.
        let reach = ((3.0 * sigma).ceil() as usize).min(height - 1).min(width - 1);
        self.fill_kernel(reach, sigma);
        let Self { kernel, plane, row, sums } = self;
        row.resize(width + 2 * reach, 0.0);
        sums.resize(width, 0.0);
        for pixels in image.each() {
            plane.clear();
            plane.extend(pixels.iter().map(|value| f32::from(*value)));
            for y in 0..height {
                let inner = &mut row[reach..reach + width];
                inner.fill(0.0);
                for (step, weight) in kernel.iter().enumerate() {
                    let line = mirrored(y + step, reach, height) * width;
                    add(inner, &plane[line..line + width], *weight);
                }
                for x in 0..reach {
                    row[x] = row[reach + mirrored(x, reach, width)];
                    row[reach + width + x] = row[reach + mirrored(reach + width + x, reach, width)];
                }
                sums.fill(0.5);
                for (step, weight) in kernel.iter().enumerate() {
                    add(sums, &row[step..step + width], *weight);
                }
                let out = &mut pixels[y * width..(y + 1) * width];
                out.iter_mut().zip(&*sums).for_each(|(out, sum)| *out = *sum as u8);
            }
        }
    }

    /// The Gaussian at whole pixels, its sum 1.
    fn fill_kernel(&mut self, reach: usize, sigma: f64) {
        let density = |step: usize| {
            let distance = (step as f64 - reach as f64) / sigma;
            (-0.5 * distance * distance).exp()
        };
        let sum: f64 = (0..=2 * reach).map(density).sum();
        self.kernel.clear();
        self.kernel.extend((0..=2 * reach).map(|step| (density(step) / sum) as f32));
    }
}

fn add(sums: &mut [f32], values: &[f32], weight: f32) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

/// The pixel that stands at `place - reach`, mirrored at 0 and at the last one.
fn mirrored(place: usize, reach: usize, length: usize) -> usize {
    let from_start = place.abs_diff(reach);
    if place < reach + length { from_start } else { 2 * (length - 1) - from_start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_mirrored_without_repeating_them() {
        let places: Vec<_> = (0..9).map(|place| mirrored(place, 2, 5)).collect();
        assert_eq!(places, [2, 1, 0, 1, 2, 3, 4, 3, 2]);
    }

    #[test]
    fn one_colour_stays_and_a_wide_kernel_fits_a_small_image() {
        let mut pixels = vec![255; 3 * 2 * 9];
        let mut blurrer = Blurrer::default();
        for sigma in [0.01, 1.0, 60.0] {
            blurrer.blur(&mut Planes { pixels: &mut pixels, height: 2, width: 9 }, sigma);
            assert!(pixels.iter().all(|value| *value == 255), "{sigma}");
        }
    }
}
