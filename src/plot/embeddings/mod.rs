//! Embeddings on the plane: what `[record] embeddings_every_epochs` wrote, as pictures over the
//! epochs of one run or of several side by side.

mod load;
mod project;

use std::path::Path;

use crate::Result;
use crate::record::embeddings;
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

/// Most points of an epoch that [`page_data`] hands out.
const MOST_POINTS: usize = 2000;

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
    let some = |places: &[Place]| -> Vec<Place> { places.iter().step_by(step).map(rounded).collect() };
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
