//! Retrieval: the most similar images of a gallery, and how good such a ranking is.
//!
//! Everything works on embeddings as plain row-major float32 matrices: [`top_k`] is the exact
//! search, [`evaluate`] the metrics, [`ApproximateIndex`] an index for galleries of millions.

pub mod approximate;
mod blocks;
pub mod matrix;
pub mod metrics;
mod ranks;
mod space;
pub mod topk;

pub use approximate::{ApproximateIndex, IndexRecall, IndexSettings};
pub use blocks::{Blocks, Progress};
pub use matrix::Matrix;
pub use metrics::{
    BothDirections, Relevance, RetrievalOptions, RetrievalResult, both_directions, evaluate,
};
pub use topk::{Hits, Metric, overlap, top_k, top_k_in_blocks};
