//! What a data source holds: counts, sizes, formats, broken images, duplicates.

mod duplicates;
mod histogram;
mod look;
mod picture;
mod sheet;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use duplicates::Among;
pub use histogram::{Bin, Spread};
pub use look::{Depth, Look, look_at};
pub use picture::images_per_identity;
pub use sheet::contact_sheet;
pub use text::text;

use super::{Dataset, Progress, Splits, first};
use crate::Result;
use duplicates::{Place, groups};

/// Everything that `run data inspect` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub parts: Vec<Part>,
    pub images: usize,
    /// Of all images together.
    pub bytes: u64,
    /// Of each image.
    pub file_bytes: Option<Spread>,
    pub widths: Option<Spread>,
    pub heights: Option<Spread>,
    /// Images by `WIDTHxHEIGHT`, the most frequent first; at most [`SIZES`].
    pub sizes: Vec<(String, usize)>,
    /// How many sizes there are.
    pub distinct_sizes: usize,
    pub formats: BTreeMap<&'static str, usize>,
    pub colours: BTreeMap<&'static str, usize>,
    /// Images that EXIF has turned or mirrored.
    pub turned: usize,
    /// Whether every image was decoded; otherwise broken ones are those whose header says so.
    pub decoded: bool,
    pub broken: Vec<Broken>,
    pub duplicates: Vec<Duplicates>,
    pub warnings: Vec<String>,
    /// What the source has to say about its split.
    pub notes: Vec<String>,
}

/// Sizes that are listed.
pub const SIZES: usize = 10;

/// One part of the split.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub name: &'static str,
    pub images: usize,
    /// Of image-text data; 0: the data has identities.
    pub captions: usize,
    /// Identities with an image in this part.
    pub identities: usize,
    /// Those of them that are trained on: all in a closed-set test.
    pub trained_on: usize,
    pub images_per_identity: Option<Spread>,
    pub histogram: Vec<Bin>,
    /// Images of each identity that has some.
    #[serde(skip)]
    pub counts: Vec<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Broken {
    pub part: &'static str,
    pub image: String,
    pub reason: String,
}

/// Images with the same bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Duplicates {
    pub among: Among,
    /// (part, identity, image)
    pub images: Vec<(&'static str, String, String)>,
}

/// Looks at every image of `splits`, in parallel.
///
/// # Errors
/// The machine failed to read a file, or `progress` said stop.
pub fn inspect(splits: &Splits, depth: Depth, progress: &Progress<'_>) -> Result<Report> {
    let sets: Vec<(&'static str, &Dataset)> = splits.parts().collect();
    let wanted: Vec<Vec<u32>> = sets.iter().map(|(_, set)| set.distinct()).collect();
    let total = wanted.iter().map(Vec::len).sum();
    let mut looks = Vec::with_capacity(sets.len());
    let mut before = 0;
    for ((_, set), wanted) in sets.iter().zip(&wanted) {
        let told = |done, _| progress(before + done, total);
        looks.push(look_at(set, wanted, depth, &told)?);
        before += wanted.len();
    }
    let mut report = summary(looks.iter().flatten());
    report.decoded = depth == Depth::Decode;
    let part = |((name, set), images): (&(&'static str, &Dataset), &Vec<u32>)| {
        part(name, set, images.len(), &splits.train)
    };
    report.parts = sets.iter().zip(&wanted).map(part).collect();
    report.notes.clone_from(&splits.notes);
    let mut hashes = Vec::with_capacity(total);
    for (n, (name, set)) in sets.iter().enumerate() {
        for (index, look) in wanted[n].iter().zip(&looks[n]) {
            let item = &set.items[*index as usize];
            match &look.fault {
                Some(reason) => report.broken.push(Broken {
                    part: name,
                    image: item.image.display(),
                    reason: reason.to_string(),
                }),
                None => {
                    hashes.push((look.hash, Place { part: n, label: item.label, index: *index }));
                }
            }
        }
    }
    drop(looks);
    let name_of = |place: &Place| sets[place.part].1.labels.names()[place.label as usize].as_str();
    let duplicate = |group: duplicates::Group| Duplicates {
        among: group.among,
        images: (group.places.iter())
            .map(|place| {
                let (part, set) = sets[place.part];
                let image = set.items[place.index as usize].image.display();
                (part, name_of(place).to_owned(), image)
            })
            .collect(),
    };
    report.duplicates = groups(hashes, name_of).into_iter().map(duplicate).collect();
    report.warnings = warnings(&sets, &report);
    Ok(report)
}

fn summary<'a>(looks: impl Iterator<Item = &'a Look>) -> Report {
    let looks: Vec<&Look> = looks.collect();
    let whole = || looks.iter().filter(|look| look.fault.is_none());
    let mut sizes: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    let (mut formats, mut colours) = (BTreeMap::new(), BTreeMap::new());
    for look in whole() {
        *sizes.entry((look.width, look.height)).or_default() += 1;
        *formats.entry(look.format).or_default() += 1;
        *colours.entry(look.colour).or_default() += 1;
    }
    let distinct_sizes = sizes.len();
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sizes.truncate(SIZES);
    let named = |((width, height), count)| (format!("{width}x{height}"), count);
    Report {
        parts: Vec::new(),
        images: looks.len(),
        bytes: looks.iter().map(|look| look.bytes).sum(),
        file_bytes: Spread::of(looks.iter().map(|look| look.bytes)),
        widths: Spread::of(whole().map(|look| u64::from(look.width))),
        heights: Spread::of(whole().map(|look| u64::from(look.height))),
        sizes: sizes.into_iter().map(named).collect(),
        distinct_sizes,
        formats,
        colours,
        turned: whole().filter(|look| look.turned).count(),
        decoded: false,
        broken: Vec::new(),
        duplicates: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
    }
}

fn part(name: &'static str, set: &Dataset, images: usize, train: &Dataset) -> Part {
    let mut counts = Vec::new();
    let mut trained_on = 0;
    if set.captions.is_empty() {
        let trained = train.images_per_identity();
        for (identity, count) in set.labels.names().iter().zip(set.images_per_identity()) {
            if count > 0 {
                counts.push(count);
                let label = train.labels.label(identity);
                trained_on += usize::from(label.is_some_and(|label| trained[label as usize] > 0));
            }
        }
    }
    Part {
        name,
        images,
        captions: set.captions.len(),
        identities: counts.len(),
        trained_on,
        images_per_identity: Spread::of(counts.iter().map(|count| *count as u64)),
        histogram: histogram::histogram(&counts),
        counts,
    }
}

/// What a user should look into, one sentence each.
fn warnings(sets: &[(&'static str, &Dataset)], report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let named = |name: &str| sets.iter().find(|(part, _)| *part == name).map(|(_, set)| *set);
    if let (Some(train), Some(unseen)) = (named("train"), named("unseen")) {
        let both: Vec<&str> = (unseen.labels.names().iter())
            .filter(|name| train.labels.label(name).is_some())
            .map(String::as_str)
            .collect();
        if !both.is_empty() {
            warnings.push(format!(
                "{} identities of unseen are trained on too ({}): they are not unseen",
                both.len(),
                first(&both)
            ));
        }
    }
    let all: BTreeSet<&String> = sets.iter().flat_map(|(_, set)| set.labels.names()).collect();
    let mut by_lower: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in all {
        by_lower.entry(name.to_lowercase()).or_default().push(name);
    }
    let alike: Vec<String> =
        by_lower.into_values().filter(|names| names.len() > 1).map(|n| n.join(" / ")).collect();
    if !alike.is_empty() {
        let shown: Vec<&str> = alike.iter().map(String::as_str).collect();
        warnings.push(format!(
            "{} names of identities differ only in upper and lower case ({}): one person, perhaps",
            alike.len(),
            first(&shown)
        ));
    }
    if let Some(train) = named("train") {
        let counts = train.images_per_identity();
        let empty: Vec<&str> = (train.labels.names().iter().zip(counts))
            .filter_map(|(name, count)| (count == 0).then_some(name.as_str()))
            .collect();
        if !empty.is_empty() {
            warnings.push(format!(
                "{} identities have no image to train on ({})",
                empty.len(),
                first(&empty)
            ));
        }
    }
    let count = |among| report.duplicates.iter().filter(|group| group.among == among).count();
    for (among, says) in [
        (Among::Parts, "images are in more than one part: what they score was trained on"),
        (Among::Identities, "images are of more than one identity: a label is wrong"),
    ] {
        match count(among) {
            0 => {}
            n => warnings.push(format!("{n} {says}")),
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
