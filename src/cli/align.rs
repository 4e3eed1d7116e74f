//! `run data align`: faces in the place that ArcFace has them.

use super::args::AlignArgs;
use super::progress::Counter;
use super::say;
use crate::data::align::{Alignment, SKIPPED, align, read};
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::path::Path;

pub fn faces(args: &AlignArgs, verbosity: Verbosity) -> Result<()> {
    let AlignArgs { landmarks, output, images, size, jpeg } = args;
    if !(16..=4096).contains(size) {
        return Err(Error::input(format!("--size {size} is not between 16 and 4096")));
    }
    let beside = landmarks.parent().unwrap_or(Path::new(""));
    let alignment = Alignment {
        landmarks: landmarks.clone(),
        images: images.clone().unwrap_or_else(|| beside.to_owned()),
        size: *size,
        jpeg: *jpeg,
    };
    let faces = read(landmarks)?;
    let counter = Counter::new("aligning faces", verbosity == Verbosity::Quiet);
    let begun = std::time::Instant::now();
    let stop = StopFlag::listen()?;
    let outcome = align(&faces, &alignment, output, &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    });
    counter.finish();
    let outcome = outcome?;
    outcome.notes.iter().for_each(|note| crate::tell!("{note}"));
    if let [(first, reason), ..] = outcome.skipped.as_slice() {
        let (count, first) = (outcome.skipped.len(), first.display());
        let list = output.join(SKIPPED);
        crate::tell!("{count} broken images left out, see {}: {first}: {reason}", list.display());
    }
    let (count, seconds) = (outcome.written, begun.elapsed().as_secs_f64());
    let rate = count as f64 / seconds;
    say(&format!("{count} faces in {} ({seconds:.1} s, {rate:.0} images/s)\n", output.display()))
}
