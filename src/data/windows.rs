//! Which source pixels make a pixel of a resized row, as PIL's antialiased filters have it.

use super::preprocess::Interpolation;

impl Interpolation {
    /// How far the filter reaches to either side, pixels of the result where it is smaller.
    pub(super) fn reach(self) -> f64 {
        match self {
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Interpolation::Bilinear => (1.0 - x).max(0.0),
            // Keys 1981 with a = -0.5.
            Interpolation::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0),
            Interpolation::Bicubic => 0.0,
        }
    }
}

/// For each of `count` pixels that `left..left + length` of a row of `width` pixels is scaled to: the first
/// source pixel with a weight, and the weights, whose sum is 1.
pub(super) fn windows(
    width: usize,
    (left, length): (f64, f64),
    count: usize,
    interpolation: Interpolation,
) -> Vec<(usize, Vec<f64>)> {
    let scale = length / count as f64;
    // The filter is widened where the image is made smaller, so that no source pixel is passed over.
    let wide = scale.max(1.0);
    let (reach, narrow) = (interpolation.reach() * wide, 1.0 / wide);
    let window = |number: usize| {
        let centre = left + (number as f64 + 0.5) * scale;
        let first = (centre - reach).floor().max(0.0) as usize;
        let end = (centre + reach).ceil().min(width as f64) as usize;
        let distance = |pixel: usize| (pixel as f64 - (centre - 0.5)) * narrow;
        let weights: Vec<f64> =
            (first..end).map(|pixel| interpolation.weight(distance(pixel))).collect();
        let sum: f64 = weights.iter().sum();
        let leading = weights.iter().take_while(|weight| **weight == 0.0).count();
        let trailing = weights.iter().rev().take_while(|weight| **weight == 0.0).count();
        let kept = &weights[leading..weights.len() - trailing];
        (first + leading, kept.iter().map(|weight| weight / sum).collect())
    };
    (0..count).map(window).collect()
}
