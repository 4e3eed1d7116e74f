//! The LFW verification protocol over distances of pairs, as FaceNet and InsightFace count it.
//!
//! Tuned on nine folds and scored on the tenth: accuracy, VAL@FAR ([`super::folds`]). Over all
//! pairs: AUC, EER, TAR@FAR ([`super::roc`]) and the threshold that is kept for later use. Where a
//! set has pairs for tuning (LFW's View 1), these alone make the threshold.

use super::folds::{self, FoldAccuracy, ValAtFar};
use super::pairs::{Pair, PairSet};
use super::roc::{self, RocPoint, TarAtFar};
use crate::{Error, Result};
use std::fmt;

/// False accept rates reported by default: VAL@FAR's, and TAR@FAR's.
const VAL_TARGETS: [f64; 1] = [1e-3];
const TAR_TARGETS: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];
/// Reported where the impostor pairs are enough for them.
const FINE_TAR_TARGETS: [f64; 2] = [1e-5, 1e-6];

/// What the mark of an unresolved rate means.
pub const UNRESOLVED: &str = "* finer than the impostor pairs resolve: no false accept is allowed";

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
    /// The first threshold of highest accuracy over all pairs, or over those for tuning: same person
    /// where the squared L2 distance of normalised embeddings is below it.
    pub threshold: f64,
    /// Pairs for tuning, at whose threshold `accuracy` is; 0: the folds tune each other's.
    pub tuned_on: usize,
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
    /// Whether the rate is finer than the impostor pairs resolve, so that the value is that of every
    /// smaller rate too: print it with a mark, and say [`UNRESOLVED`].
    pub unresolved: bool,
}

impl Metric {
    pub fn new(name: impl Into<String>, value: f64, std: Option<f64>) -> Self {
        Metric { name: name.into(), value, std, unresolved: false }
    }

    /// `*` where the rate is unresolved.
    pub fn mark(&self) -> &'static str {
        if self.unresolved { "*" } else { "" }
    }
}

/// Scores pairs by their distances, one per [`PairSet::compared`].
///
/// # Errors
/// A set without pairs of both classes, a fold without pairs, a distance that is not a number.
///
/// # Panics
/// Where the number of distances is not that of pairs, or a pair's fold is not below `set.folds`.
pub fn score(distances: &[f64], set: &PairSet) -> Result<VerificationResult> {
    assert_eq!(distances.len(), set.compared().count(), "one distance per pair");
    let (distances, for_tuning) = distances.split_at(set.pairs.len());
    let scores = Scores { pairs: &set.pairs, distances, folds: set.folds };
    let tuning = Scores { pairs: &set.tuning, distances: for_tuning, folds: 1 };
    let (genuine, impostors) = both_classes(&scores, "the set has")?;
    if !set.tuning.is_empty() {
        both_classes(&tuning, "those that tune the threshold are")?;
    }
    let mut compared = set.compared().zip(distances.iter().chain(for_tuning));
    if let Some((pair, _)) = compared.find(|(_, d)| d.is_nan()) {
        let [a, b] = [pair.first, pair.second].map(|i| set.images[i].display());
        return Err(Error::failed(format!("the distance of {a} and {b} is not a number")));
    }
    if let Some(fold) = (0..set.folds).find(|fold| set.pairs.iter().all(|p| p.fold != *fold)) {
        let (fold, folds) = (fold + 1, set.folds);
        return Err(Error::input(format!("fold {fold} of {folds} has no pairs"))
            .help("use fewer folds, or supply the images of that fold"));
    }
    let mut notes = set.notes.clone();
    let (threshold, accuracy) = match set.tuning.is_empty() {
        true => folds::accuracy(&scores),
        false => {
            let (threshold, _) = folds::accuracy(&tuning);
            (threshold, folds::accuracy_at(threshold, &scores))
        }
    };
    if set.folds == 1 && set.tuning.is_empty() {
        notes.push("one fold: the threshold is tuned on the pairs it is scored on".into());
    }
    let mut val_at_far = Vec::new();
    for target in VAL_TARGETS {
        match folds::val_at_far(&scores, target) {
            Ok(val) => val_at_far.push(val),
            Err(why) => notes.push(format!("val@far={} is left out: {why}", rate_name(target))),
        }
    }
    let (roc, auc) = roc::roc(&scores);
    let at = |far: &f64| roc::tar_at_far(&scores, *far);
    let (fine, left_out): (Vec<_>, Vec<_>) =
        FINE_TAR_TARGETS.iter().map(at).partition(|tar| tar.resolved);
    if !left_out.is_empty() {
        let names: Vec<_> =
            left_out.iter().map(|t| format!("tar@far={}", rate_name(t.far))).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        let names = names.join(" and ");
        notes.push(format!("{names} {are} left out: {impostors} impostor pairs don't resolve it"));
    }
    Ok(VerificationResult {
        genuine,
        impostors,
        accuracy,
        threshold,
        tuned_on: set.tuning.len(),
        auc,
        eer: roc::equal_error_rate(&roc),
        val_at_far,
        tar_at_far: TAR_TARGETS.iter().map(at).chain(fine).collect(),
        roc,
        notes,
    })
}

/// The numbers of genuine and impostor pairs, neither of which is 0.
fn both_classes(scores: &Scores, whose: &str) -> Result<(usize, usize)> {
    match scores.classes() {
        (genuine, impostors) if genuine == 0 || impostors == 0 => Err(Error::input(format!(
            "verification needs genuine and impostor pairs, {whose} {genuine} genuine and \
             {impostors} impostor pairs"
        ))
        .help("no rate of errors is defined without both: use a set that has both kinds")),
        classes => Ok(classes),
    }
}

impl VerificationResult {
    /// All numbers by name. `far@far=F` is the false accept rate that the thresholds of
    /// `val@far=F` reach on the folds scored.
    pub fn metrics(&self) -> Vec<Metric> {
        let over_folds = &self.accuracy.over_folds;
        let std = (self.tuned_on == 0).then_some(over_folds.std);
        let mut metrics = vec![Metric::new("accuracy", over_folds.mean, std)];
        if std.is_some() {
            let error = over_folds.standard_error;
            metrics.push(Metric::new("accuracy_standard_error", error, None));
        }
        metrics.extend([
            Metric::new("threshold", self.threshold, None),
            Metric::new("auc", self.auc, None),
            Metric::new("eer", self.eer, None),
        ]);
        for ValAtFar { target, val, far, .. } in &self.val_at_far {
            let name = rate_name(*target);
            metrics.push(Metric::new(format!("val@far={name}"), val.mean, Some(val.std)));
            metrics.push(Metric::new(format!("far@far={name}"), far.mean, Some(far.std)));
        }
        for TarAtFar { far, tar, resolved } in &self.tar_at_far {
            let metric = Metric::new(format!("tar@far={}", rate_name(*far)), *tar, None);
            metrics.push(Metric { unresolved: !resolved, ..metric });
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
        write!(f, "accuracy {:.2} %", percent(accuracy.mean))?;
        match self.tuned_on {
            0 => {
                let [std, error] = [accuracy.std, accuracy.standard_error].map(percent);
                write!(f, " ± {std:.2} (standard error {error:.2})")?;
            }
            pairs => write!(f, " (threshold tuned on {pairs} other pairs)")?,
        }
        write!(
            f,
            ", threshold {:.2}, AUC {:.4}, EER {:.2} %",
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
        assert_eq!(result.notes.len(), 3, "{:?}", result.notes);
        let left_out = "tar@far=1e-5 and tar@far=1e-6 are left out: 1 impostor pairs";
        assert!(result.notes[2].starts_with(left_out), "{:?}", result.notes);
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
        let unresolved = result.metrics().into_iter().filter(|metric| metric.mark() == "*").count();
        assert_eq!(unresolved, 4, "two impostors resolve 0.5 alone");
        let line = result.to_string();
        assert!(line.contains("TAR@FAR=1e-3 100.00 %*"), "{line}");
    }

    #[test]
    fn pairs_for_tuning_make_the_threshold() {
        let pairs = [("0-a", "1-a", true), ("0-a", "3-b", false)];
        let mut set = set(&pairs, 1);
        set.tuning = set.pairs.clone();
        // Alone the pairs would be told apart at 0.11; those for tuning say 0.41.
        let result = score(&[0.1, 0.3, 0.4, 0.5], &set).unwrap();
        assert_eq!((result.tuned_on, result.accuracy.per_fold.as_slice()), (2, &[0.5][..]));
        assert!((result.threshold - 0.41).abs() < 1e-12, "{}", result.threshold);
        assert_eq!(result.metrics()[0], Metric::new("accuracy", 0.5, None));
        assert_eq!(result.metrics()[1].name, "threshold");
        assert!(result.to_string().contains("tuned on 2 other pairs"), "{result}");
        assert!(!result.notes.iter().any(|note| note.contains("tuned")), "{:?}", result.notes);
        set.tuning.truncate(1);
        let error = score(&[0.1, 0.3, 0.4], &set).unwrap_err().to_string();
        assert!(error.contains("those that tune the threshold are 1 genuine and 0"), "{error}");
    }

    #[test]
    fn finer_rates_come_with_enough_impostors() {
        let mut pairs = vec![("0-a", "3-b", false); 100_000];
        pairs.push(("0-a", "1-a", true));
        let mut distances = vec![1.0; 100_000];
        distances.push(0.5);
        let result = score(&distances, &set(&pairs, 1)).unwrap();
        let rates: Vec<f64> = result.tar_at_far.iter().map(|tar| tar.far).collect();
        assert_eq!(rates, [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]);
        assert!(result.tar_at_far.iter().all(|tar| tar.resolved));
        let note = result.notes.last().unwrap();
        assert!(note.starts_with("tar@far=1e-6 is left out: 100000 impostor pairs"), "{note}");
    }
}
