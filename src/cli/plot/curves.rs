//! `run plot curves`: what the training of runs looked like.

use crate::Result;
use crate::cli::args::PlotArgs;
use crate::record::plots;

/// # Errors
/// `Input` for folders that are no runs or hold no steps, and for an output that can't be written.
pub fn curves(options: &PlotArgs) -> Result<()> {
    super::pictures(options, plots::curves, "the run has done no step")
}
