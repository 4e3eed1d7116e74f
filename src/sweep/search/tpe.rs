//! The tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for hyper-parameter
//! optimization", section 4): each parameter by itself, the densities of the crate `tpe`.
//!
//! The trials that did best and the others give a density each; of some values drawn from the
//! first the one with the largest ratio of both is proposed. Until `startup` trials have a score,
//! samples are those of [`random`].

use super::{Counter, Dimension, random, text_bits};
use crate::random::{Stream, derive};
use crate::sweep::distribution::Distribution;
use crate::sweep::file::Tpe;
use crate::sweep::manifest::Sets;
use crate::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;
use tpe::{TpeOptimizerBuilder, histogram_estimator, parzen_estimator, range};

/// Proposes the value of one parameter in the trial with a number. `seen`: settings of other trials
/// with their score, the larger the better; one without a score counts as the worst, so that what
/// failed is avoided and trials at the same time differ.
pub fn value(
    settings: &Tpe,
    counter: Counter,
    number: usize,
    dimension: Dimension<'_>,
    seen: &[(Sets, Option<f64>)],
) -> Result<Value> {
    let Tpe { startup, gamma, candidates } = *settings;
    let Dimension { key, distribution } = dimension;
    let finite = |score: Option<f64>| score.filter(|score| score.is_finite());
    let scored = seen.iter().filter(|(_, score)| finite(*score).is_some()).count();
    // Trials that have the parameter; another's say nothing of it.
    let known: Vec<(f64, f64)> = seen
        .iter()
        .filter_map(|(set, score)| {
            let point = to_axis(distribution, set.get(key)?)?;
            Some((point, finite(*score).map_or(f64::INFINITY, |score| -score)))
        })
        .collect();
    if scored < startup.max(1) || known.iter().all(|(_, loss)| loss.is_infinite()) {
        return Ok(random::value(counter, number, dimension));
    }
    let (low, high) = bounds(distribution);
    let estimator = match distribution {
        Distribution::Choice(_) => histogram_estimator(),
        _ => parzen_estimator(),
    };
    let bug = |error: &dyn std::fmt::Display| Error::failed(format!("TPE of `{key}`: {error}"));
    let range = range(low, high).map_err(|e| bug(&e))?;
    let mut builder = TpeOptimizerBuilder::new();
    builder.gamma(gamma).candidates(candidates);
    let mut optimizer = builder.build(estimator, range).map_err(|e| bug(&e))?;
    for (point, loss) in known {
        optimizer.tell(point.clamp(low, high.next_down()), loss).map_err(|e| bug(&e))?;
    }
    let of_number = derive(counter.seed, Stream::Sweep, counter.block as u64, number as u64);
    let bits = derive(of_number, Stream::Sweep, text_bits(key), 1);
    let mut rng = ChaCha8Rng::seed_from_u64(bits);
    let point = optimizer.ask(&mut rng).map_err(|e| bug(&e))?;
    Ok(from_axis(distribution, point))
}

/// The axis on which densities are estimated: the logarithm of what is even in it, the index of a
/// choice, half an integer to each side of the integers.
fn bounds(distribution: &Distribution) -> (f64, f64) {
    match distribution {
        Distribution::Uniform { low, high } => (*low, *high),
        Distribution::LogUniform { low, high } => (low.ln(), high.ln()),
        Distribution::Int { low, high, step } => {
            let half = 0.5 * *step as f64;
            (*low as f64 - half, *high as f64 + half)
        }
        Distribution::LogInt { low, high } => ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln()),
        Distribution::Choice(values) => (0.0, values.len() as f64),
        Distribution::Normal { mean, std, min, max } => {
            // Where nothing cuts it off, four deviations hold all but one sample of 16,000.
            (min.unwrap_or(mean - 4.0 * std), max.unwrap_or(mean + 4.0 * std))
        }
    }
}

/// `None`: the distribution could not have given this.
fn to_axis(distribution: &Distribution, value: &Value) -> Option<f64> {
    if !distribution.covers(value) {
        return None;
    }
    match distribution {
        Distribution::Choice(values) => {
            values.iter().position(|choice| choice == value).map(|index| index as f64 + 0.5)
        }
        Distribution::LogUniform { .. } | Distribution::LogInt { .. } => {
            value.as_f64().map(f64::ln)
        }
        _ => value.as_f64(),
    }
}

fn from_axis(distribution: &Distribution, point: f64) -> Value {
    match distribution {
        Distribution::Choice(values) => values[(point as usize).min(values.len() - 1)].clone(),
        Distribution::Int { low, high, step } => {
            let steps = ((point - *low as f64) / *step as f64).round() as i128;
            let most = (i128::from(*high) - i128::from(*low)) / i128::from(*step);
            let value = i128::from(*low) + steps.clamp(0, most) * i128::from(*step);
            Value::from(value as i64)
        }
        Distribution::LogInt { low, high } => {
            Value::from((point.exp().round() as i64).clamp(*low, *high))
        }
        Distribution::LogUniform { low, high } => {
            Distribution::float(point.exp(), *low, *high, high - low)
        }
        _ => {
            let (low, high) = bounds(distribution);
            Distribution::float(point, low, high, high - low)
        }
    }
}

#[cfg(test)]
mod tests;
