//! `run plot embeddings`.

use crate::cli::args::PlotEmbeddingsArgs;
use crate::record::Verbosity;
use crate::{Error, Result};

pub fn embeddings(_options: &PlotEmbeddingsArgs, _verbosity: Verbosity) -> Result<()> {
    Err(Error::failed("TODO in this branch"))
}
