//! Counter-based randomness: every random choice derives from (seed, stream, epoch, index).
//!
//! No generator state exists between choices, so a resumed run needs none and the number of
//! loader threads changes nothing.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a random number is for. Two streams never share numbers; the numbers are part of the
/// meaning of a seed, so a variant's value never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Initial weights.
    Init = 1,
    /// Order of the samples in an epoch.
    Shuffle = 2,
    /// Augmentation of one sample.
    Augment = 3,
    /// Dropout and other noise inside one training step.
    Step = 4,
    /// Split into train, validation and test.
    Split = 5,
    /// Generated verification pairs.
    Pairs = 6,
    /// Synthetic faces: geometry of an identity (epoch: identity, index: 0) and of an image.
    Synthetic = 7,
    /// Batches of P identities with K images each.
    Identities = 8,
    /// Images whose embeddings are recorded.
    Embeddings = 9,
    /// Samples of a sweep (epoch: block, index: sample).
    Sweep = 10,
}

/// 64 bits for (seed, stream, epoch, index): SplitMix64's finalizer over each word in turn. The
/// rotation keeps two words from changing places unseen.
pub fn derive(seed: u64, stream: Stream, epoch: u64, index: u64) -> u64 {
    let words = [stream as u64, epoch, index];
    words.iter().fold(mix(seed), |state, word| mix(state.rotate_left(17) ^ mix(*word)))
}

/// A generator of its own for (seed, stream, epoch, index).
pub fn rng(seed: u64, stream: Stream, epoch: u64, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(derive(seed, stream, epoch, index))
}

/// SplitMix64's output function (Steele, Lea, Flood 2014).
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbours_differ() {
        let mut seen = HashSet::new();
        for seed in 0..4 {
            for stream in [Stream::Init, Stream::Shuffle, Stream::Augment] {
                for epoch in 0..8 {
                    for index in 0..64 {
                        assert!(seen.insert(derive(seed, stream, epoch, index)));
                    }
                }
            }
        }
    }
}
