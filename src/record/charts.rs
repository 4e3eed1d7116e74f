//! Pictures of trainings: loss, accuracy, learning rate and throughput, of one run in detail or of
//! several over each other.

use super::EpochRow;
use super::history::{History, Thinned};
use crate::plot::{LineChart, Mark, Series, Style, TopAxis};

/// Letters of a run's name in a picture.
const LONGEST: usize = 40;

/// The pictures that the runs allow, by the name of their file. A picture that no run has values for
/// is left out.
pub fn charts(runs: &[History]) -> Vec<(&'static str, LineChart)> {
    let sheet = Sheet::new(runs);
    let charts = [
        ("loss", sheet.loss()),
        ("accuracy", sheet.accuracy()),
        ("learning-rate", sheet.lr()),
        ("throughput", sheet.throughput()),
    ];
    let drawn = |chart: &LineChart| chart.series.iter().any(|series| !series.points.is_empty());
    charts.into_iter().filter(|(_, chart)| drawn(chart)).collect()
}

/// What the pictures of some runs share.
struct Sheet<'a> {
    runs: &'a [History],
    names: Vec<String>,
    /// The x axis counts epochs, not steps: runs with other batches can be compared.
    epochs: bool,
}

/// A value of an epoch's row.
type Of = fn(&EpochRow) -> Option<f64>;

impl<'a> Sheet<'a> {
    fn new(runs: &'a [History]) -> Self {
        let names: Vec<_> =
            runs.iter().map(|run| (run.experiment.as_str(), run.run.as_str())).collect();
        let epochs = runs.len() > 1 && runs.iter().all(|run| run.steps_per_epoch.is_some());
        Sheet { runs, names: short_names(&names), epochs }
    }

    /// Where a step of a run lies.
    fn x(&self, run: &History, step: f64) -> f64 {
        match run.steps_per_epoch {
            Some(steps) if self.epochs => step / steps,
            _ => step,
        }
    }

    fn steps(&self, run: &History, values: &Thinned) -> Vec<(f64, f64)> {
        values.points().into_iter().map(|(step, value)| (self.x(run, step), value)).collect()
    }

    /// At the ends of the epochs; empty where no epoch has the value.
    fn by_epoch(&self, run: &History, of: Of) -> Vec<(f64, f64)> {
        let point = |(step, row): &(u64, EpochRow)| {
            (self.x(run, *step as f64), of(row).unwrap_or(f64::NAN))
        };
        let points: Vec<_> = run.epochs.iter().map(point).collect();
        if points.iter().all(|point| point.1.is_nan()) { Vec::new() } else { points }
    }

    fn chart(&self, what: &str, y_label: &str, series: Vec<Series>) -> LineChart {
        let end = self.runs.iter().map(|run| self.x(run, run.last_step as f64));
        let (title, subtitle, top) = match self.runs {
            [run] => {
                let top = run.steps_per_epoch.map(|every| TopAxis { label: "epoch".into(), every });
                (format!("{}: {what}", run.experiment), format!("run {}", run.run), top)
            }
            runs => (what.to_string(), format!("{} runs", runs.len()), None),
        };
        LineChart {
            title,
            subtitle: vec![subtitle],
            x_label: if self.epochs { "epoch" } else { "optimizer step" }.into(),
            y_label: y_label.into(),
            whole_x: true,
            x_range: Some((0.0, end.fold(1.0, f64::max))),
            top,
            series,
            ..LineChart::default()
        }
    }

    /// Steps, their means over epochs, and the validation; of several runs the latter two, with the
    /// run's name on one of them.
    fn trained(&self, steps: fn(&History) -> &Thinned, mean: Of, validation: Of) -> Vec<Series> {
        if let [run] = self.runs {
            let means = self.by_epoch(run, mean);
            let style = if means.is_empty() { Style::Line } else { Style::Faint };
            let all = [
                Series::line("training, each step", self.steps(run, steps(run)))
                    .style(style)
                    .colour(0),
                Series::line("training, mean of the epoch", means).style(Style::Dots).colour(0),
                Series::line("validation", self.by_epoch(run, validation))
                    .style(Style::Dots)
                    .colour(1),
            ];
            return all.into_iter().filter(|series| !series.points.is_empty()).collect();
        }
        let mut series = Vec::new();
        for (n, (run, name)) in self.runs.iter().zip(&self.names).enumerate() {
            let validated = self.by_epoch(run, validation);
            let mut name = name.clone();
            if !validated.is_empty() {
                let name = std::mem::take(&mut name);
                series.push(Series::line(name, validated).style(Style::Dots).colour(n));
            }
            let trained = match self.by_epoch(run, mean) {
                means if means.is_empty() => self.steps(run, steps(run)),
                means => means,
            };
            series.push(Series::line(name, trained).style(Style::Dashed).colour(n));
        }
        series
    }

    /// Says what lines of several runs are.
    fn explained(&self, mut chart: LineChart) -> LineChart {
        if self.runs.len() > 1 {
            chart.subtitle.push("solid: validation; dashed: training, means of epochs".into());
        }
        chart
    }

    fn loss(&self) -> LineChart {
        let series = self.trained(|run| &run.loss, |row| Some(row.train_loss), |row| row.val_loss);
        let mut chart = self.explained(self.chart("loss", "loss", series));
        if let [run] = self.runs {
            let best = run.epochs.iter().find(|(_, row)| Some(row.epoch) == run.best);
            chart.x_marks.extend(best.map(|(step, row)| Mark {
                at: *step as f64,
                name: format!("best epoch {}", row.epoch),
            }));
        }
        chart
    }

    fn accuracy(&self) -> LineChart {
        let series =
            self.trained(|run| &run.accuracy, |row| row.train_accuracy, |row| row.val_accuracy);
        let chart = self.explained(self.chart("accuracy", "fraction", series));
        LineChart { y_range: Some((0.0, 1.0)), ..chart }
    }

    fn lr(&self) -> LineChart {
        let line = |(n, (run, name)): (usize, (&History, &String))| {
            Series::line(name.clone(), self.steps(run, &run.lr)).colour(n)
        };
        let series = self.runs.iter().zip(&self.names).enumerate().map(line).collect();
        self.chart("learning rate", "learning rate", series)
    }

    fn throughput(&self) -> LineChart {
        let mean: Of = |row| Some(row.images_per_second);
        let mut series = Vec::new();
        for (n, (run, name)) in self.runs.iter().zip(&self.names).enumerate() {
            let steps = self.steps(run, &run.images_per_second);
            let means = self.by_epoch(run, mean);
            let style = if means.is_empty() { Style::Line } else { Style::Dots };
            if self.runs.len() > 1 {
                let points = if means.is_empty() { steps } else { means };
                series.push(Series::line(name.clone(), points).style(style).colour(n));
                continue;
            }
            let faint = if means.is_empty() { Style::Line } else { Style::Faint };
            series.push(Series::line("each step", steps).style(faint).colour(n));
            series.push(Series::line("mean of the epoch", means).style(style).colour(n));
        }
        series.retain(|series| !series.points.is_empty());
        let all = series.iter().flat_map(|series| &series.points).map(|point| point.1);
        let highest = all.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let chart = self.chart("training throughput", "images per second", series);
        let y_range = (highest > 0.0).then_some((0.0, highest * 1.05));
        LineChart { y_range, ..chart }
    }
}

/// Names that tell (experiment, run id) apart: the experiment's where that is enough, else the id
/// beside it. A long one loses its middle, as long as it stays different.
pub fn short_names(runs: &[(&str, &str)]) -> Vec<String> {
    let distinct =
        |names: &[String]| names.iter().enumerate().all(|(n, name)| !names[..n].contains(name));
    let plain: Vec<String> = runs.iter().map(|(experiment, _)| cut(experiment, LONGEST)).collect();
    if distinct(&plain) {
        return plain;
    }
    // The end, which tells runs apart, is what a cut keeps; a run id has 20 letters.
    let with_id = |(experiment, run): &(&str, &str)| {
        format!("{} {}", cut(experiment, LONGEST / 2), cut(run, LONGEST / 2 + 4))
    };
    let mut names: Vec<String> = runs.iter().map(with_id).collect();
    if !distinct(&names) {
        for (n, name) in names.iter_mut().enumerate() {
            *name = format!("{}: {name}", n + 1);
        }
    }
    names
}

/// At most `longest` letters: the middle of a longer text is left out.
fn cut(text: &str, longest: usize) -> String {
    let letters: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if letters.len() <= longest {
        return letters.into_iter().collect();
    }
    let (head, tail) = (longest / 2, longest - longest / 2 - 1);
    let head: String = letters[..head].iter().collect();
    let tail: String = letters[letters.len() - tail..].iter().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(epochs: u64, steps: u64, validation: bool) -> History {
        let mut history =
            History { experiment: "quick".into(), run: "id".into(), ..History::default() };
        for step in 1..=epochs * steps {
            history.loss.push(step as f64, 5.0 / step as f64);
            history.lr.push(step as f64, 0.1);
            history.images_per_second.push(step as f64, 100.0);
            history.last_step = step;
        }
        for epoch in 1..=epochs {
            let row = EpochRow {
                epoch,
                train_loss: 1.0 / epoch as f64,
                val_loss: validation.then_some(2.0 / epoch as f64),
                images_per_second: 99.0,
                ..EpochRow::default()
            };
            history.epochs.push((epoch * steps, row));
        }
        history.steps_per_epoch = (epochs > 0).then_some(steps as f64);
        history.best = (epochs > 0).then_some(epochs);
        history
    }

    fn names(chart: &LineChart) -> Vec<&str> {
        chart.series.iter().map(|series| series.name.as_str()).collect()
    }

    #[test]
    fn one_run_in_detail() {
        let charts = charts(&[history(3, 10, true)]);
        let drawn: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
        // No step has an accuracy.
        assert_eq!(drawn, ["loss", "learning-rate", "throughput"]);
        let loss = &charts[0].1;
        assert_eq!(
            names(loss),
            ["training, each step", "training, mean of the epoch", "validation"]
        );
        assert_eq!(loss.series[2].points, [(10.0, 2.0), (20.0, 1.0), (30.0, 2.0 / 3.0)]);
        assert_eq!((loss.x_marks[0].at, loss.x_marks[0].name.as_str()), (30.0, "best epoch 3"));
        assert_eq!(loss.top.as_ref().unwrap().every, 10.0);
        assert_eq!(loss.x_range, Some((0.0, 30.0)));
    }

    #[test]
    fn without_epochs_or_validation() {
        let loss = &charts(&[history(2, 5, false)])[0].1;
        assert_eq!(names(loss), ["training, each step", "training, mean of the epoch"]);
        let mut early = history(0, 0, false);
        early.loss.push(1.0, 3.0);
        early.last_step = 1;
        let charts = charts(&[early]);
        assert_eq!((charts.len(), charts[0].1.series[0].style), (1, Style::Line));
        assert!(charts[0].1.top.is_none() && charts[0].1.x_marks.is_empty());
        assert!(super::charts(&[history(0, 0, false)]).is_empty());
    }

    #[test]
    fn several_runs_meet_at_epochs() {
        let mut other = history(2, 40, false);
        other.experiment = "other".into();
        let charts = charts(&[history(2, 10, true), other]);
        let loss = &charts[0].1;
        assert_eq!(names(loss), ["quick", "", "other"]);
        let colours: Vec<_> = loss.series.iter().map(|series| series.colour).collect();
        assert_eq!(colours, [Some(0), Some(0), Some(1)]);
        assert_eq!(loss.series[2].points, [(1.0, 1.0), (2.0, 0.5)]);
        assert_eq!((loss.x_label.as_str(), loss.x_range), ("epoch", Some((0.0, 2.0))));
        assert!(loss.top.is_none());
    }

    #[test]
    fn names_stay_different_when_they_are_cut() {
        assert_eq!(short_names(&[("a", "1"), ("b", "2")]), ["a", "b"]);
        let long = "margin-0.35-on-a-very-long-name-of-an-experiment-x";
        let same = [(long, "20260101-000000-0001"), (long, "20260101-000000-0002")];
        let names = short_names(&same);
        assert!(names[0].ends_with("20260101-000000-0001") && names[0] != names[1], "{names:?}");
        assert!(names.iter().all(|name| name.chars().count() <= 45), "{names:?}");
        let middle = |c: char| format!("{}{c}{}", "a".repeat(40), "b".repeat(40));
        let (x, y) = (middle('x'), middle('y'));
        let names = short_names(&[(&x, "1"), (&y, "2")]);
        assert!(names[0] != names[1] && names[0].ends_with(" 1"), "{names:?}");
        assert_eq!(short_names(&[("a", "1"), ("a", "1")]), ["1: a 1", "2: a 1"]);
    }
}
