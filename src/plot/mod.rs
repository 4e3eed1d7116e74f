//! Pictures of lines: PNG and SVG from the same drawing, dark on white, with the same bytes whenever
//! and wherever they are drawn from the same values.

mod canvas;
mod chart;
mod colour;
pub mod embeddings;
mod font;
pub mod hits;
mod paper;
mod scale;
mod ticks;

use std::path::Path;

use plotters::prelude::DrawingBackend;

use crate::{Error, Result};
use paper::Drawing;

pub use ticks::number;

/// Pixels of a PNG in a point: sharp on fine screens and on paper.
pub const PIXELS: u32 = 2;

/// Lines over a common axis.
///
/// ```
/// use arcrun::plot::{LineChart, Series};
/// let losses = vec![(0.0, 2.0), (1.0, 1.5), (2.0, 1.25)];
/// let chart = LineChart {
///     title: "training".into(),
///     x_label: "epoch".into(),
///     y_label: "loss".into(),
///     series: vec![Series::line("train", losses)],
///     ..LineChart::default()
/// };
/// assert!(chart.svg(640, 400)?.contains("training"));
/// # Ok::<(), arcrun::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LineChart {
    /// One line of text above everything, broken where it is too long.
    pub title: String,
    /// Smaller, below it; each paragraph is broken where it is too long.
    pub subtitle: Vec<String>,
    pub x_label: String,
    pub y_label: String,
    pub log_x: bool,
    /// Ticks of x at whole numbers only.
    pub whole_x: bool,
    pub log_y: bool,
    /// Ends of the axes; None: as wide as the values.
    pub x_range: Option<(f64, f64)>,
    pub y_range: Option<(f64, f64)>,
    /// The x axis counted in another unit, along the top edge.
    pub top: Option<TopAxis>,
    /// Drawn in this order. Their names are shown where there are several that have one.
    pub series: Vec<Series>,
    /// Shaded ranges of x.
    pub bands: Vec<Band>,
    /// Vertical lines.
    pub x_marks: Vec<Mark>,
    /// Horizontal lines, with their names to the right.
    pub y_marks: Vec<Mark>,
}

/// The x axis in another unit: whole numbers of `every`.
#[derive(Clone, Debug)]
pub struct TopAxis {
    pub label: String,
    /// Length of one unit in units of x.
    pub every: f64,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// (x, y). A y that is not a number breaks the line.
    pub points: Vec<(f64, f64)>,
    pub style: Style,
    /// Number of the colour, of [`COLOURS`]; None: the series' own number.
    pub colour: Option<usize>,
}

/// Colours that can be told apart; series beyond repeat them.
pub const COLOURS: usize = colour::SERIES.len();

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Line,
    Dashed,
    /// Thin and light, behind what matters more.
    Faint,
    /// A line with its points marked where they are few.
    Dots,
    /// A line with the area down to 0 (or the lower edge) filled, as of a histogram's steps.
    Filled,
}

impl Series {
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.into(), points, style: Style::Line, colour: None }
    }

    #[must_use]
    pub fn style(self, style: Style) -> Self {
        Series { style, ..self }
    }

    #[must_use]
    pub fn colour(self, colour: usize) -> Self {
        Series { colour: Some(colour), ..self }
    }
}

/// A shaded range of x.
#[derive(Clone, Debug)]
pub struct Band {
    pub from: f64,
    pub to: f64,
    pub name: String,
}

/// A line across the chart.
#[derive(Clone, Debug)]
pub struct Mark {
    pub at: f64,
    /// May be empty.
    pub name: String,
}

/// What a picture can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Png,
    Svg,
}

impl Format {
    /// By the extension of `path`.
    ///
    /// # Errors
    /// `Input` for any other extension.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "png" => Ok(Format::Png),
            "svg" => Ok(Format::Svg),
            _ => Err(Error::input(format!("cannot draw {}: no such format", path.display()))
                .help("end the file's name in .png or .svg")),
        }
    }
}

impl LineChart {
    /// Draws to `path`, as PNG or SVG by its extension, `width` x `height` points large; a PNG has
    /// [`PIXELS`] pixels to a point. Made for 640 x 400 and more.
    ///
    /// # Errors
    /// `Input` for another extension, `Failed` where the file can't be written.
    pub fn save(&self, path: &Path, width: u32, height: u32) -> Result<()> {
        paper::save(&chart::Sheet { chart: self, width, height }, path)
    }

    /// The chart as a PNG of `PIXELS * width` x `PIXELS * height` pixels.
    pub fn png(&self, width: u32, height: u32) -> Result<Vec<u8>> {
        chart::Sheet { chart: self, width, height }.png()
    }

    /// The chart as an SVG document, `width` x `height` points large.
    pub fn svg(&self, width: u32, height: u32) -> Result<String> {
        chart::Sheet { chart: self, width, height }.svg()
    }
}

fn present<D: DrawingBackend>(
    area: &plotters::prelude::DrawingArea<D, plotters::coord::Shift>,
) -> Result<()> {
    area.present().map_err(|error| Error::failed(format!("cannot draw the picture: {error}")))
}

/// Means over squares of `factor` x `factor` pixels of an RGB picture.
fn shrink(pixels: &[u8], width: usize, factor: usize) -> Vec<u8> {
    let height = pixels.len() / 3 / width;
    let area = (factor * factor) as u32;
    let mut out = Vec::with_capacity(pixels.len() / (factor * factor));
    for row in 0..height / factor {
        for column in 0..width / factor {
            for channel in 0..3 {
                let mut sum = area / 2;
                for y in row * factor..(row + 1) * factor {
                    for x in column * factor..(column + 1) * factor {
                        sum += u32::from(pixels[3 * (y * width + x) + channel]);
                    }
                }
                out.push((sum / area) as u8);
            }
        }
    }
    out
}
