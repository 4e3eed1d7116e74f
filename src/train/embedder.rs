//! The model as an [`Embedder`]: image files to embeddings, in float32, without a graph.

use super::model::Model;
use super::signals::StopFlag;
use crate::cli::progress::Counter;
use crate::data::{Dataset, Item, LabelMap, Loader, LoaderOptions, OnCorrupt, Preprocess};
use crate::evaluate::Embedder;
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Embeds with the model's weights as they are now.
#[derive(Debug)]
pub struct ModelEmbedder<'a> {
    pub model: &'a Model,
    pub preprocess: &'a Preprocess,
    pub batch_size: usize,
    /// Decoding threads and batches ahead.
    pub workers: usize,
    pub prefetch: usize,
    pub stop: &'a StopFlag,
    /// Shows no progress.
    pub quiet: bool,
}

impl Embedder for ModelEmbedder<'_> {
    fn embed(&mut self, images: &[PathBuf], flip: bool) -> Result<Vec<f32>> {
        let items = images.iter().map(|path| Item { path: path.clone(), label: 0 }).collect();
        let labels = LabelMap::new(vec!["image".to_string()]);
        let dataset = Dataset { root: PathBuf::new(), items, labels };
        let options = LoaderOptions {
            batch_size: self.batch_size,
            seed: 0,
            sampler: None,
            drop_last: false,
            workers: self.workers,
            prefetch: self.prefetch,
            on_corrupt: OnCorrupt::Error,
        };
        let loader = Loader::new(Arc::new(dataset), self.preprocess.clone(), None, options)?;
        let counter = Counter::new("embedding", self.quiet);
        let mut embeddings = Vec::with_capacity(images.len() * self.dim());
        for batch in loader.epoch(0, 0) {
            if self.stop.is_set() {
                return Err(Error::stopped("stopped during the evaluation"));
            }
            let pixels = pixels(&batch?);
            let pixels = if flip { pixels.flip([3]) } else { pixels };
            let embedding = tch::no_grad(|| {
                self.model.embed(&self.model.normalize(&pixels), false).to_kind(Kind::Float)
            });
            let values = Vec::<f32>::try_from(embedding.contiguous().view(-1));
            embeddings.extend(values.map_err(|e| Error::failed(e.to_string()))?);
            counter.set(embeddings.len() / self.dim(), images.len());
        }
        counter.finish();
        Ok(embeddings)
    }

    fn dim(&self) -> usize {
        self.model.dim() as usize
    }
}

/// # Shapes
/// A loader's batch as uint8 [B, 3, H, W] on the CPU.
pub fn pixels(batch: &crate::data::Batch) -> Tensor {
    let shape = [batch.len() as i64, 3, batch.height as i64, batch.width as i64];
    Tensor::from_slice(&batch.images).view(shape)
}
