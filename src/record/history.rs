//! What the CSV files of a run folder tell about its training, thinned to what a picture can show.
//!
//! Files may be read while the run writes them: a last line that is not whole is left for later.

use super::{EpochRow, RunInfo};
use crate::checkpoint::{self, Name};
use crate::{Error, Result};
use csv::StringRecord;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A run's training.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub experiment: String,
    pub run: String,
    /// Over the optimizer steps; each thinned.
    pub loss: Thinned,
    pub accuracy: Thinned,
    pub lr: Thinned,
    pub images_per_second: Thinned,
    /// Optimizer steps done.
    pub last_step: u64,
    /// Completed epochs, each with the step that it ended at.
    pub epochs: Vec<(u64, EpochRow)>,
    /// Steps of an epoch; None before the first one ended.
    pub steps_per_epoch: Option<f64>,
    /// The epoch of least monitored loss.
    pub best: Option<u64>,
}

impl History {
    /// Reads `steps.csv` and `epochs.csv` of a run folder, in one pass and bounded memory.
    ///
    /// # Errors
    /// `Error::Input` where the folder is no run's, or a file has other columns.
    pub fn read(run: &Path) -> Result<History> {
        let RunInfo { experiment, run: id, .. } = RunInfo::read(run)?;
        let mut history = History { experiment, run: id, ..History::default() };
        let mut ends: Vec<(u64, u64)> = Vec::new();
        rows(&run.join("steps.csv"), &["step", "epoch", "loss", "lr"], |row| {
            let (Some(step), Some(epoch)) = (row.whole("step"), row.whole("epoch")) else { return };
            let at = step as f64;
            history.loss.push(at, row.number("loss"));
            history.lr.push(at, row.number("lr"));
            history.images_per_second.push(at, row.number("images_per_second"));
            history.accuracy.push(at, row.number("accuracy"));
            history.last_step = step;
            match ends.last_mut() {
                Some(last) if last.0 == epoch => last.1 = step,
                _ => ends.push((epoch, step)),
            }
        })?;
        rows(&run.join("epochs.csv"), &["epoch", "train_loss"], |row| {
            let Some(epoch) = row.whole("epoch") else { return };
            // An epoch without a step in the file belongs to a damaged record.
            let Ok(at) = ends.binary_search_by_key(&epoch, |(epoch, _)| *epoch) else { return };
            let number = |name: &str| Some(row.number(name)).filter(|value| !value.is_nan());
            let ended = EpochRow {
                epoch,
                train_loss: row.number("train_loss"),
                train_accuracy: number("train_accuracy"),
                val_loss: number("val_loss"),
                val_accuracy: number("val_accuracy"),
                lr: row.number("lr"),
                seconds: row.number("seconds"),
                images_per_second: row.number("images_per_second"),
                extras: Default::default(),
            };
            history.epochs.push((ends[at].1, ended));
        })?;
        // train.max_steps may cut the last epoch short, not the first of several.
        history.steps_per_epoch =
            history.epochs.first().map(|(step, row)| *step as f64 / row.epoch.max(1) as f64);
        history.best = best(run).or_else(|| history.least_validation_loss());
        Ok(history)
    }

    fn least_validation_loss(&self) -> Option<u64> {
        let losses = self.epochs.iter().filter_map(|(_, row)| Some((row.val_loss?, row.epoch)));
        losses.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, epoch)| epoch)
    }
}

/// As the checkpoint of least loss says: without validation images the monitored loss is not
/// always that of `epochs.csv`.
fn best(run: &Path) -> Option<u64> {
    let folder = checkpoint::find(run, Name::MinLoss).ok()?;
    Some(checkpoint::read_state(&folder).ok()?.min_loss?.epoch)
}

/// A row by the names of its columns.
struct Row<'a> {
    columns: &'a StringRecord,
    values: &'a StringRecord,
}

impl Row<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(self.columns.iter().position(|column| column == name)?)
    }

    fn whole(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// NaN for an empty cell, a missing column, and what is no finite number.
    fn number(&self, name: &str) -> f64 {
        let value = self.text(name).and_then(|text| text.parse().ok());
        value.filter(|value: &f64| value.is_finite()).unwrap_or(f64::NAN)
    }
}

/// Calls `each` with the whole rows of a CSV file; a missing file has none.
fn rows(path: &Path, needed: &[&str], mut each: impl FnMut(&Row)) -> Result<()> {
    let failed = |e| Error::io("read", path, e).into_input();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let whole = whole_lines(&mut file).map_err(failed)?;
    let file = BufReader::with_capacity(1 << 16, file).take(whole);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let columns = reader.headers().map_err(|e| failed(e.into()))?.clone();
    let missing = needed.iter().find(|name| !columns.iter().any(|column| column == **name));
    match missing {
        Some(_) if whole == 0 => return Ok(()),
        Some(name) => {
            let message = format!("{} has no column `{name}`", path.display());
            return Err(Error::input(message));
        }
        None => {}
    }
    let mut values = StringRecord::new();
    while reader.read_record(&mut values).map_err(|e| failed(e.into()))? {
        each(&Row { columns: &columns, values: &values });
    }
    Ok(())
}

/// Bytes up to the last line end; the file is at its start again afterwards.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    const PIECE: u64 = 1 << 12;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut buffer = Vec::new();
    let whole = loop {
        let start = end.saturating_sub(PIECE);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        file.take(end - start).read_to_end(&mut buffer)?;
        match buffer.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => break start + last as u64 + 1,
            None if start == 0 => break 0,
            None => end = start,
        }
    };
    file.rewind()?;
    Ok(whole)
}

/// A curve of any length in bounded memory: of neighbours that share a place, the first, the lowest,
/// the highest and the last. Values that are not numbers are left out.
#[derive(Clone, Debug)]
pub struct Thinned {
    /// Points that share a place.
    stride: usize,
    places: Vec<Place>,
    /// Points in the last place.
    filled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    first: (f64, f64),
    low: (f64, f64),
    high: (f64, f64),
    last: (f64, f64),
}

impl Default for Thinned {
    fn default() -> Self {
        Thinned { stride: 1, places: Vec::new(), filled: 0 }
    }
}

impl Thinned {
    /// More than twice the columns of a wide picture.
    const PLACES: usize = 4096;

    /// Adds a point; x rises from call to call.
    pub fn push(&mut self, x: f64, y: f64) {
        if !y.is_finite() {
            return;
        }
        let point = (x, y);
        let one = Place { first: point, low: point, high: point, last: point };
        match self.places.last_mut() {
            Some(place) if self.filled < self.stride => {
                *place = place.with(one);
                self.filled += 1;
                return;
            }
            _ => {}
        }
        if self.places.len() == Self::PLACES {
            // As many as fill pairs: each pair is full.
            self.places = self.places.chunks(2).map(|pair| pair[0].with(pair[1])).collect();
            self.stride *= 2;
        }
        self.places.push(one);
        self.filled = 1;
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// At most four points for each place, in order.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::with_capacity(self.places.len());
        for Place { first, low, high, last } in &self.places {
            let mut place = [*first, *low, *high, *last];
            place.sort_by(|a, b| a.0.total_cmp(&b.0));
            points.extend(place);
        }
        points.dedup();
        points
    }
}

impl Place {
    fn with(self, later: Place) -> Place {
        Place {
            first: self.first,
            low: if later.low.1 < self.low.1 { later.low } else { self.low },
            high: if later.high.1 > self.high.1 { later.high } else { self.high },
            last: later.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn run_with(steps: &str, epochs: &str) -> tempfile::TempDir {
        let run = tempfile::tempdir().unwrap();
        RunInfo::new("quick", "20260101-000000-0001", run.path()).write(run.path()).unwrap();
        fs::write(run.path().join("steps.csv"), steps).unwrap();
        fs::write(run.path().join("epochs.csv"), epochs).unwrap();
        run
    }

    #[test]
    fn a_run_that_is_being_written_reads_as_far_as_it_is_whole() {
        let steps = "step,epoch,loss,lr,images_per_second,accuracy,grad_norm\n\
                     1,1,3.0,0.1,10.0,,1.0\n2,1,NaN,0.1,20.0,0.5,1.0\n3,2,1.5,0.05,inf,0.5,\n4,2,0";
        let epochs = "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,\
                      images_per_second\n1,2.0,0.5,,,0.1,1.0,15.0\n2,1.0,0.";
        let history = History::read(run_with(steps, epochs).path()).unwrap();
        assert_eq!(history.loss.points(), [(1.0, 3.0), (3.0, 1.5)]);
        assert_eq!(history.accuracy.points(), [(2.0, 0.5), (3.0, 0.5)]);
        assert_eq!(history.images_per_second.points(), [(1.0, 10.0), (2.0, 20.0)]);
        assert_eq!((history.last_step, history.steps_per_epoch), (3, Some(2.0)));
        let (step, row) = &history.epochs[0];
        assert_eq!((history.epochs.len(), *step, row.val_loss), (1, 2, None));
        assert_eq!((row.train_loss, history.best), (2.0, None));
        assert_eq!((history.experiment.as_str(), history.run.len()), ("quick", 20));
    }

    #[test]
    fn the_least_validation_loss_counts_and_the_first_of_equals() {
        let steps = "step,epoch,loss,lr\n4,2,1,1\n6,3,1,1\n8,4,1,1\n";
        let epochs = "epoch,train_loss,val_loss\n2,1,0.5\n3,1,0.25\n4,1,0.25\n";
        let history = History::read(run_with(steps, epochs).path()).unwrap();
        assert_eq!(history.best, Some(3));
        // A fork's files begin in a later epoch.
        assert_eq!(history.steps_per_epoch, Some(2.0));
    }

    #[test]
    fn nothing_yet_and_nothing_of_ours() {
        for (steps, epochs) in [("", ""), ("step,ep", "epo"), ("step,epoch,loss,lr\n", "")] {
            let history = History::read(run_with(steps, epochs).path()).unwrap();
            assert!(history.loss.is_empty() && history.epochs.is_empty());
            assert_eq!((history.last_step, history.steps_per_epoch), (0, None));
        }
        let error = History::read(run_with("a,b\n1,2\n", "").path()).unwrap_err();
        assert!(error.to_string().contains("has no column `step`"), "{error}");
        assert!(History::read(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn thinning_is_bounded_and_keeps_extremes() {
        let mut curve = Thinned::default();
        for n in 0..1_000_000u32 {
            let value = if n == 777_778 { 100.0 } else { f64::from(n % 10) };
            curve.push(f64::from(n), if n % 17 == 0 { f64::NAN } else { value });
        }
        let points = curve.points();
        assert!(points.len() <= 4 * Thinned::PLACES && points.len() > Thinned::PLACES);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
        assert!(points.contains(&(777_778.0, 100.0)));
        assert_eq!((points[0], points[points.len() - 1]), ((1.0, 1.0), (999_999.0, 9.0)));
        let few = (0..100).map(f64::from);
        let mut curve = Thinned::default();
        few.clone().for_each(|n| curve.push(n, n));
        assert_eq!(curve.points(), few.map(|n| (n, n)).collect::<Vec<_>>());
    }
}
