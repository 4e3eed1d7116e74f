//! `run plot`: pictures of what runs recorded.

pub mod curves;
pub mod embeddings;
pub mod roc;
