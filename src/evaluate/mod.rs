//! Evaluation: is this the same person? Verification on pairs of images, retrieval in a gallery.

pub mod bin_set;
pub mod charts;
pub mod embedding;
pub mod eval_csv;
pub mod folds;
pub mod generated;
mod image_text;
pub mod lfw;
pub mod pairs;
pub mod pickle;
pub mod rankings;
pub mod retrieval;
pub mod roc;
pub mod scores_csv;
pub mod search_images;
pub mod set;
pub mod summary;
pub mod verification;

pub use bin_set::{Bin, from_bin};
pub use embedding::{Flip, merge_flip, squared_distances};
pub use generated::{UnseenPairs, generate};
pub use image_text::{ImageTextRetrieval, ImageTextSet};
pub use lfw::{Lfw, Missing, from_lfw};
pub use pairs::{Pair, PairSet};
pub use retrieval::{Retrieval, RetrievalSet};
pub use set::{Detail, EvaluationSet, Outcome, Texts, images_of, no_texts, score_all};
pub use verification::{Metric, VerificationResult, score};

use crate::config::DatasetPath;
use crate::data::Splits;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

crate::config_struct! {
    /// How the model is scored while it trains and at the end.
    pub struct Evaluate {
        /// Epochs between evaluations; 0: only at the end.
        pub every_epochs: usize = 1;
        /// Whether the initial weights are scored too, with the first evaluation.
        pub untrained: bool = true;
        /// The flip test.
        pub flip: Flip = Flip::None;
        /// Images embedded at a time.
        pub eval_batch_size: usize = 256, positive();
        /// What it is scored on: `[evaluate.sets.NAME]`. The name is the `set` in eval.csv.
        pub sets: BTreeMap<String, SetConfig> = BTreeMap::new();
    }
}

crate::config_family! {
    /// A set of image pairs to verify, or of queries to search in a gallery.
    pub enum SetConfig("evaluate.sets") {
        Lfw(Lfw) = "lfw",
        Bin(Bin) = "bin",
        UnseenPairs(UnseenPairs) = "unseen_pairs",
        Retrieval(Retrieval) = "retrieval",
        ImageText(ImageTextRetrieval) = "image_text",
    }
}

/// What to do with a set whose folder is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Leave the set out and say so: no training is refused for want of a benchmark.
    LeaveOut,
    Refuse,
}

/// Prepared sets, by name, and what the user should be told about them.
#[derive(Debug)]
pub struct Sets {
    pub sets: Vec<(String, EvaluationSet)>,
    pub notes: Vec<String>,
}

/// Every set, prepared, by name, and what the user should be told about them. `datasets` is
/// `paths.datasets`; `splits` the data, which only [`Evaluate::needs_data`] needs.
///
/// # Errors
/// Those of the sets, each with the set's key.
pub fn prepare(
    config: &Evaluate,
    datasets: &Path,
    splits: Option<&Splits>,
    seed: u64,
    absent: Absent,
) -> Result<Sets> {
    let unseen = splits.and_then(|splits| splits.unseen.as_ref());
    let mut sets = Vec::new();
    let mut notes = Vec::new();
    for (name, set) in &config.sets {
        let key = format!("evaluate.sets.{name}");
        let root = set.root();
        let place = root.resolve(datasets);
        let stated = !root.raw.as_os_str().is_empty();
        if absent == Absent::LeaveOut && stated && !place.exists() {
            notes.push(format!("{key} is left out: there is no {}", place.display()));
            continue;
        }
        let set = match set {
            SetConfig::Lfw(lfw) => lfw.build(datasets).map(EvaluationSet::Pairs),
            SetConfig::Bin(bin) => bin.build(datasets).map(EvaluationSet::Pairs),
            SetConfig::UnseenPairs(unseen_pairs) => {
                unseen_pairs.build(datasets, unseen, seed).map(EvaluationSet::Pairs)
            }
            SetConfig::Retrieval(retrieval) => {
                retrieval.build(datasets, splits).map(EvaluationSet::Retrieval)
            }
            SetConfig::ImageText(set) => set.build(datasets, splits).map(EvaluationSet::ImageText),
        };
        let checked = set.and_then(|set| set.check().map(|()| set));
        let set = checked.map_err(|error| in_set(&key, error))?;
        notes.extend(set.notes().iter().map(|note| format!("{key}: {note}")));
        notes.extend(set.doubts().iter().map(|note| format!("{key}: {note}")));
        sets.push((name.clone(), set));
    }
    Ok(Sets { sets, notes })
}

impl Evaluate {
    /// Whether a set is a part of the data's split.
    pub fn needs_data(&self) -> bool {
        self.sets.values().any(SetConfig::needs_data)
    }

    /// Whether a set is of pairs, which a threshold is tuned on.
    pub fn has_pairs(&self) -> bool {
        use SetConfig::{Bin, ImageText, Lfw, Retrieval, UnseenPairs};
        let of_pairs = |set: &SetConfig| match set {
            Lfw(_) | Bin(_) | UnseenPairs(_) => true,
            Retrieval(_) | ImageText(_) => false,
        };
        self.sets.values().any(of_pairs)
    }

    /// The sets that only a model with a text tower can be scored on, by name.
    pub fn of_texts(&self) -> Vec<&str> {
        let texts = self.sets.iter().filter(|(_, set)| matches!(set, SetConfig::ImageText(_)));
        texts.map(|(name, _)| name.as_str()).collect()
    }
}

impl SetConfig {
    fn needs_data(&self) -> bool {
        match self {
            SetConfig::Lfw(_) | SetConfig::Bin(_) => false,
            SetConfig::UnseenPairs(set) => set.root.raw.as_os_str().is_empty(),
            SetConfig::Retrieval(set) => set.needs_data(),
            SetConfig::ImageText(set) => set.needs_data(),
        }
    }

    /// The folder or file of the set's images.
    fn root(&self) -> &DatasetPath {
        match self {
            SetConfig::Lfw(set) => &set.root,
            SetConfig::Bin(set) => &set.path,
            SetConfig::UnseenPairs(set) => &set.root,
            SetConfig::Retrieval(set) => &set.query,
            SetConfig::ImageText(set) => &set.file,
        }
    }
}

fn in_set(key: &str, error: Error) -> Error {
    match error {
        Error::Input { message, help } => {
            Error::Input { message: format!("{key}: {message}"), help }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_prepared_by_name_with_their_notes() {
        let folder = tempfile::tempdir().unwrap();
        for image in ["A/A_0001.jpg", "A/A_0002.jpg", "B/B_0001.jpg"] {
            let path = folder.path().join("faces").join(image);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let pairs = "2\nA 1 2\nA 1 3\nA 1 B 9\nA 1 B 1\n";
        std::fs::write(folder.path().join("faces/pairs.txt"), pairs).unwrap();
        let faces = crate::config::DatasetPath { raw: "faces".into(), base: "none".into() };
        let mut config = Evaluate::default();
        let lfw = Lfw { root: faces.clone(), missing: Missing::Skip, ..Lfw::default() };
        config.sets.insert("b".into(), SetConfig::Lfw(lfw));
        let drawn = UnseenPairs { root: faces, pairs: 2, folds: 1, ..UnseenPairs::default() };
        config.sets.insert("a".into(), SetConfig::UnseenPairs(drawn));
        let Sets { sets, notes } =
            prepare(&config, folder.path(), None, 0, Absent::Refuse).unwrap();
        let counts: Vec<_> = sets.iter().map(|(name, set)| (name.as_str(), set.size())).collect();
        assert_eq!(counts, [("a", "2 pairs".into()), ("b", "2 pairs".into())]);
        let skipped = "evaluate.sets.b: 2 of 4 pairs skipped";
        assert!(notes.iter().any(|note| note.starts_with(skipped)), "{notes:?}");
    }

    #[test]
    fn an_absent_benchmark_is_left_out_aloud_or_refused() {
        let root = DatasetPath { raw: "nowhere".into(), base: "none".into() };
        let mut config = Evaluate::default();
        config.sets.insert("x".into(), SetConfig::Lfw(Lfw { root, ..Lfw::default() }));
        let Sets { sets, notes } =
            prepare(&config, Path::new("."), None, 0, Absent::LeaveOut).unwrap();
        assert!(sets.is_empty() && notes[0].contains("evaluate.sets.x is left out"), "{notes:?}");
        let error = prepare(&config, Path::new("."), None, 0, Absent::Refuse).unwrap_err();
        assert!(error.to_string().contains("evaluate.sets.x"), "{error}");
    }

    #[test]
    fn mistakes_name_their_set() {
        for (set, expected) in [
            (SetConfig::Lfw(Lfw::default()), "evaluate.sets.x: `root` is not stated"),
            (SetConfig::Bin(Bin::default()), "evaluate.sets.x: `path` is not stated"),
            (SetConfig::UnseenPairs(UnseenPairs::default()), "sets no identities aside"),
        ] {
            let mut config = Evaluate::default();
            config.sets.insert("x".into(), set);
            let error = prepare(&config, Path::new("."), None, 0, Absent::Refuse).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
