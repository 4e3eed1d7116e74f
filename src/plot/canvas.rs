//! A sheet of paper in points, on a bitmap or in an SVG: what both backends of plotters draw alike.

use plotters::coord::Shift;
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::{DrawingArea, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::colour::Colour;
use super::font;
use crate::{Error, Result};

/// Units of the backend in a point: a bitmap is drawn larger than it will be so that its edges can be
/// smoothed, and plotters knows only whole numbers.
pub const SCALE: u32 = 4;

/// (x, y) in points, y downwards.
pub type Point = (f64, f64);

/// Which end of a text is at its place.
#[derive(Clone, Copy, Debug)]
pub enum Align {
    Left,
    Middle,
    Right,
}

pub struct Canvas<'a, D: DrawingBackend> {
    pub area: &'a DrawingArea<D, Shift>,
    /// An SVG.
    pub vector: bool,
}

impl<D: DrawingBackend> Canvas<'_, D> {
    fn units(value: f64) -> i32 {
        (value * f64::from(SCALE)).round() as i32
    }

    fn place((x, y): Point) -> (i32, i32) {
        (Self::units(x), Self::units(y))
    }

    fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T> {
        result.map_err(|error| Error::failed(format!("cannot draw the picture: {error}")))
    }

    /// A filled rectangle from its upper left to its lower right corner.
    pub fn fill(&self, from: Point, to: Point, colour: Colour, opacity: f64) -> Result<()> {
        let style = ink(colour).mix(opacity).filled();
        Self::done(self.area.draw(&Rectangle::new([Self::place(from), Self::place(to)], style)))
    }

    /// A horizontal or vertical line.
    pub fn rule(&self, from: Point, to: Point, width: f64, colour: Colour) -> Result<()> {
        let half = width / 2.0;
        let (left, right) = (from.0.min(to.0), from.0.max(to.0));
        let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
        self.fill((left - half, top - half), (right + half, bottom + half), colour, 1.0)
    }

    pub fn polygon(&self, points: &[Point], colour: Colour, opacity: f64) -> Result<()> {
        let points: Vec<_> = points.iter().map(|point| Self::place(*point)).collect();
        Self::done(self.area.draw(&Polygon::new(points, ink(colour).mix(opacity))))
    }

    /// A line through the points.
    pub fn path(&self, points: &[Point], width: f64, colour: Colour) -> Result<()> {
        let mut places: Vec<_> = points.iter().map(|point| Self::place(*point)).collect();
        places.dedup();
        if self.vector {
            let style = ShapeStyle::from(ink(colour)).stroke_width(Self::units(width) as u32);
            return match places.len() {
                0 | 1 => Ok(()),
                _ => Self::done(self.area.draw(&PathElement::new(places, style))),
            };
        }
        // plotters' own wide lines have spikes where they turn sharply.
        let half = width * f64::from(SCALE) / 2.0;
        for place in &places {
            let dot = Circle::new(*place, half.round() as i32, ink(colour).filled());
            Self::done(self.area.draw(&dot))?;
        }
        for pair in places.windows(2) {
            let [from, to] = [pair[0], pair[1]].map(|(x, y)| (f64::from(x), f64::from(y)));
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let (dx, dy) = ((to.1 - from.1) / length * half, (from.0 - to.0) / length * half);
            let corners = [
                (from.0 + dx, from.1 + dy),
                (to.0 + dx, to.1 + dy),
                (to.0 - dx, to.1 - dy),
                (from.0 - dx, from.1 - dy),
            ];
            let corners = corners.map(|(x, y)| (x.round() as i32, y.round() as i32));
            Self::done(self.area.draw(&Polygon::new(corners.to_vec(), ink(colour))))?;
        }
        Ok(())
    }

    pub fn dot(&self, middle: Point, radius: f64, colour: Colour) -> Result<()> {
        let dot = Circle::new(Self::place(middle), Self::units(radius), ink(colour).filled());
        Self::done(self.area.draw(&dot))
    }

    /// A line of dashes `dash` long and as far apart as half of that.
    pub fn dashed(&self, points: &[Point], dash: f64, width: f64, colour: Colour) -> Result<()> {
        dashes(points, dash).iter().try_for_each(|dash| self.path(dash, width, colour))
    }

    /// A line of text with `size` as its em, on the baseline at `y`.
    pub fn text(
        &self,
        (x, y): Point,
        align: Align,
        size: f64,
        colour: Colour,
        text: &str,
    ) -> Result<()> {
        font::register();
        let em = size * f64::from(SCALE);
        // plotters takes a bitmap's size for the height of a line and divides an SVG's by 1.24. Both
        // hang the text from `VPos::Top`: a bitmap's baseline is half of the size below it, an SVG's
        // 0.76 em.
        let (size, baseline) = match self.vector {
            true => (em * 1.24, 0.76 * em),
            false => (em * font::LINE_PER_EM, (em * font::LINE_PER_EM / 2.0).floor()),
        };
        let (x, y) = (Self::units(x), (y * f64::from(SCALE) - baseline).round() as i32);
        let anchor = match align {
            Align::Left => HPos::Left,
            Align::Middle => HPos::Center,
            Align::Right => HPos::Right,
        };
        let ink = ink(colour);
        let style = TextStyle::from((font::FAMILY, size).into_font())
            .color(&ink)
            .pos(Pos::new(anchor, VPos::Top));
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        Self::done(self.area.draw(&Text::new(clean, (x, y), style)))
    }
}

fn ink((red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

/// The line through `points` in pieces `dash` long, every third half of one left out.
fn dashes(points: &[Point], dash: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawn, mut left) = (true, dash);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            // A length that is no number has no dashes either.
            if length.is_nan() || length <= left {
                left -= length;
                if drawn {
                    piece.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            if drawn {
                piece.push(from);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece.push(from);
            }
            drawn = !drawn;
            left = if drawn { dash } else { dash / 2.0 };
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_round_corners() {
        let pieces = dashes(&[(0.0, 0.0), (4.0, 0.0), (4.0, 5.0)], 2.0);
        let expected = [
            vec![(0.0, 0.0), (2.0, 0.0)],
            vec![(3.0, 0.0), (4.0, 0.0), (4.0, 1.0)],
            vec![(4.0, 2.0), (4.0, 4.0)],
        ];
        assert_eq!(pieces, expected);
        assert!(dashes(&[], 2.0).is_empty());
        assert!(dashes(&[(1.0, 1.0)], 2.0).is_empty());
    }
}
