//! What is tuned on nine folds and scored on the tenth: accuracy and VAL@FAR.
//!
//! Paper: Schroff et al. 2015 (FaceNet), section 4; reference: davidsandberg/facenet `facenet.py`
//! and InsightFace `verification.py`. Pairs are the same person where distance < threshold.
//! A threshold grid turns distances into bins, so all folds and thresholds cost one pass over
//! the pairs and one over the bins.
//! Differs from the reference in: VAL@FAR interpolates on plateaus by `numpy.interp`'s rule, where
//! SciPy's spline of the reference fails.

use super::verification::Scores;

/// Mean, standard deviation (ddof 0) and standard error over folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub std: f64,
    pub standard_error: f64,
}

impl Spread {
    /// # Panics
    /// Without values.
    pub fn of(values: &[f64]) -> Self {
        assert!(!values.is_empty(), "a mean needs values");
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        Spread { mean, std, standard_error: std / n.sqrt() }
    }
}

/// Accuracy on each fold at the threshold of highest accuracy on the others.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldAccuracy {
    pub over_folds: Spread,
    pub per_fold: Vec<f64>,
    pub thresholds: Vec<f64>,
}

/// Validation rate (share of accepted genuine pairs) at a false accept rate tuned on the others.
#[derive(Clone, Debug, PartialEq)]
pub struct ValAtFar {
    /// False accept rate aimed at.
    pub target: f64,
    pub val: Spread,
    /// False accept rate reached on the folds that were scored.
    pub far: Spread,
    /// Per fold.
    pub thresholds: Vec<f64>,
}

/// Pairs of one class accepted by each threshold of a grid, per fold and together.
struct Accepted {
    /// `folds x thresholds`
    per_fold: Vec<Vec<usize>>,
    /// thresholds
    total: Vec<usize>,
    pairs_per_fold: Vec<usize>,
}

/// `i * step` for `i` below `count`, as `numpy.arange` computes it.
fn grid(step: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| i as f64 * step).collect()
}

impl Accepted {
    fn count(scores: &Scores, same: bool, thresholds: &[f64]) -> Self {
        let mut per_fold = vec![vec![0; thresholds.len()]; scores.folds];
        let mut pairs_per_fold = vec![0; scores.folds];
        for (pair, &distance) in scores.pairs.iter().zip(scores.distances) {
            if pair.same != same {
                continue;
            }
            pairs_per_fold[pair.fold] += 1;
            let first_above = thresholds.partition_point(|&t| t <= distance);
            if let Some(count) = per_fold[pair.fold].get_mut(first_above) {
                *count += 1;
            }
        }
        for counts in &mut per_fold {
            for i in 1..counts.len() {
                counts[i] += counts[i - 1];
            }
        }
        let total = (0..thresholds.len()).map(|i| per_fold.iter().map(|f| f[i]).sum()).collect();
        Accepted { per_fold, total, pairs_per_fold }
    }

    fn pairs(&self) -> usize {
        self.pairs_per_fold.iter().sum()
    }
}

/// Index of the first maximum (numpy's `argmax`).
fn first_argmax(values: impl Iterator<Item = usize>) -> usize {
    let (mut best, mut highest) = (0, None);
    for (i, value) in values.enumerate() {
        if highest.is_none_or(|h| value > h) {
            (best, highest) = (i, Some(value));
        }
    }
    best
}

/// The threshold `i * 0.01` below 4 of highest accuracy over all pairs (the first of several),
/// and cross-validated accuracy. With a single fold there is nothing to hold out: the accuracy
/// is then that of the threshold on the pairs it was tuned on.
pub(super) fn accuracy(scores: &Scores) -> (f64, FoldAccuracy) {
    let thresholds = grid(0.01, 400);
    let genuine = Accepted::count(scores, true, &thresholds);
    let impostor = Accepted::count(scores, false, &thresholds);
    // Right decisions at threshold i: genuine pairs accepted, impostors rejected.
    let impostors = impostor.pairs();
    let over_all = |i: usize| genuine.total[i] + impostors - impostor.total[i];
    let within = |fold: usize, i: usize| {
        let rejected = impostor.pairs_per_fold[fold] - impostor.per_fold[fold][i];
        genuine.per_fold[fold][i] + rejected
    };
    let stored = first_argmax((0..thresholds.len()).map(over_all));
    let (mut per_fold, mut tuned) = (Vec::new(), Vec::new());
    for fold in 0..scores.folds {
        let best = match scores.folds {
            1 => stored,
            _ => first_argmax((0..thresholds.len()).map(|i| over_all(i) - within(fold, i))),
        };
        let pairs = genuine.pairs_per_fold[fold] + impostor.pairs_per_fold[fold];
        per_fold.push(within(fold, best) as f64 / pairs as f64);
        tuned.push(thresholds[best]);
    }
    let over_folds = Spread::of(&per_fold);
    (thresholds[stored], FoldAccuracy { over_folds, per_fold, thresholds: tuned })
}

/// Accuracy at a threshold that was tuned elsewhere: the mean is over all pairs.
pub(super) fn accuracy_at(threshold: f64, scores: &Scores) -> FoldAccuracy {
    let (mut right, mut pairs) = (vec![0usize; scores.folds], vec![0usize; scores.folds]);
    for (pair, distance) in scores.pairs.iter().zip(scores.distances) {
        right[pair.fold] += usize::from((*distance < threshold) == pair.same);
        pairs[pair.fold] += 1;
    }
    let share = |right: usize, pairs: usize| right as f64 / pairs as f64;
    let per_fold: Vec<f64> = right.iter().zip(&pairs).map(|(r, p)| share(*r, *p)).collect();
    let mean = share(right.iter().sum(), scores.pairs.len());
    let over_folds = Spread { mean, ..Spread::of(&per_fold) };
    FoldAccuracy { over_folds, per_fold, thresholds: vec![threshold; scores.folds] }
}

/// VAL@FAR, or why it is undefined for these folds.
pub(super) fn val_at_far(scores: &Scores, target: f64) -> Result<ValAtFar, String> {
    if scores.folds == 1 {
        return Err("one fold leaves none to tune its threshold on".into());
    }
    let thresholds = grid(0.001, 4000);
    let genuine = Accepted::count(scores, true, &thresholds);
    let impostor = Accepted::count(scores, false, &thresholds);
    for fold in 0..scores.folds {
        for (class, name) in [(&genuine, "genuine"), (&impostor, "impostor")] {
            if class.pairs_per_fold[fold] == 0 {
                return Err(format!("fold {} of {} has no {name} pairs", fold + 1, scores.folds));
            }
        }
    }
    let (mut val, mut far, mut tuned) = (Vec::new(), Vec::new(), Vec::new());
    for fold in 0..scores.folds {
        let others = impostor.pairs() - impostor.pairs_per_fold[fold];
        let rate =
            |i: usize| (impostor.total[i] - impostor.per_fold[fold][i]) as f64 / others as f64;
        let threshold = threshold_at_far(target, &thresholds, rate);
        let share = |same: bool, class: &Accepted| {
            let accepted = scores.pairs.iter().zip(scores.distances);
            let accepted = accepted
                .filter(|(p, d)| p.fold == fold && p.same == same && **d < threshold)
                .count();
            accepted as f64 / class.pairs_per_fold[fold] as f64
        };
        val.push(share(true, &genuine));
        far.push(share(false, &impostor));
        tuned.push(threshold);
    }
    Ok(ValAtFar { target, val: Spread::of(&val), far: Spread::of(&far), thresholds: tuned })
}

/// Where the false accept rate, linear between thresholds, last equals `target`; 0 where it
/// never gets there. `rate(i)` does not fall with `i` and starts at 0, since no distance is
/// below 0.
fn threshold_at_far(target: f64, thresholds: &[f64], rate: impl Fn(usize) -> f64) -> f64 {
    let last = thresholds.len() - 1;
    if rate(last) < target {
        return 0.0;
    }
    let a = (0..=last).rfind(|&i| rate(i) <= target).expect("rate(0) is 0");
    if a == last || rate(a) == target {
        return thresholds[a];
    }
    let slope = (thresholds[a + 1] - thresholds[a]) / (rate(a + 1) - rate(a));
    thresholds[a] + slope * (target - rate(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_population_standard_deviation() {
        let spread = Spread::of(&[1.0, 3.0, 1.0, 3.0]);
        assert_eq!(spread, Spread { mean: 2.0, std: 1.0, standard_error: 0.5 });
    }

    #[test]
    fn the_grid_is_numpys() {
        let grid = grid(0.01, 400);
        assert_eq!(grid[29], 0.29);
        assert_ne!(grid[35], 0.35, "i * 0.01, not i / 100");
        assert_eq!(grid[35], 0.350_000_000_000_000_03);
    }

    #[test]
    fn far_thresholds_interpolate_after_the_plateau() {
        let thresholds = [0.0, 1.0, 2.0, 3.0];
        let at = |target, rates: [f64; 4]| threshold_at_far(target, &thresholds, |i| rates[i]);
        assert_eq!(at(0.25, [0.0, 0.0, 0.5, 1.0]), 1.5);
        assert_eq!(at(0.5, [0.0, 0.5, 0.5, 1.0]), 2.0, "the last of equals");
        assert_eq!(at(0.5, [0.0, 0.0, 0.0, 0.5]), 3.0, "the last threshold of all");
        assert_eq!(at(0.5, [0.0, 0.0, 0.0, 0.25]), 0.0, "never reached");
    }
}
