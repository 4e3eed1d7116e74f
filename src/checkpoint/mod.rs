//! Checkpoints: everything that training needs to go on as if it had never stopped.
//!
//! A checkpoint is a folder of safetensors files and a `state.json` that carries their sizes and
//! checksums. It is written under a temporary name, fsynced and renamed into
//! `checkpoints/.saved/`; `latest`, `min-loss`, `best-METRIC` and `epoch-NNNN` are relative symlinks
//! that are swapped by a rename. So at any instant of a kill each name leads to something whole, and the
//! names follow from the folders alone ([`keep`]): the next start mends what was under way.

mod compatible;
pub(crate) mod durable;
mod read;
mod retention;
mod state;
mod store;
mod tensors;
mod writer;

pub use compatible::{Shapes, same_labels, same_tensors, shapes};
pub use read::{find, list, locate, read, read_group, read_state};
pub use retention::{Name, Policy, Save, keep, metrics_fit};
pub use state::{Best, EarlyStopping, FORMAT_VERSION, FileSum, Labels, NonFinite, Partial, State};
pub use store::{Resumed, Saved, Store, Uncut};
pub use tensors::{
    Named, from_bytes, read_weights, read_with_texts, to_bytes, write_weights, write_with_texts,
};
pub use writer::{Writer, Written};

use std::collections::BTreeMap;

/// A checkpoint in memory.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// File group -> name -> tensor on the CPU. `model` (`backbone.*`, `head.*`, `loss.*`) becomes
    /// `model.safetensors`, `optimizer` becomes `optimizer.safetensors`.
    pub tensors: BTreeMap<String, Named>,
    pub state: State,
}
