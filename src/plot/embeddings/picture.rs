//! One epoch of one run or of several as a picture.

use plotters::prelude::DrawingBackend;

use super::panel::{self, Panel};
use super::{Frame, Place, Track, palette};
use crate::Result;
use crate::plot::canvas::{Align, Canvas};
use crate::plot::paper::Drawing;
use crate::plot::{colour, font};

const TITLE: f64 = 17.0;
const TEXT: f64 = 12.0;
const EDGE: f64 = 18.0;
const ROW: f64 = 18.0;
/// Names that a legend shows.
const NAMED: usize = palette::DIFFERENT;

/// What stays the same in all pictures of these runs.
pub struct Picture<'a> {
    pub tracks: &'a [Track],
    /// Recorded epochs of any of them, in order.
    pub epochs: Vec<u64>,
    names: Vec<String>,
    /// Of the embeddings, for each run.
    bounds: Vec<(Place, f64)>,
    side: f64,
    legend: Vec<Vec<(f64, usize, String)>>,
    width: f64,
}

/// The picture of the last epoch up to `epoch`.
pub struct Sheet<'a> {
    pub picture: &'a Picture<'a>,
    pub epoch: u64,
}

impl<'a> Picture<'a> {
    /// `tracks` is not empty and has the same classes throughout.
    pub fn new(tracks: &'a [Track]) -> Self {
        let mut epochs: Vec<u64> =
            tracks.iter().flat_map(|track| track.frames.iter().map(|frame| frame.epoch)).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let unit = tracks.iter().all(|track| !track.frames[0].unit.is_empty());
        let side = match tracks.len() {
            1 if unit => 420.0,
            1 => 600.0,
            2 => 360.0,
            _ => 310.0,
        };
        let mut picture = Picture {
            tracks,
            epochs,
            names: names(tracks),
            bounds: tracks.iter().map(bounds).collect(),
            side,
            legend: Vec::new(),
            width: 0.0,
        };
        let (columns, _) = picture.grid();
        picture.width = 2.0 * EDGE + columns as f64 * (side + EDGE) - EDGE;
        picture.legend = legend(&tracks[0].classes, picture.width - 2.0 * EDGE);
        picture
    }

    /// The runs have embeddings at unit length beside the others.
    fn has_unit(&self) -> bool {
        self.tracks.iter().all(|track| !track.frames[0].unit.is_empty())
    }

    /// (columns, rows) of panels: one run side by side, several one above the other.
    fn grid(&self) -> (usize, usize) {
        let kinds = if self.has_unit() { 2 } else { 1 };
        if self.tracks.len() == 1 { (kinds, 1) } else { (self.tracks.len(), kinds) }
    }

    fn top(&self) -> f64 {
        EDGE + TITLE + 2.0 * ROW + if self.tracks.len() > 1 { ROW } else { 0.0 } + 4.0
    }

    fn title(&self, epoch: u64) -> String {
        let first = &self.tracks[0];
        let alike = self.tracks.iter().all(|track| track.experiment == first.experiment);
        let what =
            if alike { format!("{}: embeddings", first.experiment) } else { "Embeddings".into() };
        match epoch {
            0 => format!("{what} before training"),
            1 => format!("{what} after 1 epoch"),
            epoch => format!("{what} after {epoch} epochs"),
        }
    }

    fn subtitle(&self) -> String {
        let first = &self.tracks[0];
        let count = first.frames.last().map_or(0, |frame| frame.labels.len());
        let images = match first.split.as_str() {
            "train" => "training images",
            _ => "validation images",
        };
        let projected = match first.projection {
            "pca" => format!("; {} dimensions, along the last epoch's principal axes", first.dim),
            "tsne" => format!("; t-SNE of {} dimensions, the axes mean nothing", first.dim),
            _ => String::new(),
        };
        let rays = match first.frames.last() {
            Some(frame) if !frame.centres.is_empty() => "; lines: class centres",
            _ => "",
        };
        format!("{count} {images} of {} identities{projected}{rays}", first.classes.len())
    }
}

impl Drawing for Sheet<'_> {
    fn size(&self) -> (u32, u32) {
        let picture = self.picture;
        let (_, rows) = picture.grid();
        let legend = picture.legend.len() as f64 * ROW;
        let height =
            picture.top() + rows as f64 * (picture.side + EDGE + 6.0) + legend + EDGE + 8.0;
        (picture.width.ceil() as u32, height.ceil() as u32)
    }

    fn draw<D: DrawingBackend>(&self, canvas: &Canvas<'_, D>) -> Result<()> {
        let Sheet { picture, epoch } = *self;
        let (width, height) = self.size();
        canvas.fill((0.0, 0.0), (f64::from(width), f64::from(height)), (0xff, 0xff, 0xff), 1.0)?;
        let limit = picture.width - 2.0 * EDGE;
        let line = |y, size, ink, text: &str| {
            // Cut rather than broken: nothing below may move from epoch to epoch.
            let text = font::wrap(text, size, limit).into_iter().next().unwrap_or_default();
            canvas.text((EDGE, y), Align::Left, size, ink, &text)
        };
        line(EDGE + TITLE - 3.0, TITLE, colour::TEXT, &picture.title(epoch))?;
        line(EDGE + TITLE + ROW - 4.0, TEXT, colour::MUTED, &picture.subtitle())?;
        self.progress(canvas)?;
        let step = picture.side + EDGE;
        for (n, track) in picture.tracks.iter().enumerate() {
            let frame = shown(track, epoch);
            let (x, y) = (EDGE + n as f64 * step, picture.top());
            if picture.tracks.len() > 1 {
                let name = font::wrap(&picture.names[n], TEXT + 1.0, picture.side);
                let name = name.first().map_or("", String::as_str);
                canvas.text((x, y - 6.0), Align::Left, TEXT + 1.0, colour::TEXT, name)?;
            }
            let (middle, half) = picture.bounds[n];
            let panel = Panel { left: x, top: y, side: picture.side, middle, half };
            panel::scatter(&panel, track, frame, canvas)?;
            if picture.has_unit() {
                let (left, top) = match picture.tracks.len() {
                    1 => (x + step, y),
                    _ => (x, y + step + 6.0),
                };
                let half = if track.projection == "none" { 1.45 } else { 1.15 };
                let panel = Panel { left, top, side: picture.side, middle: [0.0; 2], half };
                panel::circle(&panel, track, frame, canvas)?;
            }
        }
        self.legend(canvas)
    }
}

impl Sheet<'_> {
    /// How far the training is, as a line under the heading.
    fn progress<D: DrawingBackend>(&self, canvas: &Canvas<'_, D>) -> Result<()> {
        let Sheet { picture, epoch } = self;
        let last = picture.epochs.last().copied().unwrap_or(0);
        let y = EDGE + TITLE + ROW + 7.0;
        let (from, to) = (EDGE, picture.width - EDGE);
        canvas.rule((from, y), (to, y), 2.0, colour::GRID)?;
        if last == 0 {
            return Ok(());
        }
        let at = from + (to - from) * *epoch as f64 / last as f64;
        if at > from {
            canvas.rule((from, y), (at, y), 2.0, palette::COLOURS[0])?;
        }
        Ok(())
    }

    fn legend<D: DrawingBackend>(&self, canvas: &Canvas<'_, D>) -> Result<()> {
        let picture = self.picture;
        let (_, rows) = picture.grid();
        let mut y = picture.top() + rows as f64 * (picture.side + EDGE + 6.0) + 16.0;
        for row in &picture.legend {
            for (x, class, name) in row {
                let x = EDGE + x;
                if *class < NAMED {
                    let corners = palette::marker(*class, (x + 5.0, y - 4.0), 4.0);
                    canvas.polygon(&corners, palette::colour(*class), 1.0)?;
                }
                canvas.text((x + 14.0, y), Align::Left, TEXT, colour::TEXT, name)?;
            }
            y += ROW;
        }
        Ok(())
    }
}

/// The last recorded epoch up to `epoch`, or the first.
pub fn shown(track: &Track, epoch: u64) -> &Frame {
    let upto = track.frames.partition_point(|frame| frame.epoch <= epoch);
    &track.frames[upto.saturating_sub(1)]
}

/// What tells runs apart: the loss, else the experiment, else the run.
pub fn names(tracks: &[Track]) -> Vec<String> {
    let ways: [fn(&Track) -> String; 3] = [
        |track| track.loss.clone(),
        |track| track.experiment.clone(),
        |track| format!("{} {}", track.experiment, track.run),
    ];
    for way in ways {
        let names: Vec<String> = tracks.iter().map(way).collect();
        let different: std::collections::HashSet<&String> = names.iter().collect();
        if different.len() == names.len() {
            return names;
        }
    }
    tracks.iter().enumerate().map(|(n, track)| format!("{} {}", n + 1, track.run)).collect()
}

/// The square that holds every embedding of every epoch and the origin: its middle and half its side.
pub fn bounds(track: &Track) -> (Place, f64) {
    let all = track.frames.iter().flat_map(|frame| &frame.points);
    let all = all.chain(std::iter::once(&track.origin));
    let ends = |axis: usize| {
        let values = all.clone().map(|place| place[axis]);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (x, y) = (ends(0), ends(1));
    let half = ((x.1 - x.0).max(y.1 - y.0) / 2.0 * 1.06).max(1e-9);
    ([(x.0 + x.1) / 2.0, (y.0 + y.1) / 2.0], half)
}

/// Rows of (x, class, name) within `width`.
fn legend(classes: &[String], width: f64) -> Vec<Vec<(f64, usize, String)>> {
    let mut rows = vec![Vec::new()];
    let mut x = 0.0;
    let more = classes.len().saturating_sub(NAMED);
    let names = classes.iter().take(NAMED).cloned();
    let names = names.chain((more > 0).then(|| format!("and {more} more, in the same colours")));
    for (class, name) in names.enumerate() {
        let name = font::wrap(&name, TEXT, 220.0).into_iter().next().unwrap_or_default();
        let wide = 14.0 + font::width(&name, TEXT) + 16.0;
        if x > 0.0 && x + wide - 16.0 > width {
            rows.push(Vec::new());
            x = 0.0;
        }
        rows.last_mut().expect("there is a row").push((x, class, name));
        x += wide;
    }
    rows
}
