//! `scores/SET/CHECKPOINT.csv`: ROC, histograms, and the pairs at the ends.

use super::pictures::Pictures;
use super::table::{Problems, Table};
use super::thin::number;
use crate::evaluate::{Pair, PairSet, VerificationResult, score};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

const FOLDER: &str = "scores";
const BINS: usize = 50;
/// Points of a ROC may lie this much closer than a pixel of a large screen, not more.
const ROC_STEP: f64 = 1.0 / 800.0;
/// Decades of FAR that one [`ROC_STEP`] of the logarithmic axis stands for.
const ROC_DECADES: f64 = 5.0;
/// Pairs of each kind that are shown as pictures.
const SHOWN: usize = 8;

/// The distances of one set at one checkpoint.
pub struct Scores {
    pub set: String,
    pub checkpoint: String,
    pairs: PairSet,
    /// Squared L2 between normalised embeddings, of the pairs that are scored.
    distances: Vec<f64>,
    result: VerificationResult,
}

/// All files of a run, by set; of each set the checkpoint to look at first comes first.
pub fn read(run: &Path, problems: &mut Problems) -> Vec<Scores> {
    let mut scores = Vec::new();
    for set in names(&run.join(FOLDER), |path| path.is_dir()) {
        let folder = run.join(FOLDER).join(&set);
        let mut files = names(&folder, |path| path.extension().is_some_and(|e| e == "csv"));
        files.sort_by_key(|file| rank(file.trim_end_matches(".csv")));
        for file in files {
            let name = format!("{FOLDER}/{set}/{file}");
            let Some(table) = Table::read(&folder.join(&file), &name, problems) else { continue };
            let read = Scores::of(&set, file.trim_end_matches(".csv"), &table, &name, problems);
            scores.extend(read);
        }
    }
    scores
}

/// min-loss, latest, the newest epoch, what else there is, and the untrained network last.
fn rank(checkpoint: &str) -> (usize, i64) {
    let epoch = checkpoint.strip_prefix("epoch-").and_then(|n| n.parse::<i64>().ok());
    match (checkpoint, epoch) {
        ("min-loss", _) => (0, 0),
        ("latest", _) => (1, 0),
        (_, Some(epoch)) => (2, -epoch),
        ("untrained", _) => (4, 0),
        _ => (3, 0),
    }
}

/// The entries of a folder that `keep` takes, sorted; none of a folder that is not there.
fn names(folder: &Path, keep: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let kept = entries.filter(|entry| keep(&entry.path()));
    let mut names: Vec<String> =
        kept.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

impl Scores {
    fn of(
        set: &str,
        checkpoint: &str,
        table: &Table,
        name: &str,
        problems: &mut Problems,
    ) -> Option<Scores> {
        let columns = ["fold", "first", "second", "same", "distance"];
        let [fold, first, second, same, distance] = table.columns(columns, name, problems)?;
        let numbers = table.numbers(distance, name, problems);
        let mut pairs = PairSet::default();
        let mut index = HashMap::new();
        let (mut distances, mut tuning) = (Vec::new(), Vec::new());
        let mut left_out = 0;
        let kept = |row: &[String], d: Option<f64>| {
            let d = d.filter(|d| !d.is_nan())?;
            let same = ["0", "1"].iter().position(|text| *text == row[same])?;
            Some((d, same == 1, row[fold].parse::<usize>().ok()?))
        };
        let folds: BTreeSet<usize> = table
            .rows
            .iter()
            .zip(&numbers)
            .filter_map(|((_, row), &d)| kept(row, d).map(|(_, _, fold)| fold))
            .filter(|fold| *fold > 0)
            .collect();
        for ((_, row), &d) in table.rows.iter().zip(&numbers) {
            let Some((d, same, fold)) = kept(row, d) else {
                left_out += 1;
                continue;
            };
            let [first, second] = [first, second].map(|column| {
                *index.entry(row[column].clone()).or_insert_with(|| {
                    pairs.images.push(row[column].clone().into());
                    pairs.images.len() - 1
                })
            });
            let pair = Pair { first, second, same, fold: folds.range(..fold).count() };
            // Fold 0 tunes the threshold of the others.
            let (to, distance) = match fold {
                0 => (&mut pairs.tuning, &mut tuning),
                _ => (&mut pairs.pairs, &mut distances),
            };
            to.push(pair);
            distance.push(d);
        }
        if left_out > 0 {
            problems.add(format!("{name}: {left_out} pairs without fold, class or distance"));
        }
        pairs.folds = folds.len();
        let all = [distances.as_slice(), &tuning].concat();
        match score(&all, &pairs) {
            Ok(result) => {
                let (set, checkpoint) = (set.into(), checkpoint.into());
                Some(Scores { set, checkpoint, pairs, distances, result })
            }
            Err(e) => {
                problems.add(format!("{name}: {e}"));
                None
            }
        }
    }

    /// What the page draws: the ROC, the histograms, the numbers.
    pub fn page_data(&self) -> Value {
        let VerificationResult { genuine, impostors, threshold, auc, eer, accuracy, .. } =
            &self.result;
        json!({
            "set": self.set,
            "checkpoint": self.checkpoint,
            "genuine": genuine,
            "impostors": impostors,
            "accuracy": number(accuracy.over_folds.mean),
            "std": number(accuracy.over_folds.std),
            "threshold": number(*threshold),
            "auc": number(*auc),
            "eer": number(*eer),
            "roc": self.roc(),
            "histogram": self.histogram(),
        })
    }

    /// The ROC by rising FAR: no point is left out that lies more than [`ROC_STEP`] of an axis,
    /// linear or logarithmic, from the one before it.
    fn roc(&self) -> Value {
        let points = &self.result.roc;
        let decade = |far: f64| far.max(1e-12).log10() / ROC_DECADES;
        let mut kept: Vec<usize> = Vec::new();
        for (n, point) in points.iter().enumerate() {
            let far_from = |last: usize| {
                let last = points[last];
                (point.far - last.far).abs() >= ROC_STEP
                    || (point.tar - last.tar).abs() >= ROC_STEP
                    || (decade(point.far) - decade(last.far)).abs() >= ROC_STEP
            };
            if kept.last().is_none_or(|&last| far_from(last)) || n + 1 == points.len() {
                kept.push(n);
            }
        }
        let of = |value: fn(&crate::evaluate::roc::RocPoint) -> f64| -> Vec<Value> {
            kept.iter().map(|&n| number(value(&points[n]))).collect()
        };
        json!({ "far": of(|p| p.far), "tar": of(|p| p.tar), "threshold": of(|p| p.threshold) })
    }

    /// Counts of genuine and impostor pairs in equal bins from the least to the largest distance.
    fn histogram(&self) -> Value {
        let finite = || self.distances.iter().copied().filter(|d| d.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min).min(self.result.threshold);
        let high = finite().fold(f64::NEG_INFINITY, f64::max).max(self.result.threshold);
        if !(low.is_finite() && high.is_finite()) {
            return Value::Null;
        }
        let width = if high > low { (high - low) / BINS as f64 } else { 1.0 };
        let mut counts = [vec![0u64; BINS], vec![0; BINS]];
        for (d, pair) in self.distances.iter().zip(&self.pairs.pairs) {
            if d.is_finite() {
                let bin = (((d - low) / width) as usize).min(BINS - 1);
                counts[usize::from(pair.same)][bin] += 1;
            }
        }
        let [impostor, genuine] = counts;
        json!({ "low": low, "width": width, "genuine": genuine, "impostor": impostor })
    }

    /// The pairs at the ends as pictures, `SHOWN` of each kind.
    pub fn ends(&self, pictures: &mut Pictures) -> Value {
        let of = |same: bool, falling: bool| -> Vec<usize> {
            let pairs = &self.pairs.pairs;
            let mut order: Vec<usize> =
                (0..pairs.len()).filter(|&n| pairs[n].same == same).collect();
            order.sort_by(|&a, &b| self.distances[a].total_cmp(&self.distances[b]));
            if falling {
                order.reverse();
            }
            order.truncate(SHOWN);
            order
        };
        let mut shown = |title: &str, what: &str, order: Vec<usize>| {
            let pairs: Vec<Value> = order
                .into_iter()
                .map(|n| {
                    let Pair { first, second, fold, same } = self.pairs.pairs[n];
                    let d = self.distances[n];
                    let [first, second] =
                        [first, second].map(|i| pictures.take(&self.pairs.images[i].name()));
                    json!({
                        "first": first,
                        "second": second,
                        "distance": number(d),
                        "fold": fold + 1,
                        "right": (d < self.result.threshold) == same,
                    })
                })
                .collect();
            json!({ "title": title, "what": what, "pairs": pairs })
        };
        json!([
            shown("Hardest genuine", "one person, largest distance", of(true, true)),
            shown("Hardest impostor", "two persons, smallest distance", of(false, false)),
            shown("Easiest genuine", "one person, smallest distance", of(true, false)),
            shown("Easiest impostor", "two persons, largest distance", of(false, true)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(text: &str) -> (Option<Scores>, Vec<String>) {
        let mut problems = Problems::default();
        let table = Table::parse(text.as_bytes(), "s.csv", &mut problems);
        let scores = Scores::of("lfw", "latest", &table, "s.csv", &mut problems);
        (scores, problems.0)
    }

    #[test]
    fn ends_histogram_and_roc() {
        let mut text = "fold,first,second,same,distance\n".to_string();
        for n in 0..40 {
            let (same, distance) = (n % 2, if n % 2 == 1 { n as f64 } else { n as f64 + 20.0 });
            text.push_str(&format!("{},a{n},b,{same},{distance}\n", 3 + n / 20));
        }
        let (scores, problems) = scores(&text);
        let scores = scores.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        let ends = scores.ends(&mut Pictures::default());
        let distances = |group: usize| -> Vec<f64> {
            let pairs = ends[group]["pairs"].as_array().unwrap();
            pairs.iter().map(|pair| pair["distance"].as_f64().unwrap()).collect()
        };
        assert_eq!(distances(0)[..3], [39.0, 37.0, 35.0]);
        assert_eq!(distances(1)[..3], [20.0, 22.0, 24.0]);
        assert_eq!((distances(2)[0], distances(3)[0], distances(2).len()), (1.0, 58.0, 8));
        let data = scores.page_data();
        let sum = |class: &str| -> u64 {
            let counts = data["histogram"][class].as_array().unwrap();
            counts.iter().map(|n| n.as_u64().unwrap()).sum()
        };
        assert_eq!((sum("genuine"), sum("impostor")), (20, 20));
        let tar = data["roc"]["tar"].as_array().unwrap();
        assert_eq!((&tar[0], tar.last().unwrap()), (&json!(0.0), &json!(1.0)));
        assert_eq!(data["roc"]["threshold"].as_array().unwrap().last().unwrap(), "inf");
    }

    #[test]
    fn damage_is_said() {
        let header = "fold,first,second,same,distance\n";
        let (none, problems) = scores(&format!("{header}1,a,b,1,0.5\n1,a,c,2,0.5\n"));
        assert!(none.is_none());
        assert_eq!(problems[0], "s.csv: 1 pairs without fold, class or distance");
        assert!(problems[1].contains("0 impostor pairs"), "{problems:?}");
        let (none, problems) = scores("fold,first\n1,a\n");
        assert!(none.is_none() && problems[0].contains("no column `second`"), "{problems:?}");
    }

    #[test]
    fn the_best_checkpoint_comes_first() {
        let mut names = ["untrained", "epoch-0002", "other", "latest", "epoch-0010", "min-loss"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["min-loss", "latest", "epoch-0010", "epoch-0002", "other", "untrained"]);
    }
}
