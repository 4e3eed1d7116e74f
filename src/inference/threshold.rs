//! The threshold that an evaluation of a run tuned: same person where the squared L2 distance of
//! normalised embeddings is below it.

use crate::train::evaluation::Evaluation;
use crate::{Error, Result};
use std::path::Path;

/// A threshold and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Squared L2.
    pub value: f64,
    /// The evaluation set that it was tuned on.
    pub set: String,
    pub checkpoint: String,
    pub epoch: u64,
}

impl Threshold {
    /// The last threshold in the run's `eval.csv` for these weights: of `checkpoint`, or of another
    /// name of the same epoch. Of several sets the first by name, or `set`.
    ///
    /// # Errors
    /// No such threshold, with what there is.
    pub fn of_run(
        run: &Path,
        checkpoint: &str,
        epoch: u64,
        set: Option<&str>,
    ) -> Result<Threshold> {
        let path = run.join(Evaluation::FILE);
        let all = read(&path)?;
        let fits = |t: &&Threshold| {
            t.epoch == epoch && t.checkpoint != "untrained" && set.is_none_or(|set| t.set == set)
        };
        let mut found: Vec<&Threshold> = all.iter().filter(fits).collect();
        if found.iter().any(|t| t.checkpoint == checkpoint) {
            found.retain(|t| t.checkpoint == checkpoint);
        }
        let first = found.iter().map(|t| &t.set).min();
        if let Some(threshold) = found.iter().rfind(|t| Some(&t.set) == first) {
            return Ok((*threshold).clone());
        }
        let what = match set {
            Some(set) => format!(" on the set {set}"),
            None => String::new(),
        };
        Err(Error::input(format!(
            "{} has no threshold of {checkpoint} (epoch {epoch}){what}",
            path.display()
        ))
        .help(
            "give one with --threshold, or evaluate that checkpoint: \
             run eval RUN_DIR --checkpoint NAME --output RUN_DIR/eval.csv",
        ))
    }
}

/// Every threshold in an `eval.csv`, in its order; none where there is no file.
fn read(path: &Path) -> Result<Vec<Threshold>> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", path, e).into_input()),
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content.as_slice());
    let mut thresholds = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        if row.get(3) != Some("threshold") {
            continue;
        }
        let number = |column: usize| row.get(column).unwrap_or_default();
        if let (Ok(epoch), Ok(value)) = (number(0).parse(), number(4).parse::<f64>())
            && value.is_finite()
        {
            let (checkpoint, set) = (number(1).to_string(), number(2).to_string());
            thresholds.push(Threshold { value, set, checkpoint, epoch });
        }
    }
    Ok(thresholds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_threshold_of_the_weights_counts() {
        let run = tempfile::tempdir().unwrap();
        std::fs::write(
            run.path().join("eval.csv"),
            "epoch,checkpoint,set,metric,value,std\n0,untrained,b,threshold,0.1,\n\
             3,latest,b,threshold,1.2,\n3,latest,a,threshold,1.3,\n3,latest,a,accuracy,0.9,0.1\n\
             3,min-loss,b,threshold,1.25,\n3,latest,a,threshold,1.4,\n",
        )
        .unwrap();
        let of = |checkpoint: &str, epoch, set| {
            Threshold::of_run(run.path(), checkpoint, epoch, set).map(|t| t.value)
        };
        assert_eq!(of("latest", 3, None).unwrap(), 1.4);
        assert_eq!(of("latest", 3, Some("b")).unwrap(), 1.2);
        assert_eq!(of("min-loss", 3, None).unwrap(), 1.25);
        assert_eq!(of("epoch-0003", 3, Some("a")).unwrap(), 1.4, "the same weights");
        let error = of("epoch-0002", 2, None).unwrap_err().to_string();
        assert!(error.contains("no threshold of epoch-0002 (epoch 2)"), "{error}");
        assert!(of("latest", 0, None).is_err(), "untrained weights tune nothing");
        assert!(of("latest", 3, Some("c")).unwrap_err().to_string().contains("set c"));
    }
}
