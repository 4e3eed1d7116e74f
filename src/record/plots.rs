//! `plots/`: pictures of a run, drawn from its CSV files, during the training and afterwards, and the
//! numbers of the ROC and of the histograms.

use super::charts;
use super::history::History;
use super::{Event, RunInfo, Sink, Status};
use crate::checkpoint::durable;
use crate::evaluate::charts::{Scored, histogram, roc, write_histogram_csv};
use crate::evaluate::roc::write_roc_csv;
use crate::evaluate::{eval_csv, scores_csv};
use crate::plot::{COLOURS, LineChart};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The folder in a run folder.
pub const FOLDER: &str = "plots";
/// Points.
const SIZE: (u32, u32) = (800, 440);
/// At most this share of the time is spent on drawing: where epochs are short, some have no pictures.
const SHARE: u32 = 10;

/// Draws a run's pictures after each epoch and at the end, on a thread of its own: training goes on
/// meanwhile. An epoch that ends while the last pictures are being drawn, or soon after, has none of
/// its own.
pub struct Plots {
    run: PathBuf,
    /// An epoch has ended since the last pictures.
    due: bool,
    drawing: Option<JoinHandle<(Result<()>, Duration)>>,
    /// When the next drawing may begin.
    not_before: Option<Instant>,
    /// Why a drawing failed, to be said; and whether it was.
    failure: Option<String>,
    failed: bool,
    /// The run was stopped, to go on later.
    stopped: bool,
}

impl Plots {
    /// # Errors
    /// A folder `plots` that can't be written.
    pub fn open(run: &Path) -> Result<Plots> {
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        durable::clean(&folder)?;
        let run = run.to_path_buf();
        Ok(Plots {
            run,
            due: false,
            drawing: None,
            not_before: None,
            failure: None,
            failed: false,
            stopped: false,
        })
    }

    fn start(&mut self) {
        let run = self.run.clone();
        let thread = std::thread::Builder::new().name("plots".into());
        let drawing = move || {
            let begun = Instant::now();
            let _span = tracing::info_span!("pictures").entered();
            (draw(&run), begun.elapsed())
        };
        match thread.spawn(drawing) {
            Ok(thread) => self.drawing = Some(thread),
            Err(error) => self.note(format!("no thread for it: {error}")),
        }
    }

    /// Ends the drawing under way.
    fn wait(&mut self) {
        match self.drawing.take().map(JoinHandle::join) {
            None => {}
            Some(Ok((result, took))) => {
                self.not_before = Some(Instant::now() + took * (SHARE - 1));
                if let Err(error) = result {
                    self.note(error.to_string());
                }
            }
            Some(Err(_)) => self.note("the drawing panicked: this is a bug in arcrun".into()),
        }
    }

    /// Only the first failure is worth a line: the reason rarely changes.
    fn note(&mut self, failure: String) {
        if !self.failed {
            self.failure = Some(failure);
        }
        self.failed = true;
    }
}

impl Sink for Plots {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::EpochEnded(_) => self.due = true,
            Event::RunEnded { status: Status::Stopped, .. } => self.stopped = true,
            // The epoch's evaluation is recorded and all files are on the disk.
            Event::CheckpointSaved { .. } if self.due => {
                if self.drawing.as_ref().is_some_and(JoinHandle::is_finished) {
                    self.wait();
                }
                let rested = self.not_before.is_none_or(|time| Instant::now() >= time);
                if self.drawing.is_none() && rested {
                    self.due = false;
                    self.start();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn heard(&mut self) -> Vec<Event> {
        let failure = self.failure.take();
        let text = |why| format!("pictures in {} are not up to date: {why}", self.run.display());
        failure.map(text).map(Event::Warning).into_iter().collect()
    }

    fn close(&mut self) -> Result<()> {
        self.wait();
        // Who stops a run waits for it, and when it goes on it draws again.
        if !self.stopped {
            self.start();
            self.wait();
        }
        Ok(())
    }
}

/// All pictures that a run allows, into its `plots/`; the first failure, after all were tried.
fn draw(run: &Path) -> Result<()> {
    let (runs, folder) = ([run.to_path_buf()], run.join(FOLDER));
    let curves = curves(&runs, &folder).map(drop);
    curves.and(verification(&runs, &folder).map(drop))
}

/// Draws loss, accuracy, learning rate and throughput of the runs, over each other, into `folder`.
/// Returns the files.
///
/// # Errors
/// `Input` for a folder that is no run's, `Failed` for a picture that can't be written.
pub fn curves(runs: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    let histories: Result<Vec<History>> = runs.iter().map(|run| History::read(run)).collect();
    let charts = charts::charts(&histories?);
    save(folder, charts.into_iter().map(|(name, chart)| (name.to_string(), chart)).collect())
}

/// Draws the ROC and the histogram of distances of every evaluation set that the runs have scores of,
/// and writes the numbers of both as CSV beside them.
/// Of one run the ROC shows several checkpoints; of several, the best one of each. Returns the files.
///
/// # Errors
/// As [`curves`]; scores that are damaged.
pub fn verification(runs: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    let infos: Result<Vec<RunInfo>> = runs.iter().map(|run| RunInfo::read(run)).collect();
    let infos = infos?;
    let lists: Vec<_> = runs.iter().map(|run| scores_csv::list(run)).collect();
    let mut sets: Vec<&String> = lists.iter().flatten().map(|(set, _)| set).collect();
    sets.sort();
    sets.dedup();
    let (mut charts, mut numbers) = (Vec::new(), Vec::new());
    for set in sets {
        let of = |list: &[(String, Vec<(String, PathBuf)>)]| {
            let found = list.iter().find(|(name, _)| name == set);
            found.map(|(_, files)| by_worth(files)).unwrap_or_default()
        };
        let (file, mut scored, mut best, mut subtitle) =
            (scores_csv::file_name(set), Vec::new(), Vec::new(), Vec::new());
        if let ([run], [info], [list]) = (runs, infos.as_slice(), lists.as_slice()) {
            let files = of(list);
            subtitle.push(format!("{}, run {}", info.experiment, info.run));
            let epochs = eval_csv::rows(&run.join("eval.csv"))?;
            for (checkpoint, path) in files.iter().take(COLOURS) {
                let row =
                    epochs.iter().rfind(|row| row.set == *set && row.checkpoint == *checkpoint);
                let epoch = row.and_then(|row| row.epoch).filter(|epoch| *epoch > 0);
                let epoch = epoch.map(|epoch| format!(" (epoch {epoch})")).unwrap_or_default();
                scored.push(read(format!("{checkpoint}{epoch}"), path)?);
            }
            if files.len() > COLOURS {
                subtitle.push(format!("{} checkpoints more are not drawn", files.len() - COLOURS));
            }
            best.extend(scored.first().cloned());
        } else {
            let names: Vec<_> =
                infos.iter().map(|i| (i.experiment.as_str(), i.run.as_str())).collect();
            for (name, list) in charts::short_names(&names).into_iter().zip(&lists) {
                if let Some((checkpoint, path)) = of(list).first() {
                    best.push(read(format!("{name} ({checkpoint})"), path)?);
                }
            }
            subtitle.push(format!("{} runs", best.len()));
            scored.clone_from(&best);
        }
        // Drawn over the others: the one that counts.
        scored.reverse();
        let Some(first) = best.first() else { continue };
        let (genuine, impostors) = (first.result.genuine, first.result.impostors);
        let pairs = format!("{genuine} genuine and {impostors} impostor pairs");
        let lines = |more: String| [subtitle.clone(), vec![more]].concat();
        let overlaid = runs.len() == 1;
        let chart = roc(format!("{set}: ROC"), lines(pairs.clone()), &scored, overlaid);
        charts.push((format!("roc-{file}"), chart));
        let what = match best.as_slice() {
            [one] => format!("{}; {pairs}", one.name),
            _ => "solid: genuine pairs; dashed: impostor pairs".to_string(),
        };
        let title = format!("{set}: distances of pairs");
        charts.push((format!("scores-{file}"), histogram(title, lines(what), &best)));
        numbers.push((file, scored, best));
    }
    let mut files = save(folder, charts)?;
    for (file, scored, best) in numbers {
        let [curves, bars] =
            ["roc", "scores"].map(|what| folder.join(format!("{what}-{file}.csv")));
        let named: Vec<_> =
            scored.iter().map(|one| (one.name.as_str(), one.result.roc.as_slice())).collect();
        write_roc_csv(&curves, &named)?;
        write_histogram_csv(&bars, &best)?;
        files.extend([curves, bars]);
    }
    Ok(files)
}

fn read(name: String, path: &Path) -> Result<Scored> {
    let (set, distances) = scores_csv::read(path)?;
    Scored::new(name, set, distances)
}

/// The checkpoint to use first: `min-loss`, `latest`, `untrained`, then epochs from the last on.
fn by_worth(files: &[(String, PathBuf)]) -> Vec<(String, PathBuf)> {
    const FIRST: [&str; 3] = ["min-loss", "latest", "untrained"];
    let mut files: Vec<_> = files.iter().rev().cloned().collect();
    let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    files.sort_by_key(|(name, _)| place(name));
    files
}

/// Writes each chart as PNG and SVG.
fn save(folder: &Path, charts: Vec<(String, LineChart)>) -> Result<Vec<PathBuf>> {
    if !charts.is_empty() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e).into_input())?;
    }
    let mut files = Vec::new();
    for (name, chart) in charts {
        for extension in ["png", "svg"] {
            let path = folder.join(format!("{name}.{extension}"));
            chart.save(&path, SIZE.0, SIZE.1)?;
            files.push(path);
        }
    }
    Ok(files)
}
