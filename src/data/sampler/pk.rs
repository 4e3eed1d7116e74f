//! P identities with K images each in every batch: what losses over pairs and triplets need.
//!
//! After Hermans, Beyer, Leibe 2017 (arXiv 1703.07737, section 2). Differs from it in:
//! identities are not drawn one batch at a time, but an epoch is laid out as a whole, so that an
//! image comes at most once (but for what fills up a group), however many images its identity has.
//!
//! Every identity's images are shuffled and cut into groups of K. With `c` groups of each identity,
//! `b` batches of P different identities exist exactly if the sum of `min(c, b)` is at least `P b`:
//! dealt out to the batches in turn, identity after identity, no batch gets two groups of one. The
//! largest such `b` is the number of batches of every epoch. Groups then change places at random as
//! far as the identities of a batch stay different, for dealing alone brings the same identities
//! together again and again.

use rand_chacha::ChaCha8Rng;

use super::{Pick, Refusal, Sampler};
use crate::data::Dataset;
use crate::data::order::{below, permutation};
use crate::random::{Stream, rng};

crate::config_struct! {
    /// P identities with K images each in every batch, for losses over pairs (Hermans et al. 2017,
    /// arXiv 1703.07737, section 2).
    ///
    /// P is train.batch_size / images_per_identity. Every batch is full, so train.drop_last has
    /// nothing to leave out.
    pub struct Pk {
        /// K, images of each identity in a batch. An identity with fewer images repeats them, each
        /// time augmented anew.
        pub images_per_identity: usize = 4, at_least(2);
        /// Identities with fewer training images are left out of the batches; their classes stay.
        pub min_images: usize = 1, at_least(1);
    }
}

/// What the numbers of images and the settings decide, the same in every epoch.
#[derive(Debug)]
struct Layout {
    /// K.
    images: usize,
    /// P.
    identities: usize,
    batches: usize,
    /// Groups of each identity that can be placed, at most one in a batch.
    groups: Vec<usize>,
    /// How many of `groups` find no place, another random choice in each epoch; less than P.
    surplus: usize,
}

#[derive(Debug)]
struct Built {
    layout: Layout,
    /// Items of each identity that takes part.
    members: Vec<Vec<u32>>,
}

/// K images of an identity: which of its groups it is.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    member: u32,
    number: u32,
}

impl Pk {
    pub(super) fn validate(&self, batch_size: usize) -> Vec<(&'static str, String)> {
        let Pk { images_per_identity: images, min_images: _ } = *self;
        let refused = |what: String| vec![("train.batch_size", what)];
        let key = format!("sampler.images_per_identity = {images}");
        if batch_size < 2 * images {
            let least = images.saturating_mul(2);
            return refused(format!(
                "is {batch_size}, but with {key} a batch of two identities has {least} images: \
                 set train.batch_size to {least} or more, or lower sampler.images_per_identity"
            ));
        }
        if !batch_size.is_multiple_of(images) {
            let below = batch_size / images * images;
            return refused(format!(
                "is {batch_size}, which is not divisible by {key}: set train.batch_size to {below} \
                 or {}, or change sampler.images_per_identity",
                below + images
            ));
        }
        Vec::new()
    }

    pub(super) fn check(
        &self,
        dataset: &Dataset,
        batch_size: usize,
    ) -> Result<Vec<String>, Refusal> {
        let counts = dataset.images_per_identity();
        let layout = self.layout(&counts, batch_size)?;
        let Pk { images_per_identity: images, min_images } = *self;
        let mut notes = Vec::new();
        let (kept, small): (Vec<_>, Vec<_>) =
            (0..counts.len()).filter(|i| counts[*i] > 0).partition(|i| counts[*i] >= min_images);
        if !small.is_empty() {
            notes.push(format!(
                "sampler.min_images = {min_images} leaves {} of {} identities with {} images out of \
                 the batches",
                small.len(),
                small.len() + kept.len(),
                small.iter().map(|i| counts[*i]).sum::<usize>()
            ));
        }
        let short: Vec<usize> = kept.iter().copied().filter(|i| counts[*i] < images).collect();
        if let Some(least) = short.iter().copied().min_by_key(|i| counts[*i]) {
            let single = short.iter().filter(|i| counts[**i] == 1).count();
            let single = match single {
                0 => String::new(),
                n => format!(
                    "; {n} of them have one image, which is its own positive (sampler.min_images = \
                     2 leaves them out)"
                ),
            };
            notes.push(format!(
                "{} of {} identities have fewer than sampler.images_per_identity = {images} images, \
                 which are repeated in a batch, augmented anew; the smallest is {} with \
                 {}{single}",
                short.len(),
                kept.len(),
                dataset.labels.names()[least],
                counts[least]
            ));
        }
        let counts: Vec<usize> = kept.iter().map(|i| counts[*i]).collect();
        if let Some(left_out) = layout.left_out(&counts) {
            let all: usize = counts.iter().sum();
            let Layout { batches, identities, .. } = layout;
            notes.push(format!(
                "{left_out} of {all} images, others in each epoch, find no place in its {batches} \
                 batches of {identities} different identities"
            ));
        }
        Ok(notes)
    }

    pub(super) fn build(
        &self,
        dataset: &Dataset,
        of_label: &[Vec<u32>],
        batch_size: usize,
    ) -> Result<Box<dyn Sampler>, Refusal> {
        let layout = self.layout(&dataset.images_per_identity(), batch_size)?;
        let members = of_label.iter().filter(|items| items.len() >= self.min_images);
        Ok(Box::new(Built { layout, members: members.cloned().collect() }))
    }

    /// `counts` has the images of each label.
    fn layout(&self, counts: &[usize], batch_size: usize) -> Result<Layout, Refusal> {
        let Pk { images_per_identity: images, min_images } = *self;
        if let Some((key, message)) = self.validate(batch_size).into_iter().next() {
            let help = "make a batch of whole groups".to_string();
            return Err(Refusal { key, message: format!("`{key}` {message}"), help });
        }
        let identities = batch_size / images;
        let kept: Vec<usize> = counts.iter().copied().filter(|n| *n >= min_images).collect();
        if kept.len() < identities {
            let having = match min_images {
                1 => String::new(),
                least => format!(" with sampler.min_images = {least} images or more"),
            };
            return Err(Refusal {
                key: "train.batch_size",
                message: format!(
                    "`train.batch_size` is {batch_size}: {identities} identities of \
                     sampler.images_per_identity = {images} images each, but there are {} \
                     identities{having}",
                    kept.len()
                ),
                help: match kept.len() {
                    0 | 1 => "train on more identities".to_string(),
                    n => format!("lower train.batch_size to {} or less", n * images),
                },
            });
        }
        if kept.iter().all(|n| *n < 2) {
            return Err(Refusal {
                key: "sampler.kind",
                message: format!(
                    "`sampler.kind` is \"pk\", but none of the {} identities has two images to \
                     make a pair of",
                    kept.len()
                ),
                help: "train on identities with two images or more, or set sampler.kind = \
                       \"shuffle\" and a loss over classes"
                    .to_string(),
            });
        }
        let all: Vec<usize> = kept.iter().map(|n| n.div_ceil(images)).collect();
        let batches = most_batches(&all, identities);
        let groups: Vec<usize> = all.iter().map(|c| *c.min(&batches)).collect();
        let surplus = groups.iter().sum::<usize>() - batches * identities;
        Ok(Layout { images, identities, batches, groups, surplus })
    }
}

/// The most batches of `identities` different ones that these numbers of groups make.
fn most_batches(groups: &[usize], identities: usize) -> usize {
    // The sum is concave in the number of batches and 0 for none: what fits is an interval.
    let fits = |b: usize| groups.iter().map(|c| *c.min(&b)).sum::<usize>() >= identities * b;
    let (mut low, mut high) = (0, groups.iter().sum::<usize>() / identities);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

impl Layout {
    /// How many images an epoch leaves out, in words; `counts` has those of each identity.
    fn left_out(&self, counts: &[usize]) -> Option<String> {
        let placed = self.groups.iter().map(|groups| groups * self.images);
        let beyond: usize = counts.iter().zip(placed).map(|(n, p)| n.saturating_sub(p)).sum();
        match (beyond, self.surplus) {
            (0, 0) => None,
            (beyond, 0) => Some(format!("{beyond}")),
            // The last group of an identity may have fewer images of its own than K.
            (beyond, surplus) => Some(format!("up to {}", beyond + surplus * self.images)),
        }
    }

    /// How many groups of each identity this epoch has.
    fn placed(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut groups = self.groups.clone();
        let of_each = groups.iter().enumerate();
        let mut candidates: Vec<u32> =
            of_each.flat_map(|(member, n)| std::iter::repeat_n(member as u32, *n)).collect();
        for _ in 0..self.surplus {
            let dropped = candidates.swap_remove(below(candidates.len(), rng));
            groups[dropped as usize] -= 1;
        }
        groups
    }

    /// The groups of all batches, P after P.
    fn deal(&self, rng: &mut ChaCha8Rng) -> Vec<Group> {
        let Layout { identities, batches, .. } = *self;
        let placed = self.placed(rng);
        let mut places = vec![Group::default(); batches * identities];
        let mut dealt = 0;
        for member in permutation(placed.len(), rng) {
            // An identity's group that is not full is its last, the first to be left out.
            for number in 0..placed[member as usize] as u32 {
                let (row, batch) = (dealt / batches, dealt % batches);
                places[batch * identities + row] = Group { member, number };
                dealt += 1;
            }
        }
        for here in 0..places.len() {
            let there = below(places.len(), rng);
            let holds = |place: usize, group: Group| {
                let first = place / identities * identities;
                places[first..first + identities].iter().any(|g| g.member == group.member)
            };
            if !holds(here, places[there]) && !holds(there, places[here]) {
                places.swap(here, there);
            }
        }
        places
    }
}

impl Sampler for Built {
    fn batches(&self) -> usize {
        self.layout.batches
    }

    fn epoch(&self, seed: u64, epoch: usize) -> Vec<Pick> {
        let Layout { images, identities, batches, .. } = self.layout;
        let mut rng = rng(seed, Stream::Identities, epoch as u64, 0);
        let places = self.layout.deal(&mut rng);
        let orders: Vec<Vec<u32>> =
            self.members.iter().map(|items| permutation(items.len(), &mut rng)).collect();
        let mut picks = Vec::with_capacity(places.len() * images);
        for batch in permutation(batches, &mut rng) {
            let first = batch as usize * identities;
            for Group { member, number } in &places[first..first + identities] {
                let (items, order) = (&self.members[*member as usize], &orders[*member as usize]);
                // A last group that is short goes on with the first images of the order, which are
                // as random as any others; K of them are different if the identity has K.
                for turn in *number as usize * images..(*number as usize + 1) * images {
                    let item = items[order[turn % items.len()] as usize];
                    picks.push(Pick { item, copy: (turn / items.len()) as u32 });
                }
            }
        }
        picks
    }
}
