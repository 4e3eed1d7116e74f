//! A random part of an image, as torchvision's `RandomResizedCrop` and `RandomErasing` choose it:
//! ten tries at a share of the area and a shape, the first that fits is taken.
//!
//! Differs from the reference in: the place is drawn apart from the tries.

use super::dice::Dice;

const TRIES: usize = 10;

/// What was drawn, before the size of the image is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    /// Share of the image's area, and width divided by height.
    tries: [(f64, f64); TRIES],
    /// Where in the room that is left: 0 is left or top, 1 right or bottom.
    place: (f64, f64),
}

/// A part of an image, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Rectangle {
    /// The share of the area is uniform between the two of `area`, the logarithm of the shape
    /// between those of `ratio`.
    pub fn draw(dice: &mut Dice, area: &[f64], ratio: &[f64]) -> Self {
        let place = (dice.uniform(), dice.uniform());
        let tries = [(); TRIES].map(|()| {
            let share = dice.between(area[0], area[1]);
            (share, dice.between(ratio[0].ln(), ratio[1].ln()).exp())
        });
        Rectangle { tries, place }
    }

    /// The part of an image of this size; none where no try fits.
    pub fn within(&self, width: usize, height: usize) -> Option<Part> {
        let area = (width * height) as f64;
        let sizes = self.tries.iter().map(|(share, ratio)| {
            let side = |squared: f64| squared.sqrt().round_ties_even() as usize;
            (side(area * share * ratio), side(area * share / ratio))
        });
        let fits = |&(w, h): &(usize, usize)| (1..=width).contains(&w) && (1..=height).contains(&h);
        let (w, h) = { sizes }.find(fits)?;
        // The place is below 1, so this is one of 0 to `room`.
        let at = |room: usize, place: f64| (place * (room + 1) as f64) as usize;
        let (left, top) = (at(width - w, self.place.0), at(height - h, self.place.1));
        Some(Part { left, top, width: w, height: h })
    }

    /// This part, whatever the image.
    #[cfg(test)]
    pub fn fixed(width: usize, height: usize, part: Part) -> Self {
        let share = (part.width * part.height) as f64 / (width * height) as f64;
        let ratio = part.width as f64 / part.height as f64;
        let place = |at: usize, room: usize| (at as f64 + 0.5) / (room + 1) as f64;
        Rectangle {
            tries: [(share, ratio); TRIES],
            place: (place(part.left, width - part.width), place(part.top, height - part.height)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dice::Change;
    use super::*;

    fn draw(sample: u64, area: &[f64], ratio: &[f64]) -> Rectangle {
        Rectangle::draw(&mut Dice::new(1, 0, sample, Change::Cutout), area, ratio)
    }

    #[test]
    fn area_shape_and_place_are_spread_over_their_ranges() {
        let (mut areas, mut ratios, mut lefts) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..2000 {
            let drawn = draw(sample, &[0.1, 0.5], &[0.5, 2.0]);
            let part = drawn.within(400, 400).unwrap();
            assert!(part.left + part.width <= 400 && part.top + part.height <= 400);
            areas.push((part.width * part.height) as f64 / 160_000.0);
            ratios.push((part.width as f64 / part.height as f64).ln());
            lefts.push(part.left as f64 / (400 - part.width) as f64);
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let bounds = |values: &[f64]| {
            let least = values.iter().copied().fold(f64::MAX, f64::min);
            (least, values.iter().copied().fold(f64::MIN, f64::max))
        };
        assert!((mean(&areas) - 0.3).abs() < 0.01 && mean(&ratios).abs() < 0.03);
        assert!((mean(&lefts) - 0.5).abs() < 0.02);
        let ((least, most), (narrow, wide)) = (bounds(&areas), bounds(&ratios));
        // A side of 126 pixels or more is rounded by at most half a pixel.
        assert!((0.099..0.11).contains(&least) && (0.49..0.503).contains(&most));
        assert!((-0.70..-0.6).contains(&narrow) && (0.6..0.70).contains(&wide));
        assert_eq!(bounds(&lefts), (0.0, 1.0));
    }

    #[test]
    fn what_fits_nowhere_is_none_and_a_fixed_part_is_that_part() {
        assert_eq!(draw(1, &[0.9, 1.0], &[3.0, 3.0]).within(50, 50), None);
        let part = Part { left: 3, top: 0, width: 17, height: 9 };
        assert_eq!(Rectangle::fixed(60, 45, part).within(60, 45), Some(part));
    }
}
