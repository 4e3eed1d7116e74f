//! `record.embeddings_every_epochs`: embeddings of a fixed sample of images, before training and
//! after every so many epochs.

use super::embedder::pixels;
use super::model::Model;
use super::signals::StopFlag;
use crate::cli::progress::Counter;
use crate::data::{Dataset, Item, Loader, LoaderOptions, Preprocess, sample_evenly};
use crate::record::embeddings::{Embeddings, file, write_classes};
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// The sample, ready to be embedded.
#[derive(Debug)]
pub struct EmbeddingsRecord {
    every: u64,
    loader: Loader,
    split: &'static str,
    experiment: String,
    quiet: bool,
}

/// What is recorded, from `[record]`.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub every: usize,
    pub samples: usize,
    pub experiment: &'a str,
    pub quiet: bool,
}

impl EmbeddingsRecord {
    /// Chooses the sample and writes the names of the classes. None where nothing is wanted.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn new(
        wanted: Wanted<'_>,
        run: &Path,
        train: &Dataset,
        validation: Option<&Dataset>,
        preprocess: Preprocess,
        options: LoaderOptions,
    ) -> Result<Option<Self>> {
        let Wanted { every, samples, experiment, quiet } = wanted;
        if every == 0 {
            return Ok(None);
        }
        let (set, split) = match validation {
            Some(validation) => (validation, "validation"),
            None => (train, "train"),
        };
        let items: Vec<Item> = sample_evenly(set, samples, options.seed);
        let set = Dataset { items, captions: Vec::new(), ..set.clone() };
        write_classes(run, set.labels.names())?;
        let options = LoaderOptions { sampler: None, drop_last: false, ..options };
        let loader = Loader::new(Arc::new(set), preprocess, None, options)?;
        let (every, experiment) = (every as u64, experiment.to_owned());
        Ok(Some(EmbeddingsRecord { every, loader, split, experiment, quiet }))
    }

    /// Whether the state after `epoch` epochs is to be recorded.
    pub fn is_due(&self, epoch: u64) -> bool {
        epoch.is_multiple_of(self.every)
    }

    /// Whether a run that begins or goes on after `epoch` epochs lacks their file.
    pub fn lacks(&self, run: &Path, epoch: u64) -> bool {
        self.is_due(epoch) && !file(run, epoch).exists()
    }

    /// Embeds the sample, in float32 and without augmentation, and writes the file of `epoch`.
    ///
    /// # Errors
    /// `Stopped`, with nothing written; an image that can't be read.
    pub fn record(&self, model: &Model, run: &Path, epoch: u64, stop: &StopFlag) -> Result<()> {
        let counter = Counter::new("embedding", self.quiet);
        let (mut points, mut labels) = (Vec::new(), Vec::new());
        for batch in self.loader.epoch(0, 0) {
            if stop.is_set() {
                return Err(Error::stopped(format!(
                    "stopped by {} while embeddings were recorded",
                    stop.by()
                )));
            }
            let batch = batch?;
            let embedding = tch::no_grad(|| {
                model.embed(&model.normalize(&pixels(&batch)), false).to_kind(Kind::Float)
            });
            points.push(embedding.to_device(Device::Cpu));
            labels.extend_from_slice(&batch.labels);
            counter.set(labels.len(), self.loader.dataset().len());
        }
        counter.finish();
        let centres = model
            .loss
            .centres()
            .map(|centres| centres.to_device(Device::Cpu).to_kind(Kind::Float).contiguous());
        let embeddings = Embeddings {
            epoch,
            split: self.split.to_owned(),
            experiment: self.experiment.clone(),
            points: Tensor::cat(&points, 0),
            labels: Tensor::from_slice(&labels),
            centres,
        };
        embeddings.write(run)
    }
}
