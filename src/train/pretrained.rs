//! Weights to start from: `backbone.pretrained` and `text.pretrained`.

use super::model::Model;
use super::signals::StopFlag;
use crate::backbone::clip_names;
use crate::checkpoint::{self, Named, Shapes};
use crate::config::{Experiment, Loaded, load_str};
use crate::data::{Channels, PreprocessConfig, Resize};
use crate::weights::{Weights, fetch, fit, registry};
use crate::{Error, Result};
use std::path::Path;

/// Where weights go: a part of the model by the prefix of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Backbone,
    Text,
}

impl Part {
    fn prefix(self) -> &'static str {
        match self {
            Part::Backbone => "backbone.",
            Part::Text => "text.",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Part::Backbone => "backbone.pretrained",
            Part::Text => "text.pretrained",
        }
    }

    /// The error of a part, with the part's own key in it.
    fn own(self, error: Error) -> Error {
        let keyed = |text: String| text.replace(Part::Backbone.key(), self.key());
        match error {
            Error::Input { message, help } => {
                Error::Input { message: keyed(message), help: help.map(keyed) }
            }
            other => other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Part::Backbone => "backbone",
            Part::Text => "text tower",
        }
    }
}

/// The parts that start from weights, and from which.
fn sources(experiment: &Experiment) -> impl Iterator<Item = (Part, &Path)> {
    let parts = [
        (Part::Backbone, experiment.backbone.common().0),
        (Part::Text, experiment.text.common().0),
    ];
    parts.into_iter().filter_map(|(part, source)| Some((part, source?)))
}

/// Whether any part starts from weights.
pub fn stated(experiment: &Experiment) -> bool {
    sources(experiment).next().is_some()
}

/// Names of the registry that mean weights of another network: (key, message). Known before anything is
/// downloaded.
pub fn misfits(experiment: &Experiment) -> Vec<(&'static str, String)> {
    let misfit = |(part, source): (Part, &Path)| {
        let entry = registry::find(source)?;
        let is_clip = entry.activation().is_some();
        let kind = experiment.backbone.kind();
        let fits = match part {
            Part::Backbone => entry.kinds.contains(&kind) || kind == "vit" && is_clip,
            Part::Text => is_clip,
        };
        let message = match part {
            Part::Backbone => {
                format!(
                    "is \"{}\", weights of {}, but backbone.kind is \"{kind}\"",
                    entry.name,
                    entry.kinds.join(" and ")
                )
            }
            Part::Text => format!("is \"{}\", which has no text tower: name a CLIP's", entry.name),
        };
        (!fits).then_some((part.key(), message))
    };
    sources(experiment).filter_map(misfit).collect()
}

/// Makes sure that the weights are there: a name of the registry is downloaded where the cache does not
/// have it.
///
/// # Errors
/// No such file, or one that can't be fetched; `Error::Stopped` where `stop` was asked for.
pub fn present(experiment: &Experiment, quiet: bool, stop: &StopFlag) -> Result<()> {
    sources(experiment).try_for_each(|(part, source)| {
        fetch::resolve(source, quiet, stop).map(drop).map_err(|error| part.own(error))
    })
}

/// Copies the weights that `backbone.pretrained` and `text.pretrained` mean (a file, a checkpoint's
/// folder, a name of the registry) into these parts; without any they stay as they were initialised.
/// Returns what is to be said aloud.
///
/// The names are the network's own, with or without a prefix, for CLIP's towers also those of OpenAI,
/// open_clip and transformers; [`fit`](fit()) has the rules.
///
/// # Errors
/// No such file, one of another architecture, one that can't be read, or another format.
pub fn load(model: &Model, experiment: &Experiment) -> Result<Vec<String>> {
    let loaded = sources(experiment)
        .map(|(part, source)| load_part(model, part, source).map_err(|error| part.own(error)));
    Ok(loaded.collect::<Result<Vec<_>>>()?.concat())
}

fn load_part(model: &Model, part: Part, source: &Path) -> Result<Vec<String>> {
    let path = fetch::resolve(source, false, &StopFlag::default())?;
    let weights = Weights::open(&path)?;
    let prefix = part.prefix();
    let expected: Shapes = (checkpoint::shapes(&model.tensors()).into_iter())
        .filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?.to_owned(), shape)))
        .collect();
    let (found, converted) = tower(part, &expected, weights.load()?, &path)?;
    let fitted = fit(&expected, found, &path)?;
    let count = fitted.tensors.len();
    let named =
        fitted.tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor));
    model.load(&named.collect());
    let loaded = format!("the {} starts from {} ({count} tensors)", part.name(), source.display());
    Ok([vec![loaded], weights.notices, converted, fitted.notices].concat())
}

/// Of a file of CLIP's the tensors of one tower by our names, at the network's number of positions; of
/// others what it holds. Also what is to be said aloud.
fn tower(part: Part, expected: &Shapes, found: Named, path: &Path) -> Result<(Named, Vec<String>)> {
    const POSITIONS: &str = "positional_embedding";
    let is_ours = found.keys().any(|name| name.starts_with(Part::Backbone.prefix()));
    if is_ours && part == Part::Text {
        let own = |name: &str| name.strip_prefix(part.prefix()).map(str::to_owned);
        let texts = found.into_iter().filter_map(|(name, tensor)| Some((own(&name)?, tensor)));
        return Ok((texts.collect(), Vec::new()));
    }
    let is_tower = part == Part::Text || expected.contains_key("class_embedding");
    if !is_tower || is_ours {
        return Ok((found, Vec::new()));
    }
    let (found, form) = clip_names::unwrapped(found);
    let Some(form) = form else { return Ok((found, Vec::new())) };
    let mut towers = clip_names::Towers::read(form, &found);
    let positions = expected.get(POSITIONS).and_then(|shape| shape.first()).copied().unwrap_or(1);
    let mut notes = Vec::new();
    let mut named = match part {
        Part::Backbone => {
            notes.extend(towers.fit_grid((positions - 1).isqrt() as usize));
            if !expected.contains_key("proj") && towers.vision.remove("proj").is_some() {
                notes.push(format!("{}: left out the projection `proj`", path.display()));
            }
            towers.vision
        }
        Part::Text => {
            notes.extend(towers.fit_context(positions as usize)?);
            towers.text
        }
    };
    // What CLIP has not is left to the comparison, which names it.
    for name in towers.unknown {
        if let Some(tensor) = found.get(&name) {
            named.insert(name, tensor.shallow_clone());
        }
    }
    Ok((named, notes))
}

/// How the images of published weights were prepared, where the experiment states another way.
pub fn preprocessing(experiment: &Experiment) -> Option<String> {
    let source = experiment.backbone.common().0?;
    let Some(entry) = registry::published(&source.to_string_lossy()) else {
        let theirs = of_run(source)?;
        let differs = theirs != experiment.preprocess;
        let table = |config: &PreprocessConfig| toml::to_string(config).unwrap_or_default();
        let lines = |text: String| text.trim().replace('\n', ", ");
        return differs.then(|| {
            format!(
                "{} was trained with another [preprocess] ({}) than this experiment's ({})",
                source.display(),
                lines(table(&theirs)),
                lines(table(&experiment.preprocess))
            )
        });
    };
    let theirs = &entry.preprocessing;
    let PreprocessConfig {
        height,
        width,
        resize,
        shorter_side,
        interpolation,
        dct_scaling,
        channels,
        mean,
        std,
    } = &experiment.preprocess;
    let close = |ours: &[f64], theirs: [f64; 3]| {
        ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-3)
    };
    let differs = [
        ([*height, *width] != [theirs.size; 2], format!("{height}x{width}")),
        (
            theirs.shorter_side.is_some() != (*resize == Resize::Crop)
                || theirs.shorter_side.is_some_and(|side| {
                    let ours = if *shorter_side == 0 { *height.min(width) } else { *shorter_side };
                    side * *height.min(width) / theirs.size != ours
                }),
            match shorter_side {
                0 => format!("resize \"{resize}\""),
                side => format!("resize \"{resize}\" from {side}"),
            },
        ),
        (*interpolation != theirs.interpolation, interpolation.to_string()),
        (*dct_scaling, "dct_scaling".to_string()),
        (*channels != Channels::Rgb, format!("channels \"{channels}\"")),
        (!close(mean, theirs.mean), format!("mean {mean:?}")),
        (!close(std, theirs.std), format!("std {std:?}")),
    ];
    let ours: Vec<String> =
        differs.into_iter().filter_map(|(other, what)| other.then_some(what)).collect();
    (!ours.is_empty()).then(|| {
        format!(
            "{} was trained on {}; this experiment states {}",
            entry.name,
            theirs.describe(),
            ours.join(", ")
        )
    })
}

/// The preprocessing of a run whose folder, checkpoint or export `source` is.
fn of_run(source: &Path) -> Option<PreprocessConfig> {
    let folder = source.ancestors().take(4).find(|folder| folder.join("run.json").is_file())?;
    let text = std::fs::read_to_string(folder.join("config.toml")).ok()?;
    let loaded: Loaded = load_str("config.toml", &text, &[]).ok()?;
    Some(loaded.experiment.preprocess)
}
