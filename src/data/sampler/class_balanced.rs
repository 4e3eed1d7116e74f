//! Every identity equally often, however many images it has.
//!
//! The usual remedy for sets with a long tail (PyTorch's `WeightedRandomSampler` with a weight of 1 / images
//! of the class). Differs from it in: nothing is left to chance but the order, so that in an epoch two
//! identities differ by at most one place, and two images of an identity by at most one use.

use super::{InOrder, Pick, Refusal, Sampler};
use crate::data::order::permutation;
use crate::random::{Stream, rng};

crate::config_struct! {
    /// Every identity equally often in an epoch, which has as many places as there are images.
    ///
    /// Identities with few images repeat them, each time augmented anew; of those with many, others
    /// take their turn in the next epochs.
    pub struct ClassBalanced {}
}

#[derive(Debug)]
struct Built {
    places: InOrder,
    /// Items of each identity that has any.
    members: Vec<Vec<u32>>,
}

impl ClassBalanced {
    pub(super) fn check(&self, images: usize, batch_size: usize) -> Result<Vec<String>, Refusal> {
        super::shuffle::Shuffle {}.check(images, batch_size)
    }

    pub(super) fn build(
        &self,
        of_label: &[Vec<u32>],
        batch_size: usize,
        drop_last: bool,
    ) -> Box<dyn Sampler> {
        let ClassBalanced {} = self;
        let members: Vec<Vec<u32>> =
            of_label.iter().filter(|items| !items.is_empty()).cloned().collect();
        let count = members.iter().map(Vec::len).sum();
        Box::new(Built { places: InOrder { count, batch_size, drop_last }, members })
    }
}

impl Sampler for Built {
    fn batches(&self) -> usize {
        self.places.batches()
    }

    fn epoch(&self, seed: u64, epoch: usize) -> Vec<Pick> {
        let mut rng = rng(seed, Stream::Shuffle, epoch as u64, 0);
        let (count, identities) = (self.places.count, self.members.len());
        let (each, more) = (count / identities, count % identities);
        let mut picks = Vec::with_capacity(count);
        // Those that come first in this epoch's order have one place more.
        for (turn, member) in permutation(identities, &mut rng).into_iter().enumerate() {
            let items = &self.members[member as usize];
            let places = each + usize::from(turn < more);
            let mut copy = 0;
            let mut left = places;
            while left > 0 {
                let order = permutation(items.len(), &mut rng);
                let round = order.iter().take(left);
                picks.extend(round.map(|at| Pick { item: items[*at as usize], copy }));
                left -= left.min(items.len());
                copy += 1;
            }
        }
        let order = permutation(count, &mut rng);
        order.into_iter().map(|at| picks[at as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn identities_and_their_images_take_even_turns() {
        // 2, 0, 50 and 11 images: 63 places, 21 for each identity.
        let of_label = vec![vec![0, 1], vec![], (2..52).collect(), (52..63).collect()];
        let sampler = ClassBalanced {}.build(&of_label, 8, false);
        assert_eq!(sampler.batches(), 8);
        let epoch = sampler.epoch(1, 0);
        let distinct: HashSet<u64> = epoch.iter().map(|pick| pick.sample()).collect();
        assert_eq!((epoch.len(), distinct.len()), (63, 63), "augmented apart");
        let mut uses: HashMap<u32, usize> = HashMap::new();
        epoch.iter().for_each(|pick| *uses.entry(pick.item).or_default() += 1);
        for items in of_label.iter().filter(|items| !items.is_empty()) {
            let of = |item: &u32| uses.get(item).copied().unwrap_or(0);
            assert_eq!(items.iter().map(of).sum::<usize>(), 21);
            let (least, most) = (items.iter().map(of).min(), items.iter().map(of).max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{items:?}");
        }
        assert_eq!(sampler.epoch(1, 0), epoch);
        assert!(sampler.epoch(1, 1) != epoch && sampler.epoch(2, 0) != epoch);
        // Of many images, others in other epochs.
        let all: HashSet<u32> = (0..10).flat_map(|e| sampler.epoch(1, e)).map(|p| p.item).collect();
        assert_eq!(all.len(), 63);
    }

    #[test]
    fn what_is_left_over_goes_to_some() {
        let sampler = ClassBalanced {}.build(&[vec![0, 1, 2], vec![3], vec![4]], 2, true);
        assert_eq!(sampler.batches(), 2);
        let counts = |epoch| {
            let mut counts = [0; 3];
            for pick in sampler.epoch(5, epoch) {
                counts[[0, 0, 0, 1, 2][pick.item as usize]] += 1;
            }
            counts
        };
        assert!(
            (0..9)
                .map(counts)
                .all(|c| c.iter().sum::<usize>() == 5 && c.iter().all(|n| [1, 2].contains(n)))
        );
    }
}
