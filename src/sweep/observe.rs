//! The objective of a trial, from what its run recorded.

use super::settings::Objective;
use super::state::Observation;
use crate::config::Experiment;
use crate::data::Stages;
use crate::evaluate::SetConfig;
use crate::record::feed::Feed;
use crate::record::{EMA_LOSS, EPOCH_COLUMNS};
use crate::{Error, Result};
use std::path::Path;

/// The checkpoint whose scores count: the weights as they are after an epoch.
const CHECKPOINT: &str = "latest";

/// What sets of a kind are scored by: metrics, and the beginnings of those at a rate or a rank.
struct Metrics {
    names: &'static [&'static str],
    at: &'static [&'static str],
}

const OF_PAIRS: Metrics = Metrics {
    names: &["accuracy", "accuracy_standard_error", "threshold", "auc", "eer"],
    at: &["val@far=", "far@far=", "tar@far="],
};
const OF_RETRIEVAL: Metrics =
    Metrics { names: &["precision@1", "map", "map@r", "r_precision"], at: &["recall@", "cmc@"] };
const OF_IMAGE_TEXT: Metrics = Metrics {
    names: &[
        "image_to_text/recall@1",
        "image_to_text/recall@5",
        "image_to_text/recall@10",
        "text_to_image/recall@1",
        "text_to_image/recall@5",
        "text_to_image/recall@10",
    ],
    at: &[],
};

impl Metrics {
    fn of(set: &SetConfig) -> &'static Metrics {
        match set {
            SetConfig::Lfw(_) | SetConfig::Bin(_) | SetConfig::UnseenPairs(_) => &OF_PAIRS,
            SetConfig::Retrieval(_) => &OF_RETRIEVAL,
            SetConfig::ImageText(_) => &OF_IMAGE_TEXT,
        }
    }

    fn has(&self, metric: &str) -> bool {
        let at_rate = |name: &&str| {
            metric.strip_prefix(*name).is_some_and(|rate| rate.parse::<f64>().is_ok())
        };
        self.names.contains(&metric) || self.at.iter().any(at_rate)
    }

    /// All, to be shown; what stands for a rate or a rank is left open.
    fn shown(&self) -> Vec<&'static str> {
        self.names.iter().chain(self.at).copied().collect()
    }
}

/// Where a metric is logged.
enum Source<'a> {
    /// A column of epochs.csv.
    Epochs(&'a str),
    /// A set and a metric of eval.csv.
    Eval(&'a str, &'a str),
}

/// `epoch/val_loss` and `eval/lfw/accuracy` are the names that W&B shows.
fn source(metric: &str) -> Source<'_> {
    let metric = metric.strip_prefix("epoch/").unwrap_or(metric);
    match metric.strip_prefix("eval/").unwrap_or(metric).split_once('/') {
        Some((set, metric)) => Source::Eval(set, metric),
        None => Source::Epochs(metric),
    }
}

impl Objective {
    /// The value that a line of a running trial holds.
    pub fn heard(&self, feed: &Feed) -> Option<Observation> {
        match (source(&self.metric), feed) {
            (Source::Epochs(column), Feed::EpochEnded { epoch, values }) => {
                let value = values.get(column)?.unwrap_or(f64::NAN);
                Some(Observation { epoch: *epoch, value })
            }
            (Source::Eval(wanted, metric), Feed::Evaluated { epoch, checkpoint, set, metrics }) => {
                if wanted != set || checkpoint != CHECKPOINT {
                    return None;
                }
                let value = metrics.get(metric)?.unwrap_or(f64::NAN);
                Some(Observation { epoch: *epoch, value })
            }
            _ => None,
        }
    }

    /// All values in the CSV files of a run folder, by epoch; what is not there is no value.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn recorded(&self, run: &Path) -> Result<Vec<Observation>> {
        let mut found: Vec<Observation> = Vec::new();
        let mut add = |epoch: &str, value: &str| {
            if let (Ok(epoch), Ok(value)) = (epoch.parse(), value.parse()) {
                found.retain(|seen| seen.epoch < epoch);
                found.push(Observation { epoch, value });
            }
        };
        match source(&self.metric) {
            Source::Epochs(column) => rows(&run.join("epochs.csv"), &["epoch", column], |row| {
                add(row[0], row[1]);
            })?,
            Source::Eval(wanted, metric) => {
                let columns = ["epoch", "checkpoint", "set", "metric", "value"];
                rows(&run.join("eval.csv"), &columns, |row| {
                    if row[1] == CHECKPOINT && row[2] == wanted && row[3] == metric {
                        add(row[0], row[4]);
                    }
                })?;
            }
        }
        Ok(found)
    }

    /// Whether it is a metric of an evaluation set.
    pub fn of_evaluation(&self) -> bool {
        matches!(source(&self.metric), Source::Eval(..))
    }

    /// Refuses a metric that no trial will log.
    ///
    /// # Errors
    /// An evaluation set that the experiment lacks, a column or metric that there is not.
    pub fn check(&self, file: &Path, base: &Experiment, axes: &[String]) -> Result<()> {
        let Some((what, help)) = self.fault(base, axes) else { return Ok(()) };
        let error =
            Error::input(format!("{}: the objective {:?} {what}", file.display(), self.metric));
        Err(match help {
            Some(help) => error.help(help),
            None => error,
        })
    }

    /// What is wrong with the metric, as the rest of a sentence about it, and what would help; None
    /// where `base`, varied along `axes`, logs it.
    pub fn fault(&self, base: &Experiment, axes: &[String]) -> Option<(String, Option<String>)> {
        let wrong = |what: String, name: &str, known: &[&str]| {
            let help = match crate::config::suggest(name, known) {
                Some(near) => format!("did you mean {near:?}?"),
                None if known.is_empty() => {
                    "the base experiment has no evaluation sets: see [evaluate.sets]".to_string()
                }
                None => format!("there are {}", known.join(", ")),
            };
            Some((what, Some(help)))
        };
        match source(&self.metric) {
            Source::Epochs(column) => {
                // The first column is the epoch itself.
                let mut known = EPOCH_COLUMNS[1..].to_vec();
                known.extend(Stages::default().columns().map(|(name, _)| name));
                // An axis may bring the average.
                let averaged = axes.iter().any(|axis| axis.starts_with("train.ema"));
                if base.train.ema.decay > 0.0 || averaged {
                    known.push(EMA_LOSS);
                }
                match known.contains(&column) {
                    true => None,
                    false => wrong("is no column of epochs.csv".into(), column, &known),
                }
            }
            Source::Eval(set, metric) => {
                let sets: Vec<&str> = base.evaluate.sets.keys().map(String::as_str).collect();
                // An axis may bring sets of its own.
                let varied = axes.iter().any(|axis| axis.starts_with("evaluate.sets"));
                if !varied && !sets.contains(&set) {
                    return wrong(format!("names no evaluation set {set:?}"), set, &sets);
                }
                // An axis may bring the set or change its kind.
                let kinds = match base.evaluate.sets.get(set).filter(|_| !varied) {
                    Some(set) => vec![Metrics::of(set)],
                    None => vec![&OF_PAIRS, &OF_RETRIEVAL, &OF_IMAGE_TEXT],
                };
                if kinds.iter().any(|kind| kind.has(metric)) {
                    return None;
                }
                let known: Vec<&str> = kinds.iter().flat_map(|kind| kind.shown()).collect();
                let of_kind = match base.evaluate.sets.get(set).filter(|_| !varied) {
                    Some(config) => {
                        format!(" of evaluate.sets.{set}, which is of kind {:?}", config.kind())
                    }
                    None => String::new(),
                };
                wrong(format!("names no metric {metric:?}{of_kind}"), metric, &known)
            }
        }
    }

    /// What the run of a folder logged that could be an objective.
    pub fn choices(run: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let content = std::fs::read_to_string(run.join("epochs.csv")).unwrap_or_default();
        let header = content.lines().next().unwrap_or_default();
        names.extend(header.split(',').skip(1).filter(|name| !name.is_empty()).map(str::to_owned));
        // A file that can't be read names nothing.
        let _ = rows(&run.join("eval.csv"), &["set", "metric"], |row| {
            let name = format!("{}/{}", row[0], row[1]);
            if !names.contains(&name) {
                names.push(name);
            }
        });
        names
    }
}

/// Rows of a CSV file that may be missing, by the wanted columns; a row that is not whole, and
/// a file without one of the columns, have none.
pub(crate) fn rows(path: &Path, columns: &[&str], mut each: impl FnMut(&[&str])) -> Result<()> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let end = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&content[..end]);
    let Ok(header) = reader.headers().cloned() else { return Ok(()) };
    let places: Option<Vec<usize>> =
        columns.iter().map(|name| header.iter().position(|column| column == *name)).collect();
    let Some(places) = places else { return Ok(()) };
    for row in reader.records().flatten() {
        let cells: Option<Vec<&str>> = places.iter().map(|place| row.get(*place)).collect();
        if let Some(cells) = cells {
            each(&cells);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn objective(metric: &str) -> Objective {
        Objective { metric: metric.into(), ..Objective::default() }
    }

    #[test]
    fn live_and_recorded_values_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        std::fs::write(
            run.join("epochs.csv"),
            "epoch,train_loss,val_loss\n1,3,2.5\n2,2,\n3,1,1.5\n4,1",
        )
        .unwrap();
        std::fs::write(
            run.join("eval.csv"),
            "epoch,checkpoint,set,metric,value,std\n0,untrained,lfw,accuracy,0.5,\n\
             1,latest,lfw,accuracy,0.6,0.1\n1,latest,lfw,auc,0.7,\n3,min-loss,lfw,accuracy,0.9,\n",
        )
        .unwrap();
        let seen = |epoch, value| Observation { epoch, value };
        let loss = objective("epoch/val_loss").recorded(run).unwrap();
        assert_eq!(loss, [seen(1, 2.5), seen(3, 1.5)]);
        for name in ["lfw/accuracy", "eval/lfw/accuracy"] {
            assert_eq!(objective(name).recorded(run).unwrap(), [seen(1, 0.6)]);
        }
        assert_eq!(objective("nothing").recorded(run).unwrap(), []);
        let choices = Objective::choices(run);
        assert_eq!(choices, ["train_loss", "val_loss", "lfw/accuracy", "lfw/auc"]);

        let evaluated = |checkpoint: &str| Feed::Evaluated {
            epoch: 2,
            checkpoint: checkpoint.into(),
            set: "lfw".into(),
            metrics: [("accuracy".to_string(), Some(0.75))].into(),
        };
        let accuracy = objective("lfw/accuracy");
        assert_eq!(accuracy.heard(&evaluated("latest")), Some(seen(2, 0.75)));
        assert_eq!(accuracy.heard(&evaluated("min-loss")), None);
        let values: BTreeMap<_, _> = [("val_loss".to_string(), None)].into();
        let ended = Feed::EpochEnded { epoch: 4, values };
        assert!(objective("val_loss").heard(&ended).unwrap().value.is_nan());
    }
    #[test]
    fn a_metric_is_one_of_its_sets_kind() {
        let text = "data.kind = \"synthetic_faces\"\n\
                    [evaluate.sets.words]\nkind = \"image_text\"\n\
                    [evaluate.sets.faces]\nkind = \"unseen_pairs\"\n\
                    [evaluate.sets.found]\nkind = \"retrieval\"\n";
        let base: Experiment = crate::config::load_str("x.toml", text, &[]).unwrap().experiment;
        let check = |metric: &str, axes: &[&str]| {
            let axes: Vec<String> = axes.iter().map(ToString::to_string).collect();
            let checked = objective(metric).check(Path::new("s.toml"), &base, &axes);
            checked.map_err(|error| format!("{error}"))
        };
        for right in [
            "words/text_to_image/recall@1",
            "eval/words/image_to_text/recall@10",
            "faces/accuracy",
            "faces/tar@far=1e-3",
            "found/recall@1",
            "found/map@r",
        ] {
            assert_eq!(check(right, &[]), Ok(()), "{right}");
        }
        for wrong in [
            "words/recall@1",
            "words/text_to_image/recall@2",
            "words/accuracy",
            "faces/recall@1",
            "faces/tar@far=x",
            "found/text_to_image/recall@1",
            "found/accuracy",
        ] {
            let said = check(wrong, &[]).unwrap_err();
            assert!(
                said.contains("names no metric") && said.contains("of kind"),
                "{wrong}: {said}"
            );
        }
        assert_eq!(check("words/accuracy", &["evaluate.sets.words.kind"]), Ok(()));
        assert!(check("words/nothing", &["evaluate.sets.words.kind"]).is_err());
    }
}
