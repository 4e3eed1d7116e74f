//! Training: from a plan to a run folder.

mod again;
pub mod build;
pub mod clip;
mod diagnosis;
pub mod divided;
pub mod ema;
pub mod embedder;
pub mod embeddings;
mod epoch;
pub mod evaluation;
pub mod finetune;
mod freezing;
pub mod model;
mod nonfinite;
mod opening;
mod prepare;
pub mod pretrained;
pub mod progress;
pub mod ranks;
mod same;
mod saving;
pub mod session;
mod shown;
pub mod signals;
pub mod start;
pub mod step;
mod time_limit;
pub mod trainer;
mod validation;
pub mod watch;

pub use session::{Options, run};
pub use start::Continue;
pub use time_limit::TimeLimit;
