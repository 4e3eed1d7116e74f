//! arcrun: a declarative experiment runner for face recognition and image retrieval.
//!
//! One TOML file is one experiment. It travels a straight line:
//! file -> [`config`] -> plan -> parts ([`data`], [`backbone`], [`head`], [`loss`],
//! [`optimizer`], [`scheduler`]) -> [`train`] -> [`evaluate`], while [`record`] writes down
//! what happens and [`checkpoint`] keeps what must survive.

/// A line on stderr; a stderr that is closed or full is no reason to end.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use tell;

pub mod backbone;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod distributed;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod head;
mod http;
pub mod inference;
pub mod loss;
pub mod optimizer;
mod pickle;
pub mod plan;
pub mod plot;
pub mod profile;
pub mod random;
pub mod record;
pub mod report;
pub mod retrieval;
pub mod scheduler;
mod shell;
pub mod submit;
pub mod sweep;
pub mod text;
pub mod torch;
pub mod train;
pub mod wandb;
pub mod weights;

pub use error::{Error, Result};
pub use inference::Model;
