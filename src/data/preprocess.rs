//! From an image of any size to the network's input size.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::augmentation::Part;
use super::decode::View;

crate::config_choice! {
    /// How an image of another shape is brought to the input size.
    pub enum Resize {
        /// Height and width are scaled independently: nothing is cut off, proportions change.
        Stretch = "stretch",
        /// The shorter side is scaled to fit and the middle is cut out: proportions stay.
        Crop = "crop",
    }
}

crate::config_choice! {
    /// How pixels are resampled, antialiased as PIL does it.
    pub enum Interpolation {
        /// A triangle (tent) filter.
        Bilinear = "bilinear",
        /// Keys' cubic convolution with a = -0.5 (Catmull-Rom), as CLIP's images.
        Bicubic = "bicubic",
    }
}

crate::config_choice! {
    /// The order of the colour channels that the network was trained on.
    pub enum Channels {
        Rgb = "rgb",
        /// As OpenCV reads images.
        Bgr = "bgr",
    }
}

crate::config_struct! {
    /// How an image becomes network input: brought to a size, then (x / 255 - mean) / std.
    ///
    /// What is not stated is as the weights that `backbone.pretrained` names were trained; the input
    /// size of a `vit` kind is its `image_size`.
    pub struct PreprocessConfig {
        /// Height of the input, pixels.
        pub height: usize = 112, between(8, 4096);
        /// Width of the input, pixels.
        pub width: usize = 112, between(8, 4096);
        /// How an image of another shape is brought to that size.
        pub resize: Resize = Resize::Stretch;
        /// With `resize = "crop"`: what the shorter side is scaled to before the middle is cut out,
        /// pixels; 0: to the input size, so that as much as possible is kept.
        pub shorter_side: usize = 0, at_most(16384);
        /// How pixels are resampled.
        pub interpolation: Interpolation = Interpolation::Bilinear;
        /// Whether JPEG files of at least twice the input size are decoded at a half, a quarter or an
        /// eighth of their sides: faster, but other pixels, which published weights were not trained on.
        pub dct_scaling: bool = false;
        /// Order of the channels.
        pub channels: Channels = Channels::Rgb;
        /// Mean of each channel in that order, in units of the 0 to 1 range.
        pub mean: Vec<f64> = vec![0.5, 0.5, 0.5], that("three numbers", |v: &Vec<f64>| v.len() == 3);
        /// Standard deviation of each channel, in the same units.
        pub std: Vec<f64> = vec![0.5, 0.5, 0.5],
            that("three numbers above 0", |v: &Vec<f64>| v.len() == 3 && v.iter().all(|s| *s > 0.0));
    }
}

impl PreprocessConfig {
    /// What can't be together: (key below `preprocess`, message).
    pub fn conflict(&self) -> Option<(&'static str, String)> {
        let longer = self.height.max(self.width);
        match (self.shorter_side, self.resize) {
            (0, _) => None,
            (_, Resize::Stretch) => Some((
                "shorter_side",
                "is for resize = \"crop\"; set it to 0, or resize to \"crop\"".to_string(),
            )),
            (side, Resize::Crop) if side < longer => Some((
                "shorter_side",
                format!("is {side}, less than the {longer} pixels that are cut out: raise it"),
            )),
            _ => None,
        }
    }

    pub fn build(&self) -> Preprocess {
        let PreprocessConfig {
            height,
            width,
            resize,
            shorter_side,
            interpolation,
            dct_scaling,
            channels: order,
            mean,
            std,
        } = self;
        let channels = |values: &[f64]| [0, 1, 2].map(|channel| values[channel] as f32);
        Preprocess {
            height: *height,
            width: *width,
            resize: *resize,
            shorter_side: *shorter_side,
            interpolation: *interpolation,
            dct_scaling: *dct_scaling,
            channels: *order,
            mean: channels(mean),
            std: channels(std),
        }
    }
}

/// What the network expects of its input. `mean` and `std` are per channel, in units of the 0 to
/// 1 range; they are applied on the device, the loader delivers bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    pub height: usize,
    pub width: usize,
    pub resize: Resize,
    /// With `Crop`: length of the shorter side before the middle is cut out; 0: as the input needs.
    pub shorter_side: usize,
    pub interpolation: Interpolation,
    /// JPEG files may be decoded at a fraction of their size.
    pub dct_scaling: bool,
    /// The loader delivers RGB whatever this says; the order is changed on the device.
    pub channels: Channels,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Preprocess {
    /// The part of a `width x height` source that becomes the input: (left, top, width, height)
    /// in source pixels. For `Crop` it is what torchvision's `Resize` and `CenterCrop` keep.
    fn source_box(&self, width: usize, height: usize) -> (f64, f64, f64, f64) {
        if self.resize == Resize::Stretch {
            return (0.0, 0.0, width as f64, height as f64);
        }
        let (scaled_width, scaled_height) = self.scaled_size(width, height);
        let (step_x, step_y) =
            (width as f64 / scaled_width as f64, height as f64 / scaled_height as f64);
        let left = ((scaled_width - self.width) as f64 / 2.0).round_ties_even() * step_x;
        let top = ((scaled_height - self.height) as f64 / 2.0).round_ties_even() * step_y;
        let (box_width, box_height) = (self.width as f64 * step_x, self.height as f64 * step_y);
        (left, top, box_width.min(width as f64 - left), box_height.min(height as f64 - top))
    }

    /// The share of a `width x height` source's sides that the input size still needs; above 1 where it
    /// is enlarged.
    pub(super) fn needed(&self, width: usize, height: usize) -> f64 {
        let (scaled_width, scaled_height) = match self.resize {
            Resize::Stretch => (self.width, self.height),
            Resize::Crop => self.scaled_size(width, height),
        };
        (scaled_width as f64 / width as f64).max(scaled_height as f64 / height as f64)
    }

    /// (width, height) of a source when the middle is cut out.
    fn scaled_size(&self, width: usize, height: usize) -> (usize, usize) {
        if self.shorter_side > 0 {
            // torchvision's Resize: the longer side is rounded down.
            let long = |long: usize, short: usize| self.shorter_side * long / short;
            match width < height {
                true => (self.shorter_side, long(height, width)),
                false => (long(width, height), self.shorter_side),
            }
        } else if self.width * height >= self.height * width {
            (self.width, (self.width * height / width).max(self.height))
        } else {
            ((self.height * width / height).max(self.width), self.height)
        }
    }
}

fn source(image: View<'_>) -> ImageRef<'_> {
    ImageRef::new(image.width as u32, image.height as u32, image.pixels, PixelType::U8x3)
        .expect("an Rgb holds width x height pixels")
}

/// Antialiased resizing, as PIL's `BILINEAR` and `BICUBIC`, with buffers that are kept between images.
#[derive(Default)]
pub struct Scaler {
    resizer: Resizer,
    /// At the target's width and the source's height.
    narrow: Vec<u8>,
    scaled: Vec<u8>,
}

impl Scaler {
    /// The image at the input size, `height x width x 3`; one that has it already is not touched.
    pub fn scale<'a>(&'a mut self, image: View<'a>, to: &Preprocess) -> &'a [u8] {
        if (image.width, image.height) == (to.width, to.height) {
            return image.pixels;
        }
        let (left, top, width, height) = to.source_box(image.width, image.height);
        self.resample(&source(image), (left, top, width, height), image.height, to)
    }

    /// A part of the image at the input size. What lies outside has no weight in it, as if it were cut
    /// out first.
    pub fn scale_part(&mut self, image: View<'_>, part: Part, to: &Preprocess) -> &[u8] {
        let Part { left, top, width, height } = part;
        let whole = source(image);
        let [left, top] = [left, top].map(|length| length as u32);
        let cut = CroppedImage::new(&whole, left, top, width as u32, height as u32);
        let all = (0.0, 0.0, width as f64, height as f64);
        self.resample(&cut.expect("the part lies in the image"), all, height, to)
    }

    /// The box (left, top, width, height) of a source of `rows` rows at the input size, in PIL's order:
    /// rows first, rounded and cut to bytes, then columns. The last bit depends on it, and what a cubic
    /// filter overshoots.
    fn resample(
        &mut self,
        source: &impl IntoImageView,
        (left, top, width, height): (f64, f64, f64, f64),
        rows: usize,
        to: &Preprocess,
    ) -> &[u8] {
        let (filter, reach) = match to.interpolation {
            Interpolation::Bilinear => (FilterType::Bilinear, 1.0),
            Interpolation::Bicubic => (FilterType::CatmullRom, 2.0),
        };
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
        // Rows that no output pixel looks at are left out of the first pass.
        let reach = reach * (height / to.height as f64).max(1.0) + 1.0;
        let first = (top - reach).floor().max(0.0);
        let last = (top + height + reach).ceil().min(rows as f64);
        let Self { resizer, narrow, scaled } = self;
        let between = (last - first) as usize;
        let across = options.crop(left, first, width, last - first);
        resize(resizer, source, &across, (to.width, between), narrow);
        let narrowed = self::source(View { width: to.width, height: between, pixels: narrow });
        let down = options.crop(0.0, top - first, to.width as f64, height);
        resize(resizer, &narrowed, &down, (to.width, to.height), scaled);
        scaled
    }
}

/// Into `to`, at `width x height`.
fn resize(
    resizer: &mut Resizer,
    source: &impl IntoImageView,
    options: &ResizeOptions,
    (width, height): (usize, usize),
    to: &mut Vec<u8>,
) {
    to.resize(width * height * 3, 0);
    let mut target = Image::from_slice_u8(width as u32, height as u32, to, PixelType::U8x3)
        .expect("the buffer was sized for the target");
    resizer.resize(source, &mut target, options).expect("the box lies in the source");
}

#[cfg(test)]
mod tests {
    use super::super::decode::Rgb;
    use super::*;

    fn to(height: usize, width: usize, resize: Resize) -> Preprocess {
        PreprocessConfig { height, width, resize, ..PreprocessConfig::default() }.build()
    }

    fn gradient(width: usize, height: usize) -> Rgb {
        let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, 7];
        Rgb { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
    }

    #[test]
    fn the_input_size_is_left_alone() {
        let image = gradient(8, 6);
        for resize in [Resize::Stretch, Resize::Crop] {
            assert_eq!(Scaler::default().scale(image.view(), &to(6, 8, resize)), image.pixels);
        }
    }

    #[test]
    fn crop_keeps_the_middle() {
        // 20x10 to 10x10: the columns 5 to 14, unscaled.
        let image = gradient(20, 10);
        let mut scaler = Scaler::default();
        let cropped = scaler.scale(image.view(), &to(10, 10, Resize::Crop));
        assert_eq!(&cropped[..6], [5, 0, 7, 6, 0, 7]);
        assert_eq!(&cropped[297..], [14, 9, 7]);
        let stretched = scaler.scale(image.view(), &to(10, 10, Resize::Stretch));
        assert_eq!(&stretched[297..], [18, 9, 7]);
    }

    #[test]
    fn every_shape_fits() {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (3, 2), (97, 112), (113, 111)] {
            for resize in [Resize::Stretch, Resize::Crop] {
                let mut scaler = Scaler::default();
                let scaled =
                    scaler.scale(gradient(width, height).view(), &to(16, 12, resize)).to_vec();
                assert_eq!(scaled.len(), 16 * 12 * 3, "{width}x{height}");
                assert!(scaled.chunks(3).all(|p| p[2] == 7), "{width}x{height}");
            }
        }
    }
}
