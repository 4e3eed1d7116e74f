//! `run plot roc`: how well runs tell pairs apart.

use crate::Result;
use crate::cli::args::PlotArgs;
use crate::evaluate::eval_csv;
use crate::record::plots;
use std::path::Path;

/// # Errors
/// `Input` for folders that are no runs or hold no scores, and for an output that can't be written.
pub fn roc(options: &PlotArgs) -> Result<()> {
    let nothing = match options.runs.iter().all(|run| without_pairs(run)) {
        true => "no evaluation of it was of pairs of images: there is no such curve of retrieval",
        false => "no scores are recorded: run eval RUN_DIR --scores writes them for a checkpoint",
    };
    super::pictures(options, plots::verification, nothing)
}

/// Whether the run was evaluated, and never on pairs, which have an accuracy.
fn without_pairs(run: &Path) -> bool {
    let rows = eval_csv::rows(&run.join("eval.csv")).unwrap_or_default();
    !rows.is_empty() && rows.iter().all(|row| row.metric != "accuracy")
}
