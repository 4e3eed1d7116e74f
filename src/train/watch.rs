//! Metrics that decide over the training: what stops it early, which checkpoints are the best.

use super::evaluation::Scored;
use crate::Error;
use crate::checkpoint;
use crate::config::Experiment;
use crate::plan::Plan;
use crate::record::EpochRow;
use crate::record::feed::{Feed, epoch_values};
use crate::sweep::{Goal, Objective};

/// A metric by its name in the experiment: a column of `epochs.csv`, or SET/METRIC of an evaluation of
/// the latest weights.
#[derive(Clone, Debug)]
pub struct Watch {
    objective: Objective,
}

impl Watch {
    pub fn new(metric: &str, goal: Goal) -> Watch {
        Watch { objective: Objective { metric: metric.to_string(), goal, ..Objective::default() } }
    }

    pub fn name(&self) -> &str {
        &self.objective.metric
    }

    /// Whether it is a metric of an evaluation set.
    pub fn of_evaluation(&self) -> bool {
        self.objective.of_evaluation()
    }

    /// What the epoch measured of it; None where it did not.
    pub fn value(&self, row: &EpochRow, scored: &[Scored]) -> Option<f64> {
        let ended = Feed::EpochEnded { epoch: row.epoch, values: epoch_values(row) };
        let evaluated = scored.iter().map(|scored| Feed::Evaluated {
            epoch: scored.epoch,
            checkpoint: scored.checkpoint.clone(),
            set: scored.set.clone(),
            metrics: scored.metrics.iter().map(|m| (m.name.clone(), Some(m.value))).collect(),
        });
        let mut heard =
            std::iter::once(ended).chain(evaluated).filter_map(|feed| self.objective.heard(&feed));
        heard.next().map(|observation| observation.value)
    }

    /// The value as one that is better the smaller it is.
    pub fn cost(&self, value: f64) -> f64 {
        -self.objective.score(value)
    }

    /// Why the experiment can't measure it, and what would help.
    pub fn fault(&self, experiment: &Experiment) -> Option<(String, Option<String>)> {
        if let Some(fault) = self.objective.fault(experiment, &[]) {
            return Some(fault);
        }
        if self.objective.of_evaluation() && experiment.evaluate.every_epochs == 0 {
            let message = "is of an evaluation, and evaluate.every_epochs = 0 evaluates after the \
                           training alone";
            return Some((message.into(), Some("set evaluate.every_epochs = 1".into())));
        }
        None
    }
}

/// What early stopping watches instead of the loss that `min-loss` compares.
pub fn of_stopping(experiment: &Experiment) -> Option<Watch> {
    let stopping = &experiment.train.early_stopping;
    (!stopping.metric.is_empty()).then(|| Watch::new(&stopping.metric, stopping.goal))
}

/// The metrics whose best checkpoints are kept.
pub fn of_checkpoints(experiment: &Experiment) -> Vec<Watch> {
    experiment.checkpoint.best.iter().map(|metric| Watch::new(metric, Goal::Auto)).collect()
}

/// Keys with metrics that the experiment does not measure: (key, message, help).
pub fn misfits(experiment: &Experiment) -> Vec<(&'static str, String)> {
    let stopping = of_stopping(experiment).map(|watch| ("train.early_stopping.metric", watch));
    let best = of_checkpoints(experiment).into_iter().map(|watch| ("checkpoint.best", watch));
    let all = stopping.into_iter().chain(best);
    let misfit = |(key, watch): (&'static str, Watch)| {
        let (message, help) = watch.fault(experiment)?;
        let help = help.map(|help| format!(": {help}")).unwrap_or_default();
        Some((key, format!("has {:?}, which {message}{help}", watch.name())))
    };
    let mut wrong: Vec<(&'static str, String)> = all.filter_map(misfit).collect();
    if !checkpoint::metrics_fit(&experiment.checkpoint.best) {
        let message = "has more metrics than the name of a folder holds: state fewer";
        wrong.push(("checkpoint.best", message.to_string()));
    }
    wrong
}

/// Metrics of validation images where there are none.
///
/// # Errors
/// Names the key.
pub fn without_validation(plan: &Plan) -> Result<(), Error> {
    let stopping =
        of_stopping(&plan.experiment).map(|watch| ("train.early_stopping.metric", watch));
    let best = of_checkpoints(&plan.experiment).into_iter().map(|watch| ("checkpoint.best", watch));
    for (key, watch) in stopping.into_iter().chain(best) {
        if watch.name().trim_start_matches("epoch/").starts_with("val_") {
            let message = format!("`{key}` has {:?}, but no images are validated", watch.name());
            let help = "give the data validation images (data.fractions, data.validation), or watch train_loss";
            return Err(plan.error(key, message, help));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;
    use crate::evaluate::{Detail, Metric};

    fn scored(checkpoint: &str, value: f64) -> Scored {
        let metric = Metric::new("accuracy", value, None);
        Scored {
            epoch: 2,
            checkpoint: checkpoint.into(),
            set: "lfw".into(),
            metrics: vec![metric],
            detail: Detail::Distances(Vec::new()),
        }
    }

    #[test]
    fn a_metric_is_found_where_it_is_logged() {
        let row = EpochRow { epoch: 2, train_loss: 3.0, ..EpochRow::default() };
        let scores = [scored("untrained", 0.5), scored("latest", 0.75), scored("ema", 0.875)];
        let value = |name: &str| Watch::new(name, Goal::Auto).value(&row, &scores);
        assert_eq!(value("train_loss"), Some(3.0));
        assert_eq!(value("lfw/accuracy"), Some(0.75));
        assert_eq!(value("val_loss"), None);
        assert_eq!(value("lfw/auc"), None);
    }

    #[test]
    fn smaller_costs_are_better_whichever_way_the_metric_goes() {
        let loss = Watch::new("val_loss", Goal::Auto);
        let accuracy = Watch::new("lfw/accuracy", Goal::Auto);
        let turned = Watch::new("val_loss", Goal::Maximize);
        assert_eq!((loss.cost(2.0), accuracy.cost(0.5), turned.cost(2.0)), (2.0, -0.5, -2.0));
    }

    #[test]
    fn a_metric_that_is_not_measured_is_refused() {
        let refusal = |text: &str| {
            let text = format!(
                "data.kind = \"synthetic_faces\"\n[evaluate.sets.faces]\nkind = \"unseen_pairs\"\n{text}"
            );
            let loaded = load_str("x.toml", &text, &[]).unwrap();
            misfits(&loaded.experiment)
                .into_iter()
                .map(|(key, text)| format!("{key} {text}"))
                .collect::<String>()
        };
        assert_eq!(refusal("[checkpoint]\nbest = [\"faces/accuracy\", \"val_loss\"]"), "");
        let said = refusal("[checkpoint]\nbest = [\"face/accuracy\"]");
        assert!(said.contains("checkpoint.best") && said.contains("faces"), "{said}");
        let said = refusal("[train.early_stopping]\nmetric = \"val_los\"");
        assert!(said.contains("early_stopping.metric") && said.contains("val_loss"), "{said}");
        let said = refusal(
            "[train.early_stopping]\nmetric = \"faces/accuracy\"\n[evaluate]\nevery_epochs = 0",
        );
        assert!(said.contains("evaluate.every_epochs"), "{said}");
    }
}
