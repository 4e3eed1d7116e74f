//! Several data sources as one.

#[cfg(test)]
mod tests;

use super::reading::whole;
use super::{DataConfig, Dataset, Image, Item, LabelMap, OnCorrupt, Progress, Splits, first};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

crate::config_struct! {
    /// Several sources as one data set: a table `[data.sources.NAME]` for each, of any other kind with its
    /// keys. Each is read and divided as its own keys say; then the parts are put together.
    pub struct Merged {
        /// The sources by names of your choice.
        pub sources: BTreeMap<String, DataConfig> = BTreeMap::new();
        /// Whether equal identity names in two sources are one identity. If not, identities are called
        /// NAME/IDENTITY.
        pub join: bool = false;
    }
}

/// A source and what it became.
type Opened<'a> = (&'a str, Splits);
/// A part of a source.
type Part<'a> = (&'a str, Dataset);

impl Merged {
    /// What is wrong with the sources: key and message.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if self.sources.len() < 2 {
            let message =
                "needs two sources: tables [data.sources.NAME] with a `kind` and its keys";
            wrong.push(("sources".to_string(), message.to_string()));
        }
        for (name, source) in &self.sources {
            let odd = |c: char| c.is_control() || ['.', ',', '/', '"'].contains(&c);
            if name.trim().is_empty() || name.contains(odd) {
                let message = format!(
                    "has a source named {name:?}, which goes into names of identities: give it letters \
                     and digits, no dots, commas, slashes, quotes or line breaks"
                );
                wrong.push(("sources".to_string(), message));
                continue;
            }
            if source.has_captions() {
                let message = "has captions instead of identities: sources need identities";
                wrong.push((format!("sources.{name}.kind"), message.to_string()));
            }
            if matches!(source, DataConfig::Merged(_)) {
                let message = "is \"merged\" itself: state its sources here";
                wrong.push((format!("sources.{name}.kind"), message.to_string()));
                continue;
            }
            for (key, message) in source.validate() {
                wrong.push((format!("sources.{name}.{key}"), message));
            }
        }
        wrong
    }

    /// Opens every source and puts their parts together.
    ///
    /// # Errors
    /// Those of the sources, with their names; a pack with captions; an image that two of them have; with `join` an identity
    /// that one trains on and another holds out.
    pub fn open(&self, datasets: &Path, seed: u64, progress: &Progress<'_>) -> Result<Splits> {
        let Self { sources, join } = self;
        let opened = (sources.iter())
            .map(|(name, source)| {
                let splits = super::open(source, datasets, seed, progress)
                    .map_err(|error| named(name, error))?;
                // Only when a pack is open is it known what it holds.
                if !splits.train.captions.is_empty() {
                    return Err(named(name, Error::input("it has captions instead of identities"))
                        .help("sources need identities"));
                }
                Ok((name.as_str(), splits))
            })
            .collect::<Result<Vec<Opened<'_>>>>()?;
        merge(opened, *join)
    }

    /// The folder that all sources are in.
    pub fn root(&self, datasets: &Path) -> PathBuf {
        common(self.sources.values().map(|source| source.root(datasets)))
    }
}

/// An error of a source, under its name.
fn named(name: &str, error: Error) -> Error {
    match error {
        Error::Input { message, help } => {
            Error::Input { message: format!("data.sources.{name}: {message}"), help }
        }
        other => other,
    }
}

fn merge(opened: Vec<Opened<'_>>, join: bool) -> Result<Splits> {
    let mut notes = Vec::new();
    let policies: Vec<OnCorrupt> = opened.iter().map(|(_, splits)| splits.on_corrupt).collect();
    let mut parts: [Vec<Part<'_>>; 4] = Default::default();
    let [trains, validations, tests, unseens] = &mut parts;
    for (name, splits) in opened {
        let Splits { train, validation, test, unseen, on_corrupt: _, notes: said } = splits;
        notes.extend(said.into_iter().map(|note| format!("{name}: {note}")));
        trains.push((name, train));
        validations.extend(validation.map(|set| (name, set)));
        tests.extend(test.map(|set| (name, set)));
        unseens.extend(unseen.map(|set| (name, set)));
    }
    notes.extend(without(validations, trains, "validation"));
    let root = common(trains.iter().map(|(_, set)| set.root.clone()));
    distinct(parts.iter().flatten())?;
    let [trains, validations, tests, unseens] = parts;
    let labels = label_map(&trains, join);
    let shared: usize = trains.iter().map(|(_, set)| set.labels.len()).sum();
    if join && shared > labels.len() {
        notes.push(format!("{} identity names are in several sources", shared - labels.len()));
    }
    let closed = |parts| Some(joined(&root, parts, &labels, join)).filter(|set| !set.is_empty());
    let (validation, test) = (closed(validations), closed(tests));
    let unseen_labels = label_map(&unseens, join);
    let both: Vec<&str> = (unseen_labels.names().iter().map(String::as_str))
        .filter(|name| labels.label(name).is_some())
        .collect();
    if !both.is_empty() {
        return Err(Error::input(format!(
            "{} identities are trained on in one of data.sources and held out in another ({})",
            both.len(),
            first(&both)
        ))
        .help("divide the sources by image, or set data.join = false if they are other persons"));
    }
    let unseen = Some(joined(&root, unseens, &unseen_labels, join)).filter(|set| !set.is_empty());
    let train = joined(&root, trains, &labels, join);
    let on_corrupt = match policies.contains(&OnCorrupt::Error) {
        true => OnCorrupt::Error,
        false => OnCorrupt::Skip,
    };
    if policies.contains(&OnCorrupt::Skip) && on_corrupt == OnCorrupt::Error {
        notes.push("a broken image is an error in every source, as one of them says".to_string());
    }
    Ok(Splits { validation, test, unseen, on_corrupt, notes, ..whole(train) })
}

/// Says which sources lack a part that others have.
fn without(has: &[Part<'_>], all: &[Part<'_>], part: &str) -> Option<String> {
    let lacks = |(name, _): &&Part<'_>| has.iter().all(|(other, _)| other != name);
    let names: Vec<&str> = all.iter().filter(lacks).map(|(name, _)| *name).collect();
    let some = !names.is_empty() && !has.is_empty();
    some.then(|| format!("{part} images are of some sources only, not of {}", names.join(", ")))
}

fn identity(source: &str, name: &str, join: bool) -> String {
    if join { name.to_string() } else { format!("{source}/{name}") }
}

fn label_map(parts: &[Part<'_>], join: bool) -> LabelMap {
    let of = |(source, set): &Part<'_>| -> Vec<String> {
        set.labels.names().iter().map(|name| identity(source, name, join)).collect()
    };
    LabelMap::new(parts.iter().flat_map(of).collect())
}

/// One part of all sources under one label map, sorted by identity; within it, source by source.
fn joined(root: &Path, parts: Vec<Part<'_>>, labels: &LabelMap, join: bool) -> Dataset {
    let mut items: Vec<Item> = Vec::new();
    for (source, set) in parts {
        let of: Vec<i64> = (set.labels.names().iter())
            .map(|name| labels.label(&identity(source, name, join)))
            .map(|label| label.expect("the map was made from these names"))
            .collect();
        let renamed = set.items.into_iter();
        items
            .extend(renamed.map(|Item { image, label }| Item { image, label: of[label as usize] }));
    }
    items.sort_by_key(|item| item.label);
    Dataset { root: root.into(), items, labels: labels.clone(), captions: Vec::new() }
}

/// # Errors
/// An image that two sources have.
fn distinct<'a>(parts: impl Iterator<Item = &'a Part<'a>>) -> Result<()> {
    let mut seen: HashMap<&str, HashSet<&Image>> = HashMap::new();
    for (source, set) in parts {
        let images = set.items.iter().map(|item| &item.image);
        for image in images {
            let other =
                seen.iter().find(|(name, images)| name != &source && images.contains(image));
            if let Some((other, _)) = other {
                return Err(Error::input(format!(
                    "data.sources.{other} and data.sources.{source} both have {}",
                    image.display()
                ))
                .help("an image belongs to one source: it could be trained on and tested on"));
            }
            seen.entry(source).or_default().insert(image);
        }
    }
    Ok(())
}

/// The deepest folder that all are in, so that fingerprints don't depend on where it is.
fn common(mut roots: impl Iterator<Item = PathBuf>) -> PathBuf {
    let first = roots.next().unwrap_or_default();
    roots.fold(first, |common, root| {
        let equal = common.components().zip(root.components()).take_while(|(a, b)| a == b);
        equal.map(|(a, _)| a).collect()
    })
}
