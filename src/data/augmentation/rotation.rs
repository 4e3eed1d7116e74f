//! Bilinear rotation about the image's centre, pixel by pixel as PIL's `Image.rotate`
//! (`BILINEAR`, no expansion), which torchvision's `RandomRotation` calls.
//!
//! Differs from the reference in: bilinear, where `RandomRotation` takes the nearest pixel unless it is told
//! otherwise; positions in steps of 2^-32 pixel and colours in float32 instead of float64.

use super::RotationFill;
use crate::data::decode::View;
use crate::torch::vector::to_byte;
use std::ops::Range;

/// 1 pixel in a position: 32 bits before and 32 after the point, so that the whole part is a shift away
/// and positions add up without an error.
const ONE: f64 = (1u64 << 32) as f64;
const HALF: i64 = 1 << 31;
/// Bytes that are read at once for two neighbouring pixels.
const PAIR: usize = 8;

/// Keeps its working buffers between images.
#[derive(Default)]
pub struct Rotator {
    /// The image with a border of one repeated pixel, and what the last pair reaches beyond.
    padded: Vec<u8>,
    row: Row,
}

/// What a row of the result is made of: fetched pixel by pixel, then blended many at a time.
#[derive(Default)]
struct Row {
    /// The four pixels around each position, red in the lowest byte: above left and right, below left
    /// and right.
    near: [Vec<u32>; 4],
    /// What is after the point of each position, in units of 2^-32.
    x: Vec<u32>,
    y: Vec<u32>,
}

/// The source positions of a row of the result, where pixel 0 covers 0 to 1.
#[derive(Clone, Copy)]
struct Line {
    x: i64,
    y: i64,
    step_x: i64,
    step_y: i64,
    /// One past the image.
    end_x: i64,
    end_y: i64,
}

impl Line {
    #[inline(always)]
    fn at(&self, column: usize) -> (i64, i64) {
        (self.x + self.step_x * column as i64, self.y + self.step_y * column as i64)
    }

    #[inline(always)]
    fn is_inside(&self, column: usize) -> bool {
        let (x, y) = self.at(column);
        (0..self.end_x).contains(&x) && (0..self.end_y).contains(&y)
    }

    /// The columns of `0..width` whose source lies in the image: a line enters it once.
    #[inline(always)]
    fn inside(&self, width: usize) -> Range<usize> {
        let Some(first) = (0..width).find(|column| self.is_inside(*column)) else { return 0..0 };
        let last = (first..width).rev().find(|column| self.is_inside(*column));
        first..last.unwrap_or(first) + 1
    }

    /// From its other end.
    #[inline(always)]
    fn mirrored(self, width: usize) -> Line {
        let (x, y) = self.at(width - 1);
        Line { x, y, step_x: -self.step_x, step_y: -self.step_y, ..self }
    }
}

impl Rotator {
    /// Rotates `image` (`height x width x 3`) by `angle` degrees counter-clockwise into `out`
    /// (`3 x height x width`), and then exchanges left and right with `flip`.
    // Inlined where AVX2 is switched on.
    #[inline(always)]
    pub fn rotate(
        &mut self,
        image: View<'_>,
        angle: f64,
        fill: RotationFill,
        flip: bool,
        out: &mut [u8],
    ) {
        let View { width, height, .. } = image;
        self.pad(image);
        self.row.resize(width);
        let (sin, cos) = (-angle.to_radians()).sin_cos();
        let (w, h) = (width as f64, height as f64);
        let (red, rest) = out.split_at_mut(height * width);
        let (green, blue) = rest.split_at_mut(height * width);
        let rows = red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width));
        for (y, ((red, green), blue)) in rows.zip(blue.chunks_exact_mut(width)).enumerate() {
            // Of the centre of pixel (0, y).
            let dy = y as f64 + 0.5 - h / 2.0;
            let line = Line {
                x: ((w / 2.0 + sin * dy + cos * (0.5 - w / 2.0)) * ONE) as i64,
                y: ((h / 2.0 + cos * dy - sin * (0.5 - w / 2.0)) * ONE) as i64,
                step_x: (cos * ONE) as i64,
                step_y: (-sin * ONE) as i64,
                end_x: (width as i64) << 32,
                end_y: (height as i64) << 32,
            };
            let line = if flip { line.mirrored(width) } else { line };
            let columns = match fill {
                RotationFill::Black => line.inside(width),
                RotationFill::Edge => 0..width,
            };
            for row in [&mut *red, &mut *green, &mut *blue] {
                row[..columns.start].fill(0);
                row[columns.end..].fill(0);
            }
            let stride = 3 * (width as u32 + 2);
            self.row.fetch(&self.padded, line, columns.clone(), stride, fill);
            let [red, green, blue] = [red, green, blue].map(|row| &mut row[columns.clone()]);
            self.row.blend(red, green, blue);
        }
    }

    #[inline(always)]
    fn pad(&mut self, image: View<'_>) {
        let View { width, height, pixels } = image;
        let stride = 3 * (width + 2);
        self.padded.resize(stride * (height + 2) + PAIR, 0);
        for (y, row) in self.padded.chunks_exact_mut(stride).take(height + 2).enumerate() {
            let start = y.saturating_sub(1).min(height - 1) * width * 3;
            let source = &pixels[start..start + width * 3];
            row[..3].copy_from_slice(&source[..3]);
            row[3..stride - 3].copy_from_slice(source);
            row[stride - 3..].copy_from_slice(&source[width * 3 - 3..]);
        }
    }
}

impl Row {
    fn resize(&mut self, width: usize) {
        let Row { near, x, y } = self;
        near.iter_mut().chain([x, y]).for_each(|of| of.resize(width, 0));
    }

    /// The pixels around the positions of `columns`; `stride` is that of the padded image, bytes.
    #[inline(always)]
    fn fetch(
        &mut self,
        padded: &[u8],
        line: Line,
        columns: Range<usize>,
        stride: u32,
        fill: RotationFill,
    ) {
        let count = columns.len();
        let [above_left, above_right, below_left, below_right] =
            self.near.each_mut().map(|of| &mut of[..count]);
        let (fraction_x, fraction_y) = (&mut self.x[..count], &mut self.y[..count]);
        // Positions count from a pixel's corner, colours from its centre; the border adds one.
        let (mut x, mut y) = line.at(columns.start);
        (x, y) = (x + HALF, y + HALF);
        if fill == RotationFill::Black {
            fractions(x, line.step_x, fraction_x);
            fractions(y, line.step_y, fraction_y);
        }
        for column in 0..count {
            let (mut px, mut py) = (x, y);
            (x, y) = (x + line.step_x, y + line.step_y);
            if fill == RotationFill::Edge {
                px = px.clamp(HALF, line.end_x - 1 + HALF);
                py = py.clamp(HALF, line.end_y - 1 + HALF);
                (fraction_x[column], fraction_y[column]) = (px as u32, py as u32);
            }
            // In 32 bits, where the compiler sees that the range below can't overflow: one check.
            let whole = |position: i64| (position >> 32) as u32;
            let corner = whole(py).wrapping_mul(stride).wrapping_add(3 * whole(px)) as usize;
            let near = &padded[corner..corner + stride as usize + PAIR];
            let above = pair(near);
            (above_left[column], above_right[column]) = (above as u32, (above >> 24) as u32);
            let below = pair(&near[stride as usize..]);
            (below_left[column], below_right[column]) = (below as u32, (below >> 24) as u32);
        }
    }

    #[inline(always)]
    fn blend(&self, red: &mut [u8], green: &mut [u8], blue: &mut [u8]) {
        // One length that all share, so that no check is left in the loop.
        let count = red.len();
        let (green, blue) = (&mut green[..count], &mut blue[..count]);
        let [above_left, above_right, below_left, below_right] =
            self.near.each_ref().map(|of| &of[..count]);
        let (x, y) = (&self.x[..count], &self.y[..count]);
        for column in 0..count {
            let [x, y] = [x, y].map(|of| fraction(of[column]));
            let near = [above_left, above_right, below_left, below_right].map(|of| of[column]);
            (red[column], green[column], blue[column]) =
                (blended::<0>(near, x, y), blended::<8>(near, x, y), blended::<16>(near, x, y));
        }
    }
}

/// One colour, from its bit on, of four pixels.
#[inline(always)]
fn blended<const BIT: u32>(near: [u32; 4], x: f32, y: f32) -> u8 {
    let [above_left, above_right, below_left, below_right] =
        near.map(|pixel| ((pixel >> BIT) & 0xff) as i32 as f32);
    let above = above_left + (above_right - above_left) * x;
    let below = below_left + (below_right - below_left) * x;
    // Truncated, not rounded, as PIL does.
    to_byte(above + (below - above) * y)
}

/// The first two pixels.
#[inline(always)]
fn pair(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..PAIR].try_into().expect("eight bytes"))
}

/// What is after the point of positions that follow each other.
#[inline(always)]
fn fractions(start: i64, step: i64, to: &mut [u32]) {
    for (number, to) in (0..).zip(to) {
        *to = (start as u32).wrapping_add((step as u32).wrapping_mul(number));
    }
}

/// What is after the point, to the 24 bits that a float32 holds.
#[inline(always)]
fn fraction(position: u32) -> f32 {
    (position >> 8) as i32 as f32 * (1.0 / (1u32 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::super::{Draw, Scratch};
    use super::*;

    fn rotate(
        image: &[u8],
        height: usize,
        width: usize,
        angle: f64,
        fill: RotationFill,
    ) -> Vec<u8> {
        let mut out = vec![9; image.len()];
        let image = View { width, height, pixels: image };
        Rotator::default().rotate(image, angle, fill, false, &mut out);
        out
    }

    #[test]
    fn a_quarter_turn_goes_counter_clockwise() {
        // One grey row 1 2 / 3 4 becomes 2 4 / 1 3.
        let image: Vec<u8> = [10, 20, 30, 40].iter().flat_map(|v| [*v; 3]).collect();
        let turned = rotate(&image, 2, 2, 90.0, RotationFill::Edge);
        assert_eq!(&turned[..4], [20, 40, 10, 30]);
    }

    #[test]
    fn the_corners_are_filled_as_asked() {
        let image = vec![200; 16 * 20 * 3];
        let edge = rotate(&image, 16, 20, 30.0, RotationFill::Edge);
        assert!(edge.iter().all(|v| *v == 200));
        let black = rotate(&image, 16, 20, 30.0, RotationFill::Black);
        assert_eq!((black[0], black[19]), (0, 0));
        assert_eq!(black[8 * 20 + 10], 200);
        assert!(black.iter().all(|v| *v == 0 || *v == 200));
    }

    /// Sizes, and a buffer that a larger image left.
    #[test]
    fn flipped_at_once_is_rotated_then_flipped_with_and_without_avx2() {
        let mut rotator = Rotator::default();
        for (height, width) in [(45, 61), (1, 1), (2, 9), (33, 8)] {
            let pixels: Vec<u8> = (0..height * width * 3).map(|i| (i * 97 % 251) as u8).collect();
            let image = View { width, height, pixels: &pixels };
            for fill in [RotationFill::Black, RotationFill::Edge] {
                for angle in [0.1, -7.3, 45.0, 90.0, 180.0] {
                    let mut expected = rotate(&pixels, height, width, angle, fill);
                    expected.chunks_exact_mut(width).for_each(|row| row.reverse());
                    let mut out = vec![9; pixels.len()];
                    rotator.rotate(image, angle, fill, true, &mut out);
                    assert_eq!(out, expected, "{height}x{width} by {angle}");
                    let draw = Draw { angle, fill, flip: true, ..Draw::NONE };
                    draw.apply(&pixels, height, width, &mut Scratch::default(), &mut out);
                    assert_eq!(out, expected, "{height}x{width} by {angle}");
                }
            }
        }
    }

    /// One pixel at a time in float64, as PIL does.
    #[test]
    fn every_pixel_is_the_blend_of_four() {
        let (height, width) = (31, 47);
        let pixels: Vec<u8> = (0..height * width * 3).map(|i| (i * i % 253) as u8).collect();
        for (angle, fill) in [(8.5, RotationFill::Black), (-33.0, RotationFill::Edge)] {
            let out = rotate(&pixels, height, width, angle, fill);
            let (sin, cos) = f64::to_radians(-angle).sin_cos();
            let centre = |length: usize| length as f64 / 2.0;
            let mut differ = 0;
            for (i, actual) in out.iter().enumerate() {
                let (channel, y, x) = (i / (height * width), i / width % height, i % width);
                let (dx, dy) = (x as f64 + 0.5 - centre(width), y as f64 + 0.5 - centre(height));
                let mut at = [cos * dx + sin * dy, cos * dy - sin * dx];
                at = [at[0] + centre(width), at[1] + centre(height)];
                let ends = [width, height].map(|length| length as f64);
                let inside = at.iter().zip(ends).all(|(at, end)| (0.0..end).contains(at));
                let mut expected = 0.0;
                if inside || fill == RotationFill::Edge {
                    let [fx, fy] = [0, 1].map(|axis| at[axis].clamp(0.0, ends[axis] - 1e-9) - 0.5);
                    let value = |x: f64, y: f64| {
                        let x = x.clamp(0.0, ends[0] - 1.0) as usize;
                        let y = y.clamp(0.0, ends[1] - 1.0) as usize;
                        f64::from(pixels[(y * width + x) * 3 + channel])
                    };
                    let (x, y) = (fx.floor(), fy.floor());
                    let across =
                        |y: f64| value(x, y) * (x + 1.0 - fx) + value(x + 1.0, y) * (fx - x);
                    expected = across(y) * (y + 1.0 - fy) + across(y + 1.0) * (fy - y);
                }
                assert!((f64::from(*actual) - expected.floor()).abs() <= 1.0, "{x} {y}");
                differ += usize::from(f64::from(*actual) != expected.floor());
            }
            // Where a value is a whole number but for rounding.
            assert!(differ * 200 < out.len(), "{differ} of {}", out.len());
        }
    }
}
