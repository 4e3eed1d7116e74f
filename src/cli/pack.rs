//! `run data pack`: one file of a whole data source.

use std::time::Instant;

use super::args::{PackArgs, Settings};
use super::data_source::{Source, open};
use super::progress::Counter;
use super::say;
use crate::data::PackFile;
use crate::data::pack::write;
use crate::record::Verbosity;
use crate::train::session::workers;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

pub fn pack(args: &PackArgs, verbosity: Verbosity) -> Result<()> {
    let PackArgs { source: path, output, decoded, size, settings } = args;
    if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        let message = format!("there is no folder {} for the pack", folder.display());
        return Err(Error::input(message).help("create it first"));
    }
    let size = size.iter().flat_map(|size| {
        [format!("preprocess.height={}", size.height), format!("preprocess.width={}", size.width)]
    });
    let settings = Settings {
        set: settings.set.iter().cloned().chain(size).collect(),
        device: settings.device.clone(),
    };
    let stop = StopFlag::listen()?;
    let source = Source::of(path)?;
    let plan = source.plan(path, &settings)?;
    let splits = open(&source, &plan, verbosity, &stop)?;
    splits.notes.iter().for_each(|note| crate::tell!("note: {note}"));
    let parts: Vec<String> =
        splits.parts().map(|(name, set)| format!("{name} {}", set.len())).collect();
    let to = plan.experiment.preprocess.build();
    let counter = Counter::new("packing", verbosity == Verbosity::Quiet);
    let begun = Instant::now();
    let written = write(splits, decoded.then_some(&to), output, workers(&plan), &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    })?;
    counter.finish();
    let seconds = begun.elapsed().as_secs_f64();
    for (name, reason) in &written.broken {
        crate::tell!("warning: {}: {reason}", name.display());
    }
    let form = match decoded {
        true => format!("RGB pixels of {}x{} (height x width)", to.height, to.width),
        false => "files as they were".to_owned(),
    };
    let pack = PackFile::open(output)?;
    let fingerprints: Vec<String> =
        pack.fingerprints().map(|(part, print)| format!("  {part:<12}{print}\n")).collect();
    say(&format!(
        "{}: {} images, {form}, {:.1} MiB ({seconds:.1} s, {:.0} images/s)\n  {:<12}{}\n{}",
        output.display(),
        written.images,
        written.bytes as f64 / f64::from(1 << 20),
        written.images as f64 / seconds,
        "items",
        parts.join(", "),
        fingerprints.concat()
    ))
}
