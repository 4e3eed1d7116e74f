//! `run report`.

use super::progress::Counter;
use super::say;
use crate::checkpoint::durable;
use crate::cli::args::ReportArgs;
use crate::record::Verbosity;
use crate::report::{Page, page};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

const FILE: &str = "report.html";

/// Writes the page, whole or not at all, and says where it is and how large.
pub fn report(options: &ReportArgs, verbosity: Verbosity) -> Result<()> {
    let ReportArgs { runs, output } = options;
    let output = match (output, runs.as_slice()) {
        (Some(output), _) => output.clone(),
        (None, [run]) => run.join(FILE),
        (None, _) => PathBuf::from(FILE),
    };
    // A bare name has no folder of its own to write the temporary file to.
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if output.is_dir() {
        let message = format!("{} is a folder", output.display());
        return Err(Error::input(message).help("name the page to write, such as report.html"));
    }
    let counter = Counter::new("report", verbosity == Verbosity::Quiet);
    let made = page(runs, folder, &|done, total| counter.set(done, total));
    counter.finish();
    let Page { html, runs, sweeps } = made?;
    if !folder.is_dir() {
        let message = format!("there is no folder {} for the page", folder.display());
        return Err(Error::input(message).help("create it first"));
    }
    let path = folder.join(output.file_name().unwrap_or_default());
    durable::write_file(&path, |out| out.write_all(html.as_bytes())).map_err(Error::into_input)?;
    let count = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let what: Vec<String> =
        [count(runs, "run"), count(sweeps, "sweep")].into_iter().flatten().collect();
    let size = html.len() as f64 / 1e6;
    say(&format!("{}: {}, {size:.2} MB\n", output.display(), what.join(", ")))
}
