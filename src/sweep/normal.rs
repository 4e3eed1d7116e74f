//! The standard normal distribution function and its inverse.

use std::f64::consts::PI;

/// Share of the standard normal distribution below `x`.
///
/// Near 0 the series `1/2 + phi(x) (x + x^3/3 + x^5/15 + ...)`, in the tails the continued fraction
/// of Mills' ratio `1/(x + 1/(x + 2/(x + ...)))` (Abramowitz and Stegun, 26.2.11 and 26.2.14).
pub fn cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
    if x.abs() < 5.0 {
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let tail = (1..=60).rev().fold(x.abs(), |below, k| x.abs() + f64::from(k) / below);
    let tail = density / tail;
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// The `x` that `share` of the standard normal distribution lies below; `share` within 0 and 1.
///
/// Bisection: the shares of a sweep are few, and [`cdf`] is monotone to its last digits.
pub fn inverse(share: f64) -> f64 {
    let (mut low, mut high) = (-38.0, 38.0);
    for _ in 0..70 {
        let middle: f64 = 0.5 * (low + high);
        match cdf(middle) < share {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Tables of the normal distribution; 1e-12 leaves room for the series' rounding.
        for (x, share) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.959_963_984_540_054, 0.025),
            (3.0, 0.998_650_101_968_369_9),
            (-6.0, 9.865_876_450_376_946e-10),
        ] {
            assert!((cdf(x) - share).abs() < 1e-12, "{x}: {}", cdf(x));
            assert!((inverse(share) - x).abs() < 1e-8, "{share}: {}", inverse(share));
        }
        // Both forms agree where they meet, relative to the tail's rounding.
        assert!((cdf(-4.999_999_9) / cdf(-5.000_000_1) - 1.0).abs() < 1e-5);
    }
}
