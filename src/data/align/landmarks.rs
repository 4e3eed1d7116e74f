//! The file of landmarks: five points for each image.

use crate::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// The landmarks of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// Relative to the folder of images.
    pub path: PathBuf,
    /// In the file of landmarks.
    pub line: u64,
    /// Eyes, nose, corners of the mouth, left to right in the image; pixels from the centre of the first
    /// one.
    pub points: [[f64; 2]; 5],
}

const COLUMNS: [&str; 11] = ["path", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "x5", "y5"];

const HELP: &str = "the first line names the columns path,x1,y1,...,x5,y5, in any order: the eye on the \
                    left of the image, the eye on the right, the nose, the left and the right corner of \
                    the mouth, in pixels";

/// Reads a CSV file with the columns path, x1, y1 to x5, y5 in any order; others are left alone.
///
/// # Errors
/// A file that can't be read, a column that is missing or there twice, a line with a number that is none,
/// a path that is empty or leads out of the folder of images, no line at all.
pub fn read(file: &Path) -> Result<Vec<Face>> {
    let wrong = |e: csv::Error| Error::input(format!("{}: {e}", file.display())).help(HELP);
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(wrong)?;
    let header = reader.headers().map_err(wrong)?.clone();
    let columns = columns(file, &header)?;
    let mut faces = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let refuse = |what: String| {
            Error::input(format!("{}, line {line}: {what}", file.display())).help(HELP)
        };
        let mut numbers = [0.0; 10];
        for ((number, column), name) in numbers.iter_mut().zip(&columns[1..]).zip(&COLUMNS[1..]) {
            let text = &record[*column];
            let read = text.parse::<f64>().ok().filter(|number| number.is_finite());
            *number = read.ok_or_else(|| refuse(format!("{name} is {text:?}, not a number")))?;
        }
        let stated = Path::new(&record[columns[0]]);
        let inside = |part: &Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if stated.file_name().is_none() || !stated.components().all(|part| inside(&part)) {
            let what = format!("the path is {stated:?}, not one below the folder of images");
            return Err(refuse(what).help("--images names the folder that the paths begin in"));
        }
        let path = stated.components().filter(|part| *part != Component::CurDir).collect();
        let points = std::array::from_fn(|point| [numbers[2 * point], numbers[2 * point + 1]]);
        faces.push(Face { path, line, points });
    }
    match faces.is_empty() {
        true => {
            Err(Error::input(format!("{} has no line of landmarks", file.display())).help(HELP))
        }
        false => Ok(faces),
    }
}

/// Where each of [`COLUMNS`] stands.
fn columns(file: &Path, header: &csv::StringRecord) -> Result<[usize; 11]> {
    let names: Vec<&str> = header.iter().map(|n| n.trim_start_matches('\u{feff}').trim()).collect();
    let mut columns = [0; 11];
    for (place, name) in columns.iter_mut().zip(COLUMNS) {
        let mut found = names.iter().enumerate().filter(|(_, n)| n.eq_ignore_ascii_case(name));
        *place = match (found.next(), found.next()) {
            (Some((place, _)), None) => place,
            (first, _) => {
                let how = if first.is_some() { "two columns" } else { "no column" };
                let (file, has) = (file.display(), names.join(","));
                return Err(Error::input(format!(
                    "{file} has {how} {name}; its first line is {has}"
                ))
                .help(HELP));
            }
        };
    }
    Ok(columns)
}
