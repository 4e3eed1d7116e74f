//! `run plot curves`.

use crate::cli::args::PlotArgs;
use crate::{Error, Result};

pub fn curves(_options: &PlotArgs) -> Result<()> {
    Err(Error::failed("TODO in this branch"))
}
