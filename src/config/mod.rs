//! Configuration.

/// Everything wrong with an experiment, found in one pass.
#[derive(Debug, thiserror::Error)]
#[error("invalid configuration")]
pub struct Diagnostics {}
