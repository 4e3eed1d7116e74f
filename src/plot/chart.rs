//! Where everything in a chart lies.

use plotters::prelude::DrawingBackend;

use super::canvas::{Align, Canvas, Point};
use super::paper::Drawing;
use super::scale::{Scale, range, thin};
use super::{LineChart, Mark, Series, Style, colour, font, ticks};
use crate::Result;

/// Sizes of text, ems in points.
const TITLE: f64 = 17.0;
const TEXT: f64 = 12.0;
const SMALL: f64 = 11.0;
/// Empty paper along the edges.
const EDGE: f64 = 16.0;
/// Height of a row of small text.
const ROW: f64 = 17.0;
/// Width of the line of a series.
const LINE: f64 = 2.0;
/// Points that are marked; more would be a rope.
const DOTS: usize = 64;
const DOT: f64 = 3.5;

/// A chart on paper of `width` x `height` points.
pub(super) struct Sheet<'a> {
    pub chart: &'a LineChart,
    pub width: u32,
    pub height: u32,
}

impl Drawing for Sheet<'_> {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn draw<D: DrawingBackend>(&self, canvas: &Canvas<'_, D>) -> Result<()> {
        draw(self.chart, canvas, self.width, self.height)
    }
}

/// Draws `chart` on paper of `width` x `height` points.
fn draw<D: DrawingBackend>(
    chart: &LineChart,
    canvas: &Canvas<'_, D>,
    width: u32,
    height: u32,
) -> Result<()> {
    let (width, height) = (f64::from(width), f64::from(height));
    canvas.fill((0.0, 0.0), (width, height), (0xff, 0xff, 0xff), 1.0)?;
    let top = heading(chart, canvas, width)?;
    let frame = Frame::new(chart, width, height, top);
    frame.bands(chart, canvas)?;
    frame.axes(chart, canvas)?;
    frame.marks(chart, canvas)?;
    for (n, series) in chart.series.iter().enumerate() {
        frame.series(series, colour::of_series(series.colour, n), canvas)?;
    }
    frame.names_right(chart, canvas)?;
    frame.names_above(chart, canvas)
}

/// Title, subtitle and the names of the series; returns where the rest begins.
fn heading<D: DrawingBackend>(
    chart: &LineChart,
    canvas: &Canvas<'_, D>,
    width: f64,
) -> Result<f64> {
    let limit = width - 2.0 * EDGE;
    let mut y = EDGE - 4.0;
    for line in font::wrap(&chart.title, TITLE, limit) {
        y += TITLE + 5.0;
        canvas.text((EDGE, y - 4.0), Align::Left, TITLE, colour::TEXT, &line)?;
    }
    for line in chart.subtitle.iter().flat_map(|text| font::wrap(text, TEXT, limit)) {
        y += ROW;
        canvas.text((EDGE, y - 3.0), Align::Left, TEXT, colour::MUTED, &line)?;
    }
    let named = || chart.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
    if named().count() < 2 {
        return Ok(y);
    }
    const SWATCH: f64 = 22.0;
    let mut x = EDGE;
    y += ROW + 2.0;
    for (n, series) in named() {
        let wide = SWATCH + 6.0 + font::width(&series.name, TEXT) + 18.0;
        if x > EDGE && x + wide - 18.0 > width - EDGE {
            (x, y) = (EDGE, y + ROW);
        }
        let ink = colour::of_series(series.colour, n);
        let line = [(x, y - 8.0), (x + SWATCH, y - 8.0)];
        match series.style {
            Style::Line => canvas.path(&line, LINE, ink)?,
            Style::Dashed => canvas.dashed(&line, 6.0, LINE, ink)?,
            Style::Faint => canvas.path(&line, LINE, colour::faint(ink))?,
            Style::Dots => {
                canvas.path(&line, LINE, ink)?;
                canvas.dot((x + SWATCH / 2.0, y - 8.0), DOT, ink)?;
            }
            Style::Filled => canvas.fill((x, y - 12.0), (x + SWATCH, y - 4.0), ink, 0.5)?,
        }
        let at = (x + SWATCH + 6.0, y - 4.0);
        canvas.text(at, Align::Left, TEXT, colour::TEXT, &series.name)?;
        x += wide;
    }
    Ok(y)
}

/// The rectangle that the lines lie in.
struct Frame {
    x: Scale,
    y: Scale,
    /// Of the frame; the y axis ends below it where names of marks and bands need a strip.
    top: f64,
    y_ticks: Vec<ticks::Tick>,
    y_small: Vec<f64>,
}

impl Frame {
    fn new(chart: &LineChart, width: f64, height: f64, top: f64) -> Self {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let y_values = points().map(|point| point.1).chain(chart.y_marks.iter().map(|m| m.at));
        let (low, high) = range(y_values, chart.y_range, chart.log_y, 0.05);
        let (left, right) = range(points().map(|point| point.0), chart.x_range, chart.log_x, 0.0);
        let named = chart.bands.iter().any(|band| !band.name.is_empty())
            || chart.x_marks.iter().any(|mark| !mark.name.is_empty());
        let strip = if named { ROW + 3.0 } else { 0.0 };
        // A row for the names of the left and of the upper axis, one for the ticks of the latter.
        let names = !chart.y_label.is_empty() || chart.top.is_some();
        let top = top
            + 10.0
            + if names { ROW + 2.0 } else { 0.0 }
            + if chart.top.is_some() { ROW } else { 0.0 };
        let names = if chart.x_label.is_empty() { 0.0 } else { ROW + 2.0 };
        let bottom = (height - EDGE - names - ROW).max(top + strip + 1.0);
        let rows = ((bottom - top - strip) / 40.0) as usize;
        let (y_ticks, y_small) = match chart.log_y {
            true => ticks::logarithmic(low, high, rows),
            false => (ticks::linear(low, high, rows), Vec::new()),
        };
        let widest = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| font::width(text, SMALL)).fold(0.0, f64::max)
        };
        let start = EDGE + widest(&mut y_ticks.iter().map(|tick| tick.label.as_str())) + 9.0;
        let marks = widest(&mut chart.y_marks.iter().map(|mark| mark.name.as_str()));
        let end = width - if marks > 0.0 { EDGE + marks + 8.0 } else { EDGE + 8.0 };
        Frame {
            x: Scale { min: left, max: right, start, end: end.max(start + 1.0), log: chart.log_x },
            y: Scale { min: low, max: high, start: bottom, end: top + strip, log: chart.log_y },
            top,
            y_ticks,
            y_small,
        }
    }

    fn bands<D: DrawingBackend>(&self, chart: &LineChart, canvas: &Canvas<'_, D>) -> Result<()> {
        chart.bands.iter().try_for_each(|band| {
            let (from, to) = (self.x.place(band.from), self.x.place(band.to));
            canvas.fill((from, self.top), (to, self.y.start), colour::BAND, 0.16)
        })
    }

    /// Grid, ticks, names of the axes, frame.
    fn axes<D: DrawingBackend>(&self, chart: &LineChart, canvas: &Canvas<'_, D>) -> Result<()> {
        let (left, right, bottom, top) = (self.x.start, self.x.end, self.y.start, self.top);
        let rule = |from: Point, to: Point, ink| canvas.rule(from, to, 1.0, ink);
        for tick in &self.y_ticks {
            let y = self.y.place(tick.at);
            rule((left, y), (right, y), colour::GRID)?;
            rule((left - 4.0, y), (left, y), colour::FRAME)?;
            let at = (left - 7.0, y + 4.0);
            canvas.text(at, Align::Right, SMALL, colour::TEXT, &tick.label)?;
        }
        for small in &self.y_small {
            let y = self.y.place(*small);
            rule((left - 2.0, y), (left, y), colour::FRAME)?;
        }
        let columns = ((right - left) / 80.0) as usize;
        let (x_ticks, x_small) = match self.x.log {
            true => ticks::logarithmic(self.x.min, self.x.max, columns),
            false if chart.whole_x => (ticks::whole(self.x.min, self.x.max, columns), Vec::new()),
            false => (ticks::linear(self.x.min, self.x.max, columns), Vec::new()),
        };
        for tick in &x_ticks {
            let x = self.x.place(tick.at);
            if chart.top.is_none() {
                rule((x, top), (x, bottom), colour::GRID)?;
            }
            rule((x, bottom), (x, bottom + 4.0), colour::FRAME)?;
            let at = (x, bottom + ROW);
            canvas.text(at, Align::Middle, SMALL, colour::TEXT, &tick.label)?;
        }
        for small in &x_small {
            let x = self.x.place(*small);
            rule((x, bottom), (x, bottom + 2.0), colour::FRAME)?;
        }
        if let Some(axis) = &chart.top {
            let columns = ((right - left) / 60.0) as usize;
            let (min, max) = (self.x.min / axis.every, self.x.max / axis.every);
            for tick in ticks::whole(min, max, columns) {
                let x = self.x.place(tick.at * axis.every);
                rule((x, top), (x, bottom), colour::GRID)?;
                rule((x, top - 4.0), (x, top), colour::FRAME)?;
                let at = (x, top - 8.0);
                canvas.text(at, Align::Middle, SMALL, colour::TEXT, &tick.label)?;
            }
            let at = (right, top - ROW - 8.0);
            canvas.text(at, Align::Right, TEXT, colour::TEXT, &axis.label)?;
        }
        for (from, to) in [
            ((left, top), (right, top)),
            ((left, bottom), (right, bottom)),
            ((left, top), (left, bottom)),
            ((right, top), (right, bottom)),
        ] {
            rule(from, to, colour::FRAME)?;
        }
        let above = top - 8.0 - if chart.top.is_some() { ROW } else { 0.0 };
        canvas.text((EDGE, above), Align::Left, TEXT, colour::TEXT, &chart.y_label)?;
        let below = ((left + right) / 2.0, bottom + 2.0 * ROW + 2.0);
        canvas.text(below, Align::Middle, TEXT, colour::TEXT, &chart.x_label)
    }

    fn series<D: DrawingBackend>(
        &self,
        series: &Series,
        ink: colour::Colour,
        canvas: &Canvas<'_, D>,
    ) -> Result<()> {
        for run in series.points.split(|point| point.0.is_nan() || point.1.is_nan()) {
            let places: Vec<Point> =
                run.iter().map(|point| (self.x.place(point.0), self.y.place(point.1))).collect();
            let places = thin(&places);
            match series.style {
                Style::Line => canvas.path(&places, LINE, ink)?,
                Style::Dashed => canvas.dashed(&places, 8.0, LINE, ink)?,
                Style::Faint => canvas.path(&places, LINE / 2.0, colour::faint(ink))?,
                Style::Dots => {
                    canvas.path(&places, LINE, ink)?;
                    if series.points.len() <= DOTS || run.len() == 1 {
                        places.iter().try_for_each(|place| canvas.dot(*place, DOT, ink))?;
                    }
                }
                Style::Filled => {
                    if let [first, .., last] = places[..] {
                        let floor = self.y.place(0.0);
                        let mut area = places.clone();
                        area.extend([(last.0, floor), (first.0, floor)]);
                        canvas.polygon(&area, ink, 0.25)?;
                    }
                    canvas.path(&places, LINE, ink)?;
                }
            }
        }
        Ok(())
    }

    /// Lines across, behind the series.
    fn marks<D: DrawingBackend>(&self, chart: &LineChart, canvas: &Canvas<'_, D>) -> Result<()> {
        for mark in chart.y_marks.iter().filter(|mark| self.y.holds(mark.at)) {
            let y = self.y.place(mark.at);
            canvas.dashed(&[(self.x.start, y), (self.x.end, y)], 5.0, 1.0, colour::MUTED)?;
        }
        for mark in chart.x_marks.iter().filter(|mark| self.x.holds(mark.at)) {
            let x = self.x.place(mark.at);
            canvas.dashed(&[(x, self.y.end), (x, self.y.start)], 3.0, 1.0, colour::MUTED)?;
        }
        Ok(())
    }

    /// Names of horizontal lines, moved apart where they would overlap.
    fn names_right<D: DrawingBackend>(
        &self,
        chart: &LineChart,
        canvas: &Canvas<'_, D>,
    ) -> Result<()> {
        const APART: f64 = ROW - 2.0;
        let named = |mark: &&Mark| self.y.holds(mark.at) && !mark.name.is_empty();
        let mut marks: Vec<&Mark> = chart.y_marks.iter().filter(named).collect();
        marks.sort_by(|a, b| b.at.total_cmp(&a.at));
        let mut y: Vec<f64> = marks.iter().map(|mark| self.y.place(mark.at)).collect();
        for y in &y {
            canvas.rule((self.x.end, *y), (self.x.end + 4.0, *y), 1.0, colour::FRAME)?;
        }
        for n in 1..y.len() {
            y[n] = y[n].max(y[n - 1] + APART);
        }
        let mut floor = self.y.start;
        for y in y.iter_mut().rev() {
            *y = y.min(floor);
            floor = *y - APART;
        }
        for (mark, y) in marks.iter().zip(y) {
            let at = (self.x.end + 7.0, y + 4.0);
            canvas.text(at, Align::Left, SMALL, colour::MUTED, &mark.name)?;
        }
        Ok(())
    }

    /// Names in the strip above the lines: of bands, then of vertical lines. One that has no room is
    /// left out.
    fn names_above<D: DrawingBackend>(
        &self,
        chart: &LineChart,
        canvas: &Canvas<'_, D>,
    ) -> Result<()> {
        let bands = chart.bands.iter().map(|band| {
            let (from, to) = (self.x.place(band.from), self.x.place(band.to));
            (&band.name, (from + to) / 2.0, from)
        });
        let marks = chart.x_marks.iter().filter(|mark| self.x.holds(mark.at));
        let marks = marks.map(|mark| (&mark.name, self.x.place(mark.at), self.x.start));
        let mut taken: Vec<(f64, f64)> = Vec::new();
        for (name, middle, least) in bands.chain(marks) {
            let half = font::width(name, SMALL) / 2.0 + 4.0;
            let (lowest, highest) = (least + half, self.x.end - half);
            let middle = middle.max(lowest).min(highest);
            let (from, to) = (middle - half, middle + half);
            let free = taken.iter().all(|other| to <= other.0 || from >= other.1);
            if name.is_empty() || lowest > highest || !free {
                continue;
            }
            taken.push((from, to));
            let at = (middle, self.top + 14.0);
            canvas.text(at, Align::Middle, SMALL, colour::MUTED, name)?;
        }
        Ok(())
    }
}
