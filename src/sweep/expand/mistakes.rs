//! What is wrong with trials: each mistake once, at the value of the sweep file that makes it.

use super::bind::Bound;
use crate::Result;
use crate::config::{Diagnostic, Diagnostics, Place};
use crate::sweep::file::SweepFile;
use crate::sweep::manifest::Sets;
use crate::sweep::resolve::settings;

/// Mistakes that are shown in full.
const SHOWN: usize = 5;

/// Mistakes by message and place.
#[derive(Default)]
pub struct Mistakes(Vec<Mistake>);

struct Mistake {
    diagnostic: Diagnostic,
    /// Settings of the first trial that has it.
    first: String,
    trials: usize,
}

impl Mistakes {
    pub fn add(&mut self, bound: &Bound<'_>, set: &Sets, diagnostics: Vec<Diagnostic>) {
        for mut diagnostic in diagnostics {
            // Its place is one of the base as it was resolved, which is no file.
            let own = diagnostic.key.is_empty();
            let lacks = diagnostic.message.contains("has no key");
            let itself = format!("did you mean `{}`?", diagnostic.key);
            if lacks && diagnostic.help.as_ref() == Some(&itself) {
                // A key of another kind: it is right, for other trials.
                let help = "state for which trials it goes: { values = [...], when = '...' }";
                diagnostic.help = Some(help.into());
            }
            let place = match own {
                true => diagnostic.place.take(),
                false => place(bound, set, &diagnostic.key, lacks),
            };
            let span = |place: &Option<Place>| place.as_ref().map(|place| place.span.clone());
            let same = |known: &&mut Mistake| {
                known.diagnostic.message == diagnostic.message
                    && span(&known.diagnostic.place) == span(&place)
            };
            match self.0.iter_mut().find(same) {
                Some(known) => known.trials += 1,
                None => {
                    let diagnostic = Diagnostic { place, ..diagnostic };
                    self.0.push(Mistake { diagnostic, first: settings(set), trials: 1 });
                }
            }
        }
    }

    pub fn into_result(self, file: &SweepFile) -> Result<()> {
        let mut wrong = Diagnostics::new(file.path.display().to_string());
        let others = self.0.len().saturating_sub(SHOWN);
        for Mistake { mut diagnostic, first, trials } in self.0.into_iter().take(SHOWN) {
            let more = match trials - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            diagnostic.message = format!("{}, in the trial {first}{more}", diagnostic.message);
            wrong.push(diagnostic);
        }
        if others > 0 {
            let message = format!("{others} further mistakes are not shown");
            wrong.push(Diagnostic { message, help: None, key: String::new(), place: None });
        }
        wrong.into_result()
    }
}

/// Where the sweep file states what a trial has at `key`: its value, or with `named` the key.
fn place(bound: &Bound<'_>, set: &Sets, key: &str, named: bool) -> Option<Place> {
    let around = |axis: &str| {
        key.strip_prefix(axis).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let axes = bound.groups.iter().flatten().map(|(key, axis)| (key.as_str(), *axis));
    let axes = axes.chain(bound.block.seeds.iter().map(|axis| ("seed", axis)));
    // The longest key is the one that has the last word.
    let mut found: Option<(&str, Place)> = None;
    let mut take = |key: &'_ str, place: &Place| {
        if around(key) && set.contains_key(key) {
            let longer = found.as_ref().is_none_or(|(known, _)| known.len() <= key.len());
            if longer {
                let stated = set.keys().find(|stated| *stated == key);
                found = stated.map(|stated| (stated.as_str(), place.clone()));
            }
        }
    };
    for (key, axis) in axes {
        let value = axis.values.iter().position(|value| set.get(key) == Some(value));
        take(key, value.filter(|_| !named).map_or(&axis.place, |at| &axis.places[at]));
    }
    for (key, parameter) in &bound.parameters {
        take(key, &parameter.place);
    }
    for (key, statement) in bound.fixed.keys().zip(&bound.block.set) {
        take(key, &statement.place);
    }
    found.map(|(_, place)| place)
}
