//! The combinations of a block, by number.

use super::bind::Bound;
use crate::config::Diagnostic;
use crate::sweep::condition::{Condition, Evaluator};
use crate::sweep::file::{Method, Search, SweepFile};
use crate::sweep::manifest::{Proposed, Sets, Trial};
use crate::sweep::resolve::{Resolver, digits, identity, json};
use crate::sweep::search::{Counter, random, sobol};
use crate::{Error, Result};
use serde_json::Value;
use std::borrow::Cow;

/// Trials of a sweep at most.
const MOST: usize = 1_000_000;

/// What a combination comes to.
pub enum Made {
    Trial(Trial),
    /// A `skip_if` holds.
    Skipped,
    Wrong {
        set: Sets,
        diagnostics: Vec<Diagnostic>,
    },
}

impl Made {
    fn of((set, wrong): (Sets, Diagnostic)) -> Made {
        Made::Wrong { set, diagnostics: vec![wrong] }
    }
}

/// The combinations of a block; the first axis is the slowest.
pub struct Combinations<'b> {
    pub bound: &'b Bound<'b>,
    /// Of each group, then of the samples, then of the seeds.
    lengths: Vec<usize>,
    /// Sobol's samples, which come one after the other.
    points: Vec<Vec<Value>>,
}

/// A setting that is to be made where its condition holds.
#[derive(Clone)]
pub struct Choice<'a> {
    pub key: &'a str,
    pub value: Cow<'a, Value>,
    pub when: Option<&'a Condition>,
}

impl<'b> Combinations<'b> {
    pub fn new(bound: &'b Bound<'b>) -> Result<Self> {
        let block = bound.block;
        let groups = bound.groups.iter();
        let mut lengths: Vec<usize> =
            groups.map(|axes| axes.first().map_or(1, |(_, axis)| axis.values.len())).collect();
        lengths.push(block.search.as_ref().map_or(1, |search| search.count));
        lengths.push(block.seeds.as_ref().map_or(1, |axis| axis.values.len()));
        let points = match &block.search {
            Some(search) if search.method == Method::Sobol => {
                sobol::samples(counter(bound, search), search.count, &bound.dimensions())?
            }
            _ => Vec::new(),
        };
        Ok(Combinations { bound, lengths, points })
    }

    /// How many; the largest number where there are more.
    pub fn len(&self) -> usize {
        self.lengths.iter().fold(1, |all, length| all.saturating_mul(*length))
    }

    pub fn make(&self, resolver: &Resolver, evaluator: &Evaluator, index: usize) -> Made {
        let (mut choices, sample) = self.choices(index);
        let search = self.bound.block.search.as_ref();
        let tpe = search.filter(|search| matches!(search.method, Method::Tpe(_)));
        let proposed = tpe.map(|_| Proposed { block: self.bound.index, number: sample });
        let all = match settle(resolver, evaluator, &self.bound.fixed, &choices) {
            Ok(set) => set,
            Err(wrong) => return Made::of(*wrong),
        };
        let checked = resolver.checked(&all);
        let resolved = match &checked {
            Ok(experiment) => Some(serde_json::to_value(experiment).expect("text keys only")),
            Err(_) => None,
        };
        // A condition on what is proposed later is asked then.
        let later = |condition: &&Condition| tpe.is_some() && self.names_a_parameter(condition);
        for condition in self.bound.block.skip_if.iter().filter(|c| !later(c)) {
            match evaluate(resolver, evaluator, condition, &all, resolved.as_ref()) {
                Ok(false) => {}
                Ok(true) => return Made::Skipped,
                Err(wrong) => return Made::of((all, *wrong)),
            }
        }
        if let Err(diagnostics) = checked {
            return Made::Wrong { set: all, diagnostics };
        }
        let Some(proposed) = proposed else {
            let id = identity(resolved.unwrap_or_default(), &all);
            return Made::Trial(Trial { id, set: all, ..Trial::default() });
        };
        let parameters = &self.bound.parameters;
        choices.retain(|choice| !parameters.iter().any(|(key, _)| key == choice.key));
        match settle(resolver, evaluator, &self.bound.fixed, &choices) {
            Ok(set) => {
                let of = (&set, proposed.block, proposed.number);
                let id = digits(&serde_json::to_vec(&of).expect("text keys only"));
                Made::Trial(Trial { id, set, proposed: Some(proposed), ..Trial::default() })
            }
            Err(wrong) => Made::of(*wrong),
        }
    }

    fn names_a_parameter(&self, condition: &Condition) -> bool {
        let parameters = &self.bound.parameters;
        condition.keys().any(|key| parameters.iter().any(|(parameter, _)| *parameter == key))
    }

    /// The settings of a combination, and the number of its sample.
    fn choices(&self, index: usize) -> (Vec<Choice<'_>>, usize) {
        let mut rest = index;
        let mut digits: Vec<usize> = Vec::with_capacity(self.lengths.len());
        for length in self.lengths.iter().rev() {
            digits.push(rest % length);
            rest /= length;
        }
        digits.reverse();
        let mut choices = Vec::new();
        for (axes, at) in self.bound.groups.iter().zip(&digits) {
            for (key, axis) in axes {
                let value = Cow::Borrowed(&axis.values[*at]);
                choices.push(Choice { key, value, when: axis.when.as_ref() });
            }
        }
        let sample = digits[self.lengths.len() - 2];
        if let Some(search) = &self.bound.block.search {
            let counter = counter(self.bound, search);
            let dimensions = self.bound.dimensions();
            for (at, (dimension, (_, parameter))) in
                dimensions.iter().zip(&self.bound.parameters).enumerate()
            {
                let value = match self.points.get(sample) {
                    Some(point) => Cow::Borrowed(&point[at]),
                    // Of TPE, what it would propose first.
                    None => Cow::Owned(random::value(counter, sample, *dimension)),
                };
                choices.push(Choice { key: dimension.key, value, when: parameter.when.as_ref() });
            }
        }
        if let Some(axis) = &self.bound.block.seeds {
            let value = Cow::Borrowed(&axis.values[digits[self.lengths.len() - 1]]);
            choices.push(Choice { key: "seed", value, when: None });
        }
        (choices, sample)
    }
}

pub fn counter(bound: &Bound<'_>, search: &Search) -> Counter {
    Counter { seed: search.seed, block: bound.index }
}

pub fn refuse_too_many(file: &SweepFile, blocks: &[Combinations<'_>]) -> Result<()> {
    let all = blocks.iter().fold(0_usize, |all, block| all.saturating_add(block.len()));
    if all <= MOST {
        return Ok(());
    }
    let message = format!("{} has more than {MOST} combinations", file.path.display());
    Err(Error::input(message).help("take axes out, or sample them with [random]"))
}

/// The settings that hold: the unconditional ones, and of the others in turn those whose condition
/// holds with what is set by then. In the order of `choices`, after `fixed`.
///
/// # Errors
/// What a condition can't say, with the settings by then.
pub fn settle(
    resolver: &Resolver,
    evaluator: &Evaluator,
    fixed: &Sets,
    choices: &[Choice<'_>],
) -> Result<Sets, Box<(Sets, Diagnostic)>> {
    let mut holds: Vec<bool> = choices.iter().map(|choice| choice.when.is_none()).collect();
    let collect = |holds: &[bool]| {
        let mut set = fixed.clone();
        for (choice, _) in choices.iter().zip(holds).filter(|(_, holds)| **holds) {
            set.insert(choice.key.to_string(), choice.value.clone().into_owned());
        }
        set
    };
    for (at, choice) in choices.iter().enumerate() {
        let Some(condition) = choice.when else { continue };
        let set = collect(&holds);
        match evaluate(resolver, evaluator, condition, &set, None) {
            Ok(held) => holds[at] = held,
            Err(wrong) => return Err(Box::new((set, *wrong))),
        }
    }
    Ok(collect(&holds))
}

/// Whether a condition holds; `resolved` is the trial's configuration, where it is at hand.
pub fn evaluate(
    resolver: &Resolver,
    evaluator: &Evaluator,
    condition: &Condition,
    set: &Sets,
    resolved: Option<&Value>,
) -> Result<bool, Box<Diagnostic>> {
    let owned;
    let value = match resolved {
        Some(resolved) => resolved,
        None => {
            owned = partly(resolver, condition, set);
            &owned
        }
    };
    let find = |key: &[String]| key.iter().try_fold(value, |value, name| value.get(name));
    condition.holds(evaluator, find).map_err(|message| {
        Box::new(Diagnostic {
            message,
            help: None,
            key: String::new(),
            place: Some(condition.place.clone()),
        })
    })
}

/// The configuration of a set as far as a condition names it.
fn partly(resolver: &Resolver, condition: &Condition, set: &Sets) -> Value {
    let tree = resolver.tree(set);
    let mut found = Value::Object(Default::default());
    for key in condition.keys() {
        let Some(value) = tree.find_ref(&key) else {
            // Defaults of a newly chosen kind stand in the resolved configuration alone.
            return match resolver.checked(set) {
                Ok(experiment) => serde_json::to_value(&experiment).expect("text keys only"),
                Err(_) => json(&tree),
            };
        };
        let mut at = &mut found;
        for name in key.split('.') {
            if !at.is_object() {
                *at = Value::Object(Default::default());
            }
            at = &mut at[name];
        }
        *at = json(value);
    }
    found
}
