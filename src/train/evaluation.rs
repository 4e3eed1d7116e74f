//! Scores a model on every evaluation set of the experiment.

use super::model::Model;
use super::ranks::Ranks;
use super::signals::StopFlag;
use crate::cli::progress::Counter;
use crate::data::{Image, OnCorrupt, Preprocess};
use crate::evaluate::{
    Detail, Evaluate, EvaluationSet, Flip, Metric, eval_csv, images_of, rankings, score_all,
    scores_csv,
};
use crate::inference::{self, Embeddings, embedding};
use crate::record::{Event, Recorder};
use crate::{Error, Result};
use std::path::PathBuf;
use tracing::info_span;

/// The prepared sets, and the CSV file that their scores go to.
#[derive(Debug)]
pub struct Evaluation {
    pub config: Evaluate,
    pub sets: Vec<(String, EvaluationSet)>,
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
    /// The processes that embed together; rank 0 alone scores.
    pub ranks: Ranks,
}

/// Scores of one checkpoint on one set.
#[derive(Clone, Debug)]
pub struct Scored {
    pub epoch: u64,
    pub checkpoint: String,
    pub set: String,
    pub metrics: Vec<Metric>,
    pub detail: Detail,
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

    /// Scores the model's present weights. `epoch`: epochs that they were trained for. Every image is
    /// embedded once, however many sets it is in.
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
        let _span = info_span!("evaluation", checkpoint).entered();
        let flip = self.config.flip;
        let options = inference::Options {
            batch_size: self.config.eval_batch_size,
            workers: self.workers,
            prefetch: self.prefetch,
            mirror: flip != Flip::None,
            on_corrupt: OnCorrupt::Error,
        };
        let counter = Counter::new("embedding", self.quiet);
        let progress = |done, total| {
            counter.set(done, total);
            // Several ranks agree on a stop after a step.
            !stop.is_set() || self.ranks.are_several()
        };
        let searching = Counter::new("searching", self.quiet);
        let searched = |done, total| {
            searching.set(done, total);
            !stop.is_set() || self.ranks.are_several()
        };
        let embed = |images: &[Image]| {
            let embedded = self.embed(model, images, options, &progress);
            counter.finish();
            embedded
        };
        if !self.ranks.leads() {
            embed(&images_of(&self.sets).0)?;
            return Ok(Vec::new());
        }
        let outcomes =
            score_all(&self.sets, flip, embed, &|texts| model.embed_captions(texts), &searched);
        searching.finish();
        let outcomes = outcomes.map_err(|error| match error {
            Error::Stopped { help, .. } => {
                Error::Stopped { message: "stopped during the evaluation".into(), help }
            }
            // What was trained is kept: the run failed, it was not refused.
            Error::Input { message, help } => Error::Failed { message, help },
            other => other,
        })?;
        let scored = self.sets.iter().zip(outcomes).map(|((set, _), outcome)| Scored {
            epoch,
            checkpoint: checkpoint.to_string(),
            set: set.clone(),
            metrics: outcome.metrics,
            detail: outcome.detail,
        });
        Ok(scored.collect())
    }

    /// Embeddings of all images on every rank: each embeds whole batches, those that one process would
    /// make, so that the bits are the same.
    fn embed(
        &self,
        model: &Model,
        images: &[Image],
        options: inference::Options,
        progress: &dyn Fn(usize, usize) -> bool,
    ) -> Result<Embeddings> {
        if !self.ranks.are_several() {
            return embedding::embed(model, &self.preprocess, images, options, progress);
        }
        let size = options.batch_size.max(1);
        let (batches, ranks) = (images.len().div_ceil(size), self.ranks.size());
        let start = |rank: usize| (batches * rank / ranks * size).min(images.len());
        let counts: Vec<i64> = (0..ranks).map(|r| (start(r + 1) - start(r)) as i64).collect();
        let own = &images[start(self.ranks.rank())..start(self.ranks.rank() + 1)];
        let part = match own.is_empty() {
            true => Embeddings { dim: model.dim() as usize, ..Embeddings::default() },
            false => embedding::embed(model, &self.preprocess, own, options, progress)?,
        };
        let gather = |rows: &[f32]| self.ranks.gather_rows(rows, part.dim, &counts);
        let mirrored = if options.mirror { gather(&part.mirrored)? } else { Vec::new() };
        Ok(Embeddings { dim: part.dim, image: gather(&part.image)?, mirrored, broken: Vec::new() })
    }

    /// Writes scores to `eval.csv` and `scores/`, in this order, so that a resume that cuts the rows
    /// knows which scores were replaced; then tells the sinks.
    pub fn record(&mut self, scores: Vec<Scored>, recorder: &mut Recorder) -> Result<()> {
        for Scored { epoch, checkpoint, set, metrics, detail } in scores {
            if let Some(path) = &self.csv {
                eval_csv::append(path, epoch as usize, &checkpoint, &[(&set, &metrics)])?;
                self.written += metrics.len() as u64;
            }
            self.write_detail(epoch, &checkpoint, &set, &detail)?;
            recorder.emit(&Event::Evaluated { epoch, checkpoint, set, metrics })?;
        }
        Ok(())
    }

    /// Writes what lies behind the scores of a set where it is wanted.
    pub fn write_detail(
        &self,
        epoch: u64,
        checkpoint: &str,
        name: &str,
        detail: &Detail,
    ) -> Result<()> {
        let set = self.sets.iter().find(|(set, _)| set == name).map(|(_, set)| set);
        match (&self.scores, set, detail) {
            (Some(run), Some(EvaluationSet::Pairs(pairs)), Detail::Distances(distances)) => {
                scores_csv::write(run, name, checkpoint, pairs, distances)
            }
            (Some(run), Some(EvaluationSet::Retrieval(set)), Detail::Ranking(hits)) => {
                rankings::write(&rankings::path(run, name, checkpoint, epoch), set, hits)
            }
            (
                Some(run),
                Some(EvaluationSet::ImageText(set)),
                Detail::BothRankings { texts_of_image, images_of_text },
            ) => rankings::write_both(
                &rankings::path(run, name, checkpoint, epoch),
                set,
                texts_of_image,
                images_of_text,
            ),
            _ => Ok(()),
        }
    }
}
