//! Samples of a space: what each parameter is in the sample with a number.

pub mod random;
pub mod sobol;
pub mod tpe;

use super::condition::Evaluator;
use super::distribution::Distribution;
use super::expand::bind::bind;
use super::expand::evaluate;
use super::file::{Method, SweepFile};
use super::manifest::{Sets, Trial};
use super::resolve::{Resolver, settings as settings_text};
use crate::config::Diagnostic;
use crate::random::{Stream, derive};
use crate::{Error, Result};

/// A parameter under its full key.
#[derive(Clone, Copy, Debug)]
pub struct Dimension<'a> {
    pub key: &'a str,
    pub distribution: &'a Distribution,
}

/// Where the random numbers of a sample come from.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    pub seed: u64,
    /// Index of the block in the sweep file.
    pub block: usize,
}

/// 64 bits of a text, the same for ever: FNV-1a.
pub(super) fn text_bits(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// 64 random bits for a sample's parameter.
fn bits(counter: Counter, sample: usize, key: &str) -> u64 {
    let Counter { seed, block } = counter;
    let of_sample = derive(seed, Stream::Sweep, block as u64, sample as u64);
    derive(of_sample, Stream::Sweep, text_bits(key), 0)
}

/// The middle of one of 2^53 equal parts of 0 to 1: never 0 or 1.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// How often a proposal that a `skip_if` leaves out is drawn again.
const ATTEMPTS: u64 = 1000;

/// All settings of a trial that TPE proposes: its fixed ones and those of the space. `seen` are the
/// full settings of other trials with their score (the larger the better, `None`: failed, or not
/// finished yet). The same arguments give the same proposal. It learns from the trials that share
/// the fixed settings, their seed aside.
///
/// # Errors
/// `Error::Input`: the file has no such block, or `skip_if` leaves out whatever is proposed.
pub fn propose(
    file: &SweepFile,
    resolver: &Resolver,
    trial: &Trial,
    seen: &[(Sets, Option<f64>)],
) -> Result<Sets> {
    let Some(proposed) = trial.proposed else { return Ok(trial.set.clone()) };
    let bounds = bind(file, resolver)?;
    let gone = || {
        let message =
            format!("trial {} is of a TPE block that {} lacks", trial.name, file.path.display());
        Error::input(message).help("the sweep file was changed: use `run sweep extend`")
    };
    let bound = bounds.get(proposed.block).ok_or_else(gone)?;
    let search = bound.block.search.as_ref().ok_or_else(gone)?;
    let Method::Tpe(settings) = &search.method else { return Err(gone()) };
    let alike = |set: &Sets| {
        trial.set.iter().all(|(key, value)| key == "seed" || set.get(key) == Some(value))
    };
    let seen: Vec<(Sets, Option<f64>)> =
        seen.iter().filter(|(set, _)| alike(set)).cloned().collect();
    let evaluator = Evaluator::default();
    let mistake = |wrong: Box<Diagnostic>| Error::from(*wrong);
    let fixed_bits = text_bits(&settings_text(&trial.set));
    for attempt in 0..ATTEMPTS {
        // Combinations of the fixed settings draw apart; the first attempt at a trial without any
        // is the sample that was checked when the sweep was expanded.
        let seed = match (attempt, trial.set.is_empty()) {
            (0, true) => search.seed,
            _ => derive(search.seed, Stream::Sweep, fixed_bits, attempt),
        };
        let counter = Counter { seed, block: bound.index };
        let mut set = trial.set.clone();
        for (dimension, (key, parameter)) in bound.dimensions().into_iter().zip(&bound.parameters) {
            let applies = match &parameter.when {
                None => true,
                Some(when) => evaluate(resolver, &evaluator, when, &set, None).map_err(mistake)?,
            };
            if applies {
                let value = tpe::value(settings, counter, proposed.number, dimension, &seen)?;
                set.insert(key.clone(), value);
            }
        }
        let mut skipped = false;
        for condition in &bound.block.skip_if {
            skipped |= evaluate(resolver, &evaluator, condition, &set, None).map_err(mistake)?;
        }
        if !skipped {
            return Ok(set);
        }
    }
    let message = format!("`skip_if` leaves out all that TPE proposes for trial {}", trial.name);
    Err(Error::input(message).help("loosen a condition, or narrow the space to what it allows"))
}

#[cfg(test)]
mod tests;
