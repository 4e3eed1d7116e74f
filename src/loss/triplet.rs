//! Triplet loss: an anchor nearer to its own identity than to any other by a margin (Schroff et al.
//! 2015, FaceNet, arXiv:1503.03832, eq. 1; batch-hard: Hermans et al. 2017, arXiv:1703.07737).
//!
//! max(d(a, p) - d(a, n) + margin, 0) over the triplets that `selection` picks; d is the squared
//! distance of unit embeddings, or the distance itself. References: pytorch-metric-learning
//! `TripletMarginLoss` and `BatchHardMiner`; TensorFlow Addons' `triplet_semihard_loss` for
//! `semi_hard_hardest` with `mean = "positive_pairs"` (both on unsquared distances).
//!
//! The column `active_triplets` is the share of triplets with a loss above 0 among those that the
//! selection goes through: all triplets (`all`, `vgg`), pairs whose anchor has a negative
//! (`semi_hard_*`), anchors (`hard`). It falls as the identities separate.
//!
//! Shape suffixes: B batch, T triplets.

use super::pairs::Pairs;
use super::{Loss, LossInput, LossOutput, LossPart, Needs};
use crate::Result;
use crate::distributed::Group;
use tch::{Kind, Tensor, nn};

crate::config_choice! {
    /// How far apart two embeddings are.
    pub enum Distance {
        /// Squared Euclidean distance of unit vectors, 0 to 4 (FaceNet).
        Squared = "squared",
        /// Euclidean distance of unit vectors, 0 to 2.
        Euclidean = "euclidean",
    }
}

crate::config_choice! {
    /// Which triplets of a batch count.
    pub enum Selection {
        /// For each pair of anchor and positive one negative at random among those farther than
        /// the positive by less than the margin (FaceNet, section 3.2).
        SemiHardRandom = "semi_hard_random",
        /// For each pair the nearest negative farther than the positive; where there is none, the
        /// farthest negative (TensorFlow).
        SemiHardHardest = "semi_hard_hardest",
        /// For each anchor its farthest positive and nearest negative (Hermans et al. 2017).
        Hard = "hard",
        /// Every triplet.
        All = "all",
        /// Every triplet within the margin, also of negatives nearer than the positive (what
        /// FaceNet's best-known TensorFlow code does).
        Vgg = "vgg",
    }
}

crate::config_choice! {
    /// What the sum over triplets is divided by.
    pub enum Mean {
        /// The triplets selected.
        Selected = "selected",
        /// The ordered pairs of one identity in the batch (TensorFlow).
        PositivePairs = "positive_pairs",
        /// The triplets with a loss above 0 (pytorch-metric-learning).
        Nonzero = "nonzero",
    }
}

crate::config_struct! {
    /// Triplet loss with semi-hard, hard or all triplets (Schroff et al. 2015, arXiv:1503.03832).
    pub struct Triplet {
        /// By how much a negative must be farther than a positive.
        pub margin: f64 = 0.2, between(0.0, 4.0);
        /// How far apart two embeddings are.
        pub distance: Distance = Distance::Squared;
        /// Which triplets of a batch count.
        pub selection: Selection = Selection::SemiHardRandom;
        /// What the sum over triplets is divided by.
        pub mean: Mean = Mean::Selected;
    }
}

/// Elements of the cube of triplets that are looked at together.
const CUBE: i64 = 1 << 24;

#[derive(Debug)]
struct Built {
    config: Triplet,
}

impl LossPart for Triplet {
    fn build(&self, _path: &nn::Path, _dim: i64, _classes: i64) -> Box<dyn Loss> {
        Box::new(Built { config: self.clone() })
    }

    fn needs(&self) -> Needs {
        Needs { pairs: true, text: false }
    }
}

/// Triplets by the positions of anchor, positive and negative, each int64 `[T]`.
struct Triplets([Tensor; 3]);

impl Triplets {
    /// Those that rank 0 drew.
    fn shared(self, group: &Group) -> Result<Triplets> {
        let [anchor, positive, negative] = self.0;
        let mut count = Tensor::from(anchor.size()[0]);
        group.broadcast(&mut count, 0)?;
        let mut drawn = match group.is_first() {
            true => Tensor::stack(&[anchor, positive, negative], 0),
            false => anchor.new_zeros([3, count.int64_value(&[])], (Kind::Int64, anchor.device())),
        };
        group.broadcast(&mut drawn, 0)?;
        Ok(Triplets([0, 1, 2].map(|row| drawn.get(row))))
    }
}

/// Distances of a batch, without a graph.
struct Batch<'a> {
    distance_bb: &'a Tensor,
    positive_bb: &'a Tensor,
    negative_bb: &'a Tensor,
    margin: f64,
}

impl Batch<'_> {
    fn select(&self, selection: Selection) -> Triplets {
        match selection {
            Selection::Hard => self.hard(),
            Selection::SemiHardHardest => self.hardest_above(),
            Selection::SemiHardRandom => self.random_within(),
            Selection::All => self.every(|_, _| None),
            Selection::Vgg => self.every(|ap, an| Some(an.lt_tensor(&(ap + self.margin)))),
        }
    }

    fn hard(&self) -> Triplets {
        let Batch { distance_bb, positive_bb, negative_bb, margin: _ } = *self;
        let (least, most) = (f64::NEG_INFINITY, f64::INFINITY);
        let farthest_b =
            distance_bb.masked_fill(&positive_bb.logical_not(), least).argmax(1, false);
        let nearest_b = distance_bb.masked_fill(&negative_bb.logical_not(), most).argmin(1, false);
        let complete = any(positive_bb).logical_and(&any(negative_bb));
        let anchor_t = complete.nonzero().squeeze_dim(1);
        let [positive_t, negative_t] =
            [farthest_b, nearest_b].map(|index_b| index_b.index_select(0, &anchor_t));
        Triplets([anchor_t, positive_t, negative_t])
    }

    /// Ordered pairs of one identity whose anchor has a negative, [T, 2].
    fn pairs(&self) -> [Tensor; 2] {
        let complete_bb = self.positive_bb.logical_and(&any(self.negative_bb).unsqueeze(1));
        let pairs = complete_bb.nonzero();
        [pairs.select(1, 0), pairs.select(1, 1)]
    }

    fn hardest_above(&self) -> Triplets {
        let [anchor, positive] = self.pairs();
        self.in_chunks([anchor, positive], |an_tb, allowed_tb, ap_t1| {
            let outside = an_tb.gt_tensor(ap_t1).logical_and(allowed_tb);
            let nearest = an_tb.masked_fill(&outside.logical_not(), f64::INFINITY).argmin(1, false);
            let farthest =
                an_tb.masked_fill(&allowed_tb.logical_not(), f64::NEG_INFINITY).argmax(1, false);
            (nearest.where_self(&any(&outside), &farthest), None)
        })
    }

    fn random_within(&self) -> Triplets {
        let [anchor, positive] = self.pairs();
        self.in_chunks([anchor, positive], |an_tb, allowed_tb, ap_t1| {
            let within = an_tb
                .gt_tensor(ap_t1)
                .logical_and(&an_tb.lt_tensor(&(ap_t1 + self.margin)))
                .logical_and(allowed_tb);
            let drawn = an_tb.rand_like().masked_fill(&within.logical_not(), -1.0);
            (drawn.argmax(1, false), Some(any(&within)))
        })
    }

    /// One negative for every pair, by `pick(d(a, n) [T, B], negatives [T, B], d(a, p) [T, 1])`:
    /// its index `[T]` and, unless all do, which pairs have one.
    fn in_chunks(
        &self,
        [anchor_t, positive_t]: [Tensor; 2],
        pick: impl Fn(&Tensor, &Tensor, &Tensor) -> (Tensor, Option<Tensor>),
    ) -> Triplets {
        let chunk = (CUBE / self.distance_bb.size()[0].max(1)).max(1);
        let (mut found, count) = ([Vec::new(), Vec::new(), Vec::new()], anchor_t.size()[0]);
        for start in (0..count).step_by(chunk as usize) {
            let length = chunk.min(count - start);
            let [anchor, positive] =
                [&anchor_t, &positive_t].map(|index| index.narrow(0, start, length));
            let an_tb = self.distance_bb.index_select(0, &anchor);
            let allowed_tb = self.negative_bb.index_select(0, &anchor);
            let ap_t1 = an_tb.gather(1, &positive.unsqueeze(1), false);
            let (negative, kept) = pick(&an_tb, &allowed_tb, &ap_t1);
            let kept = kept.map(|kept| kept.nonzero().squeeze_dim(1));
            for (list, index) in found.iter_mut().zip([anchor, positive, negative]) {
                list.push(match &kept {
                    Some(kept) => index.index_select(0, kept),
                    None => index,
                });
            }
        }
        self.joined(found)
    }

    /// Every triplet that `within(d(a, p), d(a, n))`, both broadcast over [b, B, B], lets pass.
    fn every(&self, within: impl Fn(&Tensor, &Tensor) -> Option<Tensor>) -> Triplets {
        let size = self.distance_bb.size()[0];
        let chunk = (CUBE / (size * size).max(1)).max(1);
        let mut found = [Vec::new(), Vec::new(), Vec::new()];
        for start in (0..size).step_by(chunk as usize) {
            let rows = |tensor: &Tensor| tensor.narrow(0, start, chunk.min(size - start));
            let (ap, an) =
                (rows(self.distance_bb).unsqueeze(2), rows(self.distance_bb).unsqueeze(1));
            let valid = rows(self.positive_bb)
                .unsqueeze(2)
                .logical_and(&rows(self.negative_bb).unsqueeze(1));
            let chosen = match within(&ap, &an) {
                Some(within) => valid.logical_and(&within),
                None => valid,
            };
            let index = chosen.nonzero();
            found[0].push(index.select(1, 0) + start);
            found[1].push(index.select(1, 1));
            found[2].push(index.select(1, 2));
        }
        self.joined(found)
    }

    fn joined(&self, found: [Vec<Tensor>; 3]) -> Triplets {
        let none = || Tensor::zeros([0], (Kind::Int64, self.distance_bb.device()));
        Triplets(found.map(|parts| if parts.is_empty() { none() } else { Tensor::cat(&parts, 0) }))
    }
}

/// What a selection goes through: every triplet, every pair whose anchor has a negative, or every
/// anchor that has both.
fn considered(selection: Selection, pairs: &Pairs) -> Tensor {
    let Pairs { cosine_bb, positive_bb, negative_bb, batch: _ } = pairs;
    let kind = cosine_bb.kind();
    let negatives_b1 = negative_bb.sum_dim_intlist([1i64].as_slice(), true, kind);
    match selection {
        Selection::All | Selection::Vgg => (positive_bb * negatives_b1).sum(kind),
        Selection::SemiHardRandom | Selection::SemiHardHardest => {
            (positive_bb * negatives_b1.gt(0.0)).sum(kind)
        }
        Selection::Hard => any(positive_bb).logical_and(&any(negative_bb)).sum(kind),
    }
}

/// Is anything true in a row? [T, B] -> `[T]`.
fn any(mask: &Tensor) -> Tensor {
    mask.any_dim(1, false)
}

impl Loss for Built {
    fn forward(&mut self, input: &LossInput<'_>) -> Result<LossOutput> {
        let Triplet { margin, distance, selection, mean } = self.config;
        let pairs = Pairs::new(input)?;
        let kind = pairs.cosine_bb.kind();
        let squared_bb = (pairs.cosine_bb.shallow_clone() * -2.0 + 2.0).clamp_min(0.0);
        let distance_bb = match distance {
            Distance::Squared => squared_bb,
            // The root's slope is infinite at 0.
            Distance::Euclidean => squared_bb.clamp_min(1e-16).sqrt(),
        };
        let Triplets([anchor, positive, negative]) = tch::no_grad(|| {
            let batch = Batch {
                distance_bb: &distance_bb.detach(),
                positive_bb: &pairs.positive_bb,
                negative_bb: &pairs.negative_bb,
                margin,
            };
            let triplets = batch.select(selection);
            match (selection, pairs.batch.group()) {
                (Selection::SemiHardRandom, Some(group)) => triplets.shared(group),
                _ => Ok(triplets),
            }
        })?;
        let at = |other: &Tensor| distance_bb.index(&[Some(&anchor), Some(other)]);
        let hinge_t = (at(&positive) - at(&negative) + margin).clamp_min(0.0);
        let nonzero = hinge_t.detach().gt(0.0).sum(kind);
        let selected = hinge_t.detach().full_like(1.0).sum(kind);
        let divisor = match mean {
            Mean::Selected => selected,
            Mean::PositivePairs => pairs.positive_bb.sum(kind),
            Mean::Nonzero => nonzero.shallow_clone(),
        };
        // An empty sum is 0 and keeps the graph.
        let loss = hinge_t.sum(kind) / divisor.clamp_min(1.0);
        let mut values = pairs.values();
        values.push(nonzero / considered(selection, &pairs).clamp_min(1.0));
        Ok(LossOutput { loss, correct: pairs.correct(), monitored: None, values })
    }

    fn columns(&self) -> Vec<String> {
        let own = ["active_triplets"].map(String::from).to_vec();
        [Pairs::COLUMNS.map(String::from).to_vec(), own].concat()
    }
}
