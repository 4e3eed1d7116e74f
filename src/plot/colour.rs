//! Colours on white that can be told apart with any kind of colour vision.

pub type Colour = (u8, u8, u8);

pub const TEXT: Colour = (0x26, 0x26, 0x26);
/// Less important text, and lines that mark a place.
pub const MUTED: Colour = (0x59, 0x59, 0x59);
pub const FRAME: Colour = (0x8c, 0x8c, 0x8c);
pub const GRID: Colour = (0xe4, 0xe4, 0xe4);
/// Behind everything, laid on thinly.
pub const BAND: Colour = (0xe6, 0x9f, 0x00);

/// Of the series, in turn: after Okabe & Ito and Paul Tol, those dark enough for white paper.
pub const SERIES: [Colour; 6] = [
    (0x00, 0x72, 0xb2),
    (0xd5, 0x5e, 0x00),
    (0x00, 0x8a, 0x66),
    (0x88, 0x22, 0x55),
    (0x33, 0x22, 0x88),
    (0x66, 0x66, 0x66),
];

/// The colour of a series: `stated`, else that of its number.
pub fn of_series(stated: Option<usize>, number: usize) -> Colour {
    SERIES[stated.unwrap_or(number) % SERIES.len()]
}

/// As it looks when laid thinly on white paper.
pub fn faint((red, green, blue): Colour) -> Colour {
    let lighter = |value: u8| 255 - (255 - value) / 3;
    (lighter(red), lighter(green), lighter(blue))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2.1, relative luminance and contrast ratio against white.
    fn contrast(colour: Colour) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let luminance =
            0.2126 * linear(colour.0) + 0.7152 * linear(colour.1) + 0.0722 * linear(colour.2);
        1.05 / (luminance + 0.05)
    }

    /// 3 for graphics, 4.5 for text.
    #[test]
    fn colours_stand_out_from_white() {
        for colour in SERIES {
            assert!(contrast(colour) > 3.0, "{colour:?}: {}", contrast(colour));
        }
        assert!(contrast(FRAME) > 3.0, "{}", contrast(FRAME));
        for colour in [TEXT, MUTED] {
            assert!(contrast(colour) > 4.5, "{colour:?}: {}", contrast(colour));
        }
    }
}
