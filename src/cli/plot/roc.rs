//! `run plot roc`: how well runs tell pairs apart.

use crate::Result;
use crate::cli::args::PlotArgs;
use crate::record::plots;

/// # Errors
/// `Input` for folders that are no runs or hold no scores, and for an output that can't be written.
pub fn roc(options: &PlotArgs) -> Result<()> {
    let nothing = "no scores are recorded: run eval RUN_DIR --scores writes them for a checkpoint";
    super::pictures(options, plots::verification, nothing)
}
