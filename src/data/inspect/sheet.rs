//! Samples before and after augmentation, as the network gets them.

use std::sync::Arc;

use crate::Result;
use crate::data::{Augmentation, Batch, Dataset, Loader, LoaderOptions, OnCorrupt, Preprocess};

/// Identities, one in a row.
const ROWS: usize = 12;
/// Epochs, one in a column after that of the image without a change.
const EPOCHS: usize = 7;

/// One image of each of some identities, a row each: first at the network's input size and otherwise
/// as it is, then as a training with `seed` has it in its first epochs (`sampler.kind = "shuffle"`).
/// Returns the images, row after row, and the number of columns; none of data without an image that
/// can be read.
///
/// # Errors
/// A file that can't be read.
pub fn contact_sheet(
    set: &Arc<Dataset>,
    preprocess: &Preprocess,
    augmentation: &Augmentation,
    seed: u64,
) -> Result<Option<(Batch, usize)>> {
    let loader = |augmentation: Option<&Augmentation>| {
        let options = LoaderOptions {
            batch_size: 1,
            seed,
            sampler: None,
            drop_last: false,
            workers: 1,
            prefetch: 1,
            on_corrupt: OnCorrupt::Skip,
            shard: Default::default(),
        };
        Loader::new(Arc::clone(set), preprocess.clone(), augmentation.cloned(), options)
    };
    let (plain, augmented) = (loader(None)?, loader(Some(augmentation))?);
    let Preprocess { height, width, .. } = *preprocess;
    let (images, labels, indices) = (Vec::new(), Vec::new(), Vec::new());
    let whole = indices.len();
    let mut sheet = Batch { images, labels, height, width, indices, whole };
    let mut add = |batch: Batch| {
        sheet.images.extend(batch.images);
        sheet.labels.extend(batch.labels);
        sheet.indices.extend(batch.indices);
    };
    for index in chosen(set) {
        let one = |loader: &Loader, epoch| loader.epoch(epoch, index).next();
        // A broken image has another in its place, or a data set of broken ones an error: no row then.
        let Some(Ok(first)) = one(&plain, 0) else { continue };
        if first.indices != [index] {
            continue;
        }
        add(first);
        for epoch in 0..EPOCHS {
            one(&augmented, epoch).transpose()?.into_iter().for_each(&mut add);
        }
    }
    Ok((!sheet.is_empty()).then_some((sheet, 1 + EPOCHS)))
}

/// The first image of each of [`ROWS`] identities, evenly over the data set.
fn chosen(set: &Dataset) -> Vec<usize> {
    let starts: Vec<usize> = (0..set.len())
        .filter(|at| *at == 0 || set.items[*at].label != set.items[at - 1].label)
        .collect();
    // Image-text data is of one label.
    let starts = if starts.len() < 2 { (0..set.len()).collect() } else { starts };
    let rows = ROWS.min(starts.len());
    (0..rows).map(|row| starts[row * starts.len() / rows]).collect()
}
