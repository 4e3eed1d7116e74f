//! What a person sees: a progress bar per epoch and, at the end, a short summary.
//!
//! Progress goes to stderr, the summary to stdout. Where stderr is no terminal there is one plain
//! line per epoch.

use super::{EpochRow, Event, Sink, StepRow};
use crate::Result;
use crate::evaluate::Metric;
use crate::evaluate::verification::UNRESOLVED;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings, errors and the summary.
    Quiet,
    #[default]
    Normal,
    /// Checkpoints too.
    Verbose,
}

pub struct Console {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    terminal: bool,
    err: Box<dyn Write + Send>,
    out: Box<dyn Write + Send>,
    epochs: u64,
    run: Option<PathBuf>,
    experiment: String,
    scores: Vec<Scores>,
}

/// What an evaluation said.
struct Scores {
    epoch: u64,
    checkpoint: String,
    set: String,
    metrics: Vec<Metric>,
}

/// The checkpoint name of the evaluation before training.
const UNTRAINED: &str = "untrained";
/// That of the averaged weights.
pub(crate) const AVERAGE: &str = "ema";

/// The metrics worth a place on the screen; `eval.csv` has them all.
const HEADLINE: [&str; 7] =
    ["accuracy", "auc", "eer", "tar@far=1e-3", "recall@1", "recall@10", "map@r"];

impl Console {
    /// Talks on stderr and stdout.
    pub fn new(verbosity: Verbosity) -> Console {
        let terminal = io::stderr().is_terminal();
        Console::on(verbosity, terminal, Box::new(io::stderr()), Box::new(io::stdout()))
    }

    /// Compares with the scores of the untrained network that an earlier session of the run measured.
    ///
    /// # Errors
    /// An `eval.csv` that can't be read.
    pub fn continuing(mut self, run: &Path) -> Result<Console> {
        let columns = ["checkpoint", "set", "metric", "value"];
        crate::sweep::observe::rows(&run.join("eval.csv"), &columns, |row| {
            let Ok(value) = row[3].parse() else { return };
            if row[0] == UNTRAINED {
                let set = row[1].to_string();
                let metrics = vec![Metric::new(row[2], value, None)];
                self.scores.push(Scores { epoch: 0, checkpoint: row[0].to_string(), set, metrics });
            }
        })?;
        Ok(self)
    }

    fn on(
        verbosity: Verbosity,
        terminal: bool,
        err: Box<dyn Write + Send>,
        out: Box<dyn Write + Send>,
    ) -> Console {
        Console {
            verbosity,
            bar: None,
            terminal,
            err,
            out,
            epochs: 0,
            run: None,
            experiment: String::new(),
            scores: Vec::new(),
        }
    }

    /// A line above the bar. A terminal that went away is no reason to stop training.
    fn say(&mut self, from: Verbosity, text: &str) {
        if self.verbosity < from {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(text),
            None => drop(writeln!(self.err, "{text}")),
        }
    }

    fn start_bar(&mut self, epoch: u64, epochs: u64, batches: u64, first: u64) {
        self.epochs = epochs;
        if !self.terminal || self.verbosity == Verbosity::Quiet {
            return;
        }
        let style =
            ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} {elapsed} < {eta}")
                .expect("the template is constant");
        let bar =
            ProgressBar::with_draw_target(Some(batches), ProgressDrawTarget::stderr_with_hz(8))
                .with_style(style)
                .with_prefix(format!("epoch {epoch}/{epochs}"))
                .with_position(first);
        // Time left is judged from here, not from the steps done before a resume.
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// The first lines: how it ended, the scores beside the untrained ones, where things are.
    fn summary(&self, event: &Event) -> Option<String> {
        let Event::RunEnded { status, note, best, checkpoint, seconds } = event else {
            return None;
        };
        let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        let mut text = format!("{} {status} after {}{note}\n", self.experiment, duration(*seconds));
        let mut marked = false;
        let mut row = |title: &str, value: String| {
            // Writing to a String can't fail.
            let _ = writeln!(text, "  {title:<12} {value}");
        };
        if let Some((epoch, value)) = best {
            row("best epoch", format!("{epoch} (loss {value:.4})"));
        }
        for scores in self.final_scores() {
            let before =
                self.scores.iter().filter(|s| s.checkpoint == UNTRAINED && s.set == scores.set);
            let before: Vec<&Metric> = before.flat_map(|s| &s.metrics).collect();
            let metrics = self.shown(&scores.metrics).map(|metric| {
                let untrained = before
                    .iter()
                    .find(|m| m.name == metric.name)
                    .map(|m| format!(" (untrained {:.4})", m.value));
                format!("{}{}", score(metric), untrained.unwrap_or_default())
            });
            let metrics = metrics.collect::<Vec<_>>().join(", ");
            row(&scores.set, format!("{metrics}, {} of epoch {}", scores.checkpoint, scores.epoch));
            marked |= self.shown(&scores.metrics).any(|metric| metric.unresolved);
        }
        if marked {
            row("", UNRESOLVED.to_string());
        }
        if let Some(checkpoint) = checkpoint {
            row("checkpoint", checkpoint.display().to_string());
        }
        if let Some(run) = &self.run {
            row("results", run.display().to_string());
        }
        Some(text)
    }

    /// The headlines among the metrics, or all when verbose or where none is one.
    fn shown<'a>(&self, metrics: &'a [Metric]) -> impl Iterator<Item = &'a Metric> + use<'a> {
        let headline = |metric: &&Metric| HEADLINE.contains(&metric.name.as_str());
        let all =
            self.verbosity == Verbosity::Verbose || metrics.iter().filter(headline).count() == 0;
        metrics.iter().filter(move |metric| all || headline(metric))
    }

    /// The last evaluation of each checkpoint name on each set, but for the untrained one, and for
    /// others of an epoch that the set was scored after once more: the same weights, unless one is
    /// their average.
    fn final_scores(&self) -> impl Iterator<Item = &Scores> {
        self.scores.iter().enumerate().filter_map(|(index, s)| {
            let alike = |later: &Scores| {
                later.epoch == s.epoch && s.checkpoint != AVERAGE && later.checkpoint != AVERAGE
            };
            let same = |later: &Scores| {
                later.set == s.set && (later.checkpoint == s.checkpoint || alike(later))
            };
            let last = !self.scores[index + 1..].iter().any(same);
            (last && s.checkpoint != UNTRAINED).then_some(s)
        })
    }
}

impl Sink for Console {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::RunStarted { experiment, run, device, parameters, step } => {
                self.experiment.clone_from(experiment);
                self.run = Some(run.clone());
                let from = if *step > 0 { format!(" from step {step}") } else { String::new() };
                let place = run.display();
                let text =
                    format!("{experiment}{from}: {parameters} parameters on {device}; {place}");
                self.say(Verbosity::Normal, &text);
            }
            Event::EpochStarted { epoch, epochs, batches, first_batch } => {
                self.start_bar(*epoch, *epochs, *batches, *first_batch);
            }
            Event::Step(row) => {
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                    bar.set_message(step_line(row));
                }
            }
            Event::EpochEnded(row) => {
                self.end_bar();
                self.say(Verbosity::Normal, &epoch_line(row, Some(self.epochs)));
            }
            Event::Evaluated { epoch, checkpoint, set, metrics } => {
                let scores = self.shown(metrics).map(score).collect::<Vec<_>>().join(", ");
                let marked = self.shown(metrics).any(|metric| metric.unresolved);
                let note = if marked { format!(" ({UNRESOLVED})") } else { String::new() };
                self.say(Verbosity::Normal, &format!("{set} ({checkpoint}): {scores}{note}"));
                self.scores.push(Scores {
                    epoch: *epoch,
                    checkpoint: checkpoint.clone(),
                    set: set.clone(),
                    metrics: metrics.clone(),
                });
            }
            Event::CheckpointSaved { names, step, seconds, .. } => {
                let names = names.join(", ");
                let text = format!("checkpoint {names} at step {step} ({seconds:.2} s)");
                self.say(Verbosity::Verbose, &text);
            }
            Event::Image { .. } | Event::Histogram { .. } => {}
            Event::Notice(text) => self.say(Verbosity::Normal, text),
            Event::Warning(text) => self.say(Verbosity::Quiet, &format!("warning: {text}")),
            Event::RunEnded { .. } => {
                self.end_bar();
                if let Some(text) = self.summary(event) {
                    // A closed pipe is no reason to fail.
                    let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.end_bar();
        Ok(())
    }
}

/// A network that is fed in time waits for less than this share of the time.
const STARVING: f64 = 0.05;

/// `loss 1.2345 acc 0.250 lr 1.00e-3 812 images/s`, and `wait 12 %` where the network starves
fn step_line(row: &StepRow) -> String {
    let accuracy = row.accuracy.map(|a| format!(" acc {a:.3}")).unwrap_or_default();
    let wait = match row.wait > STARVING {
        true => format!(" wait {:.0} %", 100.0 * row.wait),
        false => String::new(),
    };
    format!(
        "loss {:.4}{accuracy} lr {:.2e} {:.0} images/s{wait}",
        row.loss, row.lr, row.images_per_second
    )
}

/// One line per epoch; `epochs` is the total, where it is known.
pub(super) fn epoch_line(row: &EpochRow, epochs: Option<u64>) -> String {
    let mut line = format!("epoch {}", row.epoch);
    let mut add = |text: String| line.push_str(&text);
    add(epochs.map(|epochs| format!("/{epochs}")).unwrap_or_default());
    add(format!(": train loss {:.4}", row.train_loss));
    add(row.train_accuracy.map(|a| format!(" acc {a:.4}")).unwrap_or_default());
    add(row.val_loss.map(|l| format!(", val loss {l:.4}")).unwrap_or_default());
    add(row.val_accuracy.map(|a| format!(" acc {a:.4}")).unwrap_or_default());
    add(format!(", lr {:.2e}", row.lr));
    add(format!(", {:.0} images/s, {}", row.images_per_second, duration(row.seconds)));
    let wait = row.extras.get("loader_wait").copied().unwrap_or(0.0) / row.seconds.max(1e-9);
    if wait > STARVING {
        add(format!(", {:.0} % of it waiting for images", 100.0 * wait));
    }
    line
}

/// `accuracy 0.9230 ± 0.0120`, `tar@far=1e-3 0.7500*`
pub(super) fn score(metric: &Metric) -> String {
    let std = metric.std.map(|std| format!(" ± {std:.4}")).unwrap_or_default();
    format!("{} {:.4}{}{std}", metric.name, metric.value, metric.mark())
}

/// `8.2 s`, `3m 05s`, `2h 03m`
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Status;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn evaluated(checkpoint: &str, epoch: u64, value: f64) -> Event {
        let std = (epoch > 0).then_some(0.01);
        let metrics = vec![Metric::new("accuracy", value, std)];
        Event::Evaluated { epoch, checkpoint: checkpoint.into(), set: "unseen".into(), metrics }
    }

    fn story(verbosity: Verbosity, terminal: bool) -> (String, String) {
        let (err, out) = (Screen::default(), Screen::default());
        let mut console =
            Console::on(verbosity, terminal, Box::new(err.clone()), Box::new(out.clone()));
        let row = EpochRow {
            epoch: 1,
            train_loss: 1.5,
            train_accuracy: Some(0.5),
            val_loss: Some(1.25),
            val_accuracy: Some(0.625),
            lr: 1e-3,
            seconds: 65.0,
            images_per_second: 800.4,
            ..EpochRow::default()
        };
        for event in [
            Event::RunStarted {
                experiment: "quickstart".into(),
                run: "results/quickstart/1".into(),
                device: "cpu".into(),
                parameters: 1000,
                step: 0,
            },
            evaluated("untrained", 0, 0.55),
            Event::EpochStarted { epoch: 1, epochs: 8, batches: 2, first_batch: 1 },
            Event::Step(StepRow { step: 2, epoch: 1, ..StepRow::default() }),
            Event::EpochEnded(row),
            Event::CheckpointSaved {
                names: vec!["latest".into()],
                path: "c".into(),
                epoch: 1,
                step: 2,
                seconds: 0.25,
            },
            Event::Warning("careful".into()),
            evaluated("min-loss", 1, 0.7),
            evaluated("min-loss", 7, 0.925),
            Event::RunEnded {
                status: Status::Finished,
                note: None,
                best: Some((7, 0.4123)),
                checkpoint: Some("results/quickstart/1/checkpoints/min-loss".into()),
                seconds: 151.0,
            },
        ] {
            console.on(&event).unwrap();
        }
        console.close().unwrap();
        (err.text(), out.text())
    }

    const SUMMARY: &str = "\
quickstart finished after 2m 31s
  best epoch   7 (loss 0.4123)
  unseen       accuracy 0.9250 ± 0.0100 (untrained 0.5500), min-loss of epoch 7
  checkpoint   results/quickstart/1/checkpoints/min-loss
  results      results/quickstart/1
";

    #[test]
    fn plain_lines_where_there_is_no_terminal() {
        let (err, out) = story(Verbosity::Normal, false);
        assert_eq!(out, SUMMARY);
        assert!(!err.contains('\u{1b}') && !err.contains('\r'), "{err:?}");
        let epochs: Vec<&str> = err.lines().filter(|line| line.starts_with("epoch")).collect();
        assert_eq!(
            epochs,
            ["epoch 1/8: train loss 1.5000 acc 0.5000, val loss 1.2500 acc 0.6250, lr 1.00e-3, \
             800 images/s, 1m 05s"]
        );
        assert!(!err.contains("checkpoint latest"), "{err}");
    }

    #[test]
    fn quiet_says_warnings_and_the_summary() {
        let (err, out) = story(Verbosity::Quiet, false);
        assert_eq!((err.as_str(), out.as_str()), ("warning: careful\n", SUMMARY));
        assert_eq!(story(Verbosity::Quiet, true).0, "warning: careful\n");
    }

    #[test]
    fn verbose_says_more() {
        let (err, _) = story(Verbosity::Verbose, false);
        assert!(err.contains("checkpoint latest at step 2 (0.25 s)"), "{err}");
    }

    #[test]
    fn the_bar_goes_on_where_the_epoch_stood() {
        let mut console =
            Console::on(Verbosity::Normal, true, Box::new(io::sink()), Box::new(io::sink()));
        let start = Event::EpochStarted { epoch: 2, epochs: 8, batches: 10, first_batch: 6 };
        console.on(&start).unwrap();
        let row =
            StepRow { loss: 1.23456, lr: 1e-3, images_per_second: 812.3, ..Default::default() };
        console.on(&Event::Step(StepRow { accuracy: Some(0.25), ..row.clone() })).unwrap();
        let bar = console.bar.clone().unwrap();
        assert_eq!((bar.position(), bar.length()), (7, Some(10)));
        assert_eq!(bar.message(), "loss 1.2346 acc 0.250 lr 1.00e-3 812 images/s");
        for (wait, shown) in [(0.049, ""), (0.123, " wait 12 %"), (1.0, " wait 100 %")] {
            console.on(&Event::Step(StepRow { wait, ..row.clone() })).unwrap();
            let expected = format!("loss 1.2346 lr 1.00e-3 812 images/s{shown}");
            assert_eq!(bar.message(), expected);
        }
        console.close().unwrap();
        assert!(bar.is_finished());
    }

    #[test]
    fn durations() {
        for (seconds, text) in
            [(8.2, "8.2 s"), (185.0, "3m 05s"), (7380.0, "2h 03m"), (59.7, "1m 00s")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
