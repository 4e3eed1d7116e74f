//! Quasi-random samples: Sobol's sequence with the direction numbers of Joe and Kuo ("Constructing
//! Sobol sequences with better two-dimensional projections", 2008, their set D(6)), shifted digit by
//! digit by random bits of the seed.
//!
//! Points fill the space more evenly than random ones, most so for counts that are powers of two.
//! A digital shift keeps that and is the same for every point, so more points keep the earlier ones.

use super::{Counter, Dimension, bits, unit};
use crate::{Error, Result};
use serde_json::Value;
use sobol::params::JoeKuoD6;
use sobol::{Sobol, SobolParams};

/// The samples, each with a value for every parameter.
///
/// # Errors
/// `Error::Input`: more parameters than there are direction numbers for.
pub fn samples(counter: Counter, count: usize, space: &[Dimension<'_>]) -> Result<Vec<Vec<Value>>> {
    let shift = |dimension: &Dimension<'_>| bits(counter, usize::MAX, dimension.key);
    let shifts: Vec<u64> = space.iter().map(shift).collect();
    let value = |(point, (dimension, shift)): (u64, (&Dimension<'_>, &u64))| {
        dimension.distribution.at(unit(point ^ shift))
    };
    let sample =
        |point: Vec<u64>| point.into_iter().zip(space.iter().zip(&shifts)).map(value).collect();
    Ok(points(space.len(), count)?.into_iter().map(sample).collect())
}

/// The first points of the sequence, as binary fractions of 64 digits.
fn points(dimensions: usize, count: usize) -> Result<Vec<Vec<u64>>> {
    // The larger table takes a while to unpack.
    let params = if dimensions <= 100 { JoeKuoD6::minimal() } else { JoeKuoD6::standard() };
    let most = SobolParams::<u32>::max_dims(&params);
    if dimensions > most {
        let message = format!("`sobol` takes at most {most} parameters, found {dimensions}");
        return Err(Error::input(message).help("use `random` for so many"));
    }
    Ok(Sobol::<u64>::new(dimensions, &params).take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::distribution::Distribution;

    /// What scipy computes: see tools/parity/sweep.py.
    const SCIPY: &str = include_str!("../../../tests/fixtures/sweep/sobol.json");

    #[test]
    fn points_are_those_of_scipy() {
        let fixture: serde_json::Value = serde_json::from_str(SCIPY).unwrap();
        for case in fixture["cases"].as_array().unwrap() {
            let expected = case["points"].as_array().unwrap();
            let dimensions = case["dimensions"].as_u64().unwrap() as usize;
            let points = points(dimensions, expected.len()).unwrap();
            for (point, expected) in points.iter().zip(expected) {
                // Fractions of few binary digits: both are exact.
                let point: Vec<f64> =
                    point.iter().map(|digits| *digits as f64 / 2_f64.powi(64)).collect();
                let expected: Vec<f64> =
                    expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
                assert_eq!(point, expected);
            }
        }
    }

    #[test]
    fn more_points_keep_the_earlier_and_stay_even() {
        let uniform = Distribution::Uniform { low: 0.0, high: 1.0 };
        let space = ["a", "b"].map(|key| Dimension { key, distribution: &uniform });
        let counter = Counter { seed: 3, block: 0 };
        let few = samples(counter, 10, &space).unwrap();
        let many = samples(counter, 64, &space).unwrap();
        assert_eq!(few, many[..10]);
        // 64 points of a digital net in two dimensions (t = 0): one in each cell of an 8 x 8 grid,
        // which the shift permutes.
        let cell = |v: &Value| (v.as_f64().unwrap() * 8.0) as usize;
        let cells: std::collections::HashSet<_> =
            many.iter().map(|p| (cell(&p[0]), cell(&p[1]))).collect();
        assert_eq!(cells.len(), 64);
        assert_ne!(many, samples(Counter { seed: 4, block: 0 }, 64, &space).unwrap());
    }

    #[test]
    fn too_many_parameters() {
        assert!(points(1000, 1).is_ok());
        assert!(points(1001, 1).unwrap_err().to_string().contains("at most 1000"));
    }
}
