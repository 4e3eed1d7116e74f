//! A rotation, one scale and a shift, and an image under it.

use crate::data::decode::{Rgb, View};

/// `(x, y) -> (a x - b y + left, b x + a y + top)`; whole numbers are the centres of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    pub a: f64,
    pub b: f64,
    pub left: f64,
    pub top: f64,
}

/// A similarity transform and what else the points say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub transform: Similarity,
    /// The mirror image of the points would fit better.
    pub mirrored: bool,
}

impl Similarity {
    /// The transform that brings `from` nearest to `to`: least squares, without a reflection. None where
    /// the points of either lie within a pixel of their mean, or have nothing in common.
    ///
    /// Reference: Umeyama 1991, eq. 40 to 42. Differs from it in: in the plane a rotation with a scale is
    /// the product with a complex number, for which least squares has one solution without a singular
    /// value decomposition.
    pub fn estimate(from: &[[f64; 2]], to: &[[f64; 2]]) -> Option<Estimate> {
        let mean = |points: &[[f64; 2]], axis: usize| {
            points.iter().map(|point| point[axis]).sum::<f64>() / points.len() as f64
        };
        let (from_mean, to_mean) = ([mean(from, 0), mean(from, 1)], [mean(to, 0), mean(to, 1)]);
        let (mut spread, mut to_spread) = (0.0, 0.0);
        // Sums of conj(p) q, and of p q, which is the same for mirrored points.
        let (mut turned, mut reflected) = ([0.0; 2], [0.0; 2]);
        for (p, q) in from.iter().zip(to) {
            let (px, py) = (p[0] - from_mean[0], p[1] - from_mean[1]);
            let (qx, qy) = (q[0] - to_mean[0], q[1] - to_mean[1]);
            spread += px * px + py * py;
            to_spread += qx * qx + qy * qy;
            turned[0] += px * qx + py * qy;
            turned[1] += px * qy - py * qx;
            reflected[0] += px * qx - py * qy;
            reflected[1] += px * qy + py * qx;
        }
        let (a, b) = (turned[0] / spread, turned[1] / spread);
        let [from_x, from_y] = from_mean;
        let (left, top) =
            (to_mean[0] - a * from_x + b * from_y, to_mean[1] - b * from_x - a * from_y);
        let count = from.len() as f64;
        let apart = spread >= count && to_spread >= count && a.hypot(b) > 1e-6;
        let finite = [a, b, left, top].iter().all(|number| number.is_finite());
        (apart && finite).then(|| Estimate {
            transform: Similarity { a, b, left, top },
            mirrored: turned[0].hypot(turned[1]) < reflected[0].hypot(reflected[1]) * (1.0 - 1e-9),
        })
    }

    /// Draws `image` under this transform on `out`, `size x size`, black where it does not reach; bilinear
    /// between the four nearest pixels, as OpenCV's `warpAffine`: without antialiasing.
    pub fn warp(&self, image: View<'_>, size: usize, out: &mut Rgb) {
        let Similarity { a, b, left, top } = *self;
        let squared = a * a + b * b;
        let (width, height) = (image.width as i64, image.height as i64);
        out.pixels.resize(size * size * 3, 0);
        (out.width, out.height) = (size, size);
        for (number, pixel) in out.pixels.chunks_exact_mut(3).enumerate() {
            // The inverse: a conjugate, divided.
            let x = (number % size) as f64 - left;
            let y = (number / size) as f64 - top;
            let (x, y) = ((a * x + b * y) / squared, (a * y - b * x) / squared);
            let (column, line) = (x.floor(), y.floor());
            let (right, lower) = ((x - column) as f32, (y - line) as f32);
            // Beyond the range of i64 it saturates, which is outside.
            let (column, line) = (column as i64, line as i64);
            let mut sums = [0.5; 3];
            for (dx, dy, weight) in [
                (0, 0, (1.0 - right) * (1.0 - lower)),
                (1, 0, right * (1.0 - lower)),
                (0, 1, (1.0 - right) * lower),
                (1, 1, right * lower),
            ] {
                let (column, line) = (column.saturating_add(dx), line.saturating_add(dy));
                if (0..width).contains(&column) && (0..height).contains(&line) {
                    let place = 3 * (line * width + column) as usize;
                    let values = &image.pixels[place..place + 3];
                    sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += weight * f32::from(*v));
                }
            }
            pixel.copy_from_slice(&sums.map(|sum| sum as u8));
        }
    }
}
