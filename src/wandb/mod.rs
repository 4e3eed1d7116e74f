//! Weights & Biases: a run is written to a `.wandb` file and, where there is an API key, uploaded
//! from there while it runs.
//!
//! The file comes first. The training thread appends a record to it and goes on; a thread of its own
//! reads the file and speaks to the server. So W&B can be slow, down or wrong without costing a
//! step, what waits for it lies on disk and not in memory, and `run sync` is the same upload at
//! another time. The official `wandb sync` takes the files too.

mod answer;
mod api;
mod credentials;
mod describe;
mod folder;
mod lines;
mod log;
mod pace;
pub mod proto;
mod queries;
pub mod segment;
mod server_run;
mod settings;
mod sink;
mod sync;
mod system;
mod timing;
mod upload;
mod upload_files;
mod worker;

pub use credentials::{ApiKey, Environment};
pub use folder::{Segment, segments};
pub use log::json_number;
pub use settings::{Mode, Resume, Settings, Wandb};
pub use sink::{Open, WandbSink};
pub use sync::{Synced, sync};
pub use timing::Timing;
