//! `run sync`.

use crate::cli::args::SyncArgs;
use crate::record::Verbosity;
use crate::{Error, Result};

pub fn sync(_options: &SyncArgs, _verbosity: Verbosity) -> Result<()> {
    Err(Error::failed("TODO in this branch"))
}
