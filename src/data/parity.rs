//! Decoding, resizing and rotating against PIL and torchvision (tools/parity/data.py), and what
//! broken files do.

use std::path::{Path, PathBuf};

use super::augmentation::{Draw, RotationFill};
use super::decode::{Rgb, decode};
use super::preprocess::{Interpolation, PreprocessConfig, Resize};
use super::render::Renderer;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data")
}

fn load(name: &str) -> Rgb {
    let bytes = std::fs::read(fixtures().join(name)).unwrap();
    let mut image = Rgb::default();
    decode(&bytes, &mut image).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    image
}

/// Largest and mean difference from the expected picture.
fn difference(name: &str, actual: &Rgb) -> (u8, f64) {
    let expected = load(&format!("{name}.expected.png"));
    assert_eq!((actual.width, actual.height), (expected.width, expected.height), "{name}");
    let each = || actual.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = each().map(f64::from).sum();
    let result = (each().max().unwrap(), sum / expected.pixels.len() as f64);
    eprintln!("{name}: largest {}, mean {:.3}", result.0, result.1);
    result
}

/// `source.png` through the whole path of a sample, back in interleaved order.
fn rendered(height: usize, width: usize, resize: Resize, draw: Draw) -> Rgb {
    prepared(&PreprocessConfig { height, width, resize, ..Default::default() }, draw)
}

fn prepared(to: &PreprocessConfig, draw: Draw) -> Rgb {
    let PreprocessConfig { height, width, .. } = *to;
    let to = to.build();
    let mut planes = vec![0; 3 * height * width];
    Renderer::default()
        .render(&fixtures().join("source.png").into(), &to, &draw, &mut planes)
        .unwrap();
    let pixel = |i: usize| [0, 1, 2].map(|c| planes[c * height * width + i]);
    Rgb { width, height, pixels: (0..height * width).flat_map(pixel).collect() }
}

#[test]
fn lossless_formats_are_exact() {
    for name in [
        "palette.png",
        "grey.png",
        "plain.bmp",
        "plain.ppm",
        "grey.pgm",
        "plain.webp",
        "alpha.png",
        "colour16.png",
        "grey16.png",
    ] {
        // PIL's compositing rounds differently.
        let allowed = if name == "alpha.png" { 1 } else { 0 };
        assert!(difference(name, &load(name)).0 <= allowed, "{name}");
    }
}

#[test]
fn jpeg_is_as_libjpeg_decodes_it() {
    for name in [
        "plain.jpg",
        "progressive.jpg",
        "sampled_444.jpg",
        "grey.jpg",
        "turned.jpg",
        "misnamed.png",
    ] {
        assert_eq!(difference(name, &load(name)).0, 0, "{name}");
    }
    // libwebp's "fancy" upsampling of colour; the decoder in use does the same.
    assert!(difference("lossy.webp", &load("lossy.webp")).0 <= 2);
    // PIL has its own way from CMYK to RGB.
    let (largest, mean) = difference("cmyk.jpg", &load("cmyk.jpg"));
    assert!(largest <= 10 && mean <= 0.6, "cmyk.jpg");
}

#[test]
fn resizing_is_pils_antialiased_bilinear() {
    for (height, width) in [(16, 16), (45, 30), (90, 100), (13, 57)] {
        let actual = rendered(height, width, Resize::Stretch, Draw::NONE);
        assert!(difference(&format!("stretch_{height}x{width}"), &actual).0 <= 1);
    }
    for size in [20, 33, 64] {
        let actual = rendered(size, size, Resize::Crop, Draw::NONE);
        assert!(difference(&format!("crop_{size}x{size}"), &actual).0 <= 1);
    }
}

#[test]
fn a_shorter_side_and_its_middle_are_torchvisions() {
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        for (shorter_side, size) in [(37, 32), (20, 20), (64, 50)] {
            let to = PreprocessConfig {
                height: size,
                width: size,
                resize: Resize::Crop,
                shorter_side,
                interpolation,
                ..Default::default()
            };
            let actual = prepared(&to, Draw::NONE);
            let name = format!("{interpolation}_{shorter_side}_{size}");
            let (largest, mean) = difference(&name, &actual);
            assert!(largest <= 1 && mean < 0.3, "{name}");
        }
    }
}

#[test]
fn rotation_is_torchvisions_bilinear() {
    for angle in [-10.0, -3.3, 0.1, 7.5, 10.0, 45.0] {
        let draw = Draw { angle, fill: RotationFill::Black, ..Draw::NONE };
        let actual = rendered(45, 60, Resize::Stretch, draw);
        let (largest, mean) = difference(&format!("rotate_{angle:?}"), &actual);
        assert!(largest <= 1 && mean < 0.01, "{angle}");
    }
}

#[test]
fn broken_files_are_errors_that_say_why() {
    let mut image = Rgb::default();
    let mut reason = |bytes: &[u8]| decode(bytes, &mut image).unwrap_err();
    for name in
        ["plain.jpg", "progressive.jpg", "grey16.png", "plain.webp", "plain.bmp", "plain.ppm"]
    {
        let bytes = std::fs::read(fixtures().join(name)).unwrap();
        for part in [1, 3, 20, bytes.len() / 2, bytes.len() - 20] {
            assert!(!reason(&bytes[..part]).is_empty(), "{name} cut to {part} bytes");
        }
    }
    assert!(reason(b"GIF89a and not an image at all").contains("not supported"));
    assert!(reason(b"<html>404</html>").contains("format"));
    let jpeg = std::fs::read(fixtures().join("plain.jpg")).unwrap();
    assert!(reason(&jpeg[..jpeg.len() - 2]).contains("end-of-image"));
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    let mut png = std::fs::read(fixtures().join("grey.png")).unwrap();
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    let reason = decode(&png, &mut Rgb::default()).unwrap_err();
    assert!(reason.contains("65536x65536"), "{reason}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

#[test]
fn mutated_files_never_panic() {
    use rand_chacha::rand_core::Rng;
    let mut image = Rgb::default();
    for name in
        ["plain.jpg", "progressive.jpg", "cmyk.jpg", "palette.png", "plain.webp", "plain.bmp"]
    {
        let original = std::fs::read(fixtures().join(name)).unwrap();
        for round in 0..60 {
            let mut rng = crate::random::rng(0, crate::random::Stream::Step, 0, round);
            let mut bytes = original.clone();
            for _ in 0..1 + rng.next_u32() % 8 {
                let place = rng.next_u32() as usize % bytes.len();
                bytes[place] = rng.next_u32() as u8;
            }
            // Whether it decodes is the decoder's business; the buffer must fit the result.
            if decode(&bytes, &mut image).is_ok() {
                assert_eq!(image.pixels.len(), image.width * image.height * 3);
            }
        }
    }
}
