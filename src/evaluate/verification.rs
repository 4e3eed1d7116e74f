//! The LFW verification protocol over distances of pairs, as FaceNet and InsightFace count it.
//!
//! Tuned on nine folds and scored on the tenth: accuracy, VAL@FAR ([`super::folds`]). Over all
//! pairs: AUC, EER, TAR@FAR ([`super::roc`]) and the threshold that is kept for later use.

use super::folds::{self, FoldAccuracy, ValAtFar};
use super::pairs::{Pair, PairSet};
use super::roc::{self, RocPoint, TarAtFar};
use crate::{Error, Result};
use std::fmt;

/// False accept rates reported by default: VAL@FAR's, and TAR@FAR's.
const VAL_TARGETS: [f64; 1] = [1e-3];
const TAR_TARGETS: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];

/// Distances of pairs; each fold has pairs and so has each class.
pub(super) struct Scores<'a> {
    pub pairs: &'a [Pair],
    pub distances: &'a [f64],
    pub folds: usize,
}

impl Scores<'_> {
    /// Numbers of genuine and of impostor pairs.
    pub fn classes(&self) -> (usize, usize) {
        let genuine = self.pairs.iter().filter(|pair| pair.same).count();
        (genuine, self.pairs.len() - genuine)
    }
}

/// Everything reported about one set of pairs. Rates are fractions, distances squared L2.
#[derive(Clone, Debug, PartialEq)]
pub struct VerificationResult {
    pub genuine: usize,
    pub impostors: usize,
    pub accuracy: FoldAccuracy,
    /// The first threshold of highest accuracy over all pairs: same person where the squared L2
    /// distance of normalised embeddings is below it.
    pub threshold: f64,
    /// Area under the ROC of all pairs.
    pub auc: f64,
    /// Equal error rate of the ROC of all pairs.
    pub eer: f64,
    /// Empty where the folds don't define it, which `notes` then says.
    pub val_at_far: Vec<ValAtFar>,
    pub tar_at_far: Vec<TarAtFar>,
    pub roc: Vec<RocPoint>,
    /// What was left out or deserves doubt, and the notes of the pair set.
    pub notes: Vec<String>,
}

/// One number of a result, as eval.csv and the trackers take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `accuracy`, `threshold`, `auc`, `tar@far=1e-3` ...
    pub name: String,
    /// A fraction, or a squared distance for `threshold`.
    pub value: f64,
    /// Standard deviation (ddof 0) over folds.
    pub std: Option<f64>,
}

impl Metric {
    pub fn new(name: impl Into<String>, value: f64, std: Option<f64>) -> Self {
        Metric { name: name.into(), value, std }
    }
}

/// Scores pairs by their distances, one per pair of `set`.
///
/// # Errors
/// A set without pairs of both classes, a fold without pairs, a distance that is not a number.
///
/// # Panics
/// Where the number of distances is not that of pairs, or a pair's fold is not below `set.folds`.
pub fn score(distances: &[f64], set: &PairSet) -> Result<VerificationResult> {
    assert_eq!(distances.len(), set.pairs.len(), "one distance per pair");
    let scores = Scores { pairs: &set.pairs, distances, folds: set.folds };
    let (genuine, impostors) = scores.classes();
    if genuine == 0 || impostors == 0 {
        return Err(Error::input(format!(
            "verification needs genuine and impostor pairs, the set has {genuine} genuine and \
             {impostors} impostor pairs"
        )));
    }
    if let Some(i) = distances.iter().position(|d| d.is_nan()) {
        let [a, b] = [set.pairs[i].first, set.pairs[i].second].map(|i| set.images[i].display());
        return Err(Error::failed(format!("the distance of {a} and {b} is not a number")));
    }
    if let Some(fold) = (0..set.folds).find(|fold| set.pairs.iter().all(|p| p.fold != *fold)) {
        let (fold, folds) = (fold + 1, set.folds);
        return Err(Error::input(format!("fold {fold} of {folds} has no pairs"))
            .help("use fewer folds, or supply the images of that fold"));
    }
    let mut notes = set.notes.clone();
    if set.folds == 1 {
        notes.push("one fold: the threshold is tuned on the pairs it is scored on".into());
    }
    let (threshold, accuracy) = folds::accuracy(&scores);
    let mut val_at_far = Vec::new();
    for target in VAL_TARGETS {
        match folds::val_at_far(&scores, target) {
            Ok(val) => val_at_far.push(val),
            Err(why) => notes.push(format!("val@far={} is left out: {why}", rate_name(target))),
        }
    }
    let (roc, auc) = roc::roc(&scores);
    Ok(VerificationResult {
        genuine,
        impostors,
        accuracy,
        threshold,
        auc,
        eer: roc::equal_error_rate(&roc),
        val_at_far,
        tar_at_far: TAR_TARGETS.iter().map(|&far| roc::tar_at_far(&scores, far)).collect(),
        roc,
        notes,
    })
}

/// Accuracy of one threshold that was tuned elsewhere (View 1: pairsDevTrain, then pairsDevTest).
///
/// # Panics
/// Where the number of distances is not that of pairs.
pub fn accuracy_at(threshold: f64, distances: &[f64], set: &PairSet) -> f64 {
    assert_eq!(distances.len(), set.pairs.len(), "one distance per pair");
    let decided = distances.iter().zip(&set.pairs);
    let right = decided.filter(|(d, pair)| (**d < threshold) == pair.same).count();
    right as f64 / distances.len() as f64
}

impl VerificationResult {
    /// All numbers by name. `far@far=F` is the false accept rate that the thresholds of
    /// `val@far=F` reach on the folds scored.
    pub fn metrics(&self) -> Vec<Metric> {
        let over_folds = &self.accuracy.over_folds;
        let mut metrics = vec![
            Metric::new("accuracy", over_folds.mean, Some(over_folds.std)),
            Metric::new("accuracy_standard_error", over_folds.standard_error, None),
            Metric::new("threshold", self.threshold, None),
            Metric::new("auc", self.auc, None),
            Metric::new("eer", self.eer, None),
        ];
        for ValAtFar { target, val, far, .. } in &self.val_at_far {
            let name = rate_name(*target);
            metrics.push(Metric::new(format!("val@far={name}"), val.mean, Some(val.std)));
            metrics.push(Metric::new(format!("far@far={name}"), far.mean, Some(far.std)));
        }
        for TarAtFar { far, tar, .. } in &self.tar_at_far {
            metrics.push(Metric::new(format!("tar@far={}", rate_name(*far)), *tar, None));
        }
        metrics
    }
}

/// `1e-3`.
fn rate_name(rate: f64) -> String {
    format!("{rate:e}")
}

/// One line for people; TAR@FAR below the resolution of the impostors is marked with `*`.
impl fmt::Display for VerificationResult {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let percent = |fraction: f64| 100.0 * fraction;
        let accuracy = &self.accuracy.over_folds;
        write!(
            f,
            "accuracy {:.2} % ± {:.2} (standard error {:.2}), threshold {:.2}, AUC {:.4}, EER {:.2} %",
            percent(accuracy.mean),
            percent(accuracy.std),
            percent(accuracy.standard_error),
            self.threshold,
            self.auc,
            percent(self.eer)
        )?;
        for ValAtFar { target, val, .. } in &self.val_at_far {
            let (rate, mean, std) = (rate_name(*target), percent(val.mean), percent(val.std));
            write!(f, ", VAL@FAR={rate} {mean:.2} % ± {std:.2}")?;
        }
        for TarAtFar { far, tar, resolved } in &self.tar_at_far {
            let mark = if *resolved { "" } else { "*" };
            write!(f, ", TAR@FAR={} {:.2} %{mark}", rate_name(*far), percent(*tar))?;
        }
        if self.tar_at_far.iter().any(|tar| !tar.resolved) {
            write!(f, " (* finer than {} impostor pairs resolve)", self.impostors)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str, bool)], folds: usize) -> PairSet {
        let mut builder = super::super::pairs::PairSetBuilder::default();
        let fold = super::super::pairs::contiguous_folds(pairs.len(), folds);
        for ((a, b, same), fold) in pairs.iter().zip(fold) {
            builder.push(*a, *b, *same, fold);
        }
        builder.finish(folds, Vec::new())
    }

    #[test]
    fn one_class_or_an_empty_fold_is_said() {
        let one_class = set(&[("0-a", "1-a", true)], 1);
        let error = score(&[0.5], &one_class).unwrap_err().to_string();
        assert!(error.contains("1 genuine and 0 impostor pairs"), "{error}");
        let empty_fold = set(&[("0-a", "1-a", true), ("0-a", "2-b", false)], 3);
        let error = score(&[0.5, 1.0], &empty_fold).unwrap_err().to_string();
        assert!(error.contains("fold 3 of 3 has no pairs"), "{error}");
        let nan = set(&[("0-a", "1-a", true), ("0-a", "2-b", false)], 1);
        let error = score(&[0.5, f64::NAN], &nan).unwrap_err().to_string();
        assert!(error.contains("0-a and 2-b"), "{error}");
    }

    #[test]
    fn undefined_numbers_are_left_out_with_a_note() {
        let pairs = [("0-a", "1-a", true), ("0-a", "2-a", true), ("0-a", "3-b", false)];
        let result = score(&[0.1, 0.2, 0.3], &set(&pairs, 3)).unwrap();
        assert!(result.val_at_far.is_empty());
        assert!(
            result.notes[0].contains("fold 1 of 3 has no impostor pairs"),
            "{:?}",
            result.notes
        );
        let result = score(&[0.1, 0.2, 0.3], &set(&pairs, 1)).unwrap();
        assert_eq!(result.notes.len(), 2, "{:?}", result.notes);
    }

    #[test]
    fn metrics_are_named_fractions() {
        let pairs = [("0-a", "1-a", true), ("0-a", "3-b", false)].repeat(2);
        let result = score(&[0.1, 0.3, 0.1, 0.3], &set(&pairs, 2)).unwrap();
        let names: Vec<String> = result.metrics().into_iter().map(|m| m.name).collect();
        assert_eq!(
            names.join(" "),
            "accuracy accuracy_standard_error threshold auc eer val@far=1e-3 far@far=1e-3 \
             tar@far=1e-1 tar@far=1e-2 tar@far=1e-3 tar@far=1e-4"
        );
        assert_eq!(result.metrics()[0], Metric::new("accuracy", 1.0, Some(0.0)));
        let line = result.to_string();
        assert!(line.contains("TAR@FAR=1e-3 100.00 %*"), "{line}");
    }

    #[test]
    fn a_threshold_tuned_elsewhere() {
        let set = set(&[("0-a", "1-a", true), ("0-a", "3-b", false)], 1);
        assert_eq!(accuracy_at(0.3, &[0.1, 0.3], &set), 1.0);
        assert_eq!(accuracy_at(0.1, &[0.1, 0.3], &set), 0.5);
    }
}
