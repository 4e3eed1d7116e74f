//! What runs recorded, brought to the plane.

use super::project::{Pca, align, places, tsne};
use super::{Place, Projection};
use crate::record::embeddings::{self, Embeddings};
use crate::{Error, Result};
use std::path::Path;
use tch::{Kind, Tensor};

/// The recorded epochs of a run on the plane.
#[derive(Debug)]
pub struct Track {
    pub experiment: String,
    /// Name of the run folder.
    pub run: String,
    /// `loss.kind` of the run.
    pub loss: String,
    /// `train` or `validation`.
    pub split: String,
    /// Length of an embedding.
    pub dim: i64,
    pub classes: Vec<String>,
    /// Where the embedding of length 0 lies.
    pub origin: Place,
    /// How the plane was found; `none` for embeddings of two dimensions.
    pub projection: &'static str,
    /// In the order of their epochs.
    pub frames: Vec<Frame>,
}

/// One recorded epoch.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub epoch: u64,
    /// Class of each image.
    pub labels: Vec<usize>,
    /// The embedding of each.
    pub points: Vec<Place>,
    /// The embedding of each at unit length; empty for t-SNE.
    pub unit: Vec<Place>,
    /// Class centres at unit length, in the axes of `points` from its origin; empty for a loss
    /// without, and for t-SNE.
    pub centres: Vec<Place>,
    /// The same in the axes of `unit`.
    pub unit_centres: Vec<Place>,
    /// Length of the longest embedding.
    pub reach: f64,
}

impl Track {
    /// # Errors
    /// No recorded epochs, a file that is damaged, files that don't belong together.
    pub fn load(run: &Path, projection: Projection) -> Result<Self> {
        let files = embeddings::list(run)?;
        if files.is_empty() {
            if !run.is_dir() {
                return Err(Error::input(format!("there is no run folder {}", run.display()))
                    .help("a run folder is results/<experiment>/<run-id>"));
            }
            return Err(Error::input(format!("{} has no recorded embeddings", run.display()))
                .help(
                    "set record.embeddings_every_epochs = 1 in the experiment, and train it again",
                ));
        }
        let classes = embeddings::read_classes(run)?;
        let mut recorded = Vec::new();
        for (_, path) in &files {
            let one = Embeddings::read(path)?;
            check(&one, path, &classes, recorded.first())?;
            recorded.push(one);
        }
        let config = std::fs::read_to_string(run.join("config.toml")).ok();
        let config = config.and_then(|text| toml::from_str::<toml::Table>(&text).ok());
        let loss = config.as_ref().and_then(|config| config.get("loss")?.get("kind")?.as_str());
        let last = recorded.last().expect("there is a file");
        let mut track = Track {
            experiment: last.experiment.clone(),
            run: run.canonicalize().ok().as_deref().unwrap_or(run).file_name().map_or_else(
                || run.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            loss: loss.unwrap_or("?").to_owned(),
            split: last.split.clone(),
            dim: last.dim(),
            classes,
            origin: [0.0; 2],
            projection: "none",
            frames: Vec::new(),
        };
        match projection {
            _ if track.dim == 2 => track.plain(&recorded)?,
            Projection::Pca => track.pca(&recorded)?,
            Projection::Tsne { perplexity } => track.tsne(&recorded, perplexity)?,
        }
        Ok(track)
    }

    fn plain(&mut self, recorded: &[Embeddings]) -> Result<()> {
        for one in recorded {
            let centres = directions(one)?;
            self.frames.push(Frame {
                points: places(&one.points)?,
                unit: places(&unit(&one.points))?,
                unit_centres: centres.clone(),
                centres,
                ..frame(one)?
            });
        }
        Ok(())
    }

    fn pca(&mut self, recorded: &[Embeddings]) -> Result<()> {
        self.projection = "pca";
        let last = &recorded[recorded.len() - 1].points;
        // Of the last epoch, so that the axes stay while the points move.
        let (plane, sphere) = (Pca::fit(last)?, Pca::fit(&unit(last))?);
        self.origin = places(&plane.project(&last.zeros_like().narrow(0, 0, 1)))?[0];
        for one in recorded {
            let centres = one.centres.as_ref().map(unit);
            let turned =
                |by: &Pca| centres.as_ref().map_or(Ok(Vec::new()), |c| places(&by.turn(c)));
            self.frames.push(Frame {
                points: places(&plane.project(&one.points))?,
                unit: places(&sphere.turn(&unit(&one.points)))?,
                centres: turned(&plane)?,
                unit_centres: turned(&sphere)?,
                ..frame(one)?
            });
        }
        Ok(())
    }

    fn tsne(&mut self, recorded: &[Embeddings], perplexity: Option<f64>) -> Result<()> {
        self.projection = "tsne";
        let sphere = Pca::fit(&unit(&recorded[recorded.len() - 1].points))?;
        for one in recorded.iter().rev() {
            let rows = unit(&one.points);
            let most = (rows.size()[0] - 1) as f64 / 3.0;
            let perplexity = perplexity.unwrap_or(30.0_f64.min(most));
            let found = tsne(&rows, &places(&sphere.project(&rows))?, perplexity)?;
            let next = self.frames.last().filter(|next: &&Frame| next.points.len() == found.len());
            let points = next.map_or(found.clone(), |next| align(&found, &next.points));
            self.frames.push(Frame { points, ..frame(one)? });
        }
        self.frames.reverse();
        Ok(())
    }
}

/// Rows at unit length; a row of zeros stays one.
fn unit(rows: &Tensor) -> Tensor {
    let rows = rows.to_kind(Kind::Double);
    let norm = rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true).clamp_min(1e-12);
    rows / norm
}

fn directions(one: &Embeddings) -> Result<Vec<Place>> {
    one.centres.as_ref().map_or(Ok(Vec::new()), |centres| places(&unit(centres)))
}

/// What needs no plane.
fn frame(one: &Embeddings) -> Result<Frame> {
    let labels = Vec::<i64>::try_from(&one.labels).map_err(|e| Error::failed(e.to_string()))?;
    let norms = one.points.norm_scalaropt_dim(2.0, [1i64].as_slice(), false);
    Ok(Frame {
        epoch: one.epoch,
        labels: labels.into_iter().map(|label| label as usize).collect(),
        reach: norms.max().double_value(&[]),
        ..Frame::default()
    })
}

fn check(
    one: &Embeddings,
    path: &Path,
    classes: &[String],
    first: Option<&Embeddings>,
) -> Result<()> {
    let wrong = |what: String| {
        Err(Error::input(format!("{}: {what}", path.display()))
            .help("delete the file; the other epochs can be drawn"))
    };
    if one.points.size()[0] == 0 {
        return wrong("it holds no embedding".to_owned());
    }
    let finite = |x: &Tensor| x.isfinite().all().int64_value(&[]) == 1;
    if !finite(&one.points) || !one.centres.as_ref().is_none_or(finite) {
        return wrong("it holds numbers that are not finite".to_owned());
    }
    let largest = one.labels.max().int64_value(&[]);
    if largest >= classes.len() as i64 {
        return wrong(format!("label {largest}, but classes.json has {} names", classes.len()));
    }
    match first {
        Some(first) if first.dim() != one.dim() => wrong(format!(
            "embeddings of {} dimensions, those of epoch {} have {}",
            one.dim(),
            first.epoch,
            first.dim()
        )),
        _ => Ok(()),
    }
}
