//! Evaluation: is this the same person? Verification on pairs of images.

pub mod embedding;
pub mod eval_csv;
pub mod folds;
pub mod generated;
pub mod lfw;
pub mod pairs;
pub mod roc;
pub mod verification;

pub use embedding::{Embedder, Flip, merge_flip, squared_distances};
pub use generated::generate;
pub use lfw::{Missing, from_lfw};
pub use pairs::{Pair, PairSet};
pub use verification::{Metric, VerificationResult, score, verify};
