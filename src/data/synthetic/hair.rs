//! Hair behind and in front of the head, and what is worn: glasses and hats.

use super::draw::{Canvas, Colour, Ink, ellipse, mix, rounded_box, shade, smooth};
use super::head::Posed;
use super::identity::{Hair, HairStyle, Identity};
use super::scene::{Glasses, Hat, HatKind};

/// Strands: brightness along the hair, -1 to 1.
fn strands(x: f32, y: f32, waves: f32) -> f32 {
    let phase = x * 38.0 + waves * 3.0 * (y * 7.0).sin();
    let saw = (phase * 0.159).fract().abs();
    4.0 * (saw - 0.5).abs() - 1.0
}

fn tint(hair: &Hair, x: f32, y: f32) -> Colour {
    shade(hair.colour, 1.0 + 0.13 * strands(x, y, hair.waves))
}

/// Long hair and curls behind the head and the shoulders.
pub fn draw_back_hair(canvas: &mut Canvas, posed: &Posed, hair: &Hair) {
    let head = posed.head;
    let wide = head.half_width + hair.volume;
    match hair.style {
        HairStyle::Bob | HairStyle::Long => {
            let top = -head.crown - hair.volume;
            let low = [-wide - 0.2, top];
            canvas.paint(&posed.frame, low, [wide + 0.2, hair.length + 0.1], |x, y, edge| {
                let sway = hair.waves * 0.05 * (y * 9.0).sin();
                let d = if y < 0.0 {
                    ellipse(x, y, wide, -top)
                } else {
                    (x.abs() - wide - sway - 0.06 * y).max(y - hair.length + 0.25 * x * x)
                };
                Ink::new(shade(tint(hair, x, y), 0.8), edge.cover(d))
            });
        }
        HairStyle::Curly => {
            let high = head.crown + hair.volume;
            canvas.paint(
                &posed.frame,
                [-wide - 0.1, -high - 0.1],
                [wide + 0.1, 0.6],
                |x, y, edge| {
                    let d = ellipse(x, y + 0.12, wide, high) + curls(x, y);
                    Ink::new(shade(tint(hair, x, y), 0.85), edge.cover(d))
                },
            );
        }
        _ => {}
    }
}

fn curls(x: f32, y: f32) -> f32 {
    0.028 * ((x * 21.0).sin() + (y * 19.0 + 1.0).sin())
}

/// The cap of hair around the face.
pub fn draw_front_hair(canvas: &mut Canvas, posed: &Posed, hair: &Hair) {
    use HairStyle::*;
    if hair.style == Bald {
        return;
    }
    let head = posed.head;
    let volume = if hair.style == Curly { 0.45 * hair.volume } else { hair.volume };
    let [cx, line] = posed.project(0.0, hair.line, -0.1);
    let lowest: f32 = match hair.style {
        Crop | Receding => 0.05,
        Parted | Fringe | Curly => 0.12,
        Bob | Long => 0.45,
        Bald => 0.0,
    };
    let reach = head.half_width + volume + 0.1;
    let low = [-reach, -head.crown - volume - 0.15];
    let deep = shade(hair.colour, 0.62);
    canvas.paint(&posed.frame, low, [reach, lowest.max(0.1) + 0.2], |x, y, edge| {
        let u = (x - cx) / head.half_width;
        let opening = match hair.style {
            Crop | Curly => line + 0.10 * u * u + 2.4 * (u.abs() - 0.72).max(0.0),
            Receding => line - 0.30 * (3.5 * u).sin().powi(2) + 5.0 * (u.abs() - 0.74).max(0.0),
            Parted => {
                let from = u - hair.parting;
                let fall = if from * hair.parting > 0.0 { 0.35 } else { 0.16 };
                line - 0.08 + fall * from.abs() + 1.6 * (u.abs() - 0.72).max(0.0)
            }
            Fringe => {
                let teeth = 0.03 * hair.waves * (u * 17.0).sin();
                line + 0.05 * u * u + teeth + 3.0 * (u.abs() - 0.74).max(0.0)
            }
            Bob | Long => {
                let from = u - 0.5 * hair.parting;
                line - 0.05 + 0.25 * from * from + 4.5 * (u.abs() - 0.70).max(0.0)
            }
            Bald => y,
        };
        let face = ((y - opening) * 0.75).max(y - lowest);
        if edge.cover(face) == 0.0 {
            return Ink::default();
        }
        let lift = volume * smooth(0.35, -0.5, y);
        let locks = if hair.style == Curly { curls(x, y) } else { 0.0 };
        let cover = edge.cover(face.max(posed.outline(x, y) - lift - 0.012 + locks));
        if cover == 0.0 {
            return Ink::default();
        }
        // Darker where the hair meets the forehead, brighter on the crown.
        let root = smooth(-0.16, 0.0, y - opening);
        Ink::new(mix(tint(hair, x, y), deep, 0.6 * root), cover)
    });
}

pub fn draw_glasses(canvas: &mut Canvas, posed: &Posed, identity: &Identity, glasses: &Glasses) {
    let eyes = &identity.eyes;
    let (w, h, thick) = (glasses.half_width, glasses.half_height, glasses.thickness);
    let y = eyes.y + 0.02;
    let spacing = eyes.spacing.max(w + 0.04);
    for side in [-1.0, 1.0] {
        let frame = posed.on_face(side * spacing, y, 0.0, side < 0.0);
        // From the bridge on the nose to the start of the temple.
        let low = [-spacing - 0.02, -h - 0.05];
        canvas.paint(&frame, low, [w + 0.14, h + 0.05], |x, y, edge| {
            let d = rounded_box(x, y, w, h, glasses.corner);
            let mut ink = Ink::new([0.06, 0.07, 0.09], glasses.tint * edge.cover(d));
            let glare = edge.cover((x * side + 0.6 * y + 0.05).abs() - 0.03) * edge.cover(d);
            ink.over([1.0; 3], 0.16 * glare);
            ink.over(glasses.colour, edge.stroke(d, thick));
            ink.over(glasses.colour, edge.stroke(y + 0.03, thick) * edge.cover(-d));
            ink
        });
    }
}

pub fn draw_hat(canvas: &mut Canvas, posed: &Posed, hair: &Hair, hat: &Hat) {
    let head = posed.head;
    let volume = 0.05 + 0.6 * hair.volume.min(0.15);
    let [cx, rim] = posed.project(0.0, hat.edge, 0.0);
    let wide = head.half_width + volume;
    let top = -head.crown - volume - if hat.kind == HatKind::Beanie { 0.06 } else { 0.14 };
    let low = [-wide - 0.65, top - 0.1];
    canvas.paint(&posed.frame, low, [wide + 0.65, rim + 0.35], |x, y, edge| {
        let u = (x - cx) / wide;
        let line = rim + if hat.kind == HatKind::Brim { 0.04 } else { 0.09 } * u * u;
        let dome = ellipse(x, y, wide, -top).max(y - line);
        let mut ink = Ink::new(hat.colour, edge.cover(dome));
        match hat.kind {
            HatKind::Beanie => {
                let fold = edge.cover(dome - 0.02) * edge.cover(line - 0.22 - y);
                let rib = 0.92 + 0.08 * (x * 55.0).sin();
                ink.over(shade(hat.band, rib), fold);
            }
            HatKind::Cap => {
                let visor = ellipse(x - cx * 1.6, y - line, wide * 0.92, 0.17).max(line - 0.03 - y);
                ink.over(shade(hat.band, 0.85), edge.cover(visor));
            }
            HatKind::Brim => {
                let band = edge.cover(dome) * edge.cover(line - 0.16 - y);
                ink.over(hat.band, band);
                ink.over(
                    shade(hat.colour, 0.8),
                    edge.cover(ellipse(x, y - line, wide + 0.5, 0.085)),
                );
            }
        }
        ink
    });
}
