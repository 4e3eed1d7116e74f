//! Eyes, brows, nose, mouth and beard.

use super::draw::{Canvas, Ink, bump, ellipse, mix, shade, smooth};
use super::head::Posed;
use super::identity::{Beard, Identity};
use super::scene::Scene;

pub fn draw_eyes(canvas: &mut Canvas, posed: &Posed, identity: &Identity, scene: &Scene) {
    let (eyes, look) = (&identity.eyes, &scene.expression);
    let w = eyes.half_width;
    let (upper, lower) = (eyes.upper * (1.0 - look.closure), eyes.lower);
    let socket = shade(identity.skin, 0.72);
    let lash = shade(mix(identity.brows.colour, [0.08, 0.05, 0.05], 0.7), 0.8);
    let ring = shade(eyes.iris_colour, 0.5);
    for side in [-1.0, 1.0] {
        let mirrored = side < 0.0;
        let frame = posed.on_face(side * eyes.spacing, eyes.y, eyes.tilt, mirrored);
        let gaze = [look.gaze[0] * side * w * 0.35, look.gaze[1] * eyes.upper * 0.4];
        let low = [-w - 0.06, -eyes.upper - 0.16];
        canvas.paint(&frame, low, [w + 0.06, lower + 0.14], |x, y, edge| {
            let t = x / w;
            let arc = (1.0 - t * t).max(0.0);
            let (lid, floor) = (-upper * arc, lower * arc * (1.0 - 0.15 * t));
            let mut ink = Ink::new(socket, 0.35 * bump(t, 1.3) * bump(y + 0.5 * upper, 0.16));
            ink.over(socket, eyes.bags * bump(t, 1.1) * bump(y - lower - 0.055, 0.04));
            ink.over(shade(socket, 0.7), eyes.crease * arc * edge.stroke(lid - 0.045 - y, 0.009));
            let inside = edge.cover((lid - y).max(y - floor)) * edge.cover(x.abs() - w);
            if inside > 0.0 {
                let shadow = 0.80 + 0.20 * smooth(lid, lid + 0.07, y);
                let mut ball = shade([0.95, 0.94, 0.93], shadow);
                let (dx, dy) = (x - gaze[0], y - gaze[1] + 0.1 * upper);
                let radius = (dx * dx + dy * dy).sqrt();
                let glow = mix(ring, eyes.iris_colour, smooth(eyes.iris, eyes.iris * 0.7, radius));
                ball = mix(ball, glow, edge.cover(radius - eyes.iris));
                ball = mix(ball, [0.03; 3], edge.cover(radius - eyes.iris * 0.45));
                let (hx, hy) = (dx * side + 0.3 * eyes.iris, dy + 0.35 * eyes.iris);
                let glint = edge.stroke((hx * hx + hy * hy).sqrt(), eyes.iris * 0.22);
                ball = mix(ball, [1.0; 3], 0.9 * glint);
                ink.over(ball, inside);
            }
            let tail = edge.cover(x - w - 0.03) * edge.cover(-x - w);
            let line = lid - 0.15 * (x - w).max(0.0);
            ink.over(lash, tail * edge.stroke(y - line, eyes.lashes));
            ink.over(lash, 0.4 * arc * edge.stroke(y - floor, 0.006));
            ink
        });
    }
}

pub fn draw_brows(canvas: &mut Canvas, posed: &Posed, identity: &Identity, scene: &Scene) {
    let (brows, eyes) = (&identity.brows, &identity.eyes);
    let length = brows.half_length;
    let y = eyes.y - brows.above - scene.expression.brow_raise;
    let slope = brows.slope + scene.expression.frown;
    for side in [-1.0, 1.0] {
        let frame = posed.on_face(side * eyes.spacing * 1.04, y, 0.0, side < 0.0);
        let low = [-length - 0.03, -0.22];
        canvas.paint(&frame, low, [length + 0.03, 0.22], |x, y, edge| {
            let t = x / length;
            let middle = -brows.arch * (1.0 - (t - 0.2) * (t - 0.2)) - slope * x;
            let half = brows.thickness * (1.0 - 0.45 * smooth(-0.2, 1.0, t));
            let cover = edge.stroke(y - middle, half) * edge.cover(x.abs() - length);
            Ink::new(brows.colour, 0.9 * cover)
        });
    }
}

pub fn draw_nose(canvas: &mut Canvas, posed: &Posed, identity: &Identity, scene: &Scene) {
    let (nose, eyes) = (&identity.nose, &identity.eyes);
    let root = posed.project(0.0, eyes.y - 0.06, 0.02);
    let tip = posed.project(0.0, nose.tip_y, 0.20);
    let base = posed.project(0.0, nose.tip_y + 0.03, 0.10);
    let (shadow, glow) = (shade(identity.skin, 0.58), mix(identity.skin, [1.0; 3], 0.45));
    let from_left = scene.light.direction[0] < 0.0;
    let turned = posed.turned();
    let w = nose.half_width;
    let low = [root[0].min(tip[0]) - w - 0.1, root[1]];
    let high = [root[0].max(tip[0]) + w + 0.1, tip[1] + 0.16];
    canvas.paint(&posed.frame, low, high, |x, y, edge| {
        let t = ((y - root[1]) / (tip[1] - root[1])).clamp(0.0, 1.0);
        let across = x - (root[0] + (tip[0] - root[0]) * t);
        let half = nose.bridge + (nose.tip - nose.bridge) * t * t;
        let dark_side = if (across > 0.0) == from_left { 1.0 } else { 0.35 };
        let hidden = if across * turned > 0.0 { 1.3 } else { 0.8 };
        let wall = bump(across.abs() - half - 0.02, 0.06) * smooth(1.0, 0.75, t);
        let fade = smooth(0.0, 0.25, t);
        let mut ink = Ink::new(shadow, (nose.contrast * dark_side * hidden * wall * fade).min(1.0));
        ink.over(glow, 0.45 * nose.contrast * bump(across, half * 0.9) * fade * (1.0 - t));
        // Tip, wings and nostrils hang below the bridge.
        let (bx, by) = (x - base[0], y - base[1]);
        let wings = ellipse(bx.abs() - w + 0.05, by, 0.055, 0.06);
        ink.over(
            shadow,
            nose.contrast * edge.stroke(wings, 0.012) * smooth(-0.02, 0.03, bx.abs() - w + 0.05),
        );
        ink.over(shadow, 0.8 * nose.contrast * bump(by - 0.045, 0.035) * bump(bx, w));
        let hole = ellipse(bx.abs() - 0.5 * w, by - 0.03, nose.nostril * 1.3, nose.nostril * 0.7);
        ink.over(shade(shadow, 0.4), 0.85 * edge.cover(hole));
        let (tx, ty) = (x - tip[0], y - tip[1] + 0.03);
        ink.over(glow, 0.6 * nose.contrast * bump((tx * tx + ty * ty).sqrt(), nose.tip));
        ink
    });
    if identity.folds > 0.0 {
        draw_folds(canvas, posed, identity);
    }
}

/// The folds from the nose to the corners of the mouth.
fn draw_folds(canvas: &mut Canvas, posed: &Posed, identity: &Identity) {
    let (nose, mouth) = (&identity.nose, &identity.mouth);
    let length = mouth.y - nose.tip_y;
    let lean = (mouth.half_width - nose.half_width) / length;
    for side in [-1.0, 1.0] {
        let frame = posed.on_face(side * (nose.half_width + 0.06), nose.tip_y, 0.0, side < 0.0);
        canvas.paint(&frame, [-0.1, -0.05], [0.4, length + 0.1], |x, y, edge| {
            let d = x - lean.max(0.1) * y;
            let along = smooth(-0.05, 0.05, y) * smooth(length + 0.1, length - 0.1, y);
            Ink::new(shade(identity.skin, 0.6), identity.folds * along * edge.stroke(d, 0.014))
        });
    }
}

pub fn draw_mouth(canvas: &mut Canvas, posed: &Posed, identity: &Identity, scene: &Scene) {
    let (mouth, look) = (&identity.mouth, &scene.expression);
    let smile = look.smile.max(0.0);
    let w = mouth.half_width * (1.0 + 0.22 * smile - 0.6 * look.open);
    let curve = mouth.curve + 0.10 * look.smile;
    let gap = look.open + 0.025 * smooth(0.5, 0.9, look.smile);
    let (upper, lower) = (mouth.upper * (1.0 - 0.2 * smile), mouth.lower * (1.0 - 0.15 * smile));
    let frame = posed.on_face(0.0, mouth.y, 0.0, false);
    let (low, high) = ([-w - 0.05, -0.25], [w + 0.05, 0.25 + gap]);
    let shadow = shade(identity.skin, 0.66);
    let (top, bottom) = (shade(mouth.colour, 0.86), mouth.colour);
    canvas.paint(&frame, low, high, |x, y, edge| {
        let t = x / w;
        let arc = (1.0 - t * t).max(0.0);
        let y = y + curve * t * t;
        let bow = 1.0 - mouth.bow * bump(x, 0.055) + 0.25 * mouth.bow * bump(x.abs() - 0.07, 0.05);
        let (rim, teeth) = (-0.3 * gap * arc, 0.1 * gap * arc);
        let floor = 0.7 * gap * arc;
        let crest = rim - upper * bow * arc.sqrt();
        let end = floor + lower * arc;
        let sides = edge.cover(x.abs() - w);
        let mut ink = Ink::new(shadow, 0.5 * bump(t, 0.7) * bump(y - end - 0.045, 0.04));
        ink.over(top, sides * edge.cover((crest - y).max(y - rim)));
        ink.over(bottom, sides * edge.cover((floor - y).max(y - end)));
        let shine = mix(bottom, [1.0; 3], 0.4);
        ink.over(shine, 0.5 * bump(t, 0.5) * bump(y - floor - 0.4 * lower, 0.35 * lower));
        if gap > 0.0 {
            let within = sides * edge.cover((rim - y).max(y - floor));
            let hollow =
                mix([0.93, 0.91, 0.87], [0.25, 0.07, 0.07], smooth(teeth, teeth + 0.03, y));
            ink.over(hollow, within);
        }
        let seam = 0.5 * (rim + floor);
        let closed = smooth(0.05, 0.0, gap * arc);
        let ends = edge.cover(x.abs() - w - 0.02);
        ink.over(shade(mouth.colour, 0.4), 0.85 * closed * ends * edge.stroke(y - seam, 0.010));
        ink
    });
}

pub fn draw_beard(canvas: &mut Canvas, posed: &Posed, identity: &Identity) {
    let (mouth, head) = (&identity.mouth, posed.head);
    let (density, sides, chin) = match identity.beard {
        Beard::None => return,
        Beard::Stubble => (0.28, true, true),
        Beard::Moustache => (0.9, false, false),
        Beard::Goatee => (0.9, false, true),
        Beard::Full => (0.92, true, true),
    };
    let colour = shade(identity.brows.colour, 1.05);
    let [mx, my] = posed.project(0.0, mouth.y, 0.0);
    let w = mouth.half_width;
    let base = 0.5 * (identity.nose.tip_y + 0.06 - mouth.y) - 0.02;
    let reach = head.half_width + 0.1;
    canvas.paint(&posed.frame, [-reach, 0.0], [reach, head.chin + 0.15], |x, y, edge| {
        let (dx, dy) = (x - mx, y - my);
        let drop = base + 0.10 * (dx / w) * (dx / w);
        let moustache = (dy - drop).abs().max((dx.abs() - w * 1.05) * 0.6) - 0.045;
        let mut d = moustache;
        if chin {
            let patch = ellipse(dx, dy - 0.5 * (head.chin - my) - 0.05, w * 0.95, 0.30);
            d = d.min(if sides { jaw_strip(dx, dy, w) } else { patch });
        }
        let d = d.max(-ellipse(dx, dy, w * 0.95, 0.11));
        if edge.cover(d - 0.02) == 0.0 {
            return Ink::default();
        }
        let d = d.max(posed.outline(x, y) - 0.02);
        let soft = smooth(0.03, -0.03, d);
        let strands = 0.88 + 0.12 * (dx * 60.0 + dy * 9.0).sin();
        Ink::new(shade(colour, strands), density * soft * edge.cover(d - 0.02))
    });
}

/// Below a line that falls from the ears to the level of the mouth.
fn jaw_strip(dx: f32, dy: f32, w: f32) -> f32 {
    let rise = 0.75 * (dx.abs() - w * 1.1).max(0.0) * (1.0 + 1.2 * dx.abs());
    0.02 - rise - dy
}
