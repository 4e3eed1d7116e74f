//! Bilinear rotation about the image's centre, pixel by pixel as PIL's `Image.rotate`
//! (`BILINEAR`, no expansion), which torchvision's `RandomRotation` calls.
//!
//! Differs from the reference in: bilinear, where `RandomRotation` takes the nearest pixel unless it is told
//! otherwise; positions in steps of 2^-32 pixel and colours in float32 instead of float64.

use super::RotationFill;
use std::ops::Range;
use wide::f32x4;

/// 1 pixel in a position: 32 bits before and 32 after the point, so that the whole part is a shift away
/// and positions add up without an error.
const ONE: f64 = (1u64 << 32) as f64;
const HALF: i64 = 1 << 31;

/// Keeps its working buffer between images.
#[derive(Default)]
pub struct Rotator {
    /// The image's colours in four lanes, with a border of one repeated pixel.
    padded: Vec<f32x4>,
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
    fn at(&self, column: usize) -> (i64, i64) {
        (self.x + self.step_x * column as i64, self.y + self.step_y * column as i64)
    }

    fn is_inside(&self, column: usize) -> bool {
        let (x, y) = self.at(column);
        (0..self.end_x).contains(&x) && (0..self.end_y).contains(&y)
    }

    /// The columns of `0..width` whose source lies in the image: a line enters it once.
    fn inside(&self, width: usize) -> Range<usize> {
        let Some(first) = (0..width).find(|column| self.is_inside(*column)) else { return 0..0 };
        let last = (first..width).rev().find(|column| self.is_inside(*column));
        first..last.unwrap_or(first) + 1
    }
}

impl Rotator {
    /// Rotates `image` (`height x width x 3`) by `angle` degrees counter-clockwise into `out`
    /// (`3 x height x width`).
    // Inlined where AVX2 is switched on.
    #[inline(always)]
    pub fn rotate(
        &mut self,
        image: &[u8],
        height: usize,
        width: usize,
        angle: f64,
        fill: RotationFill,
        out: &mut [u8],
    ) {
        self.pad(image, height, width);
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
            let columns = match fill {
                RotationFill::Black => line.inside(width),
                RotationFill::Edge => 0..width,
            };
            for row in [&mut *red, &mut *green, &mut *blue] {
                row[..columns.start].fill(0);
                row[columns.end..].fill(0);
            }
            let [red, green, blue] = [red, green, blue].map(|row| &mut row[columns.clone()]);
            self.row(line, columns.start, width + 2, fill, red, green, blue);
        }
    }

    /// A row from column `first` on; `stride` is that of the padded image.
    #[expect(clippy::too_many_arguments, reason = "three planes of one row")]
    #[inline(always)]
    fn row(
        &self,
        line: Line,
        first: usize,
        stride: usize,
        fill: RotationFill,
        red: &mut [u8],
        green: &mut [u8],
        blue: &mut [u8],
    ) {
        let (mut x, mut y) = line.at(first);
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            let (mut px, mut py) = (x, y);
            (x, y) = (x + line.step_x, y + line.step_y);
            if fill == RotationFill::Edge {
                (px, py) = (px.clamp(0, line.end_x - 1), py.clamp(0, line.end_y - 1));
            }
            // Positions count from a pixel's corner, colours from its centre; the border adds one.
            (px, py) = (px + HALF, py + HALF);
            let corner = (py >> 32) as usize * stride + (px >> 32) as usize;
            let near = &self.padded[corner..corner + stride + 2];
            let [fx, fy] = [px, py].map(fraction);
            let above = near[0] + (near[1] - near[0]) * fx;
            let below = near[stride] + (near[stride + 1] - near[stride]) * fx;
            // Truncated, not rounded, as PIL does; no colour is beyond a byte.
            let value = (above + (below - above) * fy).fast_trunc_int().to_array();
            (*red, *green, *blue) = (value[0] as u8, value[1] as u8, value[2] as u8);
        }
    }

    #[inline(always)]
    fn pad(&mut self, image: &[u8], height: usize, width: usize) {
        let stride = width + 2;
        self.padded.resize(stride * (height + 2), f32x4::ZERO);
        for (y, row) in self.padded.chunks_exact_mut(stride).enumerate() {
            let start = y.saturating_sub(1).min(height - 1) * width * 3;
            let source = image[start..start + width * 3].chunks_exact(3);
            for (to, p) in row[1..=width].iter_mut().zip(source) {
                *to = f32x4::new([p[0] as f32, p[1] as f32, p[2] as f32, 0.0]);
            }
            (row[0], row[width + 1]) = (row[1], row[width]);
        }
    }
}

/// What is after the point, to the 24 bits that a float32 holds.
#[inline(always)]
fn fraction(position: i64) -> f32x4 {
    f32x4::splat(((position as u32) >> 8) as i32 as f32 * (1.0 / (1u32 << 24) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotate(
        image: &[u8],
        height: usize,
        width: usize,
        angle: f64,
        fill: RotationFill,
    ) -> Vec<u8> {
        let mut out = vec![9; image.len()];
        Rotator::default().rotate(image, height, width, angle, fill, &mut out);
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
}
