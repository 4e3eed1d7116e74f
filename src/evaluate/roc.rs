//! What is read from the ROC over all pairs: AUC, EER, TAR@FAR.

use super::verification::Scores;
use crate::Result;
use crate::checkpoint::durable;
use std::path::Path;

/// One operating point: pairs with distance < `threshold` are accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Squared L2; infinite in the last point, which accepts all.
    pub threshold: f64,
    /// False accept rate.
    pub far: f64,
    /// True accept rate.
    pub tar: f64,
}

/// True accept rate at a false accept rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TarAtFar {
    pub far: f64,
    pub tar: f64,
    /// Whether `far` is at least 1 / impostor pairs. Below that no false accept is allowed at
    /// all and the value is the same for every smaller `far`: print it with a mark.
    pub resolved: bool,
}

/// The ROC's points by rising threshold, from (0, 0) to (1, 1), one per distinct distance, and
/// the area under it: the probability that a genuine pair is closer than an impostor, ties 1/2.
pub(super) fn roc(scores: &Scores) -> (Vec<RocPoint>, f64) {
    let mut order: Vec<(f64, bool)> =
        scores.distances.iter().zip(scores.pairs).map(|(&d, pair)| (d, pair.same)).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (genuine, impostor) = scores.classes();
    let point = |threshold, accepted: (usize, usize)| RocPoint {
        threshold,
        far: accepted.1 as f64 / impostor as f64,
        tar: accepted.0 as f64 / genuine as f64,
    };
    let mut points = Vec::new();
    let mut accepted = (0, 0);
    let mut twice_area: u128 = 0;
    for ties in order.chunk_by(|a, b| a.0 == b.0) {
        points.push(point(ties[0].0, accepted));
        let tied_genuine = ties.iter().filter(|(_, same)| *same).count();
        let tied_impostor = ties.len() - tied_genuine;
        // Impostors of this distance lose to each genuine pair before them, tie with those here.
        twice_area += (tied_impostor * (2 * accepted.0 + tied_genuine)) as u128;
        accepted = (accepted.0 + tied_genuine, accepted.1 + tied_impostor);
    }
    points.push(point(f64::INFINITY, accepted));
    (points, twice_area as f64 / 2.0 / genuine as f64 / impostor as f64)
}

/// Equal error rate: where the ROC, linear between its points, has FAR = 1 - TAR.
pub(super) fn equal_error_rate(roc: &[RocPoint]) -> f64 {
    // Rises strictly from -1 to 1.
    let excess = |point: &RocPoint| point.far - (1.0 - point.tar);
    let after = roc.iter().position(|point| excess(point) >= 0.0).expect("the ROC ends at (1, 1)");
    let (a, b) = (&roc[after - 1], &roc[after]);
    a.far + (b.far - a.far) * -excess(a) / (excess(b) - excess(a))
}

/// Share of genuine pairs closer than the (k + 1)-th closest impostor, k = floor(far x impostors).
pub(super) fn tar_at_far(scores: &Scores, far: f64) -> TarAtFar {
    let class = |same: bool| {
        let pairs = scores.pairs.iter().zip(scores.distances).filter(move |(p, _)| p.same == same);
        pairs.map(|(_, &d)| d)
    };
    let mut impostors: Vec<f64> = class(false).collect();
    impostors.sort_unstable_by(f64::total_cmp);
    // The product of two decimals such as 0.29 x 100 may fall an ulp short of the integer meant.
    let allowed = (far * impostors.len() as f64 * (1.0 + 1e-12)).floor() as usize;
    let limit = impostors.get(allowed).copied().unwrap_or(f64::INFINITY);
    let (genuine, _) = scores.classes();
    let tar = class(true).filter(|&d| d < limit).count() as f64 / genuine as f64;
    TarAtFar { far, tar, resolved: allowed > 0 }
}

/// Writes the points of named ROCs as CSV, whole or not at all: `curve,threshold,far,tar`.
///
/// # Errors
/// A file that can't be written.
pub fn write_roc_csv(path: &Path, curves: &[(&str, &[RocPoint])]) -> Result<()> {
    durable::write_file(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(["curve", "threshold", "far", "tar"])?;
        for (name, points) in curves {
            for RocPoint { threshold, far, tar } in *points {
                let [threshold, far, tar] = [threshold, far, tar].map(f64::to_string);
                writer.write_record([*name, &threshold, &far, &tar])?;
            }
        }
        writer.flush()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::pairs::Pair;

    /// Genuine distances, impostor distances.
    fn with_scores<T>(genuine: &[f64], impostor: &[f64], then: impl Fn(&Scores) -> T) -> T {
        let pair = |same| Pair { first: 0, second: 0, same, fold: 0 };
        let pairs: Vec<Pair> = std::iter::repeat_n(pair(true), genuine.len())
            .chain(std::iter::repeat_n(pair(false), impostor.len()))
            .collect();
        let distances = [genuine, impostor].concat();
        then(&Scores { pairs: &pairs, distances: &distances, folds: 1 })
    }

    #[test]
    fn perfect_constant_and_inverted_scores() {
        for (genuine, impostor, auc, eer) in [
            (&[0.1, 0.2][..], &[0.3, 0.4][..], 1.0, 0.0),
            (&[0.5, 0.5], &[0.5, 0.5, 0.5], 0.5, 0.5),
            (&[0.3, 0.4], &[0.1, 0.2], 0.0, 1.0),
            (&[0.1, 0.3], &[0.2, 0.4], 0.75, 0.5),
        ] {
            let (points, area) = with_scores(genuine, impostor, roc);
            assert_eq!((area, equal_error_rate(&points)), (auc, eer), "{genuine:?} {impostor:?}");
        }
    }

    #[test]
    fn roc_points_accept_strictly_below_their_threshold() {
        let (points, _) = with_scores(&[0.1, 0.2], &[0.2], roc);
        let expected = [(0.1, 0.0, 0.0), (0.2, 0.0, 0.5), (f64::INFINITY, 1.0, 1.0)];
        let points: Vec<_> = points.iter().map(|p| (p.threshold, p.far, p.tar)).collect();
        assert_eq!(points, expected);
    }

    #[test]
    fn tar_counts_below_the_first_impostor_too_many() {
        let genuine = [0.0, 0.15, 0.2, 0.25, 1.0];
        let at = |far| with_scores(&genuine, &[0.1, 0.2, 0.3, 0.4], |s| tar_at_far(s, far));
        assert_eq!(at(0.25), TarAtFar { far: 0.25, tar: 0.4, resolved: true });
        assert_eq!(at(0.24), TarAtFar { far: 0.24, tar: 0.2, resolved: false });
        assert_eq!(at(1.0), TarAtFar { far: 1.0, tar: 1.0, resolved: true });
        let impostors: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        let tar = with_scores(&[0.285], &impostors, |s| tar_at_far(s, 0.29).tar);
        assert_eq!(tar, 1.0, "0.29 x 100 allows 29 false accepts");
    }

    #[test]
    fn roc_csv_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roc.csv");
        let (points, _) = with_scores(&[0.1], &[0.2], roc);
        write_roc_csv(&path, &[("latest, a", &points)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let rows = ["0.1,0,0", "0.2,0,1", "inf,1,1"].map(|row| format!("\"latest, a\",{row}\n"));
        assert_eq!(text, format!("curve,threshold,far,tar\n{}", rows.concat()));
        assert!(write_roc_csv(folder.path(), &[("latest", &points)]).is_err());
    }
}
