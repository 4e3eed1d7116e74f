//! `run plot`: pictures of what runs recorded.

pub mod curves;
pub mod embeddings;
pub mod roc;

use super::args::PlotArgs;
use super::say;
use crate::plot::COLOURS;
use crate::record::{RunInfo, plots};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Draws `options.runs` by `draw`, which is told runs and folder and returns its files, and prints the
/// files. `nothing` says why there may be none.
fn pictures(
    options: &PlotArgs,
    draw: fn(&[PathBuf], &Path) -> Result<Vec<PathBuf>>,
    nothing: &str,
) -> Result<()> {
    let PlotArgs { runs, output } = options;
    for (n, run) in runs.iter().enumerate() {
        if !RunInfo::is_in(run) {
            return Err(Error::input(format!("{} is no run folder", run.display()))
                .help("a run folder holds run.json: results/<experiment>/<run-id>"));
        }
        let same = |other: &PathBuf| other.canonicalize().ok() == run.canonicalize().ok();
        if runs[..n].iter().any(same) {
            return Err(Error::input(format!("{} is given twice", run.display())));
        }
    }
    if runs.len() > COLOURS {
        let message = format!("{} runs can't be told apart in one picture", runs.len());
        return Err(Error::input(message).help(format!("draw at most {COLOURS} at a time")));
    }
    let folder = match (output, runs.as_slice()) {
        (Some(folder), _) => folder.clone(),
        (None, [run]) => run.join(plots::FOLDER),
        _ => {
            return Err(Error::input("several runs have no folder in common for their pictures")
                .help("name one with --output DIR"));
        }
    };
    let files = draw(runs, &folder).map_err(Error::into_input)?;
    if files.is_empty() {
        return Err(Error::input("there is nothing to draw yet").help(nothing));
    }
    files.iter().try_for_each(|file| say(&format!("{}\n", file.display())))
}
