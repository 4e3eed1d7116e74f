//! `run data synth`: draws a set of synthetic faces.

use super::args::SynthArgs;
use super::progress::Counter;
use super::say;
use crate::data::synthetic::{Identity, Recipe, generate_once, render};
use crate::data::{Batch, contact_sheet};
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

/// Identities (rows) and images of each (columns) on a contact sheet.
const SHEET: (usize, usize) = (10, 12);

pub fn synth(args: &SynthArgs, verbosity: Verbosity) -> Result<()> {
    let SynthArgs {
        output,
        identities,
        images,
        unseen,
        unseen_images,
        size,
        pairs,
        seed,
        contact_sheet,
    } = args;
    let size =
        u32::try_from(*size).map_err(|_| Error::input(format!("--size {size} is too large")))?;
    let recipe = Recipe {
        identities: *identities,
        images_per_identity: *images,
        unseen_identities: *unseen,
        unseen_images_per_identity: *unseen_images,
        size,
        pairs: *pairs,
        seed: *seed,
    };
    let counter = Counter::new("drawing faces", verbosity == Verbosity::Quiet);
    let begun = std::time::Instant::now();
    let stop = StopFlag::listen()?;
    let drew = generate_once(&recipe, output, &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    })?;
    counter.finish();
    if drew {
        let (count, seconds) = (recipe.images(), begun.elapsed().as_secs_f64());
        say(&format!(
            "{count} images in {} ({seconds:.1} s, {:.0} images/s)\n",
            output.display(),
            count as f64 / seconds
        ))?;
    } else {
        say(&format!("{} holds this data set already\n", output.display()))?;
    }
    let Some(path) = contact_sheet else { return Ok(()) };
    let (rows, columns) = (SHEET.0.min(*identities), SHEET.1.min(*images));
    let mut sheet = Batch {
        images: Vec::new(),
        labels: Vec::new(),
        height: size as usize,
        width: size as usize,
        whole: 0,
        indices: Vec::new(),
    };
    for number in 0..rows {
        let identity = Identity::new(*seed, number as u64);
        for image in 0..columns {
            let picture = render(&identity, image as u64, size, *seed);
            for channel in 0..3 {
                sheet.images.extend(picture.pixels().map(|pixel| pixel.0[channel]));
            }
            sheet.labels.push(number as i64);
            sheet.indices.push(sheet.indices.len());
        }
    }
    contact_sheet::write(&sheet, columns, path)?;
    say(&format!("contact sheet: {}\n", path.display()))
}
