//! Weights to start from: `backbone.pretrained`.

use super::model::Model;
use super::signals::StopFlag;
use crate::Result;
use crate::checkpoint;
use crate::config::Experiment;
use crate::data::Preprocess;
use crate::weights::{Weights, fetch, fit, registry};
use std::path::Path;

const PREFIX: &str = "backbone.";

/// Makes sure that the weights are there: a name of the registry is downloaded where the cache does not
/// have it.
///
/// # Errors
/// No such file, or one that can't be fetched; `Error::Stopped` where `stop` was asked for.
pub fn present(source: Option<&Path>, quiet: bool, stop: &StopFlag) -> Result<()> {
    source.map_or(Ok(()), |source| fetch::resolve(source, quiet, stop).map(drop))
}

/// Copies the weights that `source` means (a file, a checkpoint's folder, a name of the registry) into
/// the backbone; without one it stays as it was initialised. Returns what is to be said aloud.
///
/// The names are the backbone's own, with or without a prefix; [`fit`](fit()) has the rules.
///
/// # Errors
/// No such file, one of another architecture, one that can't be read, or another format.
pub fn load(model: &Model, source: Option<&Path>) -> Result<Vec<String>> {
    let Some(source) = source else { return Ok(Vec::new()) };
    let path = fetch::resolve(source, false, &StopFlag::default())?;
    let weights = Weights::open(&path)?;
    let mut expected = checkpoint::shapes(&model.tensors());
    expected.retain(|name, _| name.starts_with(PREFIX));
    let expected =
        expected.into_iter().map(|(name, shape)| (name[PREFIX.len()..].to_owned(), shape));
    let fitted = fit(&expected.collect(), weights.load()?, &path)?;
    let count = fitted.tensors.len();
    let named =
        fitted.tensors.into_iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor));
    model.load(&named.collect());
    let loaded = format!("the backbone starts from {} ({count} tensors)", source.display());
    Ok([vec![loaded], weights.notices, fitted.notices].concat())
}

/// How the images of published weights were prepared, where the experiment does it otherwise.
pub fn preprocessing(experiment: &Experiment) -> Option<String> {
    let entry = registry::find(experiment.backbone.common().0?)?;
    let theirs = entry.preprocessing;
    let Preprocess { height, width, mean, std, .. } = experiment.preprocess.build();
    let close = |ours: [f32; 3], theirs: [f64; 3]| {
        ours.iter().zip(theirs).all(|(ours, theirs)| (f64::from(*ours) - theirs).abs() < 1e-3)
    };
    let same =
        [height, width] == [theirs.size; 2] && close(mean, theirs.mean) && close(std, theirs.std);
    (!same).then(|| {
        format!(
            "{} was trained on {}; this experiment has {height}x{width}, mean {mean:?}, std {std:?}",
            entry.name,
            theirs.describe()
        )
    })
}
