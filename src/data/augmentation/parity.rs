//! Each change against torchvision and PIL (tools/parity/augmentation.py).

use super::rectangle::Rectangle;
use super::*;
use crate::data::decode::{Rgb, decode};
use crate::data::preprocess::PreprocessConfig;
use crate::data::scaler::Scaler;
use std::path::Path;

/// Width and height of `source.png`.
const SIZE: (usize, usize) = (60, 45);

fn load(name: &str) -> Rgb {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bytes = std::fs::read(fixtures.join(name)).unwrap();
    let mut image = Rgb::default();
    decode(&bytes, &mut image).unwrap();
    image
}

/// Largest and mean difference of `actual` (`3 x height x width`) from the expected picture.
fn difference(name: &str, actual: &mut [u8]) -> (u8, f64) {
    let expected = load(&format!("augmentation/{name}.png"));
    let mut pixels = Vec::new();
    let (height, width) = (expected.height, expected.width);
    Planes { pixels: actual, height, width }.interleave(&mut pixels);
    let each = || pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = each().map(f64::from).sum();
    let result = (each().max().unwrap(), sum / pixels.len() as f64);
    eprintln!("{name}: largest {}, mean {:.4}", result.0, result.1);
    result
}

/// The same after one change to `source.png`.
fn changed(name: &str, draw: Draw) -> (u8, f64) {
    let source = load("data/source.png");
    assert_eq!((source.width, source.height), SIZE);
    let mut out = vec![0; source.pixels.len()];
    draw.apply(&source.pixels, source.height, source.width, &mut Scratch::default(), &mut out);
    difference(name, &mut out)
}

#[test]
fn a_resized_crop_is_torchvisions() {
    let source = load("data/source.png");
    for (left, top, width, height, size) in
        [(7, 4, 40, 30, (32, 32)), (0, 0, 20, 45, (45, 30)), (49, 32, 11, 13, (24, 28))]
    {
        let to = PreprocessConfig { height: size.0, width: size.1, ..Default::default() }.build();
        let part = Part { left, top, width, height };
        let mut scaler = Scaler::default();
        let scaled = scaler.scale_part(source.view(), part, &to);
        let mut planes = vec![0; scaled.len()];
        Planes { pixels: &mut planes, height: size.0, width: size.1 }.separate(scaled);
        // One rounding, as for any resizing.
        let name = format!("crop_{left}_{top}_{width}x{height}");
        assert!(difference(&name, &mut planes).0 <= 1, "{name}");
    }
}

#[test]
fn brightness_contrast_saturation_and_greyscale_are_pils_bits() {
    let jitter = |jitter| Draw { jitter: Some(jitter), ..Draw::NONE };
    for factor in [0.6, 1.4] {
        let name = |change: &str| format!("{change}_{factor}");
        let draw = jitter(Jitter { brightness: factor, ..Jitter::NONE });
        assert_eq!(changed(&name("brightness"), draw).0, 0);
        let draw = jitter(Jitter { contrast: factor, ..Jitter::NONE });
        assert_eq!(changed(&name("contrast"), draw).0, 0);
        let draw = jitter(Jitter { saturation: factor, ..Jitter::NONE });
        assert_eq!(changed(&name("saturation"), draw).0, 0);
    }
    assert_eq!(changed("greyscale", Draw { grey: true, ..Draw::NONE }).0, 0);
}

/// Both compute in float32 and cut off the same fraction, so a last bit moves a value by 1. PIL turns a
/// hue of 8 bits, which is coarse: colours differ more.
#[test]
fn hue_is_torchvisions_for_tensors() {
    let draw = |hue| Draw { jitter: Some(Jitter { hue, ..Jitter::NONE }), ..Draw::NONE };
    for hue in [-0.1, 0.4] {
        let (largest, mean) = changed(&format!("hue_{hue}"), draw(hue));
        assert!(largest <= 1 && mean < 0.01, "{hue}");
    }
    let (largest, mean) = changed("hue_pil_-0.1", draw(-0.1));
    assert!(largest <= 12 && mean < 2.0);
}

/// Sums in float32 in another order, then one rounding.
#[test]
fn blur_is_torchvisions() {
    for sigma in [0.4, 2.0] {
        let draw = Draw { blur: Some(sigma), ..Draw::NONE };
        let (largest, mean) = changed(&format!("blur_{sigma:?}"), draw);
        assert!(largest <= 1 && mean < 0.01, "{sigma}");
    }
}

/// Two resizings with a rounding each; the second takes weighted means of the first one's.
#[test]
fn low_resolution_is_pils_down_and_up() {
    for side in [20, 9] {
        let draw = Draw { low_resolution: Some(side), ..Draw::NONE };
        assert!(changed(&format!("low_resolution_{side}"), draw).0 <= 2, "{side}");
    }
}

#[test]
fn jpeg_is_libjpeg_turbos_bits() {
    for quality in [10, 30, 75, 95] {
        let draw = Draw { jpeg: Some(quality), ..Draw::NONE };
        assert_eq!(changed(&format!("jpeg_{quality}"), draw).0, 0, "{quality}");
    }
}

#[test]
fn cutout_is_torchvisions_erase() {
    let part = Part { left: 14, top: 9, width: 31, height: 20 };
    let rectangle = Rectangle::fixed(SIZE.0, SIZE.1, part);
    let hole = Hole { rectangle, fill: CutoutFill::Black, noise: 0 };
    assert_eq!(changed("cutout", Draw { hole: Some(hole), ..Draw::NONE }).0, 0);
}
