//! The font of the pictures: part of the program, since a machine may have none.
//!
//! `font/DejaVuSans.ttf` is what this leaves of DejaVu Sans 2.37:
//!
//! ```text
//! pyftsubset DejaVuSans.ttf --no-hinting --layout-features= --name-IDs='*' --unicodes=U+0020-007E,
//! U+00A0-017F,U+0391-03A9,U+03B1-03C9,U+2010-2015,U+2018-201E,U+2022,U+2026,U+2032,U+2070-209C,
//! U+2190-2193,U+2212,U+2215,U+221E,U+2248,U+2260,U+2264,U+2265
//! ```

use std::sync::Once;

use plotters::style::{FontStyle, IntoFont, register_font};

/// What an SVG names too: Verdana is as wide, should DejaVu Sans be missing where it is looked at.
pub const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// Height of the font's line, which plotters takes for the size of a bitmap's text, over its em.
pub const LINE_PER_EM: f64 = 1.164;

const BYTES: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// Makes [`FAMILY`] known to plotters.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let registered = register_font(FAMILY, FontStyle::Normal, BYTES);
        assert!(registered.is_ok(), "the font in the program is not one");
    });
}

/// Width of a line of text whose em is `size`, in the same unit.
pub fn width(text: &str, size: f64) -> f64 {
    // Measured large: plotters gives whole pixels.
    const LARGE: f64 = 16.0;
    register();
    let font = (FAMILY, size * LARGE * LINE_PER_EM).into_font();
    font.box_size(text).map_or(0.0, |(width, _)| f64::from(width)) / LARGE
}

/// `text` in lines of at most `limit`, broken between words, or inside one that is longer.
pub fn wrap(text: &str, size: f64, limit: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
        if width(&longer, size) <= limit {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            line.push(c);
            if width(&line, size) > limit && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, c.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_the_letters() {
        assert_eq!(width("", 12.0), 0.0);
        assert!(width("iii", 12.0) < width("mmm", 12.0));
        let ratio = width("learning rate", 24.0) / width("learning rate", 12.0);
        assert!((ratio - 2.0).abs() < 0.02, "{ratio}");
        // The advance of a digit in DejaVu Sans is 1303 of 2048.
        let digits = width("0123456789", 100.0);
        assert!((digits - 1000.0 * 1303.0 / 2048.0).abs() < 2.0, "{digits}");
    }

    #[test]
    fn lines_break_between_words() {
        let lines = wrap("one two three", 10.0, width("one two ", 10.0));
        assert_eq!(lines, ["one two", "three"]);
        let lines = wrap("abcdefgh", 10.0, width("abc", 10.0) + 0.5);
        assert_eq!(lines.concat(), "abcdefgh");
        assert!(lines.len() >= 3, "{lines:?}");
        assert!(wrap(" ", 10.0, 50.0).is_empty());
    }
}
