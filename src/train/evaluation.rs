//! Scores a model on every evaluation set of the experiment.

use super::embedder::ModelEmbedder;
use super::model::Model;
use super::signals::StopFlag;
use crate::Result;
use crate::data::Preprocess;
use crate::evaluate::{Evaluate, Metric, PairSet, eval_csv, scores_csv, verify};
use crate::record::{Event, Recorder};
use std::path::PathBuf;

/// The prepared sets, and the CSV file that their scores go to.
#[derive(Debug)]
pub struct Evaluation {
    pub config: Evaluate,
    pub sets: Vec<(String, PairSet)>,
    pub preprocess: Preprocess,
    pub workers: usize,
    pub prefetch: usize,
    /// Shows no progress.
    pub quiet: bool,
    /// `eval.csv`; None: scores are not written to a file.
    pub csv: Option<PathBuf>,
    /// Rows in it.
    pub written: u64,
    /// The run folder that the distances of all pairs go to; None: they are not written.
    pub scores: Option<PathBuf>,
}

/// Scores of one checkpoint on one set.
#[derive(Clone, Debug)]
pub struct Scored {
    pub epoch: u64,
    pub checkpoint: String,
    pub set: String,
    pub metrics: Vec<Metric>,
    /// One per pair of the set.
    pub distances: Vec<f64>,
}

impl Evaluation {
    /// Name of the CSV file in a run folder.
    pub const FILE: &'static str = "eval.csv";

    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Rows written to `eval.csv`.
    pub fn rows(&self) -> u64 {
        self.written
    }

    /// Scores the model's present weights. `epoch`: epochs that they were trained for.
    ///
    /// # Errors
    /// An image that can't be read, an embedding that can't be normalised, a stop.
    pub fn run(
        &self,
        model: &Model,
        checkpoint: &str,
        epoch: u64,
        stop: &StopFlag,
    ) -> Result<Vec<Scored>> {
        let mut embedder = ModelEmbedder {
            model,
            preprocess: &self.preprocess,
            batch_size: self.config.eval_batch_size,
            workers: self.workers,
            prefetch: self.prefetch,
            stop,
            quiet: self.quiet,
        };
        let score = |(name, pairs): &(String, PairSet)| {
            let (result, distances) = verify(&mut embedder, pairs, self.config.flip)?;
            Ok(Scored {
                epoch,
                checkpoint: checkpoint.to_string(),
                set: name.clone(),
                metrics: result.metrics(),
                distances,
            })
        };
        self.sets.iter().map(score).collect()
    }

    /// Writes scores to `eval.csv` and `scores/`, in this order, so that a resume that cuts the rows
    /// knows which scores were replaced; then tells the sinks.
    pub fn record(&mut self, scores: Vec<Scored>, recorder: &mut Recorder) -> Result<()> {
        for Scored { epoch, checkpoint, set, metrics, distances } in scores {
            if let Some(path) = &self.csv {
                eval_csv::append(path, epoch as usize, &checkpoint, &[(&set, &metrics)])?;
                self.written += metrics.len() as u64;
            }
            self.write_distances(&checkpoint, &set, &distances)?;
            recorder.emit(&Event::Evaluated { epoch, checkpoint, set, metrics })?;
        }
        Ok(())
    }

    /// Writes the distances of a set's pairs where they are wanted.
    pub fn write_distances(&self, checkpoint: &str, set: &str, distances: &[f64]) -> Result<()> {
        let pairs = self.sets.iter().find(|(name, _)| name == set);
        match (&self.scores, pairs) {
            (Some(run), Some((_, pairs))) => {
                scores_csv::write(run, set, checkpoint, pairs, distances)
            }
            _ => Ok(()),
        }
    }
}
