//! Random changes to training images: horizontal flip and rotation about the centre.
//!
//! Every choice derives from (seed, epoch, sample), so neither the number of loader threads nor
//! a resume in mid-epoch changes a pixel.

use rand_chacha::rand_core::Rng;

use super::rotate::Rotator;
use crate::random::{Stream, rng};

crate::config_choice! {
    /// What a rotation puts where the image does not reach.
    pub enum RotationFill {
        /// Black, as torchvision's RandomRotation and the padding of aligned face crops.
        Black = "black",
        /// The nearest pixel of the image.
        Edge = "edge",
    }
}

crate::config_struct! {
    /// Random changes to training images; validation and evaluation never see them.
    pub struct Augmentation {
        /// Probability of a mirror image.
        pub horizontal_flip: f64 = 0.5, between(0.0, 1.0);
        /// Largest rotation to either side, in degrees; the angle is uniform.
        pub rotation: f64 = 10.0, between(0.0, 180.0);
        /// Share of the samples that are rotated.
        pub rotation_share: f64 = 0.75, between(0.0, 1.0);
        /// What a rotation puts where the image does not reach.
        pub rotation_fill: RotationFill = RotationFill::Black;
    }
}

/// What happens to one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    pub flip: bool,
    /// Degrees, counter-clockwise, before the flip; 0 leaves the pixels alone.
    pub angle: f64,
    pub fill: RotationFill,
}

impl Augmentation {
    /// The choices for `sample` in `epoch`. It always takes the same numbers, so that switching
    /// one change off leaves the others as they were.
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Draw {
        let mut rng = rng(seed, Stream::Augment, epoch as u64, sample);
        let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (flip, rotate, angle) = (uniform(), uniform(), uniform());
        let rotated = rotate < self.rotation_share;
        Draw {
            flip: flip < self.horizontal_flip,
            angle: if rotated { (2.0 * angle - 1.0) * self.rotation } else { 0.0 },
            fill: self.rotation_fill,
        }
    }
}

impl Draw {
    /// No change.
    pub const NONE: Draw = Draw { flip: false, angle: 0.0, fill: RotationFill::Black };

    /// Writes `image` (`height x width x 3`) with the changes applied to `out`
    /// (`3 x height x width`).
    pub fn apply(
        &self,
        image: &[u8],
        height: usize,
        width: usize,
        rotator: &mut Rotator,
        out: &mut [u8],
    ) {
        if self.angle == 0.0 {
            to_planes(image, out);
        } else {
            rotator.rotate(image, height, width, self.angle, self.fill, out);
        }
        if self.flip {
            out.chunks_exact_mut(width).for_each(|row| row.reverse());
        }
    }
}

fn to_planes(image: &[u8], out: &mut [u8]) {
    let (red, rest) = out.split_at_mut(image.len() / 3);
    let (green, blue) = rest.split_at_mut(image.len() / 3);
    for (((pixel, r), g), b) in image.chunks_exact(3).zip(red).zip(green).zip(blue) {
        (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_range_are_as_configured() {
        let augmentation = Augmentation::default();
        let draws: Vec<_> = (0..20_000).map(|i| augmentation.draw(1, 0, i)).collect();
        let share = |f: fn(&Draw) -> bool| draws.iter().filter(|d| f(d)).count() as f64 / 20_000.0;
        assert!((share(|d| d.flip) - 0.5).abs() < 0.02);
        assert!((share(|d| d.angle != 0.0) - 0.75).abs() < 0.02);
        assert!((share(|d| d.angle > 5.0) - 0.1875).abs() < 0.02);
        assert!(draws.iter().all(|d| d.angle.abs() <= 10.0));
    }

    #[test]
    fn a_choice_depends_on_seed_epoch_and_sample_only() {
        let augmentation = Augmentation::default();
        let draw = augmentation.draw(1, 2, 3);
        assert_eq!(augmentation.draw(1, 2, 3), draw);
        assert_ne!(augmentation.draw(2, 2, 3), draw);
        assert_ne!(augmentation.draw(1, 3, 3), draw);
        assert_ne!(augmentation.draw(1, 2, 4), draw);
        let no_flip = Augmentation { horizontal_flip: 0.0, ..Augmentation::default() };
        assert_eq!(no_flip.draw(1, 2, 3).angle, draw.angle);
    }

    #[test]
    fn a_flip_mirrors_each_row() {
        let image: Vec<u8> = (0..2 * 3 * 3).collect();
        let mut out = vec![0; image.len()];
        let draw = Draw { flip: true, ..Draw::NONE };
        draw.apply(&image, 2, 3, &mut Rotator::default(), &mut out);
        assert_eq!(out, [6, 3, 0, 15, 12, 9, 7, 4, 1, 16, 13, 10, 8, 5, 2, 17, 14, 11]);
    }
}
