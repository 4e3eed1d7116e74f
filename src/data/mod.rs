//! Data: from a folder to batches of bytes.
//!
//! [`open`] turns the `[data]` table into [`Splits`], lists of labelled image files; a [`Loader`]
//! turns one of them into [`Batch`]es at the network's input size.

mod augmentation;
pub mod contact_sheet;
mod dataset;
mod decode;
mod image_folder;
mod labels;
mod loader;
mod order;
#[cfg(test)]
mod parity;
mod pipeline;
mod preprocess;
mod render;
mod rotate;
mod scan;
mod skipped;
mod split;
pub mod synthetic;

use std::path::Path;

pub use augmentation::{Augmentation, Draw, RotationFill};
pub use dataset::{Dataset, Item, Splits};
pub use image_folder::{Fractions, ImageFolder, Split};
pub use labels::LabelMap;
pub use loader::{Batch, EpochIter, Loader, LoaderOptions};
pub use preprocess::{Preprocess, Resize};
pub use render::Renderer;
pub use skipped::{OnCorrupt, Skipped};

/// Bytes as lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first few names of a list, for messages.
fn first(names: &[&str]) -> String {
    let shown = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown}, ...") } else { shown }
}
