//! Random orders that depend on nothing but their seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A random order of `0..count` (Fisher-Yates). Written out here because the order is part of
/// what a seed means and must not change with a dependency.
pub fn permutation(count: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        order.swap(last, below(last + 1, rng));
    }
    order
}

/// A uniform number below `bound` (bias below 2^-32 for any bound that fits a data set).
pub fn below(bound: usize, rng: &mut ChaCha8Rng) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, rng};

    #[test]
    fn a_permutation_holds_everything_once_and_never_changes() {
        let mut order = permutation(1000, &mut rng(1, Stream::Shuffle, 0, 0));
        assert_eq!(&permutation(6, &mut rng(1, Stream::Shuffle, 0, 0)), &GOLDEN);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, v)| i as u32 == *v));
    }

    /// What seed 1 has meant from the start.
    const GOLDEN: [u32; 6] = [3, 0, 5, 1, 4, 2];
}
