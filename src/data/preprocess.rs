//! What becomes of an image of any size before the network gets it.

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
    pub(super) fn source_box(&self, width: usize, height: usize) -> (f64, f64, f64, f64) {
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
