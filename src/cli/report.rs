//! `run report`.

use crate::cli::args::ReportArgs;
use crate::record::Verbosity;
use crate::{Error, Result};

pub fn report(_options: &ReportArgs, _verbosity: Verbosity) -> Result<()> {
    Err(Error::failed("TODO in this branch"))
}
