//! Embeddings on the plane: what `[record] embeddings_every_epochs` wrote, as pictures over the
//! epochs of one run or of several side by side.

mod animation;
mod load;
mod page;
mod palette;
mod panel;
mod picture;
mod project;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::paper::{self, Drawing};
use crate::data::Progress;
use crate::record::embeddings;
use crate::{Error, Result};
use animation::Animation;
use picture::{Picture, Sheet};

pub use load::{Frame, Track};

/// A point of the plane.
pub type Place = [f64; 2];

/// How embeddings of more than two dimensions get to the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Projection {
    /// Principal components of the last recorded epoch.
    Pca,
    /// t-SNE of each epoch; None: perplexity 30, or what the number of images allows.
    Tsne { perplexity: Option<f64> },
}

/// Pictures in memory at a time.
const AT_ONCE: usize = 16;

/// Most points of an epoch that [`page_data`] hands out.
const MOST_POINTS: usize = 2000;

/// Draws the recorded embeddings of runs, side by side, into `folder`: a PNG of each epoch
/// (`embeddings-NNNN.png`), an SVG of the last, `embeddings.gif` over the epochs and
/// `embeddings.html`. Returns what was written. `progress` hears of each picture and answers whether
/// to go on.
///
/// # Errors
/// `Input`: a run without recorded embeddings, a damaged file, runs that can't be compared. `Stopped`
/// where `progress` says so.
pub fn draw(
    runs: &[PathBuf],
    folder: &Path,
    projection: Projection,
    progress: &Progress<'_>,
) -> Result<Vec<PathBuf>> {
    let tracks = runs.iter().map(|run| Track::load(run, projection)).collect::<Result<Vec<_>>>()?;
    comparable(runs, &tracks)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e).into_input())?;
    let picture = Picture::new(&tracks);
    let mut written = Vec::new();
    let mut write = |name: String, bytes: &[u8]| -> Result<()> {
        let path = folder.join(name);
        paper::write(&path, bytes)?;
        written.push(path);
        Ok(())
    };
    let count = picture.epochs.len();
    let done = AtomicUsize::new(0);
    let mut gif = Vec::new();
    let mut animation = Animation::new(&mut gif)?;
    for epochs in picture.epochs.chunks(AT_ONCE) {
        let drawn = epochs.par_iter().map(|epoch| {
            if !progress(done.fetch_add(1, Ordering::Relaxed), count) {
                return Err(Error::stopped("stopped while drawing"));
            }
            let sheet = Sheet { picture: &picture, epoch: *epoch };
            let fine = sheet.fine()?;
            Ok((sheet.size(), sheet.encode(&fine)?, sheet.smooth(&fine, 1)))
        });
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        for (epoch, (size, png, pixels)) in epochs.iter().zip(drawn) {
            write(format!("embeddings-{epoch:04}.png"), &png)?;
            animation.add(&pixels, size, Some(epoch) == picture.epochs.last())?;
        }
    }
    drop(animation);
    if let Some(&epoch) = picture.epochs.last() {
        let svg = Sheet { picture: &picture, epoch }.svg()?;
        write(format!("embeddings-{epoch:04}.svg"), svg.as_bytes())?;
    }
    write("embeddings.gif".to_owned(), &gif)?;
    write("embeddings.html".to_owned(), page::page(&tracks).as_bytes())?;
    Ok(written)
}

/// # Errors
/// Runs of other dimensions, identities or splits than the first: their pictures would not be of
/// the same thing.
fn comparable(runs: &[PathBuf], tracks: &[Track]) -> Result<()> {
    let first = &tracks[0];
    for (run, track) in runs.iter().zip(tracks).skip(1) {
        let (one, other) = (runs[0].display(), run.display());
        let what = if track.dim != first.dim {
            format!("{other} has embeddings of {} dimensions, {one} of {}", track.dim, first.dim)
        } else if track.classes != first.classes {
            format!("{other} has other identities than {one}")
        } else if track.split != first.split {
            format!("{other} recorded {} images, {one} {} images", track.split, first.split)
        } else {
            continue;
        };
        return Err(Error::input(what).help("draw them one by one: side by side they mislead"));
    }
    Ok(())
}

/// The recorded embeddings of a run for an interactive view; None where it recorded none.
///
/// `{experiment, run, loss, split, dim, projection, classes: [name], origin: [x, y], epochs: [{epoch,
/// labels: [int], points: [[x, y]], unit: [[x, y]], centres: [[x, y]], unit_centres: [[x, y]], reach}]}`.
/// `points` are the embeddings, with more than two dimensions along the principal axes of the last
/// epoch; `unit` the same at unit length; `centres` the class centres at unit length, as directions
/// from `origin` (in the axes of `points`; empty for a loss without class weights), `unit_centres`
/// those in the axes of `unit`; `reach` is the length of the longest embedding. Numbers have four
/// decimals. Of more than 2,000 images every so manieth is taken.
///
/// # Errors
/// `Input`, naming the file, where a recorded file is damaged.
pub fn page_data(run: &Path) -> Result<Option<serde_json::Value>> {
    if embeddings::list(run)?.is_empty() {
        return Ok(None);
    }
    Ok(Some(data(&Track::load(run, Projection::Pca)?)))
}

fn data(track: &Track) -> serde_json::Value {
    let Track { experiment, run, loss, split, dim, classes, origin, projection, frames } = track;
    let epochs: Vec<_> = frames.iter().map(frame_data).collect();
    serde_json::json!({
        "experiment": experiment,
        "run": run,
        "loss": loss,
        "split": split,
        "dim": dim,
        "projection": projection,
        "classes": classes,
        "origin": rounded(origin),
        "epochs": epochs,
    })
}

fn frame_data(frame: &Frame) -> serde_json::Value {
    let Frame { epoch, labels, points, unit, centres, unit_centres, reach } = frame;
    let step = labels.len().div_ceil(MOST_POINTS).max(1);
    let some =
        |places: &[Place]| -> Vec<Place> { places.iter().step_by(step).map(rounded).collect() };
    let all = |places: &[Place]| -> Vec<Place> { places.iter().map(rounded).collect() };
    serde_json::json!({
        "epoch": epoch,
        "labels": labels.iter().step_by(step).collect::<Vec<_>>(),
        "points": some(points),
        "unit": some(unit),
        "centres": all(centres),
        "unit_centres": all(unit_centres),
        "reach": rounded(&[*reach, 0.0])[0],
    })
}

fn rounded(place: &Place) -> Place {
    // Without a negative zero, which JSON would show.
    place.map(|value| (value * 1e4).round() / 1e4 + 0.0)
}
