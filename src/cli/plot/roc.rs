//! `run plot roc`.

use crate::cli::args::PlotArgs;
use crate::{Error, Result};

pub fn roc(_options: &PlotArgs) -> Result<()> {
    Err(Error::failed("TODO in this branch"))
}
