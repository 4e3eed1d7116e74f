//! The whole batch, of which each rank has a part.
//!
//! Shape suffixes: B samples of this rank, N of all ranks.

use super::{Group, current};
use crate::Result;
use std::ops::Range;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// How the batch is divided. Without a group it is one process's, and everything here leaves values and
/// bits as they are.
#[derive(Debug)]
pub struct WholeBatch {
    group: Option<Arc<Group>>,
    counts: Vec<i64>,
}

impl WholeBatch {
    /// By the rows that this rank has; a collective where there is a group.
    pub fn of(rows: &Tensor) -> Result<WholeBatch> {
        Self::with(current(), rows)
    }

    /// [`WholeBatch::of`] over a group that need not be the current one.
    pub fn with(group: Option<Arc<Group>>, rows: &Tensor) -> Result<WholeBatch> {
        let own = rows.size()[0];
        let counts = match &group {
            Some(group) => integers(&group.all_gather(&Tensor::from(own))?),
            None => vec![own],
        };
        Ok(WholeBatch { group, counts })
    }

    pub fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    /// Samples of all ranks.
    pub fn size(&self) -> i64 {
        self.counts.iter().sum()
    }

    /// Where this rank's samples are among all.
    pub fn own(&self) -> Range<i64> {
        let rank = self.group.as_ref().map_or(0, |group| group.rank());
        let before = self.counts[..rank].iter().sum();
        before..before + self.counts[rank]
    }

    /// This rank's rows of [N, ...].
    pub fn own_rows(&self, rows: &Tensor) -> Tensor {
        let Range { start, end } = self.own();
        match self.group {
            Some(_) => rows.narrow(0, start, end - start),
            None => rows.shallow_clone(),
        }
    }

    /// Rows of all ranks in rank order, with gradients.
    ///
    /// # Shapes
    /// [B, ...] -> [N, ...].
    pub fn gather(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.group {
            Some(group) => group.gather_rows(rows, &self.counts),
            None => Ok(rows.shallow_clone()),
        }
    }

    /// This rank's scalar of a mean over the whole batch: their average over the ranks is that mean,
    /// whatever the parts' sizes.
    ///
    /// # Shapes
    /// `[B]` -> [].
    pub fn mean(&self, values_b: &Tensor) -> Tensor {
        match &self.group {
            Some(group) => {
                values_b.sum(values_b.kind()) * (group.size() as f64 / self.size() as f64)
            }
            None => values_b.mean(values_b.kind()),
        }
    }

    /// True values among this rank's samples of `[N]`.
    pub fn count_own(&self, mask_n: &Tensor) -> Tensor {
        self.own_rows(mask_n).sum(Kind::Int64)
    }
}

/// int64 of one dimension as numbers.
pub(crate) fn integers(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor).expect("int64 of one dimension")
}

/// The samples that a margin is asked about: this rank's own, or, where the classes are divided over the
/// ranks, those of all ranks.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    pub(crate) batch: &'a WholeBatch,
    pub(crate) all: bool,
}

impl Samples<'_> {
    /// Values of this rank's samples, for the samples that the margin is asked about.
    pub fn seen(&self, values_b: &Tensor) -> Result<Tensor> {
        match self.all {
            true => self.batch.gather(values_b),
            false => Ok(values_b.shallow_clone()),
        }
    }

    /// Values of all ranks' samples, from those that the margin sees.
    pub fn whole(&self, seen: &Tensor) -> Result<Tensor> {
        match self.all {
            true => Ok(seen.shallow_clone()),
            false => self.batch.gather(seen),
        }
    }
}
