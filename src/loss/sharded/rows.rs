//! Parameters that are divided over the ranks by rows, and their way to and from one tensor.

use super::range;
use crate::Result;
use crate::distributed::Group;
use std::ops::Range;
use tch::{Device, Tensor};

/// A parameter of which each rank has some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardedRows {
    /// Below `loss.`.
    pub name: String,
    /// The first row that is here, among all.
    pub first: i64,
    /// Rows that are here.
    pub count: i64,
    /// Rows of all ranks.
    pub whole: i64,
    /// Rows that are never divided: the sub-centres of one class.
    pub unit: i64,
}

impl ShardedRows {
    /// The rows of a rank.
    pub fn of_rank(&self, rank: usize, ranks: usize) -> Range<i64> {
        let classes = range(self.whole / self.unit, rank, ranks);
        classes.start * self.unit..classes.end * self.unit
    }

    /// This rank's rows of the whole tensor, a copy.
    pub fn own(&self, whole: &Tensor) -> Tensor {
        whole.narrow(0, self.first, self.count).copy()
    }
}

/// The whole tensor on rank 0, from each rank's rows (of the parameter, or of an optimizer's state for
/// it); None on the others, which hold no more than one other rank's rows meanwhile. It is on the CPU: what
/// is divided over GPUs need not fit into one.
///
/// # Shapes
/// [count, ...] -> [whole, ...].
pub fn collect(group: &Group, own: &Tensor, rows: &ShardedRows) -> Result<Option<Tensor>> {
    let _no_grad = tch::no_grad_guard();
    let mut shape = own.size();
    shape[0] = rows.whole;
    let options = (own.kind(), own.device());
    let whole =
        group.is_first().then(|| Tensor::zeros(shape.as_slice(), (own.kind(), Device::Cpu)));
    for rank in 0..group.size() {
        let Range { start, end } = rows.of_rank(rank, group.size());
        let mut part = if rank == group.rank() {
            own.detach().copy()
        } else {
            shape[0] = end - start;
            Tensor::zeros(shape.as_slice(), options)
        };
        group.broadcast(&mut part, rank)?;
        if let Some(whole) = &whole {
            whole.narrow(0, start, end - start).copy_(&part);
        }
    }
    Ok(whole)
}

/// The reverse of [`collect`]: each rank's rows of what rank 0 has, into `own`.
pub fn spread(
    group: &Group,
    whole: Option<&Tensor>,
    rows: &ShardedRows,
    own: &mut Tensor,
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let mut shape = own.size();
    for rank in 0..group.size() {
        let Range { start, end } = rows.of_rank(rank, group.size());
        let mut part = match whole.filter(|_| group.is_first()) {
            Some(whole) => whole.narrow(0, start, end - start).to_device(own.device()).copy(),
            None => {
                shape[0] = end - start;
                Tensor::zeros(shape.as_slice(), (own.kind(), own.device()))
            }
        };
        group.broadcast(&mut part, 0)?;
        if rank == group.rank() {
            own.copy_(&part);
        }
    }
    Ok(())
}
