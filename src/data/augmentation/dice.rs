//! Random numbers of one change to one sample.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::config::check::{Check, that};
use crate::random::{Stream, rng};
use std::fmt::Display;

/// Which change the numbers are for. Each has its own, so that switching one on or off leaves the
/// others as they were; the numbers are part of the meaning of a seed and never change.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Change {
    FlipAndRotation = 0,
    ResizedCrop = 1,
    ColorJitter = 2,
    Greyscale = 3,
    Blur = 4,
    LowResolution = 5,
    Jpeg = 6,
    Cutout = 7,
}

/// The numbers of a change to `sample` in `epoch`.
pub struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64, epoch: usize, sample: u64, change: Change) -> Self {
        let mut rng = rng(seed, Stream::Augment, epoch as u64, sample);
        rng.set_stream(change as u64);
        Dice(rng)
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True for this share of the samples.
    pub fn happens(&mut self, share: f64) -> bool {
        self.uniform() < share
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.uniform() * (high - low)
    }

    /// One of the whole numbers from `low` to `high`, both among them.
    pub fn whole(&mut self, low: usize, high: usize) -> usize {
        low + (self.uniform() * (high - low + 1) as f64) as usize
    }

    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// A list of two numbers, the first not above the second, both between `low` and `high`.
pub fn range<T: PartialOrd + Display + 'static>(low: T, high: T) -> Check<Vec<T>> {
    let rule = format!("two numbers between {low} and {high}, the lower one first");
    that(rule, move |range: &Vec<T>| match range.as_slice() {
        [first, second] => *first >= low && first <= second && *second <= high,
        _ => false,
    })
}
