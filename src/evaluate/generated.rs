//! Verification pairs drawn from the images of any identities.

use super::pairs::{PairSet, PairSetBuilder};
use crate::config::DatasetPath;
use crate::data::{Dataset, Image};
use crate::random::{Stream, rng};
use crate::{Error, Result};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

crate::config_struct! {
    /// Pairs drawn from identities that were never trained on: half of them genuine, as many in
    /// every fold, none twice, identities taking turns.
    pub struct UnseenPairs {
        /// Folder with one folder per identity; empty: the unseen identities of the data's split.
        pub root: DatasetPath = DatasetPath::default();
        /// Number of pairs, a multiple of 2 x folds.
        pub pairs: usize = 6000, positive();
        /// Folds of the cross-validation.
        pub folds: usize = 10, positive();
        /// Added to the experiment's seed: another number draws other pairs.
        pub seed: u64 = 0;
    }
}

impl UnseenPairs {
    /// The pairs. `datasets` is `paths.datasets`, `unseen` what the data's split set aside,
    /// `seed` the experiment's.
    ///
    /// # Errors
    /// No unseen identities and no `root`, a `root` without images, and those of [`generate`].
    pub fn build(&self, datasets: &Path, unseen: Option<&Dataset>, seed: u64) -> Result<PairSet> {
        let UnseenPairs { root, pairs, folds, seed: own } = self;
        let scanned = match root.raw.as_os_str().is_empty() {
            true => None,
            false => Some(crate::data::scan::scan(&root.resolve(datasets))?.dataset()),
        };
        let Some(faces) = scanned.as_ref().or(unseen) else {
            return Err(Error::input("the data's split sets no identities aside").help(
                "split the data so that some identities are unseen, or name a `root` folder",
            ));
        };
        let (images, labels): (Vec<Image>, Vec<i64>) =
            faces.items.iter().map(|item| (item.image.clone(), item.label)).unzip();
        generate(&images, &labels, *pairs, *folds, seed.wrapping_add(*own))
    }
}

/// Draws `pairs` pairs of images, half of them genuine, as many of each in every fold, none
/// twice. Identities take turns, so that one with many images has no more pairs than one with
/// few as long as those last. The same arguments give the same pairs.
///
/// # Errors
/// `pairs` that don't divide evenly, and identities or images too few for them, with the number
/// of pairs that they would do for.
///
/// # Panics
/// Where `images` and `labels` (the identity of each) differ in length.
pub fn generate(
    images: &[Image],
    labels: &[i64],
    pairs: usize,
    folds: usize,
    seed: u64,
) -> Result<PairSet> {
    assert_eq!(images.len(), labels.len(), "one label per image");
    if pairs == 0 || folds == 0 || !pairs.is_multiple_of(2 * folds) {
        return Err(Error::input(format!("pairs = {pairs} can't be halved in {folds} folds each"))
            .help(format!("use a multiple of {}", 2 * folds.max(1))));
    }
    let mut by_label: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (image, label) in labels.iter().enumerate() {
        by_label.entry(*label).or_default().push(image);
    }
    let identities: Vec<Vec<usize>> = by_label.into_values().collect();
    let half = pairs / 2;
    let possible = genuine_possible(&identities).min(impostors_possible(&identities));
    if possible < half as u128 {
        let most = 2 * (possible - possible % folds as u128);
        return Err(Error::input(format!(
            "{pairs} pairs need {half} genuine and {half} impostor pairs, {} identities with {} \
             images do for {} and {}",
            identities.len(),
            images.len(),
            genuine_possible(&identities),
            impostors_possible(&identities)
        ))
        .help(match most {
            0 => format!("{folds} folds need more identities or images, or fewer folds"),
            most => format!("at most pairs = {most} is possible"),
        }));
    }
    let mut rng = rng(seed, Stream::Pairs, 0, 0);
    let mut genuine = draw_genuine(&identities, half, &mut rng);
    let mut impostors = draw_impostors(&identities, half, &mut rng);
    genuine.shuffle(&mut rng);
    impostors.shuffle(&mut rng);
    let mut builder = PairSetBuilder::default();
    let per_fold = half / folds;
    let blocks = genuine.chunks(per_fold).zip(impostors.chunks(per_fold));
    for (fold, (genuine, impostors)) in blocks.enumerate() {
        for (drawn, same) in [(genuine, true), (impostors, false)] {
            for &(a, b) in drawn {
                builder.push(&images[a], &images[b], same, fold);
            }
        }
    }
    Ok(builder.finish(folds, Vec::new()))
}

fn pairs_within(images: usize) -> u128 {
    let images = images as u128;
    images * images.saturating_sub(1) / 2
}

fn genuine_possible(identities: &[Vec<usize>]) -> u128 {
    identities.iter().map(|images| pairs_within(images.len())).sum()
}

fn impostors_possible(identities: &[Vec<usize>]) -> u128 {
    pairs_within(identities.iter().map(Vec::len).sum()) - genuine_possible(identities)
}

/// Identities take turns with one pair each until `count` are drawn.
fn draw_genuine(
    identities: &[Vec<usize>],
    count: usize,
    rng: &mut impl Rng,
) -> Vec<(usize, usize)> {
    let mut turns: Vec<&[usize]> = identities.iter().map(Vec::as_slice).collect();
    turns.shuffle(rng);
    let mut quota = vec![0; turns.len()];
    let mut left = count;
    while left > 0 {
        for (quota, images) in quota.iter_mut().zip(&turns) {
            if left > 0 && (*quota as u128) < pairs_within(images.len()) {
                *quota += 1;
                left -= 1;
            }
        }
    }
    let mut drawn = Vec::with_capacity(count);
    for (images, quota) in turns.into_iter().zip(quota) {
        drawn.extend(draw_within(images, quota, rng));
    }
    drawn
}

/// `count` distinct pairs of `images`, each with the same probability (Floyd's algorithm over
/// the pairs' numbers).
fn draw_within(images: &[usize], count: usize, rng: &mut impl Rng) -> Vec<(usize, usize)> {
    let pairs = images.len() * images.len().saturating_sub(1) / 2;
    let mut chosen = HashSet::new();
    let mut drawn = Vec::with_capacity(count);
    for last in pairs - count..pairs {
        let candidate = rng.random_range(0..=last);
        let number = if chosen.insert(candidate) { candidate } else { last };
        chosen.insert(number);
        // Pair `number` of the list (1,0), (2,0), (2,1), (3,0) ...: the row by bisection.
        let (mut row, mut above) = (1, images.len());
        while above - row > 1 {
            let middle = (row + above) / 2;
            if middle * (middle - 1) / 2 <= number {
                row = middle;
            } else {
                above = middle;
            }
        }
        drawn.push((images[number - row * (row - 1) / 2], images[row]));
    }
    drawn
}

/// Identities take turns, each against a random image of a random other one.
fn draw_impostors(
    identities: &[Vec<usize>],
    count: usize,
    rng: &mut impl Rng,
) -> Vec<(usize, usize)> {
    // Redrawing what was drawn before is slow where most pairs are wanted: shuffle them all.
    if 2 * count as u128 > impostors_possible(identities) {
        let mut all = Vec::new();
        for (i, one) in identities.iter().enumerate() {
            for other in &identities[i + 1..] {
                all.extend(one.iter().flat_map(|&a| other.iter().map(move |&b| (a, b))));
            }
        }
        all.shuffle(rng);
        all.truncate(count);
        return all;
    }
    let mut turns: Vec<&[usize]> = identities.iter().map(Vec::as_slice).collect();
    turns.shuffle(rng);
    let mut seen = HashSet::new();
    let mut drawn = Vec::with_capacity(count);
    for turn in (0..turns.len()).cycle() {
        if drawn.len() == count {
            break;
        }
        let other = (turn + rng.random_range(1..turns.len())) % turns.len();
        let pick =
            |images: &[usize], rng: &mut _| images[RngExt::random_range(rng, 0..images.len())];
        let (a, b) = (pick(turns[turn], rng), pick(turns[other], rng));
        if seen.insert((a.min(b), a.max(b))) {
            drawn.push((a, b));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images named by identity and number; `sizes[i]` of identity i.
    fn faces(sizes: &[usize]) -> (Vec<Image>, Vec<i64>) {
        let all = sizes.iter().enumerate().flat_map(|(i, n)| (0..*n).map(move |j| (i, j)));
        all.map(|(i, j)| (format!("{i}/{j}").into(), i as i64)).unzip()
    }

    fn identity(set: &PairSet, image: usize) -> String {
        set.images[image].display().split('/').next().unwrap().to_owned()
    }

    /// Balanced in each fold, truthful, none twice.
    fn check(set: &PairSet, pairs: usize, folds: usize) {
        assert_eq!(set.pairs.len(), pairs);
        let mut seen = HashSet::new();
        let mut counts = vec![[0; 2]; folds];
        for pair in &set.pairs {
            let (a, b) = (pair.first, pair.second);
            assert_ne!(a, b);
            assert!(seen.insert((a.min(b), a.max(b))), "a pair twice");
            assert_eq!(identity(set, a) == identity(set, b), pair.same);
            counts[pair.fold][usize::from(pair.same)] += 1;
        }
        assert_eq!(counts, vec![[pairs / folds / 2; 2]; folds]);
    }

    #[test]
    fn pairs_are_balanced_and_distinct() {
        let (images, labels) = faces(&[9; 30]);
        for (pairs, folds, seed) in [(600, 10, 0), (600, 10, 1), (2160, 10, 2), (8, 1, 3)] {
            check(&generate(&images, &labels, pairs, folds, seed).unwrap(), pairs, folds);
        }
    }

    #[test]
    fn every_possible_pair_can_be_drawn() {
        // 6 + 3 genuine pairs, 12 impostors.
        let (images, labels) = faces(&[4, 3]);
        check(&generate(&images, &labels, 18, 3, 7).unwrap(), 18, 3);
        // 2 genuine pairs; 6 impostors, of which a third is drawn by rejection.
        let (images, labels) = faces(&[2, 1, 2]);
        check(&generate(&images, &labels, 4, 1, 7).unwrap(), 4, 1);
    }

    #[test]
    fn identities_take_turns() {
        let mut sizes = [4; 20];
        sizes[3] = 200;
        let (images, labels) = faces(&sizes);
        let set = generate(&images, &labels, 200, 10, 0).unwrap();
        let mut genuine = BTreeMap::new();
        let mut impostor = BTreeMap::new();
        for pair in &set.pairs {
            let first = identity(&set, pair.first);
            *if pair.same { &mut genuine } else { &mut impostor }.entry(first).or_insert(0) += 1;
        }
        assert_eq!(genuine.into_values().collect::<Vec<_>>(), [5; 20]);
        // A pair drawn twice costs its identity the turn.
        let turns: Vec<i32> = impostor.into_values().collect();
        assert!(turns.len() == 20 && turns.iter().all(|n| (4..=6).contains(n)), "{turns:?}");
    }

    #[test]
    fn the_seed_decides() {
        let (images, labels) = faces(&[5; 12]);
        let draw = |seed| generate(&images, &labels, 120, 10, seed).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).pairs, draw(2).pairs);
    }

    #[test]
    fn too_few_images_say_what_they_would_do_for() {
        let (images, labels) = faces(&[4, 3]);
        let error = generate(&images, &labels, 40, 2, 0).unwrap_err();
        let Error::Input { message, help } = error else { panic!("an input error") };
        assert!(message.contains("2 identities with 7 images do for 9 and 12"), "{message}");
        assert_eq!(help.unwrap(), "at most pairs = 16 is possible");
        let (images, labels) = faces(&[1, 1]);
        let Error::Input { help, .. } = generate(&images, &labels, 20, 10, 0).unwrap_err() else {
            panic!("an input error")
        };
        assert!(help.unwrap().starts_with("10 folds need more identities"));
        assert!(generate(&[], &[], 20, 10, 0).is_err());
    }

    #[test]
    fn uneven_numbers_are_refused() {
        let (images, labels) = faces(&[9; 30]);
        for (pairs, folds) in [(30, 10), (0, 10), (20, 0)] {
            let error = generate(&images, &labels, pairs, folds, 0).unwrap_err();
            assert!(error.to_string().contains("can't be halved"), "{error}");
        }
    }
}
