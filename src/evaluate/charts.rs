//! Pictures of an evaluation: the ROC, and how the distances of both kinds of pairs are spread.

use super::pairs::PairSet;
use super::roc::RocPoint;
use super::verification::{VerificationResult, score};
use crate::Result;
use crate::checkpoint::durable;
use crate::plot::{LineChart, Mark, Series, Style, number};
use std::path::Path;

/// Bars of a histogram.
const BINS: usize = 60;

/// The scores of a checkpoint on a set, under the name that the picture gives them.
#[derive(Clone, Debug)]
pub struct Scored {
    pub name: String,
    pub result: VerificationResult,
    pub set: PairSet,
    pub distances: Vec<f64>,
}

impl Scored {
    /// # Errors
    /// Those of [`score`].
    pub fn new(name: String, set: PairSet, distances: Vec<f64>) -> Result<Scored> {
        Ok(Scored { name, result: score(&distances, &set)?, set, distances })
    }

    /// `latest: AUC 0.9808, TAR 0.4053 at FAR 0.001`, of the finest rate that the pairs resolve.
    fn legend(&self) -> String {
        let finest = self.result.tar_at_far.iter().rfind(|tar| tar.resolved);
        let tar = finest.map(|at| format!(", TAR {:.4} at FAR {}", at.tar, number(at.far)));
        format!("{}: AUC {:.4}{}", self.name, self.result.auc, tar.unwrap_or_default())
    }

    fn distances_of(&self, same: bool) -> Vec<f64> {
        let pairs = self.set.pairs.iter().zip(&self.distances);
        pairs.filter(|(pair, _)| pair.same == same).map(|(_, distance)| *distance).collect()
    }
}

/// The true accept rate over the false accept rate, which lies on a logarithmic axis from one false
/// accept on; dots where the rates of `tar@far` are. `overlaid`: the last two may be the same weights,
/// so the last line has gaps that show the one below.
pub fn roc(title: String, subtitle: Vec<String>, scored: &[Scored], overlaid: bool) -> LineChart {
    let most = scored.iter().map(|s| s.result.impostors).max().unwrap_or(1).max(1);
    let mut series = Vec::new();
    let last = scored.len().saturating_sub(1);
    for (n, scored) in scored.iter().enumerate() {
        let impostors = scored.result.impostors;
        let line = Series::line(scored.legend(), staircase(&scored.result.roc, impostors));
        let style = if overlaid && n == last && n > 0 { Style::Dashed } else { Style::Line };
        series.push(line.style(style).colour(n));
        let resolved = scored.result.tar_at_far.iter().filter(|at| at.resolved);
        let apart = (f64::NAN, f64::NAN);
        let dots = resolved.flat_map(|at| [(at.far, at.tar), apart]).collect();
        series.push(Series::line("", dots).style(Style::Dots).colour(n));
    }
    LineChart {
        title,
        subtitle,
        x_label: "false accept rate".into(),
        y_label: "true accept rate".into(),
        log_x: true,
        x_range: Some((1.0 / most as f64, 1.0)),
        y_range: Some((0.0, 1.0)),
        series,
        ..LineChart::default()
    }
}

/// Corners of the line that has, at each false accept rate from one pair on, the highest true accept
/// rate that keeps to it. Rates are what counts of pairs allow, so it rises in steps.
fn staircase(roc: &[RocPoint], impostors: usize) -> Vec<(f64, f64)> {
    let start = 1.0 / impostors.max(1) as f64;
    let mut line: Vec<(f64, f64)> = vec![(start, 0.0)];
    for point in roc {
        let (_, tar) = line[line.len() - 1];
        // Rounding may put 1 / n beside 1 / n.
        if point.far <= start * (1.0 + 1e-9) {
            line[0].1 = point.tar.max(tar);
            continue;
        }
        match line.last_mut() {
            Some(last) if last.0 == point.far => last.1 = last.1.max(point.tar),
            _ => line.extend([(point.far, tar), (point.far, point.tar)]),
        }
    }
    line
}

/// The ends of the histograms' axis.
fn ends(scored: &[Scored]) -> (f64, f64) {
    let all = || scored.iter().flat_map(|scored| &scored.distances[..scored.set.pairs.len()]);
    let low = all().copied().fold(f64::INFINITY, f64::min);
    let high = all().copied().fold(f64::NEG_INFINITY, f64::max);
    match (low, high) {
        (low, high) if high <= low => (low - 0.5, low + 0.5),
        // An axis that would begin near 0 begins there.
        (low, high) if low <= 0.3 * high => (0.0, high),
        ends => ends,
    }
}

/// Values in each of [`BINS`] equal bins; the highest is in the last.
fn counts(values: &[f64], low: f64, high: f64) -> [usize; BINS] {
    let mut counts = [0; BINS];
    let width = (high - low) / BINS as f64;
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    counts
}

/// The lower edge of a bin, or with [`BINS`] the upper one of the last.
fn edge(bin: usize, low: f64, high: f64) -> f64 {
    if bin == BINS { high } else { low + (high - low) / BINS as f64 * bin as f64 }
}

/// Writes the bars of [`histogram`] as counts, whole or not at all:
/// `curve,lower,upper,genuine,impostor`.
///
/// # Errors
/// A file that can't be written.
pub fn write_histogram_csv(path: &Path, scored: &[Scored]) -> Result<()> {
    let (low, high) = ends(scored);
    durable::write_file(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(["curve", "lower", "upper", "genuine", "impostor"])?;
        for one in scored {
            let [genuine, impostors] =
                [true, false].map(|same| counts(&one.distances_of(same), low, high));
            for bin in 0..BINS {
                let [lower, upper] = [bin, bin + 1].map(|bin| edge(bin, low, high).to_string());
                let [genuine, impostors] = [genuine[bin], impostors[bin]].map(|n| n.to_string());
                writer.write_record([&one.name, &lower, &upper, &genuine, &impostors])?;
            }
        }
        writer.flush()
    })
}

/// The shares of genuine and of impostor pairs by their distance. Of one checkpoint filled and with
/// the threshold that was tuned over all pairs; of several as lines.
pub fn histogram(title: String, subtitle: Vec<String>, scored: &[Scored]) -> LineChart {
    let (low, high) = ends(scored);
    let mut series = Vec::new();
    for (n, one) in scored.iter().enumerate() {
        let [genuine, impostors] =
            [true, false].map(|same| bars(&one.distances_of(same), low, high));
        match scored.len() {
            1 => {
                series.push(Series::line("genuine pairs", genuine).style(Style::Filled));
                series.push(Series::line("impostor pairs", impostors).style(Style::Filled));
            }
            _ => {
                series.push(Series::line(one.name.clone(), genuine).colour(n));
                series.push(Series::line("", impostors).style(Style::Dashed).colour(n));
            }
        }
    }
    let mut x_marks = Vec::new();
    if let [one] = scored {
        let at = one.result.threshold;
        x_marks.push(Mark { at, name: format!("threshold {}", number(at)) });
    }
    let highest = series.iter().flat_map(|s| &s.points).map(|p| p.1).fold(0.0, f64::max);
    LineChart {
        title,
        subtitle,
        x_label: "squared L2 distance of the embeddings".into(),
        y_label: "share of the pairs of a kind".into(),
        x_range: Some((low, high)),
        y_range: Some((0.0, highest * 1.05)),
        series,
        x_marks,
        ..LineChart::default()
    }
}

/// The outline of a histogram of `values`, as shares of them.
fn bars(values: &[f64], low: f64, high: f64) -> Vec<(f64, f64)> {
    let share = |count: usize| count as f64 / values.len().max(1) as f64;
    let mut outline = vec![(low, 0.0)];
    for (n, count) in counts(values, low, high).into_iter().enumerate() {
        let edge = |n: usize| edge(n, low, high);
        outline.extend([(edge(n), share(count)), (edge(n + 1), share(count))]);
    }
    outline.push((high, 0.0));
    outline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::pairs::PairSetBuilder;

    fn scored(genuine: &[f64], impostors: &[f64]) -> Scored {
        let mut builder = PairSetBuilder::default();
        for (n, same) in
            genuine.iter().map(|_| true).chain(impostors.iter().map(|_| false)).enumerate()
        {
            builder.push(format!("{n}a"), format!("{n}b"), same, 0);
        }
        let distances = [genuine, impostors].concat();
        Scored::new("latest".into(), builder.finish(1, Vec::new()), distances).unwrap()
    }

    /// At every rate the line is TAR@FAR as eval.csv has it.
    #[test]
    fn the_line_is_tar_at_far() {
        let genuine: Vec<f64> = (0..500).map(|n| f64::from(n * n % 997) / 400.0).collect();
        let impostors: Vec<f64> =
            (0..1000).map(|n| 0.2 + f64::from(n * n % 1009) / 300.0).collect();
        let scored = scored(&genuine, &impostors);
        let chart = roc("t".into(), vec![], std::slice::from_ref(&scored), true);
        let line = &chart.series[0].points;
        assert_eq!((line[0].0, line[line.len() - 1]), (1e-3, (1.0, 1.0)));
        assert!(line.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        let at = |far: f64| line.iter().rfind(|point| point.0 <= far * (1.0 + 1e-9)).unwrap().1;
        let resolved = scored.result.tar_at_far.iter().filter(|tar| tar.resolved);
        let mut seen = 0;
        for tar in resolved {
            assert_eq!(at(tar.far), tar.tar, "at {}", tar.far);
            assert!(chart.series[1].points.contains(&(tar.far, tar.tar)));
            seen += 1;
        }
        assert_eq!(seen, 3);
        assert!(chart.series[0].name.starts_with("latest: AUC 0."), "{}", chart.series[0].name);
        assert!(chart.series[0].name.ends_with("at FAR 0.001"), "{}", chart.series[0].name);
    }

    #[test]
    fn bars_hold_every_pair_once() {
        let scored = scored(&[0.0, 0.1, 0.1, 4.0], &[1.0, 2.0, 3.0]);
        let chart = histogram("t".into(), vec![], std::slice::from_ref(&scored));
        for series in &chart.series {
            let tops = series.points[1..series.points.len() - 1].chunks(2);
            let sum: f64 = tops.map(|top| top[0].1).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{}: {sum}", series.name);
        }
        assert_eq!(chart.series[0].points[1], (0.0, 0.25));
        assert_eq!(chart.x_marks[0].at, scored.result.threshold);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        write_histogram_csv(&path, std::slice::from_ref(&scored)).unwrap();
        let mut rows = csv::Reader::from_path(&path).unwrap();
        let rows: Vec<(String, f64, f64, usize, usize)> =
            rows.deserialize().collect::<std::result::Result<_, _>>().unwrap();
        assert_eq!((rows.len(), rows[0].1, rows[BINS - 1].2), (BINS, 0.0, 4.0));
        assert!(rows.windows(2).all(|two| two[0].2 == two[1].1 && two[0].0 == "latest"));
        let sum = |count: fn(&(String, f64, f64, usize, usize)) -> usize| {
            rows.iter().map(count).sum::<usize>()
        };
        assert_eq!((sum(|row| row.3), sum(|row| row.4)), (4, 3));
        let several = histogram("t".into(), vec![], &[scored.clone(), scored]);
        assert_eq!((several.series.len(), several.x_marks.len()), (4, 0));
    }

    #[test]
    fn one_distance_and_one_impostor_are_drawn_too() {
        let scored = scored(&[0.5], &[0.5]);
        for chart in [
            roc("t".into(), vec![], std::slice::from_ref(&scored), true),
            histogram("t".into(), vec![], std::slice::from_ref(&scored)),
        ] {
            assert!(chart.svg(640, 400).unwrap().contains("</svg>"));
        }
    }
}
