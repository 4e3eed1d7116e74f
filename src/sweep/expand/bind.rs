//! The axes of a sweep file under the full keys of the experiment.

use crate::config::{Diagnostic, Diagnostics, Place};
use crate::sweep::file::{Axis, Block, Parameter, SweepFile};
use crate::sweep::manifest::Sets;
use crate::sweep::resolve::Resolver;
use crate::sweep::search::Dimension;
use crate::{Error, Result};

/// A block whose keys exist.
#[derive(Debug)]
pub struct Bound<'f> {
    pub index: usize,
    pub block: &'f Block,
    /// What every trial of the block sets.
    pub fixed: Sets,
    /// Grid axes, then zip groups.
    pub groups: Vec<Vec<(String, &'f Axis)>>,
    pub parameters: Vec<(String, &'f Parameter)>,
}

impl<'f> Bound<'f> {
    /// Axes, parameters and the seed under their full keys, in the order of names.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &'f Place)> + '_ {
        let axes = self.groups.iter().flatten().map(|(key, axis)| (key.as_str(), &axis.place));
        let parameters =
            self.parameters.iter().map(|(key, parameter)| (key.as_str(), &parameter.place));
        let seeds = self.block.seeds.iter().map(|axis| ("seed", &axis.place));
        axes.chain(parameters).chain(seeds)
    }

    pub fn dimensions(&self) -> Vec<Dimension<'_>> {
        self.parameters
            .iter()
            .map(|(key, parameter)| Dimension { key, distribution: &parameter.distribution })
            .collect()
    }
}

/// Looks up every key.
///
/// # Errors
/// `Error::Config`: all keys that do not exist or are stated twice.
pub fn bind<'f>(file: &'f SweepFile, resolver: &Resolver) -> Result<Vec<Bound<'f>>> {
    let mut wrong = Diagnostics::new(file.path.display().to_string());
    let mut bounds = Vec::new();
    for (index, block) in file.blocks.iter().enumerate() {
        let mut full = |key: &str, place: &Place| match resolver.key(key) {
            Ok(full) => full,
            Err((message, help)) => {
                let place = Some(place.clone());
                wrong.push(Diagnostic { message, help, key: key.into(), place });
                key.to_string()
            }
        };
        let fixed: Sets = (block.set.iter())
            .map(|statement| {
                let place = Place { span: statement.key_span.clone(), ..statement.place.clone() };
                (full(&statement.key, &place), statement.value.clone())
            })
            .collect();
        let mut group = |axes: &mut dyn Iterator<Item = &'f Axis>| -> Vec<(String, &'f Axis)> {
            axes.map(|axis| (full(&axis.key, &axis.place), axis)).collect()
        };
        let mut groups: Vec<_> =
            block.grid.iter().map(|axis| group(&mut std::iter::once(axis))).collect();
        groups.extend(block.zips.iter().map(|axes| group(&mut axes.iter())));
        let space = block.search.iter().flat_map(|search| &search.space);
        let parameters = space.map(|p| (full(&p.key, &p.place), p)).collect();
        let bound = Bound { index, block, fixed, groups, parameters };
        wrong.list.extend(repeated(&bound));
        bounds.push(bound);
    }
    match wrong.is_empty() {
        true => Ok(bounds),
        false => Err(Error::from(wrong)),
    }
}

fn repeated(bound: &Bound<'_>) -> Vec<Diagnostic> {
    let mut known: Vec<&str> = bound.fixed.keys().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for (key, place) in bound.keys() {
        if known.contains(&key) {
            wrong.push(Diagnostic {
                message: format!("`{key}` is stated twice"),
                help: Some("one axis has all values of a key; leave the other out".into()),
                key: key.into(),
                place: Some(place.clone()),
            });
        }
        known.push(key);
    }
    wrong
}
