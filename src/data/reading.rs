//! Dividing what a data source found; shared by all that name identities.

use std::collections::BTreeMap;

use super::image_folder::Fractions;
use super::scan::{Folder, Identity, dataset};
use super::split::{Shares, by_identity, within_identities};
use super::{Dataset, Image, LabelMap, OnCorrupt, Splits};
use crate::{Error, Result};

crate::config_choice! {
    /// How images of many identities are divided into training, validation and test.
    pub enum Division {
        /// Within each identity: every identity is trained on (closed set).
        Image = "image",
        /// Whole identities are held out for the test (open set).
        Identity = "identity",
    }
}

/// Divides what was found.
pub(super) struct Reading {
    pub shares: Shares,
    pub min_images: usize,
    pub seed: u64,
    /// To be said aloud.
    pub notes: Vec<String>,
}

impl Reading {
    pub fn new(fractions: &Fractions, min_images: usize, seed: u64) -> Self {
        let Fractions { train, validation, test } = *fractions;
        let shares = Shares { train, validation, test };
        Self { shares, min_images, seed, notes: Vec::new() }
    }

    /// All of it: drops identities with too few images and divides the others.
    pub fn divided(mut self, mut folder: Folder, division: Division) -> Result<Splits> {
        self.keep(&mut folder)?;
        match division {
            Division::Image => self.by_image(&folder),
            Division::Identity => self.by_identity(&folder),
        }
    }

    /// Drops identities with too few images.
    pub fn keep(&mut self, folder: &mut Folder) -> Result<()> {
        folder.keep_at_least(self.min_images, &mut self.notes);
        self.notes.extend(alike(folder));
        if folder.identities.is_empty() {
            return Err(Error::input(format!(
                "no identity in {} has data.min_images = {} images",
                folder.root.display(),
                self.min_images
            ))
            .help("lower data.min_images"));
        }
        Ok(())
    }

    pub fn by_image(mut self, folder: &Folder) -> Result<Splits> {
        let splits = self.divide(folder, folder.identities.iter(), self.shares)?;
        Ok(Splits { notes: self.notes, ..splits })
    }

    pub fn by_identity(mut self, folder: &Folder) -> Result<Splits> {
        let (kept, held_out, unused) = by_identity(folder, self.shares, self.seed)?;
        let unused_images: usize = unused.iter().map(|identity| identity.images.len()).sum();
        self.notes.push(format!(
            "split by identity: {} to train on, {} never trained on{}",
            kept.len(),
            held_out.len(),
            match unused.len() {
                0 => String::new(),
                n => format!(
                    ", {n} unused ({unused_images} images): the fractions sum to less than 1"
                ),
            }
        ));
        let closed = self.closed_shares();
        let splits = self.divide(folder, kept.iter(), closed)?;
        let names = held_out.iter().map(|identity| identity.name.clone()).collect();
        let unseen = dataset(&folder.root, LabelMap::new(names), &held_out);
        Ok(Splits { unseen: Some(unseen), notes: self.notes, ..splits })
    }

    /// Train and validation alone, in their proportion, with nothing unused.
    pub fn closed_shares(&self) -> Shares {
        let Shares { train, validation, .. } = self.shares;
        let sum = train + validation;
        Shares { train: train / sum, validation: validation / sum, test: 0.0 }
    }

    /// Divides the images of each of `identities`, which are of `folder`.
    pub fn divide<'a>(
        &mut self,
        folder: &Folder,
        identities: impl Iterator<Item = &'a Identity>,
        shares: Shares,
    ) -> Result<Splits> {
        let identities: Vec<&Identity> = identities.collect();
        if let [only] = identities.as_slice() {
            return Err(Error::input(format!(
                "{} holds one identity, `{}`; telling faces apart needs two",
                folder.root.display(),
                only.name
            ))
            .help("data.root may be one level too high"));
        }
        let names = identities.iter().map(|identity| identity.name.clone()).collect();
        let labels = LabelMap::new(names);
        let parts = within_identities(&identities, shares, self.seed)?;
        let part = |identities| dataset(&folder.root, labels.clone(), identities);
        let non_empty = |set: Dataset| (!set.is_empty()).then_some(set);
        if parts.unused > 0 {
            self.notes.push(format!(
                "{} of {} images stay unused: data.fractions sum to {:.3}",
                parts.unused,
                folder.images(),
                shares.train + shares.validation + shares.test
            ));
        }
        Ok(Splits {
            validation: non_empty(part(&parts.validation)),
            test: non_empty(part(&parts.test)),
            ..whole(part(&parts.train))
        })
    }
}

pub(super) fn whole(train: Dataset) -> Splits {
    Splits {
        train,
        validation: None,
        test: None,
        unseen: None,
        on_corrupt: OnCorrupt::Skip,
        notes: Vec::new(),
    }
}

/// Says which names differ only in case: on another file system they would be one folder.
fn alike(folder: &Folder) -> Option<String> {
    let mut of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for Identity { name, .. } in &folder.identities {
        of.entry(name.to_lowercase()).or_default().push(name);
    }
    let groups: Vec<String> =
        of.into_values().filter(|names| names.len() > 1).map(|names| names.join(" and ")).collect();
    let shown: Vec<&str> = groups.iter().map(String::as_str).collect();
    (!groups.is_empty()).then(|| {
        format!(
            "{}: names that differ only in case are different identities ({})",
            folder.root.display(),
            super::first(&shown)
        )
    })
}

/// Images by the name of their identity, as a folder.
pub(super) fn gathered(
    root: &std::path::Path,
    images: impl IntoIterator<Item = (String, Image)>,
) -> Folder {
    let mut of: BTreeMap<String, Vec<Image>> = BTreeMap::new();
    for (name, image) in images {
        of.entry(name).or_default().push(image);
    }
    let identities = of.into_iter().map(|(name, images)| Identity { name, images }).collect();
    Folder { root: root.into(), identities, ..Folder::default() }
}

/// Names that are all numbers get zeros in front, as many as the longest needs, so that their order is
/// that of the numbers. Other names stay as they are.
pub(super) fn in_order_of_numbers(names: &mut [String]) {
    let is_number = |name: &String| {
        name.len() <= 18 && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !names.iter().all(is_number) {
        return;
    }
    let digits = |name: &str| name.trim_start_matches('0').len().max(1);
    let longest = names.iter().map(|name| digits(name)).max().unwrap_or(0);
    for name in names {
        let number = &name[name.len() - digits(name)..];
        *name = format!("{number:0>longest$}");
    }
}
