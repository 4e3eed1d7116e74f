//! The P x K sampler against what it promises, over random numbers of images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::data::order::below;
use crate::data::{Dataset, Item, LabelMap};
use crate::random::{Stream, rng};

/// Images by identity; no file exists.
fn dataset(counts: &[usize]) -> Dataset {
    let names = (0..counts.len()).map(|label| format!("id{label:04}")).collect();
    let item = |label: usize| Item { image: PathBuf::new().into(), label: label as i64 };
    let items =
        counts.iter().enumerate().flat_map(|(label, n)| std::iter::repeat_n(item(label), *n));
    Dataset {
        root: PathBuf::new(),
        items: items.collect(),
        labels: LabelMap::new(names),
        captions: Vec::new(),
    }
}

fn of_label(dataset: &Dataset) -> Vec<Vec<u32>> {
    let mut of_label = vec![Vec::new(); dataset.labels.len()];
    for (index, item) in dataset.items.iter().enumerate() {
        of_label[item.label as usize].push(index as u32);
    }
    of_label
}

fn pk(images_per_identity: usize, min_images: usize) -> SamplerConfig {
    SamplerConfig::Pk(pk::Pk { images_per_identity, min_images })
}

fn build(config: &SamplerConfig, dataset: &Dataset, batch: usize) -> Box<dyn Sampler> {
    config.build(dataset, &of_label(dataset), batch, false).unwrap()
}

/// One identity after the other gives its groups away, always those with most left: the most
/// batches, found one by one.
fn batches_taken_greedily(groups: &[usize], identities: usize) -> usize {
    let mut left = groups.to_vec();
    for batches in 0.. {
        left.sort_unstable_by(|a, b| b.cmp(a));
        if left.len() < identities || left[identities - 1] == 0 {
            return batches;
        }
        left[..identities].iter_mut().for_each(|groups| *groups -= 1);
    }
    unreachable!()
}

/// A case of a few identities: P, K, least number of images and the numbers of images.
struct Case {
    p: usize,
    k: usize,
    min: usize,
    counts: Vec<usize>,
}

/// Random cases, of which some have one identity that is larger than all the others, and some
/// identities with no or one image.
fn cases() -> impl Iterator<Item = Case> {
    (0..400).filter_map(|number| {
        let mut rng = rng(11, Stream::Split, 0, number);
        let (p, k, min) = (2 + below(5, &mut rng), 2 + below(4, &mut rng), 1 + below(3, &mut rng));
        let most = 2 + below(20, &mut rng);
        let mut counts: Vec<usize> =
            (0..p + below(12, &mut rng)).map(|_| below(most, &mut rng)).collect();
        if number % 3 == 0 {
            counts[0] = 60 + below(60, &mut rng);
        }
        let kept = counts.iter().filter(|n| **n >= min);
        let possible = kept.clone().count() >= p && kept.clone().any(|n| *n >= 2);
        possible.then_some(Case { p, k, min, counts })
    })
}

/// Everything an epoch promises but for randomness.
#[track_caller]
fn assert_epoch(case: &Case, data: &Dataset, picks: &[Pick], batches: usize) {
    let Case { p, k, min, counts } = case;
    assert_eq!(picks.len(), batches * p * k);
    let label = |pick: &Pick| data.items[pick.item as usize].label as usize;
    for batch in picks.chunks(p * k) {
        let mut identities = BTreeSet::new();
        for group in batch.chunks(*k) {
            let identity = label(&group[0]);
            assert!(group.iter().all(|pick| label(pick) == identity), "{group:?}");
            assert!(identities.insert(identity), "{identity} is twice in {batch:?}");
            assert!(counts[identity] >= *min);
            let different: BTreeSet<u32> = group.iter().map(|pick| pick.item).collect();
            assert_eq!(different.len(), counts[identity].min(*k), "{group:?}");
        }
    }
    let samples: BTreeSet<u64> = picks.iter().map(|pick| pick.sample()).collect();
    assert_eq!(samples.len(), picks.len(), "two places would be augmented alike");

    let mut uses = vec![0; data.len()];
    picks.iter().for_each(|pick| uses[pick.item as usize] += 1);
    let mut groups = vec![0; counts.len()];
    picks.chunks(*k).for_each(|group| groups[label(&group[0])] += 1);
    for (identity, items) in of_label(data).iter().enumerate() {
        let n = items.len();
        let uses = items.iter().map(|item| uses[*item as usize]);
        assert!(groups[identity] <= n.div_ceil(*k));
        if groups[identity] > 0 && n < *k {
            // As evenly as can be.
            assert!(uses.clone().all(|u| u == k / n || u == k.div_ceil(n)));
        } else {
            // Only what fills up the last group comes again.
            let fill = if groups[identity] == n.div_ceil(*k) { (k - n % k) % k } else { 0 };
            let fill = if n == 0 { 0 } else { fill };
            assert!(uses.clone().all(|u| u <= 2));
            assert_eq!(uses.filter(|u| *u == 2).count(), fill, "identity {identity} of {n}");
        }
    }
}

#[test]
fn every_epoch_of_random_data_holds_its_promises() {
    let (mut tried, mut with_surplus, mut dominated) = (0, 0, 0);
    for case in cases() {
        let data = dataset(&case.counts);
        let sampler = build(&pk(case.k, case.min), &data, case.p * case.k);
        let kept = case.counts.iter().filter(|n| **n >= case.min);
        let groups: Vec<usize> = kept.map(|n| n.div_ceil(case.k)).collect();
        let expected = batches_taken_greedily(&groups, case.p);
        assert!(expected > 0);
        for (seed, epoch) in [(0, 0), (0, 1), (9, 7)] {
            assert_eq!(sampler.batches(), expected, "{:?}", case.counts);
            let picks = sampler.epoch(seed, epoch);
            assert_eq!(picks, sampler.epoch(seed, epoch));
            assert_epoch(&case, &data, &picks, expected);
        }
        tried += 1;
        let placeable: usize = groups.iter().map(|n| *n.min(&expected)).sum();
        with_surplus += usize::from(placeable > expected * case.p);
        dominated += usize::from(groups.iter().any(|n| *n > expected));
    }
    // The random cases are worth something.
    assert!(tried > 200 && with_surplus > 50 && dominated > 50);
}

#[test]
fn seeds_and_epochs_differ() {
    let data = dataset(&[7, 5, 9, 4, 6, 12]);
    let sampler = build(&pk(2, 1), &data, 6);
    let epochs = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(seed, epoch)| sampler.epoch(seed, epoch));
    for (i, one) in epochs.iter().enumerate() {
        assert!(epochs[..i].iter().all(|other| other != one));
    }
}

/// What is left out is not always the same: within an identity all images come equally often.
#[test]
fn over_many_epochs_every_image_comes_and_none_more_than_others_of_its_identity() {
    let counts = [40, 6, 5, 4, 3, 1, 2, 7];
    let data = dataset(&counts);
    // 3 batches; the large identity has more groups than that, and one group more finds no place.
    let sampler = build(&pk(4, 1), &data, 16);
    let epochs = 3000;
    let mut uses = vec![0_u32; data.len()];
    for epoch in 0..epochs {
        for pick in sampler.epoch(3, epoch) {
            uses[pick.item as usize] += 1;
        }
    }
    assert!(uses.iter().all(|u| *u > 0), "{uses:?}");
    for items in of_label(&data) {
        let of_each: Vec<f64> = items.iter().map(|i| f64::from(uses[*i as usize])).collect();
        let mean = of_each.iter().sum::<f64>() / of_each.len() as f64;
        // One epoch's count is 0 to 4 and varies by less than 2 (half the range), so the mean over
        // the epochs varies by less than 2 / sqrt(3000); six of that, in units of all epochs.
        let allowed = 6.0 * 2.0 * (epochs as f64).sqrt();
        assert!(of_each.iter().all(|u| (u - mean).abs() < allowed), "{of_each:?}");
    }
}

/// Dealing alone would let two identities with many groups meet either always or never.
#[test]
fn identities_meet_others_all_the_time() {
    let counts = [40; 12];
    let data = dataset(&counts);
    let sampler = build(&pk(2, 1), &data, 8);
    let mut met = BTreeMap::new();
    for batch in sampler.epoch(5, 0).chunks(8) {
        let labels: Vec<i64> =
            batch.chunks(2).map(|group| data.items[group[0].item as usize].label).collect();
        for (i, one) in labels.iter().copied().enumerate() {
            for other in labels[..i].iter().copied() {
                *met.entry((one.min(other), one.max(other))).or_insert(0) += 1;
            }
        }
    }
    // 60 batches of 6 pairs over 66 pairs of identities: 5.5 on average.
    assert_eq!(met.values().sum::<usize>(), 360);
    assert_eq!(met.len(), 66, "some never met");
    assert!(met.values().all(|n| *n <= 15), "{met:?}");
}

#[test]
fn a_refusal_names_key_numbers_and_remedy() {
    let refused = |config: &SamplerConfig, counts: &[usize], batch| {
        let data = dataset(counts);
        let refusal = config.check(&data, batch).unwrap_err();
        assert_eq!(config.build(&data, &of_label(&data), batch, true).unwrap_err(), refusal);
        refusal
    };
    let few = refused(&pk(4, 1), &[9, 9, 9, 0], 16);
    assert_eq!(few.key, "train.batch_size");
    assert_eq!(
        few.message,
        "`train.batch_size` is 16: 4 identities of sampler.images_per_identity = 4 images each, \
         but there are 3 identities"
    );
    assert_eq!(few.help, "lower train.batch_size to 12 or less");
    let filtered = refused(&pk(4, 3), &[9, 9, 2], 12);
    assert!(filtered.message.ends_with("2 identities with sampler.min_images = 3 images or more"));
    assert_eq!(refused(&pk(2, 1), &[9], 4).help, "train on more identities");

    let single = refused(&pk(2, 1), &[1, 1, 1, 0], 4);
    assert_eq!(single.key, "sampler.kind");
    assert!(single.message.contains("none of the 3 identities has two images"), "{single:?}");
    assert!(single.help.contains("sampler.kind = \"shuffle\""), "{single:?}");

    let odd = pk(4, 1).validate(30);
    assert_eq!(odd[0].0, "train.batch_size");
    for part in ["30", "sampler.images_per_identity = 4", "to 28 or 32"] {
        assert!(odd[0].1.contains(part), "{part:?} in {odd:?}");
    }
    let small = pk(4, 1).validate(4);
    assert!(small[0].1.contains("two identities has 8 images"), "{small:?}");
    assert!(pk(4, 1).validate(8).is_empty() && pk(2, 1).validate(4).is_empty());
    assert!(SamplerConfig::default().validate(7).is_empty());

    let images = SamplerConfig::default().check(&dataset(&[3, 3]), 8).unwrap_err();
    assert_eq!(images.message, "`train.batch_size` is 8, but there are 6 images");
}

#[test]
fn what_is_repeated_or_left_out_is_said_with_numbers() {
    let notes = |config: SamplerConfig, counts: &[usize], batch| {
        config.check(&dataset(counts), batch).unwrap()
    };
    assert!(notes(SamplerConfig::default(), &[1, 5], 4).is_empty());
    assert!(notes(pk(2, 1), &[4, 4, 4], 6).is_empty());
    assert_eq!(
        notes(pk(4, 2), &[4, 4, 1, 4, 3, 0, 4, 2], 8),
        [
            "sampler.min_images = 2 leaves 1 of 7 identities with 1 images out of the batches",
            "2 of 6 identities have fewer than sampler.images_per_identity = 4 images, which are \
             repeated in a batch, augmented anew; the smallest is id0007 with 2",
        ]
    );
    let singles = notes(pk(2, 1), &[2, 1, 1, 2], 4);
    assert!(singles[0].contains("the smallest is id0001 with 1; 2 of them have one image"));
    // Two identities of 5 and 2 groups make 2 batches; 3 groups have nobody to meet.
    assert_eq!(
        notes(pk(2, 1), &[10, 4], 4),
        ["6 of 14 images, others in each epoch, find no place in its 2 batches of 2 different \
          identities"]
    );
    let surplus = notes(pk(2, 1), &[2, 2, 2], 4);
    assert!(surplus[0].starts_with("up to 2 of 6 images, others in each epoch"), "{surplus:?}");
}

/// The number that is said is the largest that an epoch leaves out.
#[test]
fn no_epoch_leaves_out_more_than_is_said() {
    for case in cases() {
        let data = dataset(&case.counts);
        let config = pk(case.k, case.min);
        let notes = config.check(&data, case.p * case.k).unwrap();
        let note = notes.iter().find(|note| note.contains("find no place"));
        let note = note.map(|note| note.trim_start_matches("up to "));
        let said = note.map_or(0, |note| note.split(' ').next().unwrap().parse().unwrap());
        let kept: usize = case.counts.iter().filter(|n| **n >= case.min).sum();
        let sampler = build(&config, &data, case.p * case.k);
        for epoch in 0..5 {
            let seen: BTreeSet<u32> =
                sampler.epoch(1, epoch).iter().map(|pick| pick.item).collect();
            assert!(kept - seen.len() <= said, "{} of {kept}, {note:?}", seen.len());
        }
    }
}

#[test]
fn only_pk_supports_pairs() {
    assert!(supports_pairs(&pk(4, 1)));
    assert!(!supports_pairs(&SamplerConfig::default()));
}
