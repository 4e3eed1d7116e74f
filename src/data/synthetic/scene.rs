//! What changes from image to image: pose, expression, light, background, worn things, sensor.

use super::dice::Dice;
use super::draw::{Colour, mix};

#[derive(Clone, Debug)]
pub struct Pose {
    /// Offset of the head from the middle of the image, as a share of the image.
    pub shift: [f32; 2],
    pub roll: f32,
    pub yaw: f32,
    pub pitch: f32,
    /// Half a head as a share of half the image.
    pub scale: f32,
}

#[derive(Clone, Debug)]
pub struct Expression {
    pub open: f32,
    pub smile: f32,
    pub brow_raise: f32,
    pub frown: f32,
    pub closure: f32,
    pub gaze: [f32; 2],
}

#[derive(Clone, Debug)]
pub struct Light {
    /// Unit vector towards the light: right, down, to the viewer.
    pub direction: [f32; 3],
    pub ambient: f32,
    pub diffuse: f32,
    pub specular: f32,
    /// Gain of each channel in linear light.
    pub cast: Colour,
    /// Change of brightness across the image.
    pub gradient: [f32; 2],
    pub contrast: f32,
    pub offset: f32,
}

/// A disc or a bar behind the person.
#[derive(Clone, Debug)]
pub struct Clutter {
    pub centre: [f32; 2],
    pub angle: f32,
    pub half_size: [f32; 2],
    pub corner: f32,
    pub colour: Colour,
}

#[derive(Clone, Debug)]
pub struct Background {
    pub colours: [Colour; 2],
    pub angle: f32,
    pub clutter: Vec<Clutter>,
}

#[derive(Clone, Debug)]
pub struct Glasses {
    pub half_width: f32,
    pub half_height: f32,
    pub corner: f32,
    pub thickness: f32,
    pub colour: Colour,
    /// Opacity of the lenses.
    pub tint: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HatKind {
    Beanie,
    Cap,
    Brim,
}

#[derive(Clone, Debug)]
pub struct Hat {
    pub kind: HatKind,
    pub colour: Colour,
    pub band: Colour,
    /// Height of its lower edge on the forehead.
    pub edge: f32,
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub pose: Pose,
    pub expression: Expression,
    pub light: Light,
    pub background: Background,
    pub clothes: [Colour; 2],
    pub glasses: Option<Glasses>,
    pub hat: Option<Hat>,
    /// Standard deviation of the sensor's noise.
    pub noise: f32,
    /// 0 sharp, 1 a full binomial blur.
    pub blur: f32,
    /// Seed of the textures of this image.
    pub grain: u32,
}

impl Scene {
    /// Draws a scene for someone who wears glasses with this probability.
    pub fn new(dice: &mut Dice, glasses: f32) -> Self {
        Scene {
            pose: Pose {
                shift: [dice.around(0.09), dice.around(0.09)],
                roll: dice.around(0.30),
                yaw: dice.around(0.44),
                pitch: dice.around(0.22),
                scale: dice.between(0.68, 0.82),
            },
            expression: expression(dice),
            light: light(dice),
            background: background(dice),
            clothes: [dice.colour(), dice.colour()],
            glasses: dice.chance(glasses).then(|| worn_glasses(dice)),
            hat: dice.chance(0.15).then(|| hat(dice)),
            noise: dice.between(0.0, 0.03),
            blur: if dice.chance(0.3) { dice.between(0.2, 1.0) } else { 0.0 },
            grain: dice.word(),
        }
    }
}

fn expression(dice: &mut Dice) -> Expression {
    let talking = dice.chance(0.4);
    Expression {
        open: if talking { dice.between(0.02, 0.14) } else { 0.0 },
        smile: dice.between(-0.3, 1.0) * dice.between(0.0, 1.0),
        brow_raise: dice.between(-0.03, 0.07),
        frown: dice.around(0.15),
        closure: if dice.chance(0.06) { 0.9 } else { dice.between(0.0, 0.3) },
        gaze: [dice.around(1.0), dice.around(0.5)],
    }
}

fn light(dice: &mut Dice) -> Light {
    let (x, y, z) = (dice.between(-1.0, 1.0), dice.between(-0.9, 0.3), dice.between(0.25, 1.0));
    let norm = (x * x + y * y + z * z).sqrt();
    let exposure = dice.between(0.5, 1.35);
    let warmth = dice.around(1.0);
    let green = dice.around(0.5);
    let diffuse = dice.between(0.35, 1.0);
    Light {
        direction: [x / norm, y / norm, z / norm],
        ambient: 1.05 - 0.75 * diffuse,
        diffuse,
        specular: dice.between(0.0, 0.25),
        cast: [
            exposure * (1.0 + 0.55 * warmth),
            exposure * (1.0 + 0.5 * green),
            exposure * (1.0 - 0.65 * warmth),
        ],
        gradient: [dice.around(0.6), dice.around(0.4)],
        contrast: dice.between(0.70, 1.15),
        offset: dice.around(0.14),
    }
}

fn background(dice: &mut Dice) -> Background {
    let first = dice.colour();
    let second = if dice.chance(0.5) { dice.colour() } else { mix(first, [0.5; 3], 0.4) };
    let clutter = (0..dice.pick(&[0, 1, 3, 5, 7]))
        .map(|_| {
            let half_size = [dice.between(0.05, 0.5), dice.between(0.05, 0.5)];
            Clutter {
                centre: [dice.between(-1.1, 1.1), dice.between(-1.1, 1.1)],
                angle: dice.between(0.0, 3.2),
                half_size,
                corner: half_size[0].min(half_size[1]) * dice.between(0.0, 1.0),
                colour: dice.colour(),
            }
        })
        .collect();
    Background { colours: [first, second], angle: dice.between(0.0, 6.3), clutter }
}

fn worn_glasses(dice: &mut Dice) -> Glasses {
    let half_height = dice.between(0.13, 0.21);
    let sun = dice.chance(0.08);
    Glasses {
        half_width: dice.between(0.20, 0.27),
        half_height,
        corner: half_height * dice.between(0.25, 1.0),
        thickness: dice.between(0.012, 0.032),
        colour: if dice.chance(0.6) { [0.08, 0.07, 0.07] } else { dice.colour() },
        tint: if sun { dice.between(0.5, 0.85) } else { dice.between(0.0, 0.12) },
    }
}

fn hat(dice: &mut Dice) -> Hat {
    Hat {
        kind: dice.pick(&[HatKind::Beanie, HatKind::Cap, HatKind::Brim]),
        colour: dice.colour(),
        band: dice.colour(),
        edge: dice.between(-0.62, -0.42),
    }
}
