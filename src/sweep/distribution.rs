//! Distributions of a search: from a number of the unit interval to a value.

use super::normal;
use serde_json::Value;

/// How the values of a key are drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Evenly in `low..=high`.
    Uniform { low: f64, high: f64 },
    /// Evenly in the logarithm.
    LogUniform { low: f64, high: f64 },
    /// `low, low + step ..` up to `high`.
    Int { low: i64, high: i64, step: i64 },
    /// Integers evenly in the logarithm.
    LogInt { low: i64, high: i64 },
    /// One of these, each as likely.
    Choice(Vec<Value>),
    /// Normal, cut off at the bounds where there are any.
    Normal { mean: f64, std: f64, min: Option<f64>, max: Option<f64> },
}

impl Distribution {
    /// The value at `unit`, in 0 to 1 (exclusive), by the inverse of the distribution function.
    ///
    /// Floats are rounded to six significant digits, which names and tables can show, where the
    /// range is wide enough for it.
    pub fn at(&self, unit: f64) -> Value {
        match self {
            Distribution::Uniform { low, high } => {
                Self::float(low + (high - low) * unit, *low, *high, high - low)
            }
            Distribution::LogUniform { low, high } => {
                let value = (low.ln() + (high.ln() - low.ln()) * unit).exp();
                Self::float(value, *low, *high, high - low)
            }
            Distribution::Int { low, high, step } => {
                // Widened: the bounds may be as far apart as 64 bits allow.
                let count = (i128::from(*high) - i128::from(*low)) / i128::from(*step) + 1;
                let index = ((count as f64 * unit) as i128).min(count - 1);
                integer(i128::from(*low) + index * i128::from(*step), *low, *high)
            }
            Distribution::LogInt { low, high } => {
                let (from, to) = ((*low as f64).ln(), (*high as f64 + 1.0).ln());
                integer((from + (to - from) * unit).exp().floor() as i128, *low, *high)
            }
            Distribution::Choice(values) => {
                let index = (values.len() as f64 * unit) as usize;
                values[index.min(values.len() - 1)].clone()
            }
            Distribution::Normal { mean, std, min, max } => {
                let bound = |bound: &Option<f64>, none: f64| {
                    bound.map_or(none, |bound| normal::cdf((bound - mean) / std))
                };
                let (from, to) = (bound(min, 0.0), bound(max, 1.0));
                // Away from 0 and 1, where the inverse is infinite.
                let share = (from + (to - from) * unit).clamp(1e-300, 1.0 - f64::EPSILON / 2.0);
                let value = mean + std * normal::inverse(share);
                let (min, max) = (min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
                Self::float(value, min, max, *std)
            }
        }
    }

    /// Rounded to six significant digits where the range is wide enough, and within the bounds.
    pub(super) fn float(value: f64, low: f64, high: f64, width: f64) -> Value {
        let largest = value.abs().max(f64::MIN_POSITIVE);
        let rounded: f64 = match width / largest > 1e-3 {
            true => format!("{value:.5e}").parse().unwrap_or(value),
            false => value,
        };
        Value::from(rounded.clamp(low, high))
    }

    /// Whether it could have given `value`.
    pub fn covers(&self, value: &Value) -> bool {
        let within = |low: f64, high: f64| value.as_f64().is_some_and(|v| v >= low && v <= high);
        match self {
            Distribution::Uniform { low, high } | Distribution::LogUniform { low, high } => {
                within(*low, *high)
            }
            Distribution::Int { low, high, .. } | Distribution::LogInt { low, high } => {
                within(*low as f64, *high as f64)
            }
            Distribution::Choice(values) => values.contains(value),
            Distribution::Normal { min, max, .. } => {
                within(min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX))
            }
        }
    }
}

fn integer(value: i128, low: i64, high: i64) -> Value {
    // Within 64 bits, as its bounds are.
    Value::from(value.clamp(i128::from(low), i128::from(high)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(distribution: &Distribution) -> Vec<f64> {
        let units = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0);
        units.map(|unit| distribution.at(unit).as_f64().unwrap()).collect()
    }

    #[test]
    fn quantiles() {
        let uniform = values(&Distribution::Uniform { low: -1.0, high: 3.0 });
        assert!((uniform[499] - 0.998).abs() < 1e-9, "{}", uniform[499]);
        let log = values(&Distribution::LogUniform { low: 1e-4, high: 1.0 });
        // Half of the values lie below the geometric mean of the bounds.
        assert_eq!(log.iter().filter(|v| **v < 1e-2).count(), 500);
        let int = values(&Distribution::Int { low: 32, high: 256, step: 32 });
        for (index, value) in (32..=256).step_by(32).enumerate() {
            let count = int.iter().filter(|v| **v == f64::from(value)).count();
            assert_eq!(count, 125, "{index}");
        }
        let log_int = values(&Distribution::LogInt { low: 1, high: 7 });
        // P(1) = ln 2 / ln 8 = 1/3.
        assert_eq!(log_int.iter().filter(|v| **v == 1.0).count(), 333);
        assert!(log_int.iter().all(|v| (1.0..=7.0).contains(v)));
        let wide = Distribution::Int { low: i64::MIN, high: i64::MAX, step: 1 };
        assert_eq!(wide.at(0.0), Value::from(i64::MIN));
    }

    #[test]
    fn truncated_normal() {
        let free = Distribution::Normal { mean: 64.0, std: 8.0, min: None, max: None };
        let drawn = values(&free);
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        let std = (drawn.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1000.0).sqrt();
        // Midpoints of 1000 equal shares miss the tails' part of the variance, under 1 %.
        assert!((mean - 64.0).abs() < 1e-3 && (std - 8.0).abs() < 0.08, "{mean} {std}");
        let cut = Distribution::Normal { mean: 0.0, std: 1.0, min: Some(0.0), max: Some(1.0) };
        let drawn = values(&cut);
        assert!(drawn.iter().all(|v| (0.0..=1.0).contains(v)));
        // Mean of the standard normal within 0 and 1: (phi(0) - phi(1)) / (Phi(1) - Phi(0)).
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.459_862).abs() < 1e-4, "{mean}");
    }
}
