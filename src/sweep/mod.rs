//! Sweeps: one file says what to try, a manifest lists the trials, a journal tells what became of
//! each.
//!
//! The file is expanded once. From then on the sweep's folder holds everything: `manifest.json`
//! (the trials, each with the hash of its resolved configuration), `journal.jsonl` (appended to,
//! never rewritten) and `trials/NAME/`, a run folder for each. Whoever runs trials, one process
//! here, two side by side or a job array on a cluster, claims a trial by a lock, says so in the
//! journal and starts the program again on that one experiment.

pub mod condition;
pub mod distribution;
pub mod dry_run;
pub mod expand;
pub mod file;
pub mod journal;
pub mod leaderboard;
pub mod ledger;
pub mod manifest;
pub mod names;
pub mod normal;
pub mod observe;
pub mod open;
pub mod orphan;
pub mod pruning;
pub mod resolve;
pub mod runner;
pub mod search;
pub mod settings;
pub mod slurm;
pub mod state;
pub mod status;
pub mod wandb;

pub use expand::{Expansion, expand};
pub use file::SweepFile;
pub use journal::{Entry, Journal, Record};
pub use ledger::Ledger;
pub use manifest::{Manifest, Sets, Trial};
pub use resolve::Resolver;
pub use search::propose;
pub use settings::{Goal, Objective, Retry, Running};
pub use state::{Observation, Phase, State, TrialState};
