//! From reflectance to pixels: background, light, colour cast, blur and sensor noise.

use image::RgbImage;

use super::draw::{Canvas, Colour, Frame, Ink, mix, rounded_box};
use super::scene::{Background, Light, Scene};

pub fn draw_background(canvas: &mut Canvas, background: &Background) {
    let size = canvas.size as f32;
    let frame = Frame::new([size * 0.5; 2], 0.0, size * 0.5);
    let (sin, cos) = background.angle.sin_cos();
    let [first, second] = background.colours;
    canvas.each(&frame, |x, y, pixel, _| {
        *pixel = mix(first, second, (0.5 + 0.4 * (x * cos + y * sin)).clamp(0.0, 1.0));
    });
    for thing in &background.clutter {
        let [x, y] = thing.centre;
        let inner = frame.at(x, y, thing.angle, 1.0, 1.0);
        let [w, h] = thing.half_size;
        canvas.paint(&inner, [-w, -h], [w, h], |x, y, edge| {
            Ink::new(thing.colour, edge.cover(rounded_box(x, y, w, h, thing.corner)))
        });
    }
    canvas.person.fill(0.0);
}

/// Lambert's law on an ellipsoid in place of the head, a highlight, and the gradient and cast
/// that the whole picture shares. Works in linear light (gamma 2).
pub fn illuminate(canvas: &mut Canvas, head: &Frame, half_width: f32, light: &Light) {
    let [lx, ly, lz] = light.direction;
    // Half way between the light and the viewer.
    let half = (lx * lx + ly * ly + (lz + 1.0) * (lz + 1.0)).sqrt();
    let (hx, hy, hz) = (lx / half, ly / half, (lz + 1.0) / half);
    let (across, down) = (1.0 / (half_width * 1.12), 1.0 / 1.2);
    let flat = light.ambient + 0.6 * light.diffuse;
    canvas.each(head, |x, y, pixel, person| {
        let slope = 1.0 + light.gradient[0] * x * 0.6 + light.gradient[1] * y * 0.6;
        let mut gain = flat;
        let mut highlight = 0.0;
        if person > 0.0 {
            let (mut nx, mut ny) = (x * across, y * down);
            let squared = nx * nx + ny * ny;
            if squared > 0.94 {
                let shrink = (0.94 / squared).sqrt();
                (nx, ny) = (nx * shrink, ny * shrink);
            }
            let nz = (1.0 - nx * nx - ny * ny).sqrt();
            let lambert = (nx * lx + ny * ly + nz * lz).max(0.0);
            gain += person * (light.ambient + 1.15 * light.diffuse * lambert - flat);
            let mirror = (nx * hx + ny * hy + nz * hz).max(0.0).powi(24);
            highlight = person * light.specular * mirror;
        }
        let gain = gain * slope.max(0.15);
        *pixel = [0, 1, 2].map(|c| {
            let linear = (pixel[c] * pixel[c] * gain + highlight) * light.cast[c];
            (linear.max(0.0).sqrt() - 0.5) * light.contrast + 0.5 + light.offset
        });
    });
}

/// The finished picture.
pub fn expose(canvas: &Canvas, scene: &Scene) -> RgbImage {
    let size = canvas.size;
    let blurred;
    let pixels = if scene.blur > 0.0 {
        blurred = blur(&canvas.pixels, size, scene.blur);
        &blurred
    } else {
        &canvas.pixels
    };
    let mut state = scene.grain | 1;
    // A uniform variate of width 1 has the standard deviation 1 / sqrt(12); two are summed.
    let strength = scene.noise * 6.0_f32.sqrt() * 255.0;
    let mut bytes = Vec::with_capacity(size * size * 3);
    for pixel in pixels {
        for channel in pixel {
            // Xorshift (Marsaglia 2003): one draw feeds both halves of a triangular variate.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let noise = ((state & 0xffff) + (state >> 16)) as f32 / 65536.0 - 1.0;
            bytes.push((channel * 255.0 + noise * strength + 0.5).clamp(0.0, 255.0) as u8);
        }
    }
    RgbImage::from_raw(size as u32, size as u32, bytes).expect("three bytes per pixel")
}

/// A binomial 3 x 3 blur mixed with the sharp picture.
fn blur(pixels: &[Colour], size: usize, share: f32) -> Vec<Colour> {
    let pass = |source: &[Colour], step: usize, place: fn(usize, usize) -> usize| {
        let soften = |index: usize| {
            let at = place(index, size);
            let before = if at == 0 { index } else { index - step };
            let after = if at + 1 == size { index } else { index + step };
            let (a, b, c) = (source[before], source[index], source[after]);
            [0, 1, 2].map(|k| b[k] + share * (0.25 * (a[k] + c[k]) - 0.5 * b[k]))
        };
        (0..source.len()).map(soften).collect::<Vec<Colour>>()
    };
    let rows = pass(pixels, 1, |index, size| index % size);
    pass(&rows, size, |index, size| index / size)
}
