//! Samplers: which images make the batches of an epoch.
//!
//! An epoch is a function of (seed, epoch) alone: it can be entered at any batch, and the number
//! of loader threads changes nothing.

pub mod class_balanced;
pub mod pk;
#[cfg(test)]
mod pk_tests;
pub mod shuffle;

use super::Dataset;
use crate::Error;

crate::config_family! {
    /// Which images make a batch.
    pub enum SamplerConfig("sampler") {
        Shuffle(shuffle::Shuffle) = "shuffle",
        ClassBalanced(class_balanced::ClassBalanced) = "class_balanced",
        Pk(pk::Pk) = "pk",
    }
}

/// One place of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Position in the data set.
    pub item: u32,
    /// Tells the repetitions of an item in an epoch apart; 0 where there is none.
    pub copy: u32,
}

impl Pick {
    /// A number that no other place of the epoch has; the item's position where it comes once.
    pub fn sample(self) -> u64 {
        u64::from(self.copy) << 32 | u64::from(self.item)
    }
}

/// Makes the batches of any epoch of one data set.
pub trait Sampler: std::fmt::Debug + Send + Sync {
    /// Batches of an epoch, the same in every epoch.
    fn batches(&self) -> usize;

    /// The places of `epoch`, batch after batch; all batches are full but for the last.
    fn epoch(&self, seed: u64, epoch: usize) -> Vec<Pick>;
}

/// Why a sampler can't work with the data, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Full name of the key that is at fault.
    pub key: &'static str,
    pub message: String,
    pub help: String,
}

impl From<Refusal> for Error {
    fn from(Refusal { key: _, message, help }: Refusal) -> Error {
        Error::input(message).help(help)
    }
}

/// Whether every batch holds two images of one identity, as losses over pairs need. Where it does
/// not, such a loss is to be refused before training; the remedy is `sampler.kind = "pk"`.
pub fn supports_pairs(config: &SamplerConfig) -> bool {
    match config {
        SamplerConfig::Shuffle(_) | SamplerConfig::ClassBalanced(_) => false,
        SamplerConfig::Pk(_) => true,
    }
}

impl SamplerConfig {
    /// Conflicts with `train.batch_size`: (full key, what is wrong with it).
    pub fn validate(&self, batch_size: usize) -> Vec<(&'static str, String)> {
        match self {
            SamplerConfig::Shuffle(_) | SamplerConfig::ClassBalanced(_) => Vec::new(),
            SamplerConfig::Pk(pk) => pk.validate(batch_size),
        }
    }

    /// Whether the data suffice, and what the user should know about how they are used.
    ///
    /// # Errors
    /// [`Refusal`]: too few images, or for `pk` too few identities or none with two images.
    pub fn check(&self, dataset: &Dataset, batch_size: usize) -> Result<Vec<String>, Refusal> {
        match self {
            SamplerConfig::Shuffle(shuffle) => shuffle.check(dataset.len(), batch_size),
            SamplerConfig::ClassBalanced(balanced) => balanced.check(dataset.len(), batch_size),
            SamplerConfig::Pk(pk) => pk.check(dataset, batch_size),
        }
    }

    /// `of_label` has the items of each label. `drop_last` leaves out a last batch that is not
    /// full; `pk` has none.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn build(
        &self,
        dataset: &Dataset,
        of_label: &[Vec<u32>],
        batch_size: usize,
        drop_last: bool,
    ) -> Result<Box<dyn Sampler>, Refusal> {
        match self {
            SamplerConfig::Shuffle(shuffle) => {
                Ok(shuffle.build(dataset.len(), batch_size, drop_last))
            }
            SamplerConfig::ClassBalanced(balanced) => {
                Ok(balanced.build(of_label, batch_size, drop_last))
            }
            SamplerConfig::Pk(pk) => pk.build(dataset, of_label, batch_size),
        }
    }
}

/// The order of the data set, in every epoch.
#[derive(Debug)]
pub struct InOrder {
    pub count: usize,
    pub batch_size: usize,
    pub drop_last: bool,
}

impl Sampler for InOrder {
    fn batches(&self) -> usize {
        match self.drop_last {
            true => self.count / self.batch_size,
            false => self.count.div_ceil(self.batch_size),
        }
    }

    fn epoch(&self, _seed: u64, _epoch: usize) -> Vec<Pick> {
        (0..self.count as u32).map(|item| Pick { item, copy: 0 }).collect()
    }
}
