//! `run data inspect`: what data holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::InspectArgs;
use super::data_source::{Source, open, title};
use super::progress::Counter;
use super::say;
use crate::checkpoint::durable;
use crate::data::inspect::{self, Depth, Report};
use crate::data::{Dataset, contact_sheet};
use crate::plan::Plan;
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

/// Points.
const SIZE: (u32, u32) = (800, 440);

pub fn inspect(args: &InspectArgs, verbosity: Verbosity) -> Result<()> {
    let InspectArgs { source: path, output, decode, json, settings } = args;
    let stop = StopFlag::listen()?;
    let source = Source::of(path)?;
    let plan = source.plan(path, settings)?;
    let splits = open(&source, &plan, verbosity, &stop)?;
    // Before the work, which may take an hour; gone again if nothing comes of it.
    let _made = output.as_deref().map(Made::at).transpose()?;
    let depth = if *decode { Depth::Decode } else { Depth::Header };
    let counter = Counter::new("looking at images", verbosity == Verbosity::Quiet);
    let report = inspect::inspect(&splits, depth, &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    })?;
    counter.finish();
    let what = title(path, &plan);
    let files = match output {
        Some(folder) => write(folder, &what, &report, splits.train, &plan)?,
        None => Vec::new(),
    };
    if *json {
        return say(&format!("{}\n", pretty(&report)));
    }
    let files: String = files.iter().map(|line| format!("  {line}\n")).collect();
    say(&format!("{}{files}", inspect::text(&what, &report)))
}

/// Folders that were made for what is going to be written. Those that are empty in the end are removed.
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes `folder` and those above it.
    fn at(folder: &Path) -> Result<Made> {
        let missing = folder.ancestors().filter(|above| *above != Path::new(""));
        let missing = missing.take_while(|above| !above.exists()).map(Path::to_owned).collect();
        let made = Made(missing);
        std::fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e).into_input())?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in &self.0 {
            // It fails where there is something in it, as there should be.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn pretty(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("string keys only")
}

/// The report and its pictures in `folder`; returns what was written, a line each.
fn write(
    folder: &Path,
    what: &str,
    report: &Report,
    train: Dataset,
    plan: &Plan,
) -> Result<Vec<String>> {
    let path = folder.join("inspect.json");
    durable::write_file(&path, |out| writeln!(out, "{}", pretty(report)))?;
    let mut lines = vec![format!("wrote {}", path.display())];
    if let Some(chart) = inspect::images_per_identity(what.to_owned(), &report.parts) {
        let path = folder.join("identities.png");
        chart.save(&path, SIZE.0, SIZE.1)?;
        lines.push(format!("wrote {}", path.display()));
    }
    let experiment = &plan.experiment;
    let preprocess = experiment.preprocess.build();
    if train.fits(&preprocess).is_err() {
        lines.push("no samples.png: the images are decoded for another input".to_owned());
        return Ok(lines);
    }
    let train = Arc::new(train);
    let sheet =
        inspect::contact_sheet(&train, &preprocess, &experiment.augmentation, experiment.seed)?;
    if let Some((batch, columns)) = sheet {
        let path = folder.join("samples.png");
        contact_sheet::write(&batch, columns, &path)?;
        lines.push(format!(
            "wrote {}: each row an image, then as the network gets it in epochs 1 to {}",
            path.display(),
            columns - 1
        ));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_stay_empty_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        let made = Made::at(&deep).unwrap();
        assert!(deep.is_dir());
        drop(made);
        assert!(!dir.path().join("a").exists() && dir.path().exists());

        let made = Made::at(&deep).unwrap();
        std::fs::write(dir.path().join("a/inspect.json"), "{}").unwrap();
        drop(made);
        assert!(dir.path().join("a").exists() && !deep.exists());

        let there = dir.path().join("there");
        std::fs::create_dir(&there).unwrap();
        drop(Made::at(&there).unwrap());
        assert!(there.exists(), "it was not made here");

        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Made::at(&file.join("below/it")).is_err());
        assert!(file.exists());
    }
}
