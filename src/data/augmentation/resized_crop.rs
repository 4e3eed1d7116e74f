//! A random part of the source image instead of the whole, scaled to the input size (Szegedy et al.
//! 2015, arXiv:1409.4842), as torchvision's `RandomResizedCrop`.

use super::dice::{Change, Dice, range};
use super::rectangle::{Part, Rectangle};

crate::config_struct! {
    /// A random part of the source image is scaled to the input size, in the one resampling that
    /// every image goes through; `preprocess.resize` then has no say.
    pub struct ResizedCrop {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
        /// Least and largest share of the source's area.
        pub area: Vec<f64> = vec![0.5, 1.0], range(0.001, 1.0);
        /// Least and largest width divided by height, in pixels of the source.
        pub ratio: Vec<f64> = vec![0.75, 1.3333], range(0.05, 20.0);
    }
}

/// The part of one sample's source image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    pub rectangle: Rectangle,
    /// For an image that no try fits into.
    pub ratio: (f64, f64),
}

impl ResizedCrop {
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Option<Crop> {
        let Self { share, area, ratio } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::ResizedCrop);
        dice.happens(*share).then(|| Crop {
            rectangle: Rectangle::draw(&mut dice, area, ratio),
            ratio: (ratio[0], ratio[1]),
        })
    }
}

impl Crop {
    /// What is kept of a source of this size. Where no try fits: the largest part in the middle
    /// whose shape is allowed.
    pub fn part(&self, width: usize, height: usize) -> Part {
        self.rectangle.within(width, height).unwrap_or_else(|| {
            let shape = width as f64 / height as f64;
            let long = |length: f64| (length.round_ties_even() as usize).max(1);
            let (w, h) = if shape < self.ratio.0 {
                (width, long(width as f64 / self.ratio.0).min(height))
            } else if shape > self.ratio.1 {
                (long(height as f64 * self.ratio.1).min(width), height)
            } else {
                (width, height)
            };
            Part { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_no_try_fits_gives_its_middle() {
        let config = ResizedCrop { share: 1.0, area: vec![0.9, 1.0], ..ResizedCrop::default() };
        let crop = config.draw(1, 2, 3).unwrap();
        let part = |left, top, width, height| Part { left, top, width, height };
        assert_eq!(crop.part(400, 30), part(180, 0, 40, 30));
        assert_eq!(crop.part(30, 400), part(0, 180, 30, 40));
        assert_eq!(crop.part(1, 1), part(0, 0, 1, 1));
    }
}
