//! Random samples: each value depends on the seed, the block, the sample's number and the key alone,
//! so that more samples or another parameter leave it as it is.

use super::{Counter, Dimension, bits, unit};
use serde_json::Value;

/// The value of a parameter in a sample.
pub fn value(counter: Counter, sample: usize, dimension: Dimension<'_>) -> Value {
    dimension.distribution.at(unit(bits(counter, sample, dimension.key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::distribution::Distribution;

    #[test]
    fn values_are_uniform_and_differ() {
        let uniform = Distribution::Uniform { low: 0.0, high: 1.0 };
        let dimension = |key| Dimension { key, distribution: &uniform };
        let draw = |seed, block, key| -> Vec<f64> {
            let counter = Counter { seed, block };
            (0..10_000).map(|i| value(counter, i, dimension(key)).as_f64().unwrap()).collect()
        };
        let one = draw(0, 0, "optimizer.lr");
        // The mean of n uniform numbers has a deviation of 1/sqrt(12 n) = 0.0029: five of these.
        let mean = one.iter().sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.0145, "{mean}");
        for other in
            [draw(1, 0, "optimizer.lr"), draw(0, 1, "optimizer.lr"), draw(0, 0, "loss.margin")]
        {
            let product = one.iter().zip(&other).map(|(a, b)| (a - 0.5) * (b - 0.5)).sum::<f64>();
            // Of independent samples: mean 0, deviation 1/(12 sqrt(n)) = 0.00083.
            assert!((product / 1e4).abs() < 0.0042, "{product}");
        }
    }
}
