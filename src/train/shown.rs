//! What a training shows besides its numbers: images, distributions, what it had to leave out.

use super::trainer::Trainer;
use crate::checkpoint::durable;
use crate::data::{Batch, contact_sheet};
use crate::record::Event;
use crate::wandb::Mode;
use crate::{Error, Result};

/// Bars of a histogram.
const BINS: i64 = 64;

impl Trainer<'_> {
    /// The first images as they reach the network, for those who look at runs elsewhere.
    pub(super) fn show_batch(&mut self, batch: &Batch) -> Result<()> {
        let wandb = &self.plan.experiment.record.wandb;
        if wandb.mode == Mode::Disabled || !wandb.images {
            return Ok(());
        }
        let (png, width, height) = contact_sheet::png(batch, 8, 64)?;
        let key = "train/batch".to_string();
        let caption = format!("{} of the first batch", batch.len().min(64));
        self.recorder.emit(&Event::Image { key, caption, width, height, png })
    }

    /// How the values of each parameter are distributed.
    pub(super) fn show_parameters(&mut self) -> Result<()> {
        let wandb = &self.plan.experiment.record.wandb;
        if wandb.mode == Mode::Disabled || !wandb.histograms {
            return Ok(());
        }
        for (name, weight) in self.model.parameters() {
            let weight = weight.detach().to_device(tch::Device::Cpu).to_kind(tch::Kind::Float);
            let (least, most) = (weight.min().double_value(&[]), weight.max().double_value(&[]));
            let counts = Vec::<f32>::try_from(weight.flatten(0, -1).histc(BINS))
                .map_err(|e| Error::failed(format!("cannot count the values of {name}: {e}")))?;
            // One value alone: torch widens the range by 1 on both sides, so the edges must too.
            let (least, most) =
                if least == most { (least - 1.0, most + 1.0) } else { (least, most) };
            let width = (most - least) / BINS as f64;
            self.recorder.emit(&Event::Histogram {
                key: format!("parameters/{name}"),
                counts: counts.iter().map(|count| *count as u64).collect(),
                edges: (0..=BINS).map(|edge| least + width * edge as f64).collect(),
            })?;
        }
        Ok(())
    }

    /// Names the images that could not be decoded: each once, in `skipped.csv`.
    pub(super) fn report_skipped(&mut self) -> Result<()> {
        let list = self.train.skipped().list(self.train.dataset());
        if list.len() == self.skipped || !self.ranks.leads() {
            return Ok(());
        }
        let path = self.run.join("skipped.csv");
        let mut writer = csv::Writer::from_writer(Vec::new());
        let rows = list.iter().map(|(image, reason)| [image.display().to_string(), reason.clone()]);
        let written = std::iter::once(["path".to_string(), "reason".to_string()])
            .chain(rows)
            .try_for_each(|row| writer.write_record(row));
        let text = written
            .map_err(|e| Error::failed(e.to_string()))
            .and_then(|()| writer.into_inner().map_err(|e| Error::failed(e.to_string())))?;
        durable::write_file(&path, |out| out.write_all(&text))?;
        self.skipped = list.len();
        self.recorder.warning(format!(
            "{} images could not be decoded so far and others took their places: {}",
            list.len(),
            path.display()
        ))
    }
}
