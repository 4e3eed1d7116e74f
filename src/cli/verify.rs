//! `run data verify`: the data is whole, and what was recorded.

use std::collections::BTreeMap;

use super::args::VerifyArgs;
use super::data_source::{Source, open, title};
use super::progress::Counter;
use super::say;
use crate::data::inspect::{Depth, look_at};
use crate::data::{DataConfig, PackFile, Splits};
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

/// Broken images that are named.
const NAMED: usize = 20;

/// # Errors
/// `Failed` where data is damaged or is not what was recorded, after everything was told.
pub fn verify(args: &VerifyArgs, verbosity: Verbosity) -> Result<()> {
    let VerifyArgs { source: path, settings } = args;
    let stop = StopFlag::listen()?;
    let source = Source::of(path)?;
    let plan = source.plan(path, settings)?;
    let splits = open(&source, &plan, verbosity, &stop)?;
    let experiment = &plan.experiment;
    let mut found = Findings { wrong: 0, text: format!("{}\n", title(path, &plan)) };

    let pack = match &experiment.data {
        DataConfig::Pack(pack) => {
            Some(PackFile::open(&pack.file.resolve(&experiment.paths.datasets))?)
        }
        _ => None,
    };
    let recorded = match (&source, &pack) {
        (Source::Run(info), _) => Some(("the run", info.data.clone())),
        (_, Some(pack)) => Some(("the pack", recorded(pack))),
        _ => None,
    };
    if let Some(pack) = &pack {
        match pack.check_texts() {
            Ok(()) => found.line("pack", "the checksums of header, index and names are right"),
            Err(error) => found.wrong("pack", &error.to_string()),
        }
    }
    fingerprints(&splits, recorded, &mut found)?;
    let broken = broken(&splits, verbosity, &stop)?;
    let images: usize = splits.parts().map(|(_, set)| set.distinct().len()).sum();
    match broken.len() {
        0 => found.line("images", &format!("{images}, and every one can be decoded")),
        n => found.wrong("images", &format!("{n} of {images} can't be decoded")),
    }
    broken.iter().take(NAMED).for_each(|line| found.line("", line));
    if broken.len() > NAMED {
        found.line("", &format!("... and {} more", broken.len() - NAMED));
    }
    say(&found.text)?;
    match found.wrong {
        0 => Ok(()),
        _ => Err(Error::failed(format!("{} is not as it should be: see above", path.display()))),
    }
}

/// What is to be told.
struct Findings {
    text: String,
    wrong: usize,
}

impl Findings {
    fn line(&mut self, name: &str, value: &str) {
        self.text.push_str(&format!("  {name:<12}{value}\n"));
    }

    fn wrong(&mut self, name: &str, value: &str) {
        self.wrong += 1;
        self.line(name, &format!("WRONG: {value}"));
    }
}

fn recorded(pack: &PackFile) -> BTreeMap<String, String> {
    pack.fingerprints().map(|(part, print)| (part.to_owned(), print.to_owned())).collect()
}

/// Each part's fingerprint, beside the recorded one where there is any.
fn fingerprints(
    splits: &Splits,
    recorded: Option<(&str, BTreeMap<String, String>)>,
    found: &mut Findings,
) -> Result<()> {
    let now = splits.fingerprints()?;
    let now_of = splits.parts().map(|(part, _)| (part, &now[part]));
    let Some((who, recorded)) = recorded else {
        now_of.for_each(|(part, print)| found.line(part, print));
        return Ok(());
    };
    for (part, print) in now_of {
        match recorded.get(part) {
            Some(then) if then == print => {
                found.line(part, &format!("{print}, as {who} recorded"));
            }
            Some(then) => found.wrong(
                part,
                &format!("{print}, but {who} recorded {then}: other names, sizes or identities"),
            ),
            None => found.wrong(part, &format!("{who} recorded no such part")),
        }
    }
    for part in recorded.keys().filter(|part| !now.contains_key(*part)) {
        found.wrong(part, &format!("{who} recorded it, and it is not there"));
    }
    Ok(())
}

/// Name and reason of every image that can't be decoded.
fn broken(splits: &Splits, verbosity: Verbosity, stop: &StopFlag) -> Result<Vec<String>> {
    let wanted: Vec<Vec<u32>> = splits.parts().map(|(_, set)| set.distinct()).collect();
    let total = wanted.iter().map(Vec::len).sum();
    let counter = Counter::new("decoding images", verbosity == Verbosity::Quiet);
    let (mut broken, mut before) = (Vec::new(), 0);
    for ((_, set), wanted) in splits.parts().zip(&wanted) {
        let looks = look_at(set, wanted, Depth::Decode, &|done, _| {
            counter.set(before + done, total);
            !stop.is_set()
        })?;
        before += wanted.len();
        for (index, look) in wanted.iter().zip(looks) {
            if let Some(fault) = look.fault {
                let image = set.items[*index as usize].image.display();
                broken.push(format!("{image}: {fault}"));
            }
        }
    }
    counter.finish();
    Ok(broken)
}
