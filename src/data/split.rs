//! Dividing a folder of identities into what is trained on and what is tested on.
//!
//! A split depends on the seed and on the names found, never on the order of the file system.

use std::borrow::Borrow;

use sha2::{Digest, Sha256};

use super::order::permutation;
use super::scan::{Folder, Identity};
use crate::random::{Stream, rng};
use crate::{Error, Result};

/// Shares of all images; what is left of 1 stays unused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    pub train: f64,
    pub validation: f64,
    pub test: f64,
}

impl Shares {
    /// How many of the three have a share at all.
    fn parts(&self) -> usize {
        [self.train, self.validation, self.test].iter().filter(|share| **share > 0.0).count()
    }
}

/// The same identities in each part; an identity may have no image in `validation` and `test`.
#[derive(Debug, Default)]
pub struct Parts {
    pub train: Vec<Identity>,
    pub validation: Vec<Identity>,
    pub test: Vec<Identity>,
    pub unused: usize,
}

/// Divides the images of every identity, so that each is in the training part.
///
/// Over all identities the shares are met exactly, and within one to less than an image: what
/// rounding leaves over is carried on to the next identity.
///
/// # Errors
/// An identity with fewer images than there are parts.
pub fn within_identities<I: Borrow<Identity>>(
    identities: &[I],
    shares: Shares,
    seed: u64,
) -> Result<Parts> {
    let mut parts = Parts::default();
    let unused = (1.0 - shares.train - shares.validation - shares.test).max(0.0);
    let (mut for_validation, mut for_test, mut for_nothing) = (
        Quota::new(shares.validation),
        Quota::new(shares.test),
        // Less than this is a rounding error of the sum.
        Quota::new(if unused < 1e-9 { 0.0 } else { unused }),
    );
    for identity in identities.iter().map(Borrow::borrow) {
        let count = identity.images.len();
        if count < shares.parts() {
            return Err(too_few(identity, shares));
        }
        let validation = for_validation.take(count, count - 1);
        let test = for_test.take(count, count - 1 - validation);
        let nothing = for_nothing.take(count, count - 1 - validation - test);
        let order = permutation(count, &mut rng(seed, Stream::Split, 0, key(&identity.name)));
        let mut rest = order.as_slice();
        let mut next = |size: usize| {
            let (head, tail) = rest.split_at(size);
            rest = tail;
            pick(identity, head)
        };
        parts.validation.push(next(validation));
        parts.test.push(next(test));
        next(nothing);
        parts.train.push(next(count - validation - test - nothing));
        parts.unused += nothing;
    }
    Ok(parts)
}

/// Holds out whole identities: (kept, held out, unused), each sorted by name.
///
/// `test` and `unused` are shares of the identities; both sides get at least two.
///
/// # Errors
/// Fewer than four identities, or shares that leave fewer than two on a side.
pub fn by_identity(
    folder: &Folder,
    shares: Shares,
    seed: u64,
) -> Result<(Vec<Identity>, Vec<Identity>, Vec<Identity>)> {
    let count = folder.identities.len();
    let held_out = (count as f64 * shares.test).round() as usize;
    let kept = (count as f64 * (shares.train + shares.validation)).round() as usize;
    let kept = kept.min(count - held_out);
    if held_out < 2 || kept < 2 {
        return Err(Error::input(format!(
            "data.split = \"identity\" of the {count} identities in {} leaves {kept} to train on \
             and {held_out} to test on; both need 2",
            folder.root.display()
        ))
        .help("raise data.fractions.test or train, use more identities, or split by image"));
    }
    let order = permutation(count, &mut rng(seed, Stream::Split, 1, 0));
    let take = |range: std::ops::Range<usize>| {
        let mut positions = order[range].to_vec();
        positions.sort_unstable();
        positions.iter().map(|i| folder.identities[*i as usize].clone()).collect()
    };
    Ok((take(0..kept), take(kept..kept + held_out), take(kept + held_out..count)))
}

/// Hands out a share of a stream of images, always within half an image of what is due.
struct Quota {
    share: f64,
    seen: usize,
    taken: usize,
}

impl Quota {
    fn new(share: f64) -> Self {
        Self { share, seen: 0, taken: 0 }
    }

    /// How many of the next `count` images, at most `room`.
    fn take(&mut self, count: usize, room: usize) -> usize {
        self.seen += count;
        let due = (self.seen as f64 * self.share).round() as usize;
        let take = due.saturating_sub(self.taken).min(room);
        self.taken += take;
        take
    }
}

fn pick(identity: &Identity, positions: &[u32]) -> Identity {
    let mut positions = positions.to_vec();
    positions.sort_unstable();
    let images = positions.iter().map(|i| identity.images[*i as usize].clone()).collect();
    Identity { name: identity.name.clone(), images }
}

/// A number that stands for the name, so that other identities do not change this one's order.
fn key(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest[..8].iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

fn too_few(identity: &Identity, shares: Shares) -> Error {
    let (name, count, parts) = (&identity.name, identity.images.len(), shares.parts());
    let s = if count == 1 { "" } else { "s" };
    Error::input(format!(
        "identity `{name}` has {count} image{s}, too few to be in each of the {parts} parts of the \
         split (train {}, validation {}, test {})",
        shares.train, shares.validation, shares.test
    ))
    .help(format!(
        "data.min_images = {parts} leaves out identities with fewer; or set a fraction to 0"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VGGFACE2: Shares = Shares { train: 0.768, validation: 0.072, test: 0.048 };

    fn identities(counts: impl IntoIterator<Item = usize>) -> Vec<Identity> {
        let identity = |(i, count): (usize, usize)| Identity {
            name: format!("n{i:06}"),
            images: (0..count).map(|j| format!("n{i:06}/{j:04}.jpg").into()).collect(),
        };
        counts.into_iter().enumerate().map(identity).collect()
    }

    fn total(part: &[Identity]) -> usize {
        part.iter().map(|identity| identity.images.len()).sum()
    }

    #[test]
    fn shares_are_met_and_every_identity_is_trained_on() {
        let all = identities((0..400).map(|i| 3 + i * 7 % 40));
        let images = total(&all) as f64;
        let parts = within_identities(&all, VGGFACE2, 0).unwrap();
        for (part, share) in [
            (total(&parts.train), 0.768),
            (total(&parts.validation), 0.072),
            (total(&parts.test), 0.048),
            (parts.unused, 0.112),
        ] {
            assert!((part as f64 / images - share).abs() < 0.002, "{part} for {share}");
        }
        assert!(parts.train.iter().all(|identity| !identity.images.is_empty()));
        for (i, identity) in all.iter().enumerate() {
            let mut seen: Vec<_> = [&parts.train[i], &parts.validation[i], &parts.test[i]]
                .iter()
                .flat_map(|part| &part.images)
                .collect();
            let due = identity.images.len() as f64 * 0.768;
            assert!((parts.train[i].images.len() as f64 - due).abs() < 3.0);
            seen.sort_by_key(|image| image.name());
            seen.dedup();
            let parts = total(&parts.train[i..=i])
                + total(&parts.validation[i..=i])
                + total(&parts.test[i..=i]);
            assert_eq!(seen.len(), parts, "an image in two parts");
        }
    }

    #[test]
    fn a_split_follows_the_seed() {
        let all = identities([20, 20, 20]);
        let train = |seed| within_identities(&all, VGGFACE2, seed).unwrap().train;
        assert_eq!(train(3), train(3));
        assert_ne!(train(3), train(4));
    }

    #[test]
    fn too_few_images_name_the_identity() {
        let error = within_identities(&identities([9, 2]), VGGFACE2, 0).unwrap_err();
        assert!(error.to_string().contains("identity `n000001` has 2 images"), "{error}");
    }

    #[test]
    fn whole_identities_are_held_out() {
        let folder = Folder { identities: identities([5; 100]), ..Folder::default() };
        let (kept, held_out, unused) = by_identity(&folder, VGGFACE2, 0).unwrap();
        assert_eq!((kept.len(), held_out.len(), unused.len()), (84, 5, 11));
        assert!(held_out.iter().all(|identity| !kept.contains(identity)));
        assert!(kept.is_sorted_by(|a, b| a.name < b.name));

        let none = Shares { test: 0.0, ..VGGFACE2 };
        let error = by_identity(&folder, none, 0).unwrap_err();
        assert!(error.to_string().contains("0 to test on"), "{error}");
    }
}
