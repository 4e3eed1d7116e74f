//! What stays the same in all images of one identity: geometry, colours, hair.
//!
//! Lengths are in units of half a head: an average head reaches from -1 (top) to 1 (chin).

use super::dice::Dice;
use super::draw::{Colour, mix, shade};

/// Outline of the head.
#[derive(Clone, Debug)]
pub struct Head {
    pub half_width: f32,
    /// From the centre up to the top of the skull.
    pub crown: f32,
    /// From the centre down to the chin.
    pub chin: f32,
    /// Exponent of the lower outline: below 2 pointed, 2 elliptic, above 2 square.
    pub jaw: f32,
    /// How much narrower the outline is at the chin, 0 to 1.
    pub taper: f32,
    pub neck: f32,
    pub ear_height: f32,
    pub ear_width: f32,
}

#[derive(Clone, Debug)]
pub struct Eyes {
    /// From the middle of the face to the middle of an eye.
    pub spacing: f32,
    pub y: f32,
    pub half_width: f32,
    pub upper: f32,
    pub lower: f32,
    pub tilt: f32,
    pub iris: f32,
    pub iris_colour: Colour,
    pub crease: f32,
    pub bags: f32,
    pub lashes: f32,
}

#[derive(Clone, Debug)]
pub struct Brows {
    /// Above the middle of the eye.
    pub above: f32,
    pub half_length: f32,
    pub thickness: f32,
    pub slope: f32,
    pub arch: f32,
    pub colour: Colour,
}

#[derive(Clone, Debug)]
pub struct Nose {
    pub tip_y: f32,
    pub half_width: f32,
    pub bridge: f32,
    pub nostril: f32,
    pub tip: f32,
    pub contrast: f32,
}

#[derive(Clone, Debug)]
pub struct Mouth {
    pub y: f32,
    pub half_width: f32,
    pub upper: f32,
    pub lower: f32,
    /// Curve of the closed mouth at rest; positive with the corners up.
    pub curve: f32,
    pub bow: f32,
    pub colour: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HairStyle {
    Bald,
    Crop,
    Receding,
    Parted,
    Fringe,
    Bob,
    Long,
    Curly,
}

#[derive(Clone, Debug)]
pub struct Hair {
    pub style: HairStyle,
    pub colour: Colour,
    /// Height of the hairline in the middle of the forehead.
    pub line: f32,
    /// How far the hair stands off the head.
    pub volume: f32,
    /// How far down long hair reaches.
    pub length: f32,
    /// -1 to 1: where the parting is.
    pub parting: f32,
    pub waves: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beard {
    None,
    Stubble,
    Moustache,
    Goatee,
    Full,
}

/// A small dark spot on the face.
#[derive(Clone, Copy, Debug)]
pub struct Mole {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
}

/// One person who does not exist.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Number that the random draws of this identity and its images derive from.
    pub number: u64,
    pub skin: Colour,
    pub blush: f32,
    pub freckles: f32,
    pub folds: f32,
    pub head: Head,
    pub eyes: Eyes,
    pub brows: Brows,
    pub nose: Nose,
    pub mouth: Mouth,
    pub hair: Hair,
    pub beard: Beard,
    pub moles: Vec<Mole>,
    /// Probability of glasses in an image.
    pub glasses: f32,
}

/// From pale to deep, gamma-encoded.
const SKINS: [Colour; 6] = [
    [0.97, 0.84, 0.76],
    [0.93, 0.76, 0.64],
    [0.85, 0.65, 0.50],
    [0.72, 0.51, 0.37],
    [0.55, 0.37, 0.26],
    [0.38, 0.25, 0.18],
];
/// Dark ones first, grey ones last.
const HAIRS: [Colour; 8] = [
    [0.09, 0.07, 0.07],
    [0.20, 0.13, 0.09],
    [0.35, 0.22, 0.13],
    [0.52, 0.34, 0.18],
    [0.80, 0.63, 0.36],
    [0.62, 0.26, 0.10],
    [0.58, 0.57, 0.56],
    [0.86, 0.85, 0.82],
];
const IRISES: [Colour; 6] = [
    [0.22, 0.12, 0.07],
    [0.40, 0.24, 0.12],
    [0.52, 0.42, 0.20],
    [0.30, 0.48, 0.28],
    [0.28, 0.50, 0.72],
    [0.50, 0.56, 0.60],
];

impl Identity {
    /// Identity `number` of the data set with this seed.
    pub fn new(seed: u64, number: u64) -> Self {
        let dice = &mut Dice::new(seed, number, 0);
        let tone = dice.between(0.0, 4.999);
        let skin = mix(SKINS[tone as usize], SKINS[tone as usize + 1], tone.fract());
        let skin = mix(skin, [skin[0], skin[1] * 0.94, skin[2] * 0.86], dice.between(-0.6, 1.0));
        let strand = strand(dice, tone);
        let eyes = eyes(dice);
        let chin = dice.between(0.92, 1.14);
        let tip_y = eyes.y + dice.between(0.32, 0.54);
        let mouth_y = tip_y + (chin - tip_y) * dice.between(0.34, 0.56);
        Identity {
            number,
            skin,
            blush: dice.between(0.0, 0.35),
            freckles: if dice.chance(0.2) { dice.between(0.3, 0.8) } else { 0.0 },
            folds: dice.between(0.0, 0.5) * dice.between(0.0, 1.0),
            head: Head {
                half_width: dice.between(0.64, 0.88),
                crown: dice.between(0.94, 1.08),
                chin,
                jaw: dice.between(1.65, 2.9),
                taper: dice.between(0.0, 0.28),
                neck: dice.between(0.36, 0.56),
                ear_height: dice.between(0.15, 0.27),
                ear_width: dice.between(0.06, 0.17),
            },
            brows: Brows {
                above: eyes.upper + dice.between(0.08, 0.20),
                half_length: dice.between(0.15, 0.24),
                thickness: dice.between(0.018, 0.060),
                slope: dice.between(-0.28, 0.28),
                arch: dice.between(0.0, 0.085),
                colour: shade(mix(strand, [0.12, 0.08, 0.06], 0.35), 0.85),
            },
            nose: Nose {
                tip_y,
                half_width: dice.between(0.085, 0.20),
                bridge: dice.between(0.035, 0.085),
                nostril: dice.between(0.018, 0.042),
                tip: dice.between(0.05, 0.11),
                contrast: dice.between(0.35, 0.8),
            },
            mouth: Mouth {
                y: mouth_y,
                half_width: dice.between(0.17, 0.36),
                upper: dice.between(0.018, 0.075),
                lower: dice.between(0.028, 0.095),
                curve: dice.between(-0.05, 0.06),
                bow: dice.between(0.0, 0.6),
                colour: lips(dice, skin),
            },
            hair: hair(dice, strand),
            beard: if dice.chance(0.35) {
                dice.pick(&[Beard::Stubble, Beard::Moustache, Beard::Goatee, Beard::Full])
            } else {
                Beard::None
            },
            moles: (0..dice.pick(&[0, 0, 1, 1, 2]))
                .map(|_| Mole {
                    x: dice.between(-0.5, 0.5),
                    y: dice.between(-0.1, 0.8),
                    radius: dice.between(0.018, 0.036),
                })
                .collect(),
            glasses: dice.pick(&[0.05, 0.1, 0.1, 0.5]),
            eyes,
        }
    }
}

fn eyes(dice: &mut Dice) -> Eyes {
    let half_width = dice.between(0.105, 0.185);
    let open = half_width * dice.between(0.55, 1.1);
    Eyes {
        spacing: half_width + dice.between(0.12, 0.24),
        y: dice.between(-0.20, 0.05),
        half_width,
        upper: open * 0.6,
        lower: open * 0.4,
        tilt: dice.between(-0.22, 0.16),
        iris: open * dice.between(0.46, 0.60),
        iris_colour: shade(dice.pick(&IRISES), dice.between(0.8, 1.2)),
        crease: dice.between(0.0, 0.6),
        bags: dice.between(0.0, 0.4),
        lashes: dice.between(0.008, 0.022),
    }
}

/// Colour of the hair: any for pale skin, mostly dark or grey for deep skin.
fn strand(dice: &mut Dice, tone: f32) -> Colour {
    let natural = if tone < 2.5 { dice.pick(&HAIRS) } else { dice.pick(&HAIRS[..3]) };
    let aged = dice.pick(&HAIRS[6..]);
    let colour = if dice.chance(0.12) { aged } else { natural };
    shade(colour, dice.between(0.8, 1.2))
}

fn lips(dice: &mut Dice, skin: Colour) -> Colour {
    let natural = [skin[0] * 0.86, skin[1] * 0.62, skin[2] * 0.66];
    mix(natural, [0.68, 0.14, 0.20], dice.between(0.0, 0.7) * dice.between(0.0, 1.0))
}

fn hair(dice: &mut Dice, colour: Colour) -> Hair {
    use HairStyle::*;
    let style = dice.pick(&[Bald, Crop, Crop, Receding, Parted, Parted, Fringe, Bob, Long, Curly]);
    let (line, volume) = match style {
        Bald => (-1.2, 0.0),
        Crop => (dice.between(-0.72, -0.50), dice.between(0.03, 0.09)),
        Receding => (dice.between(-0.88, -0.72), dice.between(0.02, 0.08)),
        Parted => (dice.between(-0.70, -0.48), dice.between(0.06, 0.16)),
        Fringe => (dice.between(-0.48, -0.34), dice.between(0.06, 0.16)),
        Bob | Long => (dice.between(-0.74, -0.45), dice.between(0.06, 0.18)),
        Curly => (dice.between(-0.70, -0.48), dice.between(0.16, 0.34)),
    };
    Hair {
        style,
        colour,
        line,
        volume,
        length: if style == Bob { dice.between(0.5, 1.0) } else { dice.between(1.1, 1.9) },
        parting: dice.between(-0.7, 0.7),
        waves: dice.between(0.0, 1.0),
    }
}
