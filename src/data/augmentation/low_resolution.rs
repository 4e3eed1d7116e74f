//! A face from far away: the image is scaled down and up again.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::dice::{Change, Dice, range};
use super::planes::Planes;

crate::config_struct! {
    /// The input is scaled down and up again, antialiased bilinear both times.
    pub struct LowResolution {
        /// Share of the samples that it happens to.
        pub share: f64 = 0.0, between(0.0, 1.0);
        /// Least and largest length of the shorter side in between, pixels; an image that is no longer
        /// stays as it is.
        pub side: Vec<usize> = vec![16, 56], range(1, 4096);
    }
}

impl LowResolution {
    /// The shorter side.
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Option<usize> {
        let Self { share, side } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::LowResolution);
        dice.happens(*share).then(|| dice.whole(side[0], side[1]))
    }
}

/// Keeps its working buffers between images.
#[derive(Default)]
pub struct Degrader {
    resizer: Resizer,
    small: Vec<u8>,
}

impl Degrader {
    /// Down to `side` pixels along the shorter side, and up to the size it had.
    pub fn degrade(&mut self, image: &mut Planes<'_>, side: usize) {
        let (height, width) = (image.height, image.width);
        let shorter = height.min(width);
        if side >= shorter {
            return;
        }
        // The longer side is rounded to the nearest pixel.
        let scaled = |length: usize| ((2 * length * side + shorter) / (2 * shorter)).max(1) as u32;
        let small = (scaled(width), scaled(height));
        let whole = (width as u32, height as u32);
        self.small.resize((small.0 * small.1) as usize, 0);
        let algorithm = ResizeAlg::Convolution(FilterType::Bilinear);
        let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        let mut scale = |from: &[u8], size: (u32, u32), to: &mut [u8], to_size: (u32, u32)| {
            let source = ImageRef::new(size.0, size.1, from, PixelType::U8)
                .expect("a plane holds width x height pixels");
            let mut target = Image::from_slice_u8(to_size.0, to_size.1, to, PixelType::U8)
                .expect("the buffer was sized for the target");
            self.resizer.resize(&source, &mut target, &options).expect("both are of one kind");
        };
        for plane in image.each() {
            scale(plane, whole, &mut self.small, small);
            scale(&self.small, small, plane, whole);
        }
    }
}
