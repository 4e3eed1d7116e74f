//! Class weights divided over the ranks: model-parallel softmax (Deng et al. 2019, arXiv:1801.07698,
//! section 3.3), and Partial FC, where a step looks at the classes of the batch and a random share of the
//! others (An et al. 2021, arXiv:2010.05222; An et al. 2022, arXiv:2203.15565).
//!
//! Embeddings and labels of all ranks are gathered; each rank has the logits of its own classes, and the
//! largest logit and the sum of exponentials of every sample are reduced. Loss and gradients are those of
//! the undivided softmax. As in InsightFace's PartialFC_V2, classes that a step did not look at get a
//! gradient of zero, not none.
//!
//! Shape suffixes: B samples of this rank, N of all ranks, C classes here, D embedding, K samples whose
//! class is here.

use super::LossOutput;
use super::margin::{Gradient, Moved, Softmax, slope};
use crate::distributed::{Group, Reduction, Samples, WholeBatch, current, integers};
use crate::torch::c10d::{self, sharded_softmax};
use crate::torch::margin_softmax;
use crate::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::ops::Range;
use tch::nn::{self, Init};
use tch::{Kind, Tensor};

mod rows;

pub use rows::{ShardedRows, collect, spread};

/// How a loss's class weights lie over the ranks, by its keys `shard` and `sample_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partition {
    pub shard: bool,
    pub sample_rate: f64,
}

impl Default for Partition {
    fn default() -> Self {
        Partition { shard: false, sample_rate: 1.0 }
    }
}

impl Partition {
    /// What is wrong with the values taken together: (key below `loss`, message).
    pub fn validate(&self) -> Vec<(String, String)> {
        if self.shard || self.sample_rate == 1.0 {
            return Vec::new();
        }
        let message = format!(
            "is {}, but the class weights are not divided: add loss.shard = true, or leave it at 1",
            self.sample_rate
        );
        vec![("sample_rate".to_string(), message)]
    }
}

/// # Errors
/// Fewer classes than ranks, with class weights that are to be divided.
pub fn check(shard: bool, classes: usize, ranks: usize) -> Result<()> {
    if !shard || classes >= ranks {
        return Ok(());
    }
    let message = format!("loss.shard = true divides {classes} classes over {ranks} processes");
    Err(Error::input(message).help(format!(
        "start at most {classes} processes, or leave loss.shard false: it is for very many classes"
    )))
}

/// Which classes a rank has.
pub fn range(classes: i64, rank: usize, ranks: usize) -> Range<i64> {
    let (rank, ranks) = (rank as i64, ranks as i64);
    classes * rank / ranks..classes * (rank + 1) / ranks
}

/// Rows of initial weights that are drawn at a time: a multiple of 16, so that the parts together are the
/// numbers of one draw (libtorch makes normal numbers on the CPU 16 at a time).
const BLOCK: i64 = 4096;

/// The part of one rank.
#[derive(Debug)]
pub struct Shard {
    pub(super) weight: Tensor,
    centres: i64,
    classes: i64,
    range: Range<i64>,
    sample_rate: f64,
    rank: usize,
    ranks: usize,
}

/// What [`Shard::softmax`] is asked for.
pub(super) struct Request<'a> {
    pub batch: &'a WholeBatch,
    /// Of unit norm, with a graph.
    pub unit_bd: &'a Tensor,
    pub scale_b: &'a Tensor,
    pub labels_b: &'a Tensor,
    /// The class weights count by their directions alone.
    pub normalize: bool,
    pub how: Softmax,
    /// A training step, which may look at a share of the classes.
    pub train: bool,
}

impl Shard {
    /// The weights of this rank's classes, the same numbers as the undivided ones have.
    pub fn new(path: &nn::Path, dim: i64, classes: i64, centres: i64, sample_rate: f64) -> Shard {
        let (rank, ranks) = current().map_or((0, 1), |group| (group.rank(), group.size()));
        let range = range(classes, rank, ranks);
        let own = range.start * centres..range.end * centres;
        let weight = path.var("weight", &[own.end - own.start, dim], Init::Const(0.0));
        let (whole, mut start) = (classes * centres, 0);
        tch::no_grad(|| {
            while start < whole {
                // The last block takes the rest with it: below 16 numbers are drawn another way.
                let end = if whole - start < 2 * BLOCK { whole } else { start + BLOCK };
                let drawn = Tensor::randn([end - start, dim], (path.kind(), path.device())) * 0.01;
                let common = own.start.max(start)..own.end.min(end);
                if !common.is_empty() {
                    let length = common.end - common.start;
                    let part = drawn.narrow(0, common.start - start, length);
                    weight.narrow(0, common.start - own.start, length).copy_(&part);
                }
                start = end;
            }
        });
        Shard { weight, centres, classes, range, sample_rate, rank, ranks }
    }

    /// The rows that this rank has, as the parameter `weight`; none where it has all.
    pub fn rows(&self) -> Option<ShardedRows> {
        let Shard { centres, classes, range, .. } = self;
        (self.ranks > 1).then(|| ShardedRows {
            name: "weight".to_string(),
            first: range.start * centres,
            count: (range.end - range.start) * centres,
            whole: classes * centres,
            unit: *centres,
        })
    }

    /// Mean cross-entropy of the whole batch over the classes of all ranks, the same on every rank.
    pub(super) fn softmax(
        &self,
        request: &Request<'_>,
        margin: impl FnOnce(&Tensor, Samples<'_>) -> Result<Moved>,
    ) -> Result<LossOutput> {
        let Request { batch, unit_bd, scale_b, labels_b, normalize, how, train } = *request;
        let group = batch.group().map(|group| group.as_ref());
        let embedding_nd = batch.gather(unit_bd)?;
        let scale_n = batch.gather(scale_b)?;
        let labels_n = batch.gather(labels_b)?;

        let Range { start, end } = self.range;
        let here_n = labels_n.ge(start).logical_and(&labels_n.lt(end));
        let samples_k = here_n.nonzero().squeeze_dim(1);
        let labels_k = labels_n.index_select(0, &samples_k) - start;
        let (weight_rd, labels_k) = match train && self.sample_rate < 1.0 {
            true => self.sampled(&labels_k),
            false => (self.weight.shallow_clone(), labels_k),
        };
        let cosines = margin_softmax::cosines(&embedding_nd, &weight_rd, self.centres, normalize)?;
        let (target_n, top_n) = targets(&cosines.cosine_bc, &samples_k, &labels_k, group)?;

        let leaf_n = target_n.copy().set_requires_grad(true);
        let samples = Samples { batch, all: true };
        let Moved { target_b: moved_n, hard } = tch::with_grad(|| margin(&leaf_n, samples))?;
        let slope_n = match how.gradient {
            Gradient::Detached => target_n.ones_like(),
            Gradient::Exact => slope(&moved_n, &leaf_n),
        };
        let inputs = c10d::Sharded {
            embedding_nd: &embedding_nd,
            weight_rd: &weight_rd,
            scale_n: &scale_n,
            cosines: &cosines,
            own: (&samples_k, &labels_k),
            moved_n: &moved_n.detach(),
            slope_n: &slope_n,
            hard: hard.as_ref().map(|(threshold_n, t)| (threshold_n, *t)),
            clip: how.clip,
        };
        let loss_n = sharded_softmax(group.map(|group| group.handle().as_ref()), &inputs);
        let loss_n = match group {
            Some(group) => {
                loss_n.map_err(|error| group.failed("reduce logits", &error.to_string()))?
            }
            None => loss_n?,
        };
        Ok(LossOutput {
            loss: loss_n.mean(loss_n.kind()),
            correct: batch.count_own(&target_n.gt_tensor(&top_n)),
            monitored: None,
            values: vec![target_n.mean(target_n.kind()), top_n.mean(top_n.kind())],
        })
    }

    /// The weights of the classes that a step looks at, and the labels' places among them.
    fn sampled(&self, labels_k: &Tensor) -> (Tensor, Tensor) {
        let device = labels_k.device();
        let labels = integers(labels_k);
        let own = self.range.end - self.range.start;
        // The step's generator, seeded by the trainer, is the same on all ranks.
        let seed =
            Tensor::randint(i64::MAX, [1], (Kind::Int64, tch::Device::Cpu)).int64_value(&[0]);
        let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
        rng.set_stream(self.rank as u64);
        let classes = choose(own, self.sample_rate, &labels, &mut rng);
        let place = |label: &i64| classes.binary_search(label).map_or(-1, |at| at as i64);
        let places: Vec<i64> = labels.iter().map(place).collect();
        let first_r1 = Tensor::from_slice(&classes).to_device(device).unsqueeze(1) * self.centres;
        let rows_r = (first_r1 + Tensor::arange(self.centres, (Kind::Int64, device))).flatten(0, 1);
        let weight_rd = self.weight.index_select(0, &rows_r);
        (weight_rd, Tensor::from_slice(&places).to_device(device))
    }
}

/// In ascending order, all classes of `labels` and as many of the other `count` classes, at random, as make
/// `share` of all.
fn choose(count: i64, share: f64, labels: &[i64], rng: &mut ChaCha8Rng) -> Vec<i64> {
    let mut positives = labels.to_vec();
    positives.sort_unstable();
    positives.dedup();
    // A softmax over nothing has no largest logit.
    let wanted = ((count as f64 * share) as usize).max(1);
    let others = (count as usize).saturating_sub(positives.len());
    let amount = wanted.saturating_sub(positives.len()).min(others);
    let drawn = rand::seq::index::sample(rng, others, amount);
    let mut classes = positives.clone();
    // The j-th class that is not in the batch: past the positives at or before it.
    let gaps: Vec<i64> = positives.iter().zip(0..).map(|(class, before)| class - before).collect();
    classes.extend(
        drawn.iter().map(|j| j as i64 + gaps.partition_point(|gap| *gap <= j as i64) as i64),
    );
    classes.sort_unstable();
    classes
}

/// Of every sample the cosine of its own class and the largest of the others, `[N]` each.
fn targets(
    cosine_nc: &Tensor,
    samples_k: &Tensor,
    labels_k: &Tensor,
    group: Option<&Group>,
) -> Result<(Tensor, Tensor)> {
    let at_targets = [Some(samples_k), Some(labels_k)];
    let own_k = cosine_nc.index(&at_targets);
    let mut target_n =
        cosine_nc.new_zeros([cosine_nc.size()[0]], (cosine_nc.kind(), cosine_nc.device()));
    let _ = target_n.index_copy_(0, samples_k, &own_k);
    // The largest of the others, without a copy: the target steps aside meanwhile.
    let mut aside_nc = cosine_nc.shallow_clone();
    let _ = aside_nc.index_put_(&at_targets, &own_k.full_like(f64::NEG_INFINITY), false);
    let mut top_n = aside_nc.amax([1i64].as_slice(), false);
    let _ = aside_nc.index_put_(&at_targets, &own_k, false);
    if let Some(group) = group {
        group.all_reduce(&mut target_n, Reduction::Sum)?;
        group.all_reduce(&mut top_n, Reduction::Max)?;
    }
    Ok((target_n, top_n))
}

#[cfg(test)]
mod tests;
