//! The verification protocol against an independent NumPy and scikit-learn version
//! (tools/parity/verification.py) and against the published MobileFaceNet's numbers.

use arcrun::evaluate::pairs::contiguous_folds;
use arcrun::evaluate::verification::VerificationResult;
use arcrun::evaluate::{
    Flip, Pair, PairSet, charts, merge_flip, score, scores_csv, squared_distances,
};
use serde_json::Value;
use std::path::Path;

const CLOSE: f64 = 1e-12;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/evaluate").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Pairs in ten contiguous folds over images that are only numbers.
fn pair_set(pairs: &[(usize, usize, bool)]) -> PairSet {
    let images = pairs.iter().map(|(a, b, _)| a.max(b) + 1).max().unwrap();
    let folds = contiguous_folds(pairs.len(), 10);
    let pair = |(&(first, second, same), fold)| Pair { first, second, same, fold };
    PairSet {
        images: (0..images).map(|i| i.to_string().into()).collect(),
        pairs: pairs.iter().zip(folds).map(pair).collect(),
        folds: 10,
        ..PairSet::default()
    }
}

/// Pair i is of images 2i and 2i + 1.
fn neighbours(same: impl IntoIterator<Item = bool>) -> PairSet {
    let pairs: Vec<_> =
        same.into_iter().enumerate().map(|(i, same)| (2 * i, 2 * i + 1, same)).collect();
    pair_set(&pairs)
}

fn assert_close(actual: f64, expected: f64, what: &str) {
    assert!((actual - expected).abs() <= CLOSE, "{what}: {actual} is not {expected}");
}

/// `i * 0.01`, by the step's number.
fn steps(thresholds: &[f64]) -> Vec<u32> {
    thresholds
        .iter()
        .map(|t| {
            let step = (t * 100.0).round();
            assert_eq!(*t, step * 0.01, "thresholds are multiples of the step");
            step as u32
        })
        .collect()
}

/// SplitMix64 as uniform numbers in [0, 1), the same bits as in verification.py.
struct SplitMix(u64);

impl SplitMix {
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-53)
    }
}

/// Distances and labels of set `seed`: random, tied, constant, separable or with duplicates.
fn score_set(seed: u64) -> (Vec<f64>, Vec<bool>) {
    let mut random = SplitMix(seed);
    let pairs = 40 + (random.draw() * 90.0) as usize;
    let (mut distances, mut same) = (Vec::<f64>::new(), Vec::new());
    for i in 0..pairs {
        let genuine = random.draw() < 0.5;
        let u = random.draw();
        let distance = match seed % 5 {
            0 if genuine => u * 2.5,
            0 => 0.5 + u * 3.5,
            1 => (u * 12.0).floor() / 8.0 + if genuine { 0.0 } else { 0.25 },
            2 if seed.is_multiple_of(2) => 1.25,
            2 => f64::from(u8::from(genuine)),
            3 if genuine => u,
            3 => 1.5 + u,
            _ if i > 8 && u < 0.5 => distances[(u * i as f64) as usize],
            _ => u * 4.0,
        };
        distances.push(distance);
        same.push(genuine);
    }
    (distances, same)
}

#[test]
fn a_thousand_score_sets_equal_numpy_and_scikit_learn() {
    let text = fixture("scores.csv");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let mut seen = 0;
    for row in rows.records() {
        let row = row.unwrap();
        let number = |i: usize| row[i].parse::<f64>().ok();
        let seed = row[0].parse().unwrap();
        let (distances, same) = score_set(seed);
        let set = neighbours(same);
        let result = score(&distances, &set).unwrap();
        let what = |name: &str| format!("set {seed}, {name}");

        let accuracy = &result.accuracy;
        let right: Vec<u32> = row[3].split(' ').map(|n| n.parse().unwrap()).collect();
        for (fold, right) in right.into_iter().enumerate() {
            let size = set.pairs.iter().filter(|pair| pair.fold == fold).count();
            let expected = f64::from(right) / size as f64;
            assert_eq!(accuracy.per_fold[fold], expected, "{}", what("fold"));
        }
        let expected: Vec<u32> = row[4].split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!(steps(&accuracy.thresholds), expected, "{}", what("thresholds"));
        assert_eq!(steps(&[result.threshold])[0].to_string(), row[5], "{}", what("threshold"));
        assert_close(accuracy.over_folds.mean, number(1).unwrap(), &what("accuracy"));
        assert_close(accuracy.over_folds.std, number(2).unwrap(), &what("std"));
        assert_close(result.auc, number(6).unwrap(), &what("auc"));
        assert_close(result.eer, number(7).unwrap(), &what("eer"));
        let val = result.val_at_far.first();
        assert_eq!(val.is_some(), number(8).is_some(), "{}", what("val"));
        if let Some(val) = val {
            assert_close(val.val.mean, number(8).unwrap(), &what("val"));
            assert_close(val.val.std, number(9).unwrap(), &what("val's std"));
            assert_close(val.far.mean, number(10).unwrap(), &what("far"));
        }
        for (i, tar) in result.tar_at_far.iter().enumerate() {
            assert_close(tar.tar, number(11 + i).unwrap(), &what("tar"));
        }
        seen += 1;
    }
    assert_eq!(seen, 1000);
}

#[test]
fn embeddings_with_each_flip_test_equal_numpy() {
    let cases: Value = serde_json::from_str(&fixture("embeddings.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let floats =
            |key: &str| -> Vec<f32> { list(&case[key]).into_iter().map(|v| v as f32).collect() };
        let index = |key: &str, i: usize| case[key][i].as_u64().unwrap() as usize;
        let pairs: Vec<_> = case["same"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(i, same)| (index("first", i), index("second", i), same.as_bool().unwrap()))
            .collect();
        let mut set = pair_set(&pairs);
        let dim = case["dim"].as_u64().unwrap() as usize;
        let (image, mirrored) = (floats("image"), floats("mirrored"));
        set.images = (0..image.len() / dim).map(|i| i.to_string().into()).collect();
        for flip in [Flip::None, Flip::Sum, Flip::Concat] {
            let (name, dim_merged) = match flip {
                Flip::None => ("none", dim),
                Flip::Sum => ("sum", dim),
                Flip::Concat => ("concat", 2 * dim),
            };
            let merged = merge_flip(&image, &mirrored, dim, flip);
            let distances = squared_distances(&merged, dim_merged, &set).unwrap();
            let expected = &case["results"][name];
            for (actual, expected) in distances.iter().zip(list(&expected["distances"])) {
                assert_close(*actual, expected, "distance");
            }
            assert_result(&score(&distances, &set).unwrap(), expected, name);
        }
    }
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn assert_result(result: &VerificationResult, expected: &Value, what: &str) {
    let accuracy = &result.accuracy;
    // serde_json may read a number an ulp off.
    let all_close = |actual: &[f64], key: &str| {
        let expected = list(&expected[key]);
        assert_eq!(actual.len(), expected.len(), "{what} {key}");
        for (actual, expected) in actual.iter().zip(expected) {
            assert_close(*actual, expected, &format!("{what} {key}"));
        }
    };
    all_close(&accuracy.per_fold, "per_fold");
    all_close(&accuracy.thresholds, "thresholds");
    let close = |actual: f64, key: &str| {
        assert_close(actual, expected[key].as_f64().unwrap(), &format!("{what} {key}"));
    };
    close(accuracy.over_folds.mean, "accuracy");
    close(accuracy.over_folds.std, "std");
    close(result.threshold, "threshold");
    close(result.auc, "auc");
    close(result.eer, "eer");
    for val in &result.val_at_far {
        close(val.val.mean, "val");
        close(val.val.std, "val_std");
        close(val.far.mean, "far");
    }
    for (tar, expected) in result.tar_at_far.iter().zip(list(&expected["tar"])) {
        assert_close(tar.tar, expected, &format!("{what} tar@far={}", tar.far));
    }
}

/// The published numbers of a MobileFaceNet on 400 pairs of LFW, from its distances.
#[test]
fn mobilefacenet_on_lfw_gives_the_published_numbers() {
    let fixture: Value = serde_json::from_str(&fixture("mobilefacenet_lfw400.json")).unwrap();
    let set = neighbours(fixture["same"].as_str().unwrap().chars().map(|c| c == '1'));
    for (flip, accuracy, std, eighth, thresholds, far, auc, eer) in [
        ("none", 0.9925, "1.146", 0.975, (1.30, 1.38), 0.010, 0.999875, 0.005),
        ("sum", 0.9925, "1.146", 0.975, (1.26, 1.24), 0.005, 0.999825, 0.010),
        ("concat", 0.99, "1.658", 0.95, (1.27, 1.26), 0.005, 0.999825, 0.010),
    ] {
        let distances = list(&fixture[flip]);
        if flip == "none" {
            for (actual, expected) in distances.iter().zip([0.732350, 0.267654, 0.562115]) {
                assert!((actual - expected).abs() < 1e-6, "{actual} is not {expected}");
            }
        }
        let result = score(&distances, &set).unwrap();
        let folds = &result.accuracy;
        assert_close(folds.over_folds.mean, accuracy, flip);
        assert_eq!(format!("{:.3}", 100.0 * folds.over_folds.std), std, "{flip}");
        let per_fold = [1.0, 1.0, 1.0, 0.975, 1.0, 1.0, 0.975, eighth, 1.0, 1.0];
        assert_eq!(folds.per_fold, per_fold, "{flip}");
        for (fold, threshold) in folds.thresholds.iter().enumerate() {
            let expected = if fold == 7 { thresholds.1 } else { thresholds.0 };
            assert_close(*threshold, expected, flip);
        }
        assert_close(result.threshold, thresholds.0, flip);
        let val = &result.val_at_far[0];
        assert_close(val.val.mean, 0.990, flip);
        assert_close(val.val.std, 0.020, flip);
        assert_close(val.far.mean, far, flip);
        assert_close(result.auc, auc, flip);
        assert_close(result.eer, eer, flip);
        let at_one_percent = result.tar_at_far.iter().find(|tar| tar.far == 1e-2).unwrap();
        assert_close(at_one_percent.tar, 0.995, flip);
        assert!(at_one_percent.resolved);
    }
}

/// scikit-learn's ROC, through the file that an evaluation writes, and in the picture of it.
#[test]
fn the_roc_of_written_scores_equals_scikit_learns() {
    let cases: Vec<Value> = serde_json::from_str(&fixture("roc.json")).unwrap();
    assert_eq!(cases.len(), 5);
    let run = tempfile::tempdir().unwrap();
    for case in cases {
        let numbers = |key: &str| -> Vec<f64> {
            case[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let (far, tar) = (numbers("far"), numbers("tar"));
        let (distances, same) = score_set(case["seed"].as_u64().unwrap());
        scores_csv::write(run.path(), "a/b", "latest", &neighbours(same), &distances).unwrap();
        let file = scores_csv::path(run.path(), "a/b", "latest");
        let (set, back) = scores_csv::read(&file).unwrap();
        assert_eq!(back, distances);
        let scored = charts::Scored::new("latest".into(), set, back).unwrap();
        let ours: Vec<(f64, f64)> = scored.result.roc.iter().map(|p| (p.far, p.tar)).collect();
        let theirs: Vec<(f64, f64)> = far.iter().copied().zip(tar.iter().copied()).collect();
        assert_eq!(ours, theirs, "points");
        assert_close(scored.result.auc, case["auc"].as_f64().unwrap(), "auc");

        let drawn = charts::roc("t".into(), vec![], std::slice::from_ref(&scored), false);
        let line = &drawn.series[0].points;
        let start = 1.0 / scored.result.impostors as f64;
        assert_eq!(line[0].0, start);
        for rate in far.iter().filter(|rate| **rate >= start) {
            // The highest true accept rate of this false accept rate is where the line goes on from.
            let highest = theirs.iter().filter(|p| p.0 == *rate).map(|p| p.1).fold(0.0, f64::max);
            let goes_on = line.iter().rfind(|point| point.0 <= *rate).unwrap().1;
            assert_eq!(goes_on, highest, "at {rate}");
        }
    }
}

/// LFW's View 1: the pairs of one set tune the threshold that scores another.
#[test]
fn a_threshold_tuned_on_other_pairs_equals_numpys() {
    let cases: Vec<Value> = serde_json::from_str(&fixture("view1.json")).unwrap();
    assert!(cases.len() > 40, "{}", cases.len());
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap();
        let seed = number("seed");
        let (mut distances, same) = score_set(2000 + seed * 7 % 60);
        let (tuning, tuning_same) = score_set(1000 + seed);
        let mut set = neighbours(same);
        set.folds = 1;
        set.pairs.iter_mut().for_each(|pair| pair.fold = 0);
        let pair = |same| Pair { first: 0, second: 1, same, fold: 0 };
        set.tuning = tuning_same.into_iter().map(pair).collect();
        distances.extend(tuning);
        let run = tempfile::tempdir().unwrap();
        scores_csv::write(run.path(), "v", "latest", &set, &distances).unwrap();
        let read = scores_csv::read(&scores_csv::path(run.path(), "v", "latest")).unwrap();
        for (set, distances) in [(&set, &distances), (&read.0, &read.1)] {
            let result = score(distances, set).unwrap();
            let what = format!("set {seed}");
            assert_eq!(u64::from(steps(&[result.threshold])[0]), number("step"), "{what}");
            let accuracy = number("right") as f64 / set.pairs.len() as f64;
            assert_eq!(result.accuracy.over_folds.mean, accuracy, "{what}");
            assert_close(result.auc, case["auc"].as_f64().unwrap(), &what);
            assert_eq!(result.metrics()[0].std, None);
        }
    }
}

#[test]
fn fine_rates_equal_numpys() {
    let expected: Value = serde_json::from_str(&fixture("fine_tar.json")).unwrap();
    let mut random = SplitMix(77);
    let near = (0..2000).map(|_| (random.draw().powi(2) * 2.0, true)).collect::<Vec<_>>();
    let far = (0..200_000).map(|_| (random.draw().sqrt() * 4.0, false)).collect::<Vec<_>>();
    let (distances, same): (Vec<f64>, Vec<bool>) = near.into_iter().chain(far).unzip();
    let pair = |same| Pair { first: 0, second: 1, same, fold: 0 };
    let set = PairSet {
        images: vec!["a".into(), "b".into()],
        pairs: same.into_iter().map(pair).collect(),
        folds: 1,
        ..PairSet::default()
    };
    let result = score(&distances, &set).unwrap();
    assert_eq!(result.tar_at_far.len(), 5);
    for at in &result.tar_at_far {
        assert!(at.resolved);
        assert_close(at.tar, expected[format!("{:e}", at.far)].as_f64().unwrap(), "tar");
    }
}
