//! Anti-aliased rasterisation: signed distances evaluated per pixel inside a bounding box.

/// Red, green and blue, gamma-encoded, 0 to 1.
pub type Colour = [f32; 3];

/// `from` moved towards `to` by the share `t`.
pub fn mix(from: Colour, to: Colour, t: f32) -> Colour {
    [0, 1, 2].map(|c| from[c] + (to[c] - from[c]) * t)
}

/// A colour with every channel multiplied by `gain`.
pub fn shade(colour: Colour, gain: f32) -> Colour {
    colour.map(|c| (c * gain).min(1.0))
}

/// 0 for `x <= from`, 1 for `x >= to`, a cubic between.
pub fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A bump of height 1 around 0 that vanishes at `|x| >= width`.
pub fn bump(x: f32, width: f32) -> f32 {
    let t = (1.0 - (x / width) * (x / width)).max(0.0);
    t * t
}

/// Approximate signed distance to an axis-aligned ellipse around the origin.
pub fn ellipse(x: f32, y: f32, rx: f32, ry: f32) -> f32 {
    let (p, q) = (x / rx, y / ry);
    let f = (p * p + q * q).sqrt();
    let gradient = ((p / rx) * (p / rx) + (q / ry) * (q / ry)).sqrt() / f.max(1e-6);
    (f - 1.0) / gradient.max(1e-3)
}

/// Signed distance to a box with rounded corners around the origin.
pub fn rounded_box(x: f32, y: f32, rx: f32, ry: f32, corner: f32) -> f32 {
    let (qx, qy) = (x.abs() - rx + corner, y.abs() - ry + corner);
    let outside = (qx.max(0.0) * qx.max(0.0) + qy.max(0.0) * qy.max(0.0)).sqrt();
    outside + qx.max(qy).min(0.0) - corner
}

/// A local coordinate system on the canvas: pixel = origin + matrix * local.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    origin: [f32; 2],
    matrix: [f32; 4],
}

impl Frame {
    /// Local units of `scale` pixels, turned by `roll` radians, around the pixel `origin`.
    pub fn new(origin: [f32; 2], roll: f32, scale: f32) -> Self {
        let (sin, cos) = roll.sin_cos();
        Frame { origin, matrix: [scale * cos, -scale * sin, scale * sin, scale * cos] }
    }

    fn pixel(&self, x: f32, y: f32) -> [f32; 2] {
        let m = &self.matrix;
        [self.origin[0] + m[0] * x + m[1] * y, self.origin[1] + m[2] * x + m[3] * y]
    }

    /// A frame inside this one: around `(x, y)`, turned by `angle`, with its axes stretched.
    /// A negative `sx` mirrors, so that one drawing serves the left and the right eye.
    pub fn at(&self, x: f32, y: f32, angle: f32, sx: f32, sy: f32) -> Frame {
        let (sin, cos) = angle.sin_cos();
        let (a, b, c, d) = (sx * cos, -sx * sin, sy * sin, sy * cos);
        let m = &self.matrix;
        Frame {
            origin: self.pixel(x, y),
            matrix: [
                m[0] * a + m[1] * c,
                m[0] * b + m[1] * d,
                m[2] * a + m[3] * c,
                m[2] * b + m[3] * d,
            ],
        }
    }

    fn determinant(&self) -> f32 {
        self.matrix[0] * self.matrix[3] - self.matrix[1] * self.matrix[2]
    }

    /// Local units per pixel.
    fn unit(&self) -> f32 {
        1.0 / self.determinant().abs().sqrt()
    }

    /// Matrix from pixels to local units.
    fn inverse(&self) -> [f32; 4] {
        let (m, scale) = (&self.matrix, 1.0 / self.determinant());
        [m[3] * scale, -m[1] * scale, -m[2] * scale, m[0] * scale]
    }
}

/// What one pixel receives: layers composited inside one shape before they reach the canvas.
#[derive(Clone, Copy, Default)]
pub struct Ink {
    /// Premultiplied by `alpha`.
    colour: Colour,
    alpha: f32,
}

impl Ink {
    pub fn new(colour: Colour, alpha: f32) -> Self {
        let mut ink = Ink::default();
        ink.over(colour, alpha);
        ink
    }

    /// Lays `colour` with the opacity `alpha` on top.
    pub fn over(&mut self, colour: Colour, alpha: f32) {
        if alpha > 0.0 {
            let keep = 1.0 - alpha;
            self.colour = [0, 1, 2].map(|c| self.colour[c] * keep + colour[c] * alpha);
            self.alpha = self.alpha * keep + alpha;
        }
    }
}

/// Turns signed distances in local units into coverage of a pixel.
#[derive(Clone, Copy)]
pub struct Edge {
    per_unit: f32,
}

impl Edge {
    /// Coverage of a pixel whose centre has the signed distance `d` (negative inside).
    pub fn cover(&self, d: f32) -> f32 {
        (0.5 - d * self.per_unit).clamp(0.0, 1.0)
    }

    /// Coverage of a stroke of the half-width `radius` along the line where `d` is 0. Strokes
    /// thinner than a pixel grow fainter instead of vanishing.
    pub fn stroke(&self, d: f32, radius: f32) -> f32 {
        let (d, r) = (d.abs() * self.per_unit, radius * self.per_unit);
        ((0.5 + r - d).clamp(0.0, 1.0)).min(2.0 * r)
    }
}

/// The picture before lighting: reflectance, and how much of a pixel belongs to the person.
pub struct Canvas {
    pub size: usize,
    pub pixels: Vec<Colour>,
    /// Share of the pixel covered by the person, whom the light shapes.
    pub person: Vec<f32>,
}

impl Canvas {
    pub fn new(size: usize) -> Self {
        Canvas { size, pixels: vec![[0.0; 3]; size * size], person: vec![0.0; size * size] }
    }

    /// Paints what `shape` answers for local coordinates within the box `low..high` of `frame`.
    pub fn paint(
        &mut self,
        frame: &Frame,
        low: [f32; 2],
        high: [f32; 2],
        shape: impl Fn(f32, f32, Edge) -> Ink,
    ) {
        let corners = [(low[0], low[1]), (high[0], low[1]), (low[0], high[1]), (high[0], high[1])]
            .map(|(x, y)| frame.pixel(x, y));
        let range = |axis: usize| {
            let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
            for corner in &corners {
                least = least.min(corner[axis]);
                most = most.max(corner[axis]);
            }
            let limit = self.size as f32;
            ((least - 1.0).clamp(0.0, limit) as usize, (most + 2.0).clamp(0.0, limit) as usize)
        };
        let ((left, right), (top, bottom)) = (range(0), range(1));
        let inverse = frame.inverse();
        let edge = Edge { per_unit: 1.0 / frame.unit() };
        for row in top..bottom {
            let dy = row as f32 + 0.5 - frame.origin[1];
            let line = row * self.size;
            for column in left..right {
                let dx = column as f32 + 0.5 - frame.origin[0];
                let x = inverse[0] * dx + inverse[1] * dy;
                let y = inverse[2] * dx + inverse[3] * dy;
                let ink = shape(x, y, edge);
                if ink.alpha > 0.0 {
                    let keep = 1.0 - ink.alpha;
                    let pixel = &mut self.pixels[line + column];
                    *pixel = [0, 1, 2].map(|c| pixel[c] * keep + ink.colour[c]);
                    let person = &mut self.person[line + column];
                    *person = *person * keep + ink.alpha;
                }
            }
        }
    }

    /// Calls `with` for every pixel with its coordinates in `frame`, its reflectance and its
    /// share of the person.
    pub fn each(&mut self, frame: &Frame, mut with: impl FnMut(f32, f32, &mut Colour, f32)) {
        let inverse = frame.inverse();
        for row in 0..self.size {
            let dy = row as f32 + 0.5 - frame.origin[1];
            for column in 0..self.size {
                let dx = column as f32 + 0.5 - frame.origin[0];
                let index = row * self.size + column;
                let x = inverse[0] * dx + inverse[1] * dy;
                let y = inverse[2] * dx + inverse[3] * dy;
                with(x, y, &mut self.pixels[index], self.person[index]);
            }
        }
    }
}
