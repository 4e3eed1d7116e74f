//! Bilinear rotation about the image's centre, pixel by pixel as PIL's `Image.rotate`
//! (`BILINEAR`, no expansion), which torchvision's `RandomRotation` calls.
//!
//! Differs from the reference in: bilinear, where `RandomRotation` takes the nearest pixel unless it is told
//! otherwise; float instead of double arithmetic.

use super::RotationFill;

/// Keeps its working buffer between images.
#[derive(Default)]
pub struct Rotator {
    /// The image as floats, padded to four channels, with a border of one repeated pixel.
    padded: Vec<[f32; 4]>,
}

impl Rotator {
    /// Rotates `image` (`height x width x 3`) by `angle` degrees counter-clockwise into `out`
    /// (`3 x height x width`).
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
        let (sin, cos) = (sin as f32, cos as f32);
        let (w, h) = (width as f32, height as f32);
        let stride = width + 2;
        let (red, rest) = out.split_at_mut(height * width);
        let (green, blue) = rest.split_at_mut(height * width);
        for y in 0..height {
            // Source position of the centre of pixel (0, y), where pixel 0 covers 0 to 1.
            let dy = y as f32 + 0.5 - h / 2.0;
            let left_x = w / 2.0 + sin * dy + cos * (0.5 - w / 2.0);
            let left_y = h / 2.0 + cos * dy - sin * (0.5 - w / 2.0);
            let row = y * width..(y + 1) * width;
            let (red, green, blue) =
                (&mut red[row.clone()], &mut green[row.clone()], &mut blue[row]);
            for (x, ((red, green), blue)) in red.iter_mut().zip(green).zip(blue).enumerate() {
                let source_x = left_x + cos * x as f32;
                let source_y = left_y - sin * x as f32;
                let inside = (0.0..w).contains(&source_x) && (0.0..h).contains(&source_y);
                if !inside && fill == RotationFill::Black {
                    (*red, *green, *blue) = (0, 0, 0);
                    continue;
                }
                // The border shifts by one pixel, so these are not negative; the last pixel's
                // right neighbour is in the border.
                let px = source_x.clamp(0.0, w) + 0.5;
                let py = source_y.clamp(0.0, h) + 0.5;
                let (column, line) = ((px as usize).min(width), (py as usize).min(height));
                let (fx, fy) = (px - column as f32, py - line as f32);
                let corner = line * stride + column;
                let upper = &self.padded[corner..corner + 2];
                let lower = &self.padded[corner + stride..corner + stride + 2];
                let value: [f32; 4] = std::array::from_fn(|c| {
                    let above = upper[0][c] + (upper[1][c] - upper[0][c]) * fx;
                    let below = lower[0][c] + (lower[1][c] - lower[0][c]) * fx;
                    above + (below - above) * fy
                });
                // Truncated, not rounded, as PIL does.
                (*red, *green, *blue) = (value[0] as u8, value[1] as u8, value[2] as u8);
            }
        }
    }

    fn pad(&mut self, image: &[u8], height: usize, width: usize) {
        self.padded.clear();
        for y in 0..height + 2 {
            let start = y.saturating_sub(1).min(height - 1) * width * 3;
            let row = image[start..start + width * 3].chunks_exact(3);
            let mut pixels = row.map(|p| [p[0] as f32, p[1] as f32, p[2] as f32, 0.0]);
            let first = self.padded.len();
            self.padded.push([0.0; 4]);
            self.padded.extend(&mut pixels);
            self.padded[first] = self.padded[first + 1];
            self.padded.push(self.padded[first + width]);
        }
    }
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
