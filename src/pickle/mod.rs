//! Pickles as bytes: their opcodes, and a source that holds every length against the file.
//!
//! Nothing here or in what builds on it runs a pickle. `evaluate::pickle` matches the patterns of
//! `.bin` sets, `weights` those of `torch.save`; each refuses what it does not know.

pub(crate) mod opcodes;
mod source;

pub(crate) use source::{Source, Wrong};
