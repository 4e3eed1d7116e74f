//! A fixed sample of a data set's images, evenly over its identities.

use super::order::permutation;
use super::{Dataset, Item};
use crate::random::{Stream, rng};

/// At most `count` images: as many of each identity as of any other, but for those that have fewer,
/// and for the last round, which takes one more of some. In the order of the data set.
pub fn sample_evenly(set: &Dataset, count: usize, seed: u64) -> Vec<Item> {
    let mut of_label = vec![Vec::new(); set.labels.len()];
    for (index, item) in set.items.iter().enumerate() {
        of_label[item.label as usize].push(index);
    }
    let orders: Vec<Vec<usize>> = (of_label.iter().enumerate())
        .map(|(label, images)| {
            let mut rng = rng(seed, Stream::Embeddings, 0, label as u64 + 1);
            permutation(images.len(), &mut rng).iter().map(|at| images[*at as usize]).collect()
        })
        .collect();
    // So that a round that is cut short prefers no letter of the alphabet.
    let labels = permutation(orders.len(), &mut rng(seed, Stream::Embeddings, 0, 0));
    let longest = orders.iter().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|round| {
        let orders = &orders;
        labels.iter().filter_map(move |label| orders[*label as usize].get(round).copied())
    });
    let mut chosen: Vec<usize> = rounds.take(count).collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|index| set.items[index].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::LabelMap;

    fn set(counts: &[usize]) -> Dataset {
        let names = (0..counts.len()).map(|n| format!("{n:03}")).collect();
        let items = counts.iter().enumerate().flat_map(|(label, &count)| {
            (0..count).map(move |n| Item {
                image: format!("{label}/{n}.jpg").into(),
                label: label as i64,
            })
        });
        Dataset {
            root: "".into(),
            items: items.collect(),
            labels: LabelMap::new(names),
            captions: Vec::new(),
        }
    }

    #[test]
    fn every_identity_gets_its_share() {
        let set = set(&[10, 2, 10, 0]);
        let counts = |sample: &[Item]| {
            let mut counts = [0; 4];
            sample.iter().for_each(|item| counts[item.label as usize] += 1);
            counts
        };
        assert_eq!(counts(&sample_evenly(&set, 12, 1)), [5, 2, 5, 0]);
        assert_eq!(counts(&sample_evenly(&set, 3, 1)), [1, 1, 1, 0]);
        let uneven = counts(&sample_evenly(&set, 11, 1));
        assert_eq!(uneven.iter().sum::<usize>(), 11);
        assert!(uneven[0].abs_diff(uneven[2]) == 1 && uneven[1] == 2, "{uneven:?}");
        assert_eq!(sample_evenly(&set, 99, 1), set.items);
        assert_eq!(sample_evenly(&set, 7, 1), sample_evenly(&set, 7, 1));
        assert_ne!(sample_evenly(&set, 7, 1), sample_evenly(&set, 7, 2));
    }
}
