//! Draws from simple distributions in `f32`.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::draw::Colour;
use crate::random::{Stream, rng};

pub struct Dice(ChaCha8Rng);

impl Dice {
    /// `image` counts from 1; 0 is the identity itself.
    pub fn new(seed: u64, identity: u64, image: u64) -> Self {
        Dice(rng(seed, Stream::Synthetic, identity, image))
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    /// Symmetric around 0 and denser there, within `-reach..reach`: the mean of two uniforms.
    pub fn around(&mut self, reach: f32) -> f32 {
        0.5 * (self.between(-reach, reach) + self.between(-reach, reach))
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.0.random::<f32>() < probability
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.random_range(0..choices.len())]
    }

    /// Any colour, from dark to bright.
    pub fn colour(&mut self) -> Colour {
        [0; 3].map(|_| self.between(0.05, 0.95))
    }

    pub fn word(&mut self) -> u32 {
        self.0.random()
    }
}
