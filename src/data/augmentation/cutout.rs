//! A rectangle of the image is erased (Zhong et al. 2017, arXiv:1708.04896; DeVries and Taylor 2017,
//! arXiv:1708.04552), as torchvision's `RandomErasing`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::dice::{Change, Dice, range};
use super::planes::Planes;
use super::rectangle::Rectangle;

crate::config_choice! {
    /// What an erased rectangle is filled with.
    pub enum CutoutFill {
        Black = "black",
        /// The middle of the range of values, 128.
        Grey = "grey",
        /// The image's mean colour.
        Mean = "mean",
        /// A random value for each pixel and channel.
        Noise = "noise",
    }
}

crate::config_struct! {
    /// A rectangle of the input is erased.
    pub struct Cutout {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
        /// Least and largest share of the image's area.
        pub area: Vec<f64> = vec![0.02, 0.33], range(0.001, 1.0);
        /// Least and largest width divided by height.
        pub ratio: Vec<f64> = vec![0.3, 3.3], range(0.05, 20.0);
        /// What it is filled with.
        pub fill: CutoutFill = CutoutFill::Black;
    }
}

/// What is erased of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hole {
    pub rectangle: Rectangle,
    pub fill: CutoutFill,
    /// Seed of the noise.
    pub noise: u64,
}

impl Cutout {
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Option<Hole> {
        let Self { share, area, ratio, fill } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::Cutout);
        dice.happens(*share).then(|| {
            let rectangle = Rectangle::draw(&mut dice, area, ratio);
            Hole { rectangle, fill: *fill, noise: dice.word() }
        })
    }
}

impl Hole {
    /// Erases the rectangle; where none fits the image stays as it is.
    pub fn erase(&self, image: &mut Planes<'_>) {
        let (width, size) = (image.width, image.height * image.width);
        let Some(part) = self.rectangle.within(width, image.height) else { return };
        let mut noise = ChaCha8Rng::seed_from_u64(self.noise);
        for plane in image.each() {
            let value = match self.fill {
                CutoutFill::Black | CutoutFill::Noise => 0,
                CutoutFill::Grey => 128,
                CutoutFill::Mean => {
                    let sum: u64 = plane.iter().map(|value| u64::from(*value)).sum();
                    ((sum + size as u64 / 2) / size as u64) as u8
                }
            };
            for line in part.top..part.top + part.height {
                let row = &mut plane[line * width + part.left..][..part.width];
                match self.fill {
                    CutoutFill::Noise => noise.fill_bytes(row),
                    _ => row.fill(value),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rectangle::Part;
    use super::*;

    #[test]
    fn each_fill_stays_inside() {
        let part = Part { left: 2, top: 1, width: 3, height: 4 };
        let before: Vec<u8> = (0..3 * 6 * 8).map(|i| i as u8).collect();
        for fill in CutoutFill::ALL {
            let mut pixels = before.clone();
            let rectangle = Rectangle::fixed(8, 6, part);
            let hole = Hole { rectangle, fill: *fill, noise: 7 };
            hole.erase(&mut Planes { pixels: &mut pixels, height: 6, width: 8 });
            let mut inside = Vec::new();
            for (i, (new, old)) in pixels.iter().zip(&before).enumerate() {
                let (x, y) = (i % 8, i / 8 % 6);
                match (2..5).contains(&x) && (1..5).contains(&y) {
                    true => inside.push(*new),
                    false => assert_eq!(new, old, "{fill} {x} {y}"),
                }
            }
            assert_eq!(inside.len(), 36);
            match fill {
                CutoutFill::Black => assert!(inside.iter().all(|v| *v == 0)),
                CutoutFill::Grey => assert!(inside.iter().all(|v| *v == 128)),
                // Means of 0 to 47, 48 to 95, 96 to 143, rounded up.
                CutoutFill::Mean => assert_eq!([inside[0], inside[12], inside[24]], [24, 72, 120]),
                CutoutFill::Noise => {
                    inside.sort_unstable();
                    inside.dedup();
                    assert!(inside.len() > 25);
                }
            }
        }
    }
}
