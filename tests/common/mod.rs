//! What the parity tests share: fixtures of `tools/parity`, a part from its keys, the twin of
//! `tools/parity/fill.py`, and comparisons that name the largest difference.

// Each test binary has its own copy of this module and needs a part of it.
#![allow(dead_code)]

pub mod fill;

use arcrun::checkpoint::{Named, read_weights};
use arcrun::config::{Experiment, load_str};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use tch::{Kind, Tensor};
use toml::{Table, Value};

/// A file below `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn read_json<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub fn read_tensors(name: &str) -> Named {
    read_weights(&fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// An experiment that states the table `table` with these keys, read as a user's file is.
pub fn experiment(table: &str, keys: &Table) -> Experiment {
    let mut file = Table::new();
    file.insert("data".into(), Value::Table(Table::from_iter([("root".into(), ".".into())])));
    file.insert(table.into(), Value::Table(keys.clone()));
    let text = toml::to_string(&file).unwrap();
    match load_str::<Experiment>("parity.toml", &text, &[]) {
        Ok(loaded) => loaded.experiment,
        Err(error) => panic!("{text}\n{error}"),
    }
}

/// The keys of a part of kind `kind`.
pub fn of_kind(kind: &str, mut keys: Table) -> Table {
    keys.insert("kind".into(), kind.into());
    keys
}

/// Panics unless each of `skipped` is one of `names`: a list of skipped cases must not outlive
/// them.
pub fn assert_known<'a>(skipped: &[&str], names: impl Iterator<Item = &'a str> + Clone) {
    for skip in skipped {
        assert!(names.clone().any(|name| name == *skip), "no case is called {skip}");
    }
}

/// Ten numbers that pin a tensor.
#[derive(Deserialize)]
pub struct Summary {
    first: Vec<f64>,
    sum: f64,
    sum_of_squares: f64,
}

/// The largest of all comparisons of a test, and those that failed.
#[derive(Default)]
pub struct Comparison {
    count: usize,
    /// (difference / tolerance, description)
    largest: (f64, String),
    failures: Vec<String>,
}

impl Comparison {
    /// `difference` may be up to `tolerance` x `scale`.
    fn note(&mut self, name: &str, difference: f64, scale: f64, tolerance: f64, place: &str) {
        self.count += 1;
        let share = if difference == 0.0 { 0.0 } else { difference / (tolerance * scale) };
        let line = format!(
            "{name}{place}: difference {difference:.3e}, {:.3e} of {scale:.3e}, allowed {tolerance:.0e}",
            difference / scale,
        );
        if share.is_nan() || share > 1.0 {
            self.failures.push(line.clone());
        }
        if self.largest.1.is_empty() || share.is_nan() || share > self.largest.0 {
            self.largest = (share, line);
        }
    }

    /// Every element to `tolerance` of the largest magnitude in `expected`.
    pub fn tensor(&mut self, name: &str, ours: &Tensor, expected: &Tensor, tolerance: f64) {
        assert_eq!(ours.size(), expected.size(), "{name}: shape");
        assert!(expected.numel() > 0, "{name}: nothing to compare");
        let [ours, expected] = [ours, expected].map(|x| x.detach().to_kind(Kind::Double));
        let differences = (&ours - &expected).abs().reshape([-1]);
        // The position of a NaN, where there is one.
        let at = differences.argmax(None, false).int64_value(&[]);
        let value = |tensor: &Tensor| tensor.reshape([-1]).double_value(&[at]);
        let place = format!("[{at}] {} for {}", value(&ours), value(&expected));
        let scale = expected.abs().max().double_value(&[]);
        self.note(name, value(&differences), scale, tolerance, &place);
    }

    /// A number to `tolerance` x `scale`.
    pub fn number(&mut self, name: &str, ours: f64, expected: f64, scale: f64, tolerance: f64) {
        let place = format!(" {ours} for {expected}");
        self.note(name, (ours - expected).abs(), scale, tolerance, &place);
    }

    /// What is left of a tensor, to `tolerance` of its norm.
    pub fn summary(&mut self, name: &str, ours: &Tensor, expected: &Summary, tolerance: f64) {
        let Summary { first, sum, sum_of_squares } = expected;
        let flat = ours.detach().reshape([-1]);
        let norm = sum_of_squares.sqrt();
        assert_eq!(first.len(), flat.numel().min(8), "{name}: elements");
        let mut number = |part: &str, ours: f64, expected: f64, scale: f64| {
            self.number(&format!("{name} {part}"), ours, expected, scale, tolerance);
        };
        for (i, &expected) in first.iter().enumerate() {
            number(&format!("[{i}]"), flat.double_value(&[i as i64]), expected, norm);
        }
        let total = |x: &Tensor| x.sum(Kind::Double).double_value(&[]);
        number("sum of squares", total(&flat.square()), *sum_of_squares, *sum_of_squares);
        number("sum", total(&flat), *sum, norm * (flat.numel() as f64).sqrt());
    }

    /// Says which was largest, relative to its tolerance, and panics if anything failed.
    pub fn finish(self) {
        eprintln!("{} comparisons, the largest {}", self.count, self.largest.1);
        let Comparison { count, failures, .. } = self;
        assert!(
            failures.is_empty(),
            "{} of {count} comparisons failed:\n{}",
            failures.len(),
            failures.join("\n")
        );
    }
}
