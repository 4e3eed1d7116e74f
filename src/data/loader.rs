//! Batches of images, prepared ahead by worker threads and delivered in order.
//!
//! What a batch holds depends on (seed, epoch, batch number) alone: any number of workers, and
//! an epoch that starts in the middle, give the same bits.

use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use tracing::debug_span;

use super::Dataset;
use super::augmentation::{Augmentation, Draw};
use super::decode::Fault;
use super::order::{below, permutation};
use super::pipeline::{Pipeline, Work};
use super::preprocess::Preprocess;
use super::render::Renderer;
use super::sampler::{InOrder, Pick, Sampler, SamplerConfig, supports_pairs};
use super::skipped::{OnCorrupt, Skipped};
use super::stages::{Stages, Total};
use crate::random::{Stream, rng};
use crate::{Error, Result};

/// How many other images are tried in the place of a broken one.
const REPLACEMENTS: u64 = 32;

/// Images of one step, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `N x 3 x height x width`, RGB.
    pub images: Vec<u8>,
    pub labels: Vec<i64>,
    pub height: usize,
    pub width: usize,
    /// Which item of the data set each image is.
    pub indices: Vec<usize>,
    /// Images of the batch over all processes that train together.
    pub whole: usize,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Images of a batch, over all processes that train together.
    pub batch_size: usize,
    pub seed: u64,
    /// Which images make a batch; none: the order of the data set.
    pub sampler: Option<SamplerConfig>,
    /// Leaves out a last batch that is smaller than the others.
    pub drop_last: bool,
    /// Threads; at least one is used.
    pub workers: usize,
    /// Batches that may be finished or in the making ahead of the consumer; at least one for
    /// each worker. Memory is bounded by that many batches.
    pub prefetch: usize,
    pub on_corrupt: OnCorrupt,
    /// Of several processes that train together.
    pub shard: Shard,
}

/// Which part of every batch is loaded. The whole batch is the same for any number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub rank: usize,
    pub ranks: usize,
}

impl Default for Shard {
    /// All of it.
    fn default() -> Shard {
        Shard { rank: 0, ranks: 1 }
    }
}

impl Shard {
    /// This rank's part of a batch; a last one that does not divide evenly differs by one.
    fn part<T>(self, batch: &[T]) -> &[T] {
        &batch[self.range(batch.len())]
    }

    /// Where this rank's part of so many lies.
    pub fn range(self, count: usize) -> std::ops::Range<usize> {
        let Shard { rank, ranks } = self;
        count * rank / ranks..count * (rank + 1) / ranks
    }
}

/// Makes the batches of any epoch of a data set.
#[derive(Debug)]
pub struct Loader {
    source: Arc<Source>,
    sampler: Box<dyn Sampler>,
}

impl Loader {
    /// # Errors
    /// No image at all, a batch size of 0, `drop_last` with fewer images than one batch, images that
    /// were decoded for another input, or data that the sampler can't work with.
    pub fn new(
        dataset: Arc<Dataset>,
        preprocess: Preprocess,
        augmentation: Option<Augmentation>,
        options: LoaderOptions,
    ) -> Result<Self> {
        let (count, root) = (dataset.len(), dataset.root.display());
        if dataset.is_empty() {
            return Err(Error::input(format!("no images to load from {root}")));
        }
        if options.batch_size == 0 {
            return Err(Error::input("the batch size is 0").help("set it to 1 or more"));
        }
        dataset.fits(&preprocess)?;
        let pairs = options.sampler.as_ref().is_some_and(supports_pairs);
        let whole = options.batch_size;
        if options.drop_last && count < whole && !pairs {
            return Err(Error::input(format!(
                "a batch of {whole} is larger than the data: {count} images in {root}"
            ))
            .help(format!("lower the batch size to {count} or less")));
        }
        let of_label = group(&dataset);
        let LoaderOptions { drop_last, batch_size, .. } = options;
        let sampler = match &options.sampler {
            Some(sampler) => sampler.build(&dataset, &of_label, batch_size, drop_last)?,
            None => Box::new(InOrder { count, batch_size, drop_last }),
        };
        let skipped = Skipped::default();
        let source = Source {
            dataset,
            preprocess,
            augmentation,
            options,
            pairs,
            of_label,
            skipped,
            stages: Total::default(),
        };
        Ok(Self { source: Arc::new(source), sampler })
    }

    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.source.dataset
    }

    pub fn batches_per_epoch(&self) -> usize {
        self.sampler.batches()
    }

    /// The items of the first `batches` of epoch 0, in their order.
    pub fn first_items(&self, batches: usize) -> Vec<usize> {
        let LoaderOptions { seed, batch_size, .. } = self.source.options;
        let order = self.sampler.epoch(seed, 0);
        let count = batches.saturating_mul(batch_size);
        order.iter().take(count).map(|pick| pick.item as usize).collect()
    }

    /// Seconds that loading took since the last call, by stage.
    pub fn take_stages(&self) -> Stages {
        self.source.stages.take()
    }

    /// The images that could not be decoded so far.
    pub fn skipped(&self) -> &Skipped {
        &self.source.skipped
    }

    /// The batches of `epoch` from number `first_batch` on, in order. Dropping the iterator
    /// stops the workers.
    pub fn epoch(&self, epoch: usize, first_batch: usize) -> EpochIter {
        let LoaderOptions { seed, workers, prefetch, .. } = self.source.options;
        let order = self.sampler.epoch(seed, epoch);
        let work = EpochWork { source: Arc::clone(&self.source), epoch, order };
        let batches = first_batch..self.batches_per_epoch();
        let source = Arc::clone(&self.source);
        EpochIter { source, pipeline: Pipeline::start(work, batches, workers.max(1), prefetch) }
    }
}

/// The batches of one epoch. After an error it ends.
pub struct EpochIter {
    source: Arc<Source>,
    pipeline: Pipeline<Result<Batch>>,
}

impl Iterator for EpochIter {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let begun = Instant::now();
        let waiting = debug_span!("wait").entered();
        let batch = self.pipeline.take();
        drop(waiting);
        let wait = begun.elapsed().as_secs_f64();
        self.source.stages.add(&Stages { wait, ..Stages::default() });
        let batch = batch?;
        if batch.is_err() {
            self.pipeline.stop();
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining()))
    }
}

impl EpochIter {
    /// Batches that are still to come.
    pub fn remaining(&self) -> usize {
        self.pipeline.remaining()
    }
}

/// What the workers share through all epochs.
#[derive(Debug)]
struct Source {
    dataset: Arc<Dataset>,
    preprocess: Preprocess,
    augmentation: Option<Augmentation>,
    options: LoaderOptions,
    /// Every batch holds pairs of one identity, and must go on to.
    pairs: bool,
    /// Items by label.
    of_label: Vec<Vec<u32>>,
    skipped: Skipped,
    stages: Total,
}

fn group(dataset: &Dataset) -> Vec<Vec<u32>> {
    let mut of_label = vec![Vec::new(); dataset.labels.len()];
    for (index, item) in dataset.items.iter().enumerate() {
        of_label[item.label as usize].push(index as u32);
    }
    of_label
}

struct EpochWork {
    source: Arc<Source>,
    epoch: usize,
    order: Vec<Pick>,
}

impl Work for EpochWork {
    type Scratch = Renderer;
    type Output = Result<Batch>;

    fn run(
        &self,
        number: usize,
        renderer: &mut Renderer,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Batch> {
        let _span = debug_span!("batch", batch = number).entered();
        let begun = Instant::now();
        let collating = debug_span!("collate").entered();
        let Preprocess { height, width, .. } = self.source.preprocess;
        let LoaderOptions { batch_size, shard, .. } = self.source.options;
        let first = number * batch_size;
        let whole = &self.order[first..self.order.len().min(first + batch_size)];
        let wanted = shard.part(whole);
        let mut images = vec![0; wanted.len() * 3 * height * width];
        let mut indices = Vec::with_capacity(wanted.len());
        drop(collating);
        for (pick, out) in wanted.iter().zip(images.chunks_exact_mut(3 * height * width)) {
            if stopped() {
                break;
            }
            let in_batch = |item: usize| {
                indices.contains(&item) || wanted.iter().any(|pick| pick.item as usize == item)
            };
            let index = self.source.sample(self.epoch, *pick, &in_batch, renderer, out)?;
            indices.push(index);
        }
        let _collating = debug_span!("collate").entered();
        let labels = indices.iter().map(|i| self.source.dataset.items[*i].label).collect();
        let mut stages = renderer.take_stages();
        stages.collate = (begun.elapsed().as_secs_f64() - stages.busy()).max(0.0);
        self.source.stages.add(&stages);
        Ok(Batch { images, labels, height, width, indices, whole: whole.len() })
    }
}

impl Source {
    /// Renders an item, or another one if it is broken, and returns which it was. `in_batch` tells
    /// what the batch has or will have.
    fn sample(
        &self,
        epoch: usize,
        pick: Pick,
        in_batch: &dyn Fn(usize) -> bool,
        renderer: &mut Renderer,
        out: &mut [u8],
    ) -> Result<usize> {
        let (seed, index) = (self.options.seed, pick.item as usize);
        let draw = match &self.augmentation {
            Some(augmentation) => augmentation.draw(seed, epoch, pick.sample()),
            None => Draw::NONE,
        };
        if self.try_render(index, renderer, &draw, out)? {
            return Ok(index);
        }
        // Stream::Shuffle's index 0 is the permutation.
        let mut rng = rng(seed, Stream::Shuffle, epoch as u64, index as u64 + 1);
        for other in self.stand_ins(index, in_batch, &mut rng) {
            if self.try_render(other, renderer, &draw, out)? {
                return Ok(other);
            }
        }
        let path = self.dataset.items[index].image.display();
        Err(Error::failed(format!("found no image to take the place of the broken {path}")))
    }

    /// What to try in the place of a broken item: of its identity, then of any. Where batches hold
    /// pairs, the whole identity is tried, first what the batch has not.
    fn stand_ins(
        &self,
        index: usize,
        in_batch: &dyn Fn(usize) -> bool,
        rng: &mut ChaCha8Rng,
    ) -> Vec<usize> {
        let siblings = &self.of_label[self.dataset.items[index].label as usize];
        let sibling = |at: usize| siblings[at] as usize;
        let mut others: Vec<usize> = if self.pairs {
            let order = permutation(siblings.len(), rng);
            let (has, has_not): (Vec<_>, Vec<_>) =
                order.into_iter().map(|at| sibling(at as usize)).partition(|i| in_batch(*i));
            has_not.into_iter().chain(has).collect()
        } else {
            (0..REPLACEMENTS / 2).map(|_| sibling(below(siblings.len(), rng))).collect()
        };
        others.extend((0..REPLACEMENTS / 2).map(|_| below(self.dataset.len(), rng)));
        others
    }

    /// False if the image is broken and may be skipped.
    fn try_render(
        &self,
        index: usize,
        renderer: &mut Renderer,
        draw: &Draw,
        out: &mut [u8],
    ) -> Result<bool> {
        if self.skipped.contains(index) {
            return Ok(false);
        }
        let image = &self.dataset.items[index].image;
        match renderer.render(image, &self.preprocess, draw, out) {
            Ok(()) => Ok(true),
            Err(Fault::System(error)) => Err(Error::io("read", &image.name(), error)),
            Err(Fault::Broken(reason)) => {
                let policy = self.options.on_corrupt;
                self.skipped.report(&self.dataset, index, reason, policy).map(|()| false)
            }
        }
    }
}
