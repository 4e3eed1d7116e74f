//! The head as a solid: where a point of the face lands in the picture, and its outline.

use super::draw::{Canvas, Frame, Ink, bump, ellipse, mix, shade, smooth};
use super::identity::{Head, Identity};
use super::scene::{Pose, Scene};

/// Distance from the head's axis to the front of the face.
const DEPTH: f32 = 0.72;

/// A head in its pose.
pub struct Posed<'a> {
    pub head: &'a Head,
    /// Units of half a head, origin in the middle of the head.
    pub frame: Frame,
    sin_yaw: f32,
    cos_yaw: f32,
    sin_pitch: f32,
    cos_pitch: f32,
}

impl<'a> Posed<'a> {
    pub fn new(head: &'a Head, pose: &Pose, size: f32) -> Self {
        let origin = [size * (0.5 + pose.shift[0]), size * (0.5 + pose.shift[1])];
        let (sin_yaw, cos_yaw) = pose.yaw.sin_cos();
        let (sin_pitch, cos_pitch) = pose.pitch.sin_cos();
        let frame = Frame::new(origin, pose.roll, 0.5 * size * pose.scale);
        Posed { head, frame, sin_yaw, cos_yaw, sin_pitch, cos_pitch }
    }

    /// Where the point `(x, y)` of the face, `lift` above its surface, lands in the head frame.
    pub fn project(&self, x: f32, y: f32, lift: f32) -> [f32; 2] {
        let z = DEPTH * (1.0 - self.across(x).powi(2)).sqrt() + lift;
        [x * self.cos_yaw + z * self.sin_yaw, y * self.cos_pitch + z * self.sin_pitch]
    }

    /// A frame on the surface of the face around `(x, y)`, foreshortened by the yaw.
    pub fn on_face(&self, x: f32, y: f32, angle: f32, mirrored: bool) -> Frame {
        let [px, py] = self.project(x, y, 0.0);
        let across = self.across(x);
        let slope = -DEPTH / self.head.half_width * across / (1.0 - across * across).sqrt();
        let stretch = (self.cos_yaw + slope * self.sin_yaw).clamp(0.4, 1.25);
        self.frame.at(px, py, angle, if mirrored { -stretch } else { stretch }, self.cos_pitch)
    }

    fn across(&self, x: f32) -> f32 {
        (x / self.head.half_width).clamp(-0.9, 0.9)
    }

    /// Approximate signed distance to the outline of the head, in the head frame. The chin is
    /// nearer to the viewer than the ears, so it moves further with the yaw.
    pub fn outline(&self, x: f32, y: f32) -> f32 {
        let head = self.head;
        let x = (x - self.sin_yaw * (0.10 + 0.16 * y.max(0.0))).abs();
        let y = y - self.sin_pitch * 0.12;
        if y < 0.0 {
            return ellipse(x, y, head.half_width, head.crown);
        }
        let t = (y / head.chin).min(1.2);
        let width = head.half_width * (1.0 - head.taper * t * t);
        // Far from the edge the ellipse is near enough, and spares two powers.
        let round = ellipse(x, y, width, head.chin);
        if !(-0.35..0.35).contains(&round) {
            return round;
        }
        let (p, q) = ((x / width).max(1e-4), t.max(1e-4));
        let (pj, qj) = (p.powf(head.jaw), q.powf(head.jaw));
        let (gx, gy) = (head.jaw * pj / (p * width), head.jaw * qj / (q * head.chin));
        (pj + qj - 1.0) / (gx * gx + gy * gy).sqrt().max(0.5)
    }

    /// Sine of the yaw: positive when the face is turned to the right of the picture.
    pub fn turned(&self) -> f32 {
        self.sin_yaw
    }
}

/// Neck, shoulders and clothes.
pub fn draw_body(canvas: &mut Canvas, posed: &Posed, identity: &Identity, scene: &Scene) {
    let (neck, chin) = (posed.head.neck, posed.head.chin);
    let shadow = shade(identity.skin, 0.62);
    let skin = shade(identity.skin, 0.93);
    canvas.paint(&posed.frame, [-neck - 0.3, 0.6], [neck + 0.3, 2.6], |x, y, edge| {
        let width = neck + 0.25 * smooth(chin, chin + 0.6, y);
        let under = smooth(chin + 0.42, chin - 0.02, y);
        Ink::new(mix(skin, shadow, under), edge.cover(x.abs() - width))
    });
    let [cloth, trim] = scene.clothes;
    canvas.paint(&posed.frame, [-2.8, chin + 0.1], [2.8, 3.0], |x, y, edge| {
        let far = x.abs();
        let top = chin + 0.26 + 0.22 * (far - neck).max(0.0) + 0.3 * (far - 1.0).max(0.0);
        let collar = chin + 0.48 - 0.35 * (far / neck).min(1.0).powi(2);
        let line = if far < neck { collar } else { top };
        let colour = if y < line + 0.09 { trim } else { cloth };
        Ink::new(colour, edge.cover(line - y))
    });
}

/// The ears, which the head then covers in part.
pub fn draw_ears(canvas: &mut Canvas, posed: &Posed, identity: &Identity) {
    let head = posed.head;
    let (rx, ry) = (head.ear_width, head.ear_height);
    let (skin, inner) = (shade(identity.skin, 0.95), shade(identity.skin, 0.68));
    for side in [-1.0, 1.0] {
        let x = side * head.half_width * 0.99;
        let frame = posed.frame.at(x, identity.eyes.y + 0.14, 0.0, side, 1.0);
        canvas.paint(&frame, [-rx, -ry - 0.1], [rx + 0.1, ry + 0.1], |x, y, edge| {
            let mut ink = Ink::new(skin, edge.cover(ellipse(x, y + 0.2 * x, rx, ry)));
            let hollow = edge.cover(ellipse(x - 0.1 * rx, y + 0.2 * x, rx * 0.6, ry * 0.66));
            ink.over(inner, 0.5 * hollow);
            ink
        });
    }
}

/// Skin of the face with blush, freckles, moles and folds.
pub fn draw_skin(canvas: &mut Canvas, posed: &Posed, identity: &Identity, texture: u32) {
    let head = posed.head;
    let [cx, cy] = posed.project(0.0, identity.nose.tip_y - 0.02, 0.0);
    let cheek = [identity.skin[0], identity.skin[1] * 0.74, identity.skin[2] * 0.74];
    let spot = shade(identity.skin, 0.55);
    let reach = head.half_width + 0.15;
    let (blush, freckles) = (identity.blush, identity.freckles);
    let low = [-reach, -head.crown - 0.1];
    canvas.paint(&posed.frame, low, [reach, head.chin + 0.1], |x, y, edge| {
        let cover = edge.cover(posed.outline(x, y));
        if cover == 0.0 {
            return Ink::default();
        }
        let (fx, fy) = ((x - cx).abs() - 0.42, y - cy);
        let rosy = blush * bump((fx * fx + fy * fy).sqrt(), 0.3);
        let mut colour = mix(identity.skin, cheek, rosy);
        if freckles > 0.0 {
            let cell = speck((x - cx) * 22.0, fy * 22.0, texture);
            colour = mix(colour, spot, cell * freckles * 0.6 * bump(fy, 0.34));
        }
        Ink::new(colour, cover)
    });
    for mole in &identity.moles {
        let x = mole.x * head.half_width;
        let frame = posed.on_face(x, mole.y, 0.0, false);
        let dark = shade(mix(identity.skin, [0.2, 0.1, 0.08], 0.7), 0.7);
        let r = mole.radius;
        canvas.paint(&frame, [-r, -r], [r, r], |x, y, edge| {
            Ink::new(dark, edge.stroke((x * x + y * y).sqrt(), r))
        });
    }
}

/// 0 or more where the cell of the lattice has a speck, the same for the same `seed`.
fn speck(x: f32, y: f32, seed: u32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let mut h = seed ^ (column as i32 as u32).wrapping_mul(0x9e37_79b9);
    h = (h ^ (h >> 15) ^ (row as i32 as u32)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    if h >> 30 != 0 {
        return 0.0;
    }
    bump(x - column - 0.5, 0.5) * bump(y - row - 0.5, 0.5)
}
