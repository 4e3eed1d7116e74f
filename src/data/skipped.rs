//! Images that could not be decoded, shared between the loader's threads and the trainer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Dataset;
use crate::{Error, Result};

crate::config_choice! {
    /// What to do with an image that can't be decoded.
    pub enum OnCorrupt {
        /// Another image takes its place, from the same identity if it has one; it is counted
        /// and named once, and more than 1 % of the data set is an error.
        Skip = "skip",
        /// The run fails.
        Error = "error",
    }
}

/// The share of broken images above which the data set itself must be wrong.
const TOLERATED: f64 = 0.01;

/// Which items were broken and why, each once however often it is met.
#[derive(Debug, Default)]
pub struct Skipped {
    reasons: Mutex<BTreeMap<usize, String>>,
}

impl Skipped {
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Path and reason of every broken image, in the order of the data set.
    pub fn list(&self, dataset: &Dataset) -> Vec<(PathBuf, String)> {
        let named = |(i, reason): (&usize, &String)| {
            (dataset.items[*i].image.name().into_owned(), reason.clone())
        };
        self.lock().iter().map(named).collect()
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.lock().contains_key(&index)
    }

    /// # Errors
    /// The policy is `error`, or more than 1 % of the data set is broken.
    pub(super) fn report(
        &self,
        dataset: &Dataset,
        index: usize,
        reason: String,
        policy: OnCorrupt,
    ) -> Result<()> {
        let path = dataset.items[index].image.display();
        if policy == OnCorrupt::Error {
            return Err(Error::failed(format!("cannot decode {path}: {reason}"))
                .help("mend or remove the file, or set data.on_corrupt = \"skip\""));
        }
        let mut reasons = self.lock();
        reasons.insert(index, reason.clone());
        if reasons.len() as f64 > TOLERATED * dataset.len() as f64 {
            let (broken, all) = (reasons.len(), dataset.len());
            return Err(Error::failed(format!(
                "{broken} of the {all} images in {} can't be decoded so far, more than 1 %; \
                 the last is {path}: {reason}",
                dataset.root.display()
            ))
            .help("the data set is damaged: fetch or unpack it again"));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
