//! The two views of an epoch: the embeddings as they are, and at unit length.

use plotters::prelude::DrawingBackend;

use super::{Frame, Place, Track, palette};
use crate::Result;
use crate::plot::canvas::{Align, Canvas, Point};
use crate::plot::{colour, ticks};

const SMALL: f64 = 11.0;
/// Directions in which images are counted around the circle.
const BINS: usize = 120;

/// A square on the paper that shows a square of the plane.
pub struct Panel {
    pub left: f64,
    pub top: f64,
    pub side: f64,
    /// The middle of the plane's square, and half its side.
    pub middle: Place,
    pub half: f64,
}

impl Panel {
    fn place(&self, place: Place) -> Point {
        let unit = self.side / 2.0 / self.half;
        (
            self.left + self.side / 2.0 + (place[0] - self.middle[0]) * unit,
            self.top + self.side / 2.0 - (place[1] - self.middle[1]) * unit,
        )
    }

    fn frame<D: DrawingBackend>(&self, canvas: &Canvas<'_, D>) -> Result<()> {
        let (left, top) = (self.left, self.top);
        let (right, bottom) = (left + self.side, top + self.side);
        for (from, to) in [
            ((left, top), (right, top)),
            ((left, bottom), (right, bottom)),
            ((left, top), (left, bottom)),
            ((right, top), (right, bottom)),
        ] {
            canvas.rule(from, to, 1.0, colour::GRID)?;
        }
        Ok(())
    }

    /// A ray from `from` as far as `to`, but not out of the panel.
    fn ray<D: DrawingBackend>(
        &self,
        from: Place,
        to: Place,
        class: usize,
        canvas: &Canvas<'_, D>,
    ) -> Result<()> {
        let mut share = 1.0f64;
        for axis in 0..2 {
            let way = to[axis] - from[axis];
            let edge = self.middle[axis] + self.half * way.signum() - from[axis];
            if way.abs() > 1e-12 {
                share = share.min(edge / way);
            }
        }
        let end = [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * share.max(0.0));
        let line = [self.place(from), self.place(end)];
        canvas.path(&line, 3.4, (0xff, 0xff, 0xff))?;
        canvas.path(&line, 1.8, palette::colour(class))
    }

    /// The markers, in an order that puts no class above all others.
    fn markers<D: DrawingBackend>(
        &self,
        places: &[Place],
        labels: &[usize],
        canvas: &Canvas<'_, D>,
    ) -> Result<()> {
        let count = places.len();
        // Points.
        let radius = if count > 400 { 2.7 } else { 3.4 };
        // A step without a common divisor visits every image once, classes mixed.
        let step = (1..).map(|n| count * 3 / 8 + n).find(|step| divisor(*step, count) == 1);
        for n in 0..count {
            let at = n * step.unwrap_or(1) % count;
            let (place, class) = (self.place(places[at]), labels[at]);
            let around = palette::marker(class, place, radius + 0.6);
            canvas.polygon(&around, (0xff, 0xff, 0xff), 0.85)?;
            let corners = palette::marker(class, place, radius);
            canvas.polygon(&corners, palette::colour(class), 0.85)?;
        }
        Ok(())
    }
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The embeddings, with the class centres as rays from the origin.
pub fn scatter<D: DrawingBackend>(
    panel: &Panel,
    track: &Track,
    frame: &Frame,
    canvas: &Canvas<'_, D>,
) -> Result<()> {
    let Panel { left, top, side, middle, half } = *panel;
    // t-SNE's axes mean nothing: no ticks.
    if track.projection != "tsne" {
        for tick in ticks::linear(middle[0] - half, middle[0] + half, (side / 50.0) as usize) {
            let x = panel.place([tick.at, middle[1]]).0;
            canvas.rule((x, top), (x, top + side), 1.0, colour::GRID)?;
            canvas.text(
                (x, top + side + 14.0),
                Align::Middle,
                SMALL,
                colour::MUTED,
                &tick.label,
            )?;
        }
        for tick in ticks::linear(middle[1] - half, middle[1] + half, (side / 50.0) as usize) {
            let y = panel.place([middle[0], tick.at]).1;
            canvas.rule((left, y), (left + side, y), 1.0, colour::GRID)?;
            if y > top + 14.0 {
                let at = (left + 4.0, y - 3.0);
                canvas.text(at, Align::Left, SMALL, colour::MUTED, &tick.label)?;
            }
        }
    }
    panel.frame(canvas)?;
    for (class, centre) in frame.centres.iter().enumerate().take(palette::DIFFERENT) {
        let to = [0, 1].map(|axis| track.origin[axis] + centre[axis] * frame.reach);
        panel.ray(track.origin, to, class, canvas)?;
    }
    panel.markers(&frame.points, &frame.labels, canvas)
}

/// The embeddings at unit length. Of two dimensions they lie on the circle; bars outside it count
/// them by direction.
pub fn circle<D: DrawingBackend>(
    panel: &Panel,
    track: &Track,
    frame: &Frame,
    canvas: &Canvas<'_, D>,
) -> Result<()> {
    panel.frame(canvas)?;
    let ring = |radius: f64| -> Vec<Point> {
        let turn = |n: i32| f64::from(n) / 180.0 * std::f64::consts::PI;
        (0..=360).map(|n| panel.place([radius * turn(n).cos(), radius * turn(n).sin()])).collect()
    };
    canvas.path(&ring(1.0), 1.4, colour::FRAME)?;
    if track.projection == "none" {
        bars(panel, track, frame, canvas)?;
    }
    let named = frame.unit_centres.iter().enumerate().take(palette::DIFFERENT);
    for (class, centre) in named.clone() {
        panel.ray([0.0; 2], *centre, class, canvas)?;
    }
    panel.markers(&frame.unit, &frame.labels, canvas)?;
    for (class, centre) in named {
        let place = panel.place(*centre);
        canvas.polygon(&palette::marker(class, place, 6.4), (0xff, 0xff, 0xff), 1.0)?;
        canvas.polygon(&palette::marker(class, place, 5.0), palette::colour(class), 1.0)?;
    }
    let text = match track.projection {
        "none" => "at unit length; bars count directions",
        _ => "at unit length, along their principal axes",
    };
    let at = (panel.left + panel.side / 2.0, panel.top + panel.side + 14.0);
    canvas.text(at, Align::Middle, SMALL, colour::MUTED, text)
}

/// Images by direction, classes stacked outwards; the area of a bar goes with their number, and the
/// longest bar of any epoch fills the room.
fn bars<D: DrawingBackend>(
    panel: &Panel,
    track: &Track,
    frame: &Frame,
    canvas: &Canvas<'_, D>,
) -> Result<()> {
    const FROM: f64 = 1.07;
    const ROOM: f64 = 0.34;
    let most = track.frames.iter().map(|frame| fullest(&counts(frame))).max().unwrap_or(1).max(1);
    // Radius whose ring sector from FROM holds a share of the largest one's area.
    let radius = |count: usize| {
        let share = count as f64 / most as f64;
        (FROM.powi(2) + share * ((FROM + ROOM).powi(2) - FROM.powi(2))).sqrt()
    };
    for (bin, classes) in counts(frame).iter().enumerate() {
        let mut below = 0;
        for (class, count) in classes {
            let (inner, outer) = (radius(below), radius(below + count));
            below += count;
            let angle = |n: f64| (bin as f64 + n) / BINS as f64 * 2.0 * std::f64::consts::PI;
            let at = |radius: f64, n: f64| {
                panel.place([radius * angle(n).cos(), radius * angle(n).sin()])
            };
            let corners = [at(inner, 0.06), at(outer, 0.06), at(outer, 0.94), at(inner, 0.94)];
            canvas.polygon(&corners, palette::colour(*class), 0.9)?;
        }
    }
    Ok(())
}

/// For each direction the classes and how many images of each, by class.
fn counts(frame: &Frame) -> Vec<std::collections::BTreeMap<usize, usize>> {
    let mut bins = vec![std::collections::BTreeMap::new(); BINS];
    for (place, class) in frame.unit.iter().zip(&frame.labels) {
        let turn = place[1].atan2(place[0]) / (2.0 * std::f64::consts::PI);
        let bin = (turn.rem_euclid(1.0) * BINS as f64) as usize % BINS;
        *bins[bin].entry(*class).or_default() += 1;
    }
    bins
}

fn fullest(bins: &[std::collections::BTreeMap<usize, usize>]) -> usize {
    bins.iter().map(|bin| bin.values().sum()).max().unwrap_or(0)
}
