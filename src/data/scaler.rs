//! From an image of any size to the network's input size.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::augmentation::Part;
use super::decode::View;
use super::preprocess::{Interpolation, Preprocess};
use super::windows::windows;
use crate::torch::rows::{self, Weights};

fn source(image: View<'_>) -> ImageRef<'_> {
    ImageRef::new(image.width as u32, image.height as u32, image.pixels, PixelType::U8x3)
        .expect("an Rgb holds width x height pixels")
}

/// Antialiased resizing, as PIL's `BILINEAR` and `BICUBIC`, with buffers that are kept between images.
#[derive(Default)]
pub struct Scaler {
    resizer: Resizer,
    across: Across,
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
        let part = Part { left: 0, top: 0, width: image.width, height: image.height };
        self.resample(image, part, to.source_box(image.width, image.height), to)
    }

    /// A part of the image at the input size. What lies outside has no weight in it, as if it were cut
    /// out first.
    pub fn scale_part(&mut self, image: View<'_>, part: Part, to: &Preprocess) -> &[u8] {
        let all = (0.0, 0.0, part.width as f64, part.height as f64);
        self.resample(image, part, all, to)
    }

    /// The box (left, top, width, height) of a part of the image at the input size, in PIL's order:
    /// rows first, rounded and cut to bytes, then columns. The last bit depends on it, and what a cubic
    /// filter overshoots.
    fn resample(
        &mut self,
        image: View<'_>,
        part: Part,
        (left, top, width, height): (f64, f64, f64, f64),
        to: &Preprocess,
    ) -> &[u8] {
        // Rows that no output pixel looks at are left out of the first pass.
        let reach = to.interpolation.reach() * (height / to.height as f64).max(1.0) + 1.0;
        let first = (top - reach).floor().max(0.0);
        let last = (top + height + reach).ceil().min(part.height as f64);
        let Self { resizer, across, narrow, scaled } = self;
        let rows = Part { top: part.top + first as usize, height: (last - first) as usize, ..part };
        if !across.narrow(image, rows, (left, width), to, narrow) {
            narrow_plainly(resizer, image, rows, (left, width), to, narrow);
        }
        let narrowed = View { width: to.width, height: rows.height, pixels: narrow };
        let down = options(to).crop(0.0, top - first, to.width as f64, height);
        resize(resizer, &source(narrowed), &down, (to.width, to.height), scaled);
        scaled
    }
}

fn options(to: &Preprocess) -> ResizeOptions {
    let filter = match to.interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false)
}

/// `left..left + width` of each row of a part at the target's width.
fn narrow_plainly(
    resizer: &mut Resizer,
    image: View<'_>,
    part: Part,
    (left, width): (f64, f64),
    to: &Preprocess,
    narrow: &mut Vec<u8>,
) {
    let whole = source(image);
    let [x, y, part_width, part_height] =
        [part.left, part.top, part.width, part.height].map(|length| length as u32);
    let cut = CroppedImage::new(&whole, x, y, part_width, part_height);
    let across = options(to).crop(left, 0.0, width, part.height as f64);
    let cut = cut.expect("the part lies in the image");
    resize(resizer, &cut, &across, (to.width, part.height), narrow);
}

/// The same, bit for bit, in half of the time where there is AVX2.
#[derive(Default)]
struct Across {
    /// Those of the last image, which mostly fit the next one.
    weights: Option<(Fit, Option<Weights>)>,
}

/// What weights depend on.
#[derive(PartialEq)]
struct Fit {
    source: usize,
    place: (f64, f64),
    target: usize,
    interpolation: Interpolation,
}

impl Across {
    /// False, and nothing done, where it can't.
    fn narrow(
        &mut self,
        image: View<'_>,
        part: Part,
        place: (f64, f64),
        to: &Preprocess,
        narrow: &mut Vec<u8>,
    ) -> bool {
        let copies = place.1 == to.width as f64 && place.0.fract() == 0.0;
        if copies || !rows::available() {
            return false;
        }
        let (source, target, interpolation) = (part.width, to.width, to.interpolation);
        let fit = Fit { source, place, target, interpolation };
        if self.weights.as_ref().is_none_or(|(last, _)| *last != fit) {
            let weights = Weights::new(source, &windows(source, place, target, interpolation));
            self.weights = Some((fit, weights));
        }
        let Some((_, Some(weights))) = &self.weights else { return false };
        let begin = 3 * (part.top * image.width + part.left);
        rows::weigh(&image.pixels[begin..], 3 * image.width, part.height, weights, narrow);
        true
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
    use super::*;
    use crate::data::decode::Rgb;
    use crate::data::{PreprocessConfig, Resize};

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

    /// Enlarged and made smaller, whole and in part, and the rows of a file's end.
    #[test]
    fn rows_are_narrowed_to_the_same_bits_with_and_without_avx2() {
        if !rows::available() {
            eprintln!("skipped: no AVX2");
            return;
        }
        let mut noise = 1_u64;
        let mut byte = || {
            noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (noise >> 56) as u8
        };
        let (width, height) = (97, 23);
        let pixels: Vec<u8> = (0..3 * width * height).map(|_| byte()).collect();
        let image = View { width, height, pixels: &pixels };
        let mut across = Across::default();
        let (mut done, mut fast, mut plain) = (0, Vec::new(), Vec::new());
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for target in [1, 5, 16, 31, 48, 96, 97, 98, 200] {
                for (left, part_width) in [(0, 97), (3, 90), (40, 57), (60, 12), (95, 2)] {
                    for (top, rows) in [(0, 23), (1, 22), (5, 7), (22, 1)] {
                        for place in [(0.0, part_width as f64), (0.37, part_width as f64 * 0.7)] {
                            let part = Part { left, top, width: part_width, height: rows };
                            let mut to = to(8, target, Resize::Stretch);
                            to.interpolation = interpolation;
                            if across.narrow(image, part, place, &to, &mut fast) {
                                let resizer = &mut Resizer::new();
                                narrow_plainly(resizer, image, part, place, &to, &mut plain);
                                assert_eq!(
                                    fast, plain,
                                    "{interpolation} {target} {part:?} {place:?}"
                                );
                                done += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(done > 300, "{done}");
    }
}
