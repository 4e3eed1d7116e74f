//! `run compare`: do two images show the same person?

use super::args::CompareArgs;
use super::embed::{embed_files, open};
use super::say;
use crate::data::OnCorrupt;
use crate::evaluate::{PairSet, pairs::Pair, squared_distances};
use crate::inference::{Model, Threshold, as_trained};
use crate::record::Verbosity;
use crate::{Error, Result};

pub fn compare(args: &CompareArgs, verbosity: Verbosity) -> Result<()> {
    let CompareArgs { model, first, second, threshold, tuned_on, json } = args;
    if let Some(value) = threshold.filter(|value| !value.is_finite() || *value < 0.0) {
        return Err(Error::input(format!("--threshold {value} is no distance"))
            .help("squared L2 distances of normalised embeddings lie between 0 and 4"));
    }
    let model = open(model)?;
    let (threshold, source) = match threshold {
        Some(value) => (*value, "--threshold".to_string()),
        None => {
            let (name, epoch) = (&model.checkpoint, model.epoch);
            as_trained(&model.run, &model.plan, "the tuned threshold holds")
                .map_err(|error| error.help("give a --threshold of your own"))?;
            let tuned = Threshold::of_run(&model.run, name, epoch, tuned_on.as_deref());
            let tuned = tuned.map_err(|error| without_pairs(&model, error))?;
            let source = format!("tuned on {} for {} (epoch {epoch})", tuned.set, tuned.checkpoint);
            (tuned.value, source)
        }
    };
    let files = [first.clone(), second.clone()];
    let flip = model.plan.experiment.evaluate.flip;
    let embedded = embed_files(&model, &files, flip, OnCorrupt::Error, verbosity)?;
    let pair = Pair { first: 0, second: 1, same: true, fold: 0 };
    let images = files.iter().map(Into::into).collect();
    let set = PairSet { images, pairs: vec![pair], folds: 1, ..PairSet::default() };
    let squared = squared_distances(&embedded.vectors, embedded.dim, &set)?[0];
    // |a - b|^2 = 2 - 2 cos of unit vectors.
    let cosine = 1.0 - squared / 2.0;
    let same = squared < threshold;
    if *json {
        let line = serde_json::json!({
            "first": first, "second": second, "cosine": cosine, "euclidean": squared.sqrt(),
            "squared": squared, "threshold": threshold, "same": same,
        });
        return say(&format!("{line}\n"));
    }
    say(&format!(
        "{}\n  cosine similarity   {cosine:.4}\n  Euclidean distance  {:.4}\n  squared distance    \
         {squared:.4}, threshold {threshold:.2} ({source})\n",
        if same { "same person" } else { "different persons" },
        squared.sqrt(),
    ))
}

/// Where nothing in the experiment tunes a threshold, an evaluation won't either.
fn without_pairs(model: &Model, error: Error) -> Error {
    match model.plan.experiment.evaluate.has_pairs() {
        true => error,
        false => Error::input(format!(
            "{} has no threshold: its [evaluate.sets] have no pairs of images to tune one on",
            model.run.display()
        ))
        .help("give a --threshold of your own"),
    }
}
