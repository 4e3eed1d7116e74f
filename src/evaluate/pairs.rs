//! Verification pairs: which images are compared, which show the same person, and the fold that
//! each pair belongs to.

use crate::data::Image;
use std::collections::HashMap;

/// One pair of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index into [`PairSet::images`].
    pub first: usize,
    /// Index into [`PairSet::images`].
    pub second: usize,
    /// Genuine (one person) or impostor (two persons).
    pub same: bool,
    /// Cross-validation fold, from 0.
    pub fold: usize,
}

/// Pairs over a list of images in which each image appears once, so that it is embedded once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PairSet {
    pub images: Vec<Image>,
    pub pairs: Vec<Pair>,
    /// Pairs that tune the threshold for `pairs` and count for nothing else; empty: `pairs` tune
    /// it, by folds.
    pub tuning: Vec<Pair>,
    /// Number of folds; one fold means that the threshold is tuned on the pairs it is scored on.
    pub folds: usize,
    /// What the user should be told: pairs left out, files passed over.
    pub notes: Vec<String>,
}

impl PairSet {
    /// Every pair that has a distance, in the order of the distances: `pairs`, then `tuning`.
    pub fn compared(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().chain(&self.tuning)
    }
}

/// Collects pairs of paths into a [`PairSet`].
#[derive(Default)]
pub(super) struct PairSetBuilder {
    set: PairSet,
    index: HashMap<Image, usize>,
}

impl PairSetBuilder {
    pub fn push(
        &mut self,
        first: impl Into<Image>,
        second: impl Into<Image>,
        same: bool,
        fold: usize,
    ) {
        let (first, second) = (self.intern(first.into()), self.intern(second.into()));
        self.set.pairs.push(Pair { first, second, same, fold });
    }

    /// A pair that tunes the threshold.
    pub fn push_tuning(&mut self, first: impl Into<Image>, second: impl Into<Image>, same: bool) {
        let (first, second) = (self.intern(first.into()), self.intern(second.into()));
        self.set.tuning.push(Pair { first, second, same, fold: 0 });
    }

    pub fn finish(mut self, folds: usize, notes: Vec<String>) -> PairSet {
        self.set.folds = folds;
        self.set.notes = notes;
        self.set
    }

    fn intern(&mut self, image: Image) -> usize {
        if let Some(&index) = self.index.get(&image) {
            return index;
        }
        let index = self.set.images.len();
        self.set.images.push(image.clone());
        self.index.insert(image, index);
        index
    }
}

/// Fold of each of `pairs` pairs: contiguous blocks, the first `pairs % folds` of them one pair
/// longer (scikit-learn's `KFold` without shuffling).
pub fn contiguous_folds(pairs: usize, folds: usize) -> Vec<usize> {
    let (size, longer) = (pairs / folds, pairs % folds);
    (0..folds)
        .flat_map(|fold| std::iter::repeat_n(fold, size + usize::from(fold < longer)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folds_take_the_remainder() {
        assert_eq!(contiguous_folds(7, 3), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(contiguous_folds(2, 3), [0, 1]);
    }

    #[test]
    fn an_image_in_several_pairs_is_listed_once() {
        let mut builder = PairSetBuilder::default();
        let [a, b, c] = ["a", "b", "c"];
        builder.push(a, b, true, 0);
        builder.push(c, a, false, 1);
        let set = builder.finish(2, Vec::new());
        assert_eq!(set.images, [a, b, c].map(Image::from));
        assert_eq!(set.pairs[1], Pair { first: 2, second: 0, same: false, fold: 1 });
    }
}
