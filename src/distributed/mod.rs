//! Several processes that train one network, each on its part of every batch.
//!
//! [`Launch`] says who this process is, by what torchrun or Slurm put into the environment; [`Group`]
//! joins the processes by libtorch's c10d; [`Reducer`] averages gradients. While a group is
//! [entered](enter) batch norms and losses see the whole batch; without one nothing changes.
//!
//! The convention is that of PyTorch's DistributedDataParallel: every rank has a scalar of its own as its
//! loss, and the average over the ranks of their gradients is the gradient of the whole batch's mean loss.
//! Every rank runs the same passes, in training and validation, so that the collectives within meet; the
//! part of a rank may be empty.

mod batch;
mod env;
mod gpu;
mod group;
mod launch;
mod meeting;
mod nodelist;
mod reducer;

pub(crate) use batch::integers;
pub use batch::{Samples, WholeBatch};
pub use env::{Launch, Launcher};
pub use gpu::{check_local, device_of_rank};
pub use group::{Group, Reduction};
pub use launch::{STARTER, free_port, local_processes, without_nproc};
pub use meeting::meet;
pub use reducer::Reducer;

use crate::torch::memory::exhausted;
use crate::{Error, Result};
use std::sync::{Arc, PoisonError, RwLock};

/// What the layers and losses of this process are to reach over.
#[derive(Clone)]
struct Entered {
    group: Arc<Group>,
    sync_batch_norm: bool,
}

static CURRENT: RwLock<Option<Entered>> = RwLock::new(None);

fn entered() -> Option<Entered> {
    CURRENT.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// From here on losses are those of the whole batch, and with `sync_batch_norm` so are the statistics of
/// batch norms. For the whole process, until [`leave`].
pub fn enter(group: Arc<Group>, sync_batch_norm: bool) {
    let entered = Entered { group, sync_batch_norm };
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(entered);
}

/// Where a layer that can't return an error loses another rank: goes up to [`caught`], without the words
/// and the note of a panic.
pub(crate) fn give_up(error: Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

/// Runs `body`; what a layer gave up with is its error, and so is memory that libtorch did not get, of
/// which tch makes a panic.
pub fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        match payload.downcast::<Error>() {
            Ok(error) => Err(*error),
            Err(panic) => match panic.downcast_ref::<String>().and_then(|text| exhausted(text)) {
                Some(error) => Err(error),
                None => std::panic::resume_unwind(panic),
            },
        }
    })
}

/// Ends what [`enter`] began.
pub fn leave() {
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// [`leave`] at the end of the process, which NCCL's threads would otherwise see end beside them. After an
/// error nothing is waited for.
pub fn finish(orderly: bool) -> Result<()> {
    let group = current();
    leave();
    group.map_or(Ok(()), |group| group.close(orderly))
}

/// The group that was entered.
pub fn current() -> Option<Arc<Group>> {
    entered().map(|entered| entered.group)
}

/// The group whose batch norms share their statistics.
pub(crate) fn of_batch_norms() -> Option<Arc<Group>> {
    entered().filter(|entered| entered.sync_batch_norm).map(|entered| entered.group)
}
