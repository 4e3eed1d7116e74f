//! `run report`: one HTML page of a run, of several runs, or of a sweep.
//!
//! The record of each run ([`crate::record`]) becomes JSON, the JSON stands in a page with its
//! style and its script, and the script draws it. `docs/report.md` says what each part shows.

mod html;
mod importance;
mod pictures;
mod run;
mod scores;
mod settings;
mod sweep;
pub(crate) mod table;
mod thin;

use crate::record::RunInfo;
use crate::{Error, Result};
use run::Detail;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Points of a curve over steps, and of all runs' curves together.
const POINTS: usize = 1500;
const ALL_POINTS: usize = 9000;
const LEAST_POINTS: usize = 150;
/// What [`run::page_data`] reports of each run.
const STAGES: usize = 3;

/// A page and what it is about.
pub struct Page {
    pub html: String,
    pub runs: usize,
    pub sweeps: usize,
}

/// Makes the page of `folders`: run folders, and folders of sweeps. It will lie in `place`, which
/// its links to runs start from. `progress` is told how much is done, and of how much.
///
/// # Errors
/// `Error::Input` where a folder is neither, or its run.json or sweep.csv says nothing. What else
/// is missing or damaged is said on the page.
pub fn page(folders: &[PathBuf], place: &Path, progress: &dyn Fn(usize, usize)) -> Result<Page> {
    let (sweeps, runs): (Vec<&PathBuf>, Vec<&PathBuf>) =
        folders.iter().partition(|folder| is_sweep(folder));
    if let Some(other) = runs.iter().find(|folder| !RunInfo::is_in(folder)) {
        let message = format!("{} is no run folder: it has no run.json", other.display());
        let help = "name folders such as results/EXPERIMENT/RUN-ID, or one with a sweep.csv";
        return Err(Error::input(message).help(help));
    }
    let detail = Detail {
        points: (ALL_POINTS / runs.len().max(1)).clamp(LEAST_POINTS, POINTS),
        pictures: runs.len() == 1,
    };
    let total = runs.len() * STAGES + sweeps.len();
    let mut done = 0;
    let mut each = || {
        done += 1;
        progress(done, total);
    };
    let mut run_data = Vec::new();
    for run in &runs {
        run_data.push(run::page_data(run, detail, &mut each)?);
    }
    let mut sweep_data = Vec::new();
    for sweep in &sweeps {
        sweep_data.push(sweep::page_data(sweep, place)?);
        each();
    }
    let title = title(&run_data, &sweeps);
    let data = json!({
        "title": title,
        "version": env!("CARGO_PKG_VERSION"),
        "generated": jiff::Timestamp::now().to_string(),
        "points": detail.points,
        "runs": run_data,
        "sweeps": sweep_data,
    });
    Ok(Page { html: html::page(&title, &data), runs: runs.len(), sweeps: sweeps.len() })
}

/// Whether the folder is a sweep's.
pub fn is_sweep(folder: &Path) -> bool {
    folder.join(sweep::FILE).is_file()
}

fn title(runs: &[Value], sweeps: &[&PathBuf]) -> String {
    let name = |run: &Value| run["info"]["experiment"].as_str().unwrap_or_default().to_owned();
    match (runs, sweeps) {
        ([run], []) => name(run),
        ([], [sweep]) => {
            let name = sweep.file_name().unwrap_or(sweep.as_os_str());
            format!("Sweep {}", name.to_string_lossy())
        }
        (runs, []) => {
            let mut names: Vec<String> = runs.iter().map(name).collect();
            names.dedup();
            match names.as_slice() {
                [one] => format!("{one}: {} runs", runs.len()),
                _ => format!("{} runs", runs.len()),
            }
        }
        (runs, sweeps) => format!("{} runs, {} sweeps", runs.len(), sweeps.len()),
    }
}
