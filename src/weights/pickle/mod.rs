//! Pickles of `torch.save`, matched by pattern and never run.

mod calls;
mod machine;
mod names;
mod stack;

pub use names::{Dtype, Known, dtype_of};
pub use stack::{Machine, Rebuilt, Value};
