//! `steps.csv` and `epochs.csv`: the record of training.

use super::csv_file::{Appender, extras, number, optional, truncate_at, widen};
use super::{EpochRow, Event, Sink, StepRow};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

const STEPS: &str = "steps.csv";
const EPOCHS: &str = "epochs.csv";
const EVAL: &str = "eval.csv";
const STEP_COLUMNS: [&str; 7] =
    ["step", "epoch", "loss", "lr", "images_per_second", "accuracy", "grad_norm"];
/// The column of epochs.csv for the averaged weights on the validation images, where there are both.
pub(crate) const EMA_LOSS: &str = "ema_val_loss";
/// Of epochs.csv, in order.
pub(crate) const EPOCH_COLUMNS: [&str; 8] = [
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "lr",
    "seconds",
    "images_per_second",
];

/// Columns after the fixed ones, settled when the files are opened. A row that lacks one leaves
/// it empty.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    pub steps: Vec<String>,
    pub epochs: Vec<String>,
}

pub struct CsvSink {
    steps: Appender,
    epochs: Appender,
    columns: Columns,
    flush_steps: u64,
    unflushed: u64,
}

impl CsvSink {
    /// Opens the files of a run folder; step rows reach the file every `flush_steps` steps. Columns that
    /// an earlier session of the run had stay, and those that it had not are empty in its rows.
    ///
    /// # Errors
    /// Those of [`CsvSink::check`], `Error::Failed` where a file can't be written.
    pub fn open(run: &Path, columns: Columns, flush_steps: u64) -> Result<CsvSink> {
        let Columns { steps, epochs } = columns;
        let (steps, step_columns) = open(&run.join(STEPS), &STEP_COLUMNS, steps)?;
        let (epochs, epoch_columns) = open(&run.join(EPOCHS), &EPOCH_COLUMNS, epochs)?;
        let columns = Columns { steps: step_columns, epochs: epoch_columns };
        Ok(CsvSink { steps, epochs, columns, flush_steps, unflushed: 0 })
    }

    /// Whether the files of a run folder are such as can be gone on with. Changes nothing.
    ///
    /// # Errors
    /// `Error::Input` where one has other columns.
    pub fn check(run: &Path) -> Result<()> {
        extras(&run.join(STEPS), &STEP_COLUMNS).map_err(Error::into_input)?;
        extras(&run.join(EPOCHS), &EPOCH_COLUMNS).map_err(Error::into_input).map(drop)
    }

    /// Cuts the CSV files of a run folder back to a checkpoint, before [`CsvSink::open`]: rows
    /// past `step` (steps.csv) and `epoch` completed epochs (epochs.csv, eval.csv) go. `expected`
    /// are the rows that the checkpoint counted.
    ///
    /// Returns what must be said aloud: files that hold fewer rows than the checkpoint counted.
    pub fn cut(
        run: &Path,
        epoch: u64,
        step: u64,
        expected: &BTreeMap<String, u64>,
    ) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for (file, last) in [(STEPS, step), (EPOCHS, epoch), (EVAL, epoch)] {
            let rows = truncate_at(&run.join(file), 0, last)?;
            if let Some(expected) = expected.get(file).filter(|&&expected| rows < expected) {
                warnings.push(format!(
                    "{} has {rows} rows where the checkpoint counted {expected}: rows were lost",
                    run.join(file).display()
                ));
            }
        }
        Ok(warnings)
    }
}

/// With the columns behind the fixed ones: the file's, then what of `wanted` it lacks.
fn open(path: &Path, fixed: &[&str], wanted: Vec<String>) -> Result<(Appender, Vec<String>)> {
    let mut columns = extras(path, fixed)?;
    let missing: Vec<String> = wanted.into_iter().filter(|name| !columns.contains(name)).collect();
    columns.extend(missing);
    let fixed = fixed.iter().map(|name| name.to_string());
    let header: Vec<String> = fixed.chain(columns.iter().cloned()).collect();
    widen(path, &header)?;
    Ok((Appender::open(path, &header)?, columns))
}

fn cells<'a>(
    columns: &'a [String],
    values: &'a BTreeMap<String, f64>,
) -> impl Iterator<Item = String> + 'a {
    columns.iter().map(|name| optional(values.get(name).copied()))
}

fn step_row(row: &StepRow, columns: &[String]) -> Vec<String> {
    let StepRow {
        step,
        epoch,
        loss,
        lr,
        images_per_second,
        accuracy,
        grad_norm,
        extras: more,
        wait: _,
    } = row;
    [
        step.to_string(),
        epoch.to_string(),
        number(*loss),
        number(*lr),
        number(*images_per_second),
        optional(*accuracy),
        optional(*grad_norm),
    ]
    .into_iter()
    .chain(cells(columns, more))
    .collect()
}

fn epoch_row(row: &EpochRow, columns: &[String]) -> Vec<String> {
    let EpochRow {
        epoch,
        train_loss,
        train_accuracy,
        val_loss,
        val_accuracy,
        lr,
        seconds,
        images_per_second,
        extras: more,
    } = row;
    [
        epoch.to_string(),
        number(*train_loss),
        optional(*train_accuracy),
        optional(*val_loss),
        optional(*val_accuracy),
        number(*lr),
        number(*seconds),
        number(*images_per_second),
    ]
    .into_iter()
    .chain(cells(columns, more))
    .collect()
}

impl Sink for CsvSink {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step(row) => {
                self.steps.write(&step_row(row, &self.columns.steps))?;
                self.unflushed += 1;
                if self.unflushed >= self.flush_steps {
                    self.unflushed = 0;
                    self.steps.flush()?;
                }
                Ok(())
            }
            Event::EpochEnded(row) => {
                self.epochs.write(&epoch_row(row, &self.columns.epochs))?;
                self.flush()
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.steps.sync()?;
        self.epochs.sync()
    }

    fn rows(&self) -> Vec<(String, u64)> {
        vec![(STEPS.into(), self.steps.rows()), (EPOCHS.into(), self.epochs.rows())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn step(step: u64) -> Event {
        Event::Step(StepRow {
            step,
            epoch: step.div_ceil(10),
            loss: 1.0 / step as f64,
            lr: 0.1,
            images_per_second: 16.5,
            accuracy: Some(0.25),
            grad_norm: None,
            extras: [("lambda".to_owned(), 5.0), ("unknown".to_owned(), 1.0)].into(),
            wait: 0.5,
        })
    }

    fn epoch(epoch: u64) -> Event {
        Event::EpochEnded(EpochRow { epoch, train_loss: 0.5, lr: 1e-5, ..EpochRow::default() })
    }

    fn columns() -> Columns {
        Columns { steps: vec!["lambda".into(), "t".into()], epochs: vec![] }
    }

    #[test]
    fn rows_as_documented() {
        let run = tempfile::tempdir().unwrap();
        let mut sink = CsvSink::open(run.path(), columns(), 2).unwrap();
        let steps = || fs::read_to_string(run.path().join(STEPS)).unwrap();
        sink.on(&step(1)).unwrap();
        assert_eq!(steps().lines().count(), 1);
        sink.on(&step(2)).unwrap();
        assert_eq!(
            steps(),
            "step,epoch,loss,lr,images_per_second,accuracy,grad_norm,lambda,t\n\
             1,1,1.0,0.1,16.5,0.25,,5.0,\n2,1,0.5,0.1,16.5,0.25,,5.0,\n"
        );
        sink.on(&epoch(1)).unwrap();
        assert_eq!(
            fs::read_to_string(run.path().join(EPOCHS)).unwrap(),
            "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,images_per_second\n\
             1,0.5,,,,1e-5,0.0,0.0\n"
        );
        assert_eq!(sink.rows(), [(STEPS.to_owned(), 2), (EPOCHS.to_owned(), 1)]);
    }

    #[test]
    fn a_later_session_may_have_other_columns() {
        let run = tempfile::tempdir().unwrap();
        let steps = || fs::read_to_string(run.path().join(STEPS)).unwrap();
        let session = |number: u64, names: &[&str]| {
            let steps = names.iter().map(|name| name.to_string()).collect();
            let columns = Columns { steps, epochs: vec![] };
            let mut sink = CsvSink::open(run.path(), columns, 1).unwrap();
            sink.on(&step(number)).unwrap();
            assert_eq!(sink.rows()[0].1, number);
        };
        session(1, &["t"]);
        session(2, &["lambda", "t"]);
        session(3, &["lambda"]);
        assert_eq!(
            steps(),
            "step,epoch,loss,lr,images_per_second,accuracy,grad_norm,t,lambda\n\
             1,1,1.0,0.1,16.5,0.25,,,\n\
             2,1,0.5,0.1,16.5,0.25,,,5.0\n\
             3,1,0.3333333333333333,0.1,16.5,0.25,,,5.0\n"
        );
        let before = "step,loss\n1,0.5\n";
        fs::write(run.path().join(STEPS), before).unwrap();
        let refused = CsvSink::check(run.path()).unwrap_err();
        assert!(refused.to_string().contains("has the columns step,loss"), "{refused}");
        assert_eq!((refused.exit_code(), steps()), (2, before.to_string()));
    }

    #[test]
    fn a_resumed_run_has_no_gap_and_no_repeat() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        let write = |steps: std::ops::RangeInclusive<u64>| {
            let mut sink = CsvSink::open(run, columns(), 100).unwrap();
            for n in steps {
                sink.on(&step(n)).unwrap();
                if n % 10 == 0 {
                    sink.on(&epoch(n / 10)).unwrap();
                }
            }
            sink.close().unwrap();
        };
        write(1..=40);
        let whole = [STEPS, EPOCHS].map(|file| fs::read_to_string(run.join(file)).unwrap());
        fs::write(run.join(EVAL), "epoch,checkpoint\n0,untrained\n1,latest\n3,latest\n").unwrap();

        let expected = [(STEPS.to_owned(), 25), (EPOCHS.to_owned(), 2)].into();
        assert!(CsvSink::cut(run, 2, 25, &expected).unwrap().is_empty());
        let eval = fs::read_to_string(run.join(EVAL)).unwrap();
        assert_eq!(eval, "epoch,checkpoint\n0,untrained\n1,latest\n");
        write(26..=40);
        assert_eq!([STEPS, EPOCHS].map(|f| fs::read_to_string(run.join(f)).unwrap()), whole);

        let expected = [(STEPS.to_owned(), 50)].into();
        let warnings = CsvSink::cut(run, 5, 50, &expected).unwrap();
        assert!(warnings[0].contains("40 rows") && warnings[0].contains("counted 50"));
    }
}
