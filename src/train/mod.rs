//! Training: from a plan to a run folder.

pub mod build;
pub mod clip;
mod divergence;
pub mod embedder;
pub mod embeddings;
pub mod evaluation;
pub mod finetune;
mod freezing;
pub mod model;
mod prepare;
pub mod pretrained;
pub mod progress;
mod saving;
pub mod session;
mod shown;
pub mod signals;
pub mod start;
pub mod step;
pub mod trainer;

pub use session::{Options, run};
pub use start::Continue;
