//! A colour and a marker for each class: eight colours that differ with any kind of colour vision,
//! then the same with another marker.

use crate::plot::colour::Colour;

pub const COLOURS: [Colour; 8] = [
    (0x0c, 0x63, 0xa6),
    (0xd5, 0x8f, 0x00),
    (0x0e, 0x9c, 0x78),
    (0xc9, 0x62, 0x9b),
    (0x55, 0xa9, 0xe0),
    (0xc3, 0x4a, 0x00),
    (0x2a, 0x0a, 0x45),
    (0x6e, 0x6e, 0x3c),
];

/// The same hues for dark paper.
pub const ON_DARK: [Colour; 8] = [
    (0x5a, 0xa9, 0xf0),
    (0xf0, 0xb1, 0x3c),
    (0x2f, 0xc9, 0x9c),
    (0xf0, 0x8d, 0xc4),
    (0xb3, 0xdd, 0xfa),
    (0xee, 0x6a, 0x2c),
    (0x9d, 0x7b, 0xe0),
    (0xb2, 0xb2, 0x6a),
];

/// Corners (x, y), y downwards, about as large as a circle of radius 1.
const MARKERS: [&[(f64, f64)]; 6] = [
    &CIRCLE,
    &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    &[(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
    &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
    &[(0.0, 1.25), (1.15, -0.85), (-1.15, -0.85)],
    &[
        (-0.4, -1.2),
        (0.4, -1.2),
        (0.4, -0.4),
        (1.2, -0.4),
        (1.2, 0.4),
        (0.4, 0.4),
        (0.4, 1.2),
        (-0.4, 1.2),
        (-0.4, 0.4),
        (-1.2, 0.4),
        (-1.2, -0.4),
        (-0.4, -0.4),
    ],
];

/// cos and sin of multiples of 30 degrees.
const CIRCLE: [(f64, f64); 12] = [
    (1.0, 0.0),
    (0.866, 0.5),
    (0.5, 0.866),
    (0.0, 1.0),
    (-0.5, 0.866),
    (-0.866, 0.5),
    (-1.0, 0.0),
    (-0.866, -0.5),
    (-0.5, -0.866),
    (0.0, -1.0),
    (0.5, -0.866),
    (0.866, -0.5),
];

/// As many classes look different.
pub const DIFFERENT: usize = COLOURS.len() * MARKERS.len();

pub fn colour(class: usize) -> Colour {
    COLOURS[class % COLOURS.len()]
}

/// The corners of a class's marker of radius `size` around (x, y).
pub fn marker(class: usize, (x, y): (f64, f64), size: f64) -> Vec<(f64, f64)> {
    let corners = MARKERS[class / COLOURS.len() % MARKERS.len()];
    corners.iter().map(|(dx, dy)| (x + dx * size, y + dy * size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rgb = [f64; 3];

    /// sRGB (IEC 61966-2-1) to linear light.
    fn linear((r, g, b): Colour) -> Rgb {
        [r, g, b].map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn times(matrix: &[Rgb; 3], v: Rgb) -> Rgb {
        matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }

    /// CIE 1976 L*a*b* under D65.
    fn lab(light: Rgb) -> Rgb {
        const XYZ: [Rgb; 3] = [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ];
        let [x, y, z] = times(&XYZ, light.map(|value| value.clamp(0.0, 1.0)));
        let f = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z] = [f(x / 0.95047), f(y), f(z / 1.08883)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// Complete protanopia, deuteranopia and tritanopia as Machado, Oliveira and Fernandes (2009)
    /// simulate them. A difference of about 2.3 is just seen; five times that is plain.
    #[test]
    fn the_colours_differ_with_any_colour_vision() {
        let visions: [[Rgb; 3]; 4] = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ];
        for vision in visions {
            let seen = COLOURS.map(|colour| lab(times(&vision, linear(colour))));
            for (n, a) in seen.iter().enumerate() {
                for (m, b) in seen.iter().enumerate().skip(n + 1) {
                    let difference =
                        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    assert!(difference > 11.5, "{n} and {m}: {difference}");
                }
            }
        }
    }

    #[test]
    fn every_class_looks_different_for_a_while() {
        let looks: std::collections::HashSet<String> = (0..DIFFERENT)
            .map(|class| format!("{:?} {:?}", colour(class), marker(class, (0.0, 0.0), 1.0)))
            .collect();
        assert_eq!(looks.len(), DIFFERENT);
    }
}
