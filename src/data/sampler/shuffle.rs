//! Every image once, in a new random order in every epoch.

use super::{InOrder, Pick, Refusal, Sampler};
use crate::data::order::permutation;
use crate::random::{Stream, rng};

crate::config_struct! {
    /// Every image once, in a new random order in every epoch.
    pub struct Shuffle {}
}

#[derive(Debug)]
struct Built(InOrder);

impl Shuffle {
    pub(super) fn check(&self, images: usize, batch_size: usize) -> Result<Vec<String>, Refusal> {
        if batch_size <= images {
            return Ok(Vec::new());
        }
        Err(Refusal {
            key: "train.batch_size",
            message: format!("`train.batch_size` is {batch_size}, but there are {images} images"),
            help: "lower train.batch_size, or train on more images".to_string(),
        })
    }

    pub(super) fn build(
        &self,
        count: usize,
        batch_size: usize,
        drop_last: bool,
    ) -> Box<dyn Sampler> {
        let Shuffle {} = self;
        Box::new(Built(InOrder { count, batch_size, drop_last }))
    }
}

impl Sampler for Built {
    fn batches(&self) -> usize {
        self.0.batches()
    }

    fn epoch(&self, seed: u64, epoch: usize) -> Vec<Pick> {
        let mut rng = rng(seed, Stream::Shuffle, epoch as u64, 0);
        let order = permutation(self.0.count, &mut rng);
        order.into_iter().map(|item| Pick { item, copy: 0 }).collect()
    }
}
