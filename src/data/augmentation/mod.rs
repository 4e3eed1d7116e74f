//! Random changes to training images, one file for each.
//!
//! They come in this order, whichever of them happen: a part of the source image scaled to the
//! input size, rotation, flip, colour jitter, greyscale, blur, low resolution, JPEG, cutout. So
//! geometry is resampled from the sharpest image there is, and what a camera or a file format does to
//! an image comes after what the world does.
//!
//! Every choice derives from (seed, epoch, sample), so neither the number of loader threads nor
//! a resume in mid-epoch changes a pixel; see [`dice`] for how the changes are kept apart.

mod blur;
mod color_jitter;
mod cutout;
mod dice;
mod flip;
mod greyscale;
mod jpeg;
mod low_resolution;
#[cfg(test)]
mod parity;
mod planes;
mod rectangle;
mod resized_crop;
mod rotation;
#[cfg(test)]
mod tests;

pub use blur::Blur;
pub use color_jitter::{ColorJitter, Jitter};
pub use cutout::{Cutout, CutoutFill, Hole};
pub use greyscale::Greyscale;
pub use jpeg::Jpeg;
pub use low_resolution::LowResolution;
pub use rectangle::Part;
pub use resized_crop::{Crop, ResizedCrop};

use super::decode::View;
use crate::torch::vector::{Loop, widest};
use dice::{Change, Dice};
use planes::Planes;

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
        /// Largest rotation to either side, in degrees; the angle is uniform, pixels are bilinear.
        pub rotation: f64 = 10.0, between(0.0, 180.0);
        /// Share of the samples that are rotated.
        pub rotation_share: f64 = 0.75, between(0.0, 1.0);
        /// What a rotation puts where the image does not reach.
        pub rotation_fill: RotationFill = RotationFill::Black;
        /// A random part of the source image, scaled to the input size.
        pub resized_crop: ResizedCrop = ResizedCrop::default();
        /// Brightness, contrast, saturation and hue.
        pub color_jitter: ColorJitter = ColorJitter::default();
        /// Colour to grey.
        pub greyscale: Greyscale = Greyscale::default();
        /// Gaussian blur.
        pub blur: Blur = Blur::default();
        /// Down to a few pixels and up again.
        pub low_resolution: LowResolution = LowResolution::default();
        /// Compression as JPEG.
        pub jpeg: Jpeg = Jpeg::default();
        /// An erased rectangle.
        pub cutout: Cutout = Cutout::default();
    }
}

/// What happens to one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The part of the source image that becomes the input.
    pub crop: Option<Crop>,
    /// Degrees, counter-clockwise, before the flip; 0 leaves the pixels alone.
    pub angle: f64,
    pub fill: RotationFill,
    pub flip: bool,
    pub jitter: Option<Jitter>,
    pub grey: bool,
    /// Standard deviation, pixels.
    pub blur: Option<f64>,
    /// Length of the shorter side, pixels.
    pub low_resolution: Option<usize>,
    /// Quality, 1 to 100.
    pub jpeg: Option<usize>,
    pub hole: Option<Hole>,
}

impl Augmentation {
    /// The choices for `sample` in `epoch`. Each change has random numbers of its own, so that
    /// switching one off leaves the others as they were.
    pub fn draw(&self, seed: u64, epoch: usize, sample: u64) -> Draw {
        let Augmentation {
            horizontal_flip,
            rotation,
            rotation_share,
            rotation_fill,
            resized_crop,
            color_jitter,
            greyscale,
            blur,
            low_resolution,
            jpeg,
            cutout,
        } = self;
        let mut dice = Dice::new(seed, epoch, sample, Change::FlipAndRotation);
        let flip = dice.happens(*horizontal_flip);
        let rotated = dice.happens(*rotation_share);
        let angle = (2.0 * dice.uniform() - 1.0) * rotation;
        Draw {
            crop: resized_crop.draw(seed, epoch, sample),
            angle: if rotated { angle } else { 0.0 },
            fill: *rotation_fill,
            flip,
            jitter: color_jitter.draw(seed, epoch, sample),
            grey: greyscale.draw(seed, epoch, sample),
            blur: blur.draw(seed, epoch, sample),
            low_resolution: low_resolution.draw(seed, epoch, sample),
            jpeg: jpeg.draw(seed, epoch, sample),
            hole: cutout.draw(seed, epoch, sample),
        }
    }
}

/// One thread's working buffers; nothing is allocated per image once they have grown.
#[derive(Default)]
pub struct Scratch {
    rotator: rotation::Rotator,
    blurrer: blur::Blurrer,
    degrader: low_resolution::Degrader,
    recompressor: jpeg::Recompressor,
}

impl Draw {
    /// No change.
    pub const NONE: Draw = Draw {
        crop: None,
        angle: 0.0,
        fill: RotationFill::Black,
        flip: false,
        jitter: None,
        grey: false,
        blur: None,
        low_resolution: None,
        jpeg: None,
        hole: None,
    };

    /// Writes `image` (`height x width x 3`) with the changes that follow its scaling to `out`
    /// (`3 x height x width`).
    pub fn apply(
        &self,
        image: &[u8],
        height: usize,
        width: usize,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) {
        // What is left out here, the crop, comes with the scaling.
        let Draw { crop: _, angle, fill, flip, jitter, grey, blur, low_resolution, jpeg, hole } =
            self;
        let Scratch { rotator, blurrer, degrader, recompressor } = scratch;
        let mut out = Planes { pixels: out, height, width };
        let image = View { width, height, pixels: image };
        let (angle, fill, flip) = (*angle, *fill, *flip);
        widest(Geometry { image, rotator, angle, fill, flip, out: &mut out });
        if let Some(jitter) = jitter {
            jitter.apply(&mut out);
        }
        if *grey {
            greyscale::grey(&mut out);
        }
        if let Some(sigma) = blur {
            blurrer.blur(&mut out, *sigma);
        }
        if let Some(side) = low_resolution {
            degrader.degrade(&mut out, *side);
        }
        if let Some(quality) = jpeg {
            recompressor.recompress(&mut out, *quality);
        }
        if let Some(hole) = hole {
            hole.erase(&mut out);
        }
    }
}

/// Rotation, flip, and into the batch's layout.
struct Geometry<'a, 'b> {
    image: View<'a>,
    rotator: &'a mut rotation::Rotator,
    angle: f64,
    fill: RotationFill,
    flip: bool,
    out: &'a mut Planes<'b>,
}

impl Loop for Geometry<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let Geometry { image, rotator, angle, fill, flip, out } = self;
        if angle != 0.0 {
            rotator.rotate(image, angle, fill, flip, out.pixels);
            return;
        }
        out.separate(image.pixels);
        if flip {
            flip::flip(out);
        }
    }
}
