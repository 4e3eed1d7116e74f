//! `run eval`: scores a run's checkpoints, or an experiment's weights without training.

use super::args::EvalArgs;
use super::{request, say};
use crate::config::{Loaded, load};
use crate::evaluate::verification::UNRESOLVED;
use crate::evaluate::{eval_csv, summary};
use crate::inference::{Kept, as_trained, checkpoint_name, plan_of};
use crate::plan::Plan;
use crate::record::{RunDir, Verbosity};
use crate::train::evaluation::{Evaluation, Scored};
use crate::train::model::Model;
use crate::train::session::prepare_evaluation;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::path::Path;

/// Columns of `--checkpoint all`, beside a run's other files.
const SUMMARY: &str = "eval-all.csv";

pub fn eval(args: &EvalArgs, verbosity: Verbosity) -> Result<()> {
    let EvalArgs { target, checkpoint, output, scores, settings } = args;
    if let Some(path) = output {
        // Found out now, not after the evaluation.
        eval_csv::append(path, 0, "", &[]).map_err(Error::into_input)?;
    }
    let sink = Sink { output: output.as_deref() };
    if target.is_dir() {
        let which = checkpoint.as_deref().unwrap_or("min-loss");
        return of_run(target, which, *scores, &settings.sets(), verbosity, &sink);
    }
    if *scores {
        return Err(Error::input("--scores needs a run folder, not a file")
            .help("an experiment that was not trained has no folder to keep scores in"));
    }
    if let Some(which) = checkpoint {
        return Err(Error::input(format!("--checkpoint {which} needs a run folder, not a file")));
    }
    let loaded: Loaded = load(&request(target, settings))?;
    let plan = Plan::without_training(loaded)?;
    let stop = StopFlag::listen()?;
    let evaluation = sets_of(&plan, verbosity, &stop)?;
    // Embeddings don't depend on the classes.
    let model = Model::build(&plan.experiment, 1, plan.device);
    let notices = crate::train::pretrained::load(&model, &plan.experiment)?;
    if verbosity != Verbosity::Quiet {
        let preprocessing = crate::train::pretrained::preprocessing(&plan.experiment);
        notices.iter().chain(&preprocessing).for_each(|notice| crate::tell!("{notice}"));
    }
    let stated = crate::train::pretrained::stated(&plan.experiment);
    let name = if stated { "pretrained" } else { "untrained" };
    evaluation.run(&model, name, 0, &stop)?.iter().try_for_each(|scored| sink.take(scored))
}

fn sets_of(plan: &Plan, verbosity: Verbosity, stop: &StopFlag) -> Result<Evaluation> {
    if plan.experiment.evaluate.sets.is_empty() {
        let help = "add one, as in --set evaluate.sets.lfw.kind=lfw";
        let file = plan.file.display();
        return Err(Error::input(format!("{file} names no evaluation set")).help(help));
    }
    let (evaluation, notes) = prepare_evaluation(plan, verbosity, stop)?;
    if verbosity != Verbosity::Quiet {
        notes.iter().for_each(|note| crate::tell!("{note}"));
    }
    Ok(evaluation)
}

/// Where scores go as soon as they are there.
struct Sink<'a> {
    output: Option<&'a Path>,
}

impl Sink<'_> {
    fn take(&self, scored: &Scored) -> Result<()> {
        let Scored { epoch, checkpoint, set, metrics, detail: _ } = scored;
        say(&format!("{set}, {checkpoint} (epoch {epoch})\n"))?;
        for metric in metrics {
            let std = metric.std.map(|std| format!(" +- {std:.4}")).unwrap_or_default();
            let mark = metric.mark();
            say(&format!("  {:<24}{:.4}{mark}{std}\n", metric.name, metric.value))?;
        }
        if metrics.iter().any(|metric| metric.unresolved) {
            say(&format!("  {UNRESOLVED}\n"))?;
        }
        match self.output {
            Some(path) => {
                eval_csv::append(path, *epoch as usize, checkpoint, &[(set.as_str(), metrics)])
            }
            None => Ok(()),
        }
    }
}

fn of_run(
    run: &Path,
    which: &str,
    scores: bool,
    sets: &[String],
    verbosity: Verbosity,
    sink: &Sink<'_>,
) -> Result<()> {
    let plan = plan_of(run, sets)?;
    // A training that goes on writes scores of its own: held until the last file is written.
    let _held = scores.then(|| RunDir::open(run)).transpose()?;
    let own = sink.output.is_some_and(|output| is_own(run, output));
    if scores || own {
        let help = "give --output another file, and leave --scores out";
        as_trained(run, &plan, "the run's eval.csv and scores/ hold what it scores")
            .map_err(|error| error.help(help))?;
        same_sets(run, &plan).map_err(|error| error.help(help))?;
    }
    let all = which == "all";
    let kept = match all {
        true => Kept::every(run)?,
        false => vec![Kept::one(run, checkpoint_name(which)?)?],
    };
    let stop = StopFlag::listen()?;
    let mut evaluation = sets_of(&plan, verbosity, &stop)?;
    evaluation.scores = scores.then(|| run.to_path_buf());
    let mut rows = Vec::new();
    for weights in kept {
        let (model, _) = weights.network(&plan)?;
        let (names, epoch) = (weights.calls(), weights.epoch);
        let scored = evaluation.run(&model, &names[0], epoch, &stop)?;
        for name in &names {
            for result in &scored {
                let result = Scored { checkpoint: name.clone(), ..result.clone() };
                evaluation.write_detail(epoch, &result.checkpoint, &result.set, &result.detail)?;
                sink.take(&result)?;
            }
        }
        rows.push(summary::Row::new(epoch, &weights.all_names(), &scored));
    }
    if all {
        let path = run.join(SUMMARY);
        say(&summary::write(&path, run, rows)?)?;
        say(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// Whether a file is the run's own `eval.csv`.
fn is_own(run: &Path, output: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(output).is_some_and(|output| Some(output) == real(&run.join(Evaluation::FILE)))
}

/// # Errors
/// A set of the run's own name that the settings change.
fn same_sets(run: &Path, plan: &Plan) -> Result<()> {
    let own = plan_of(run, &[])?.experiment.evaluate.sets;
    let sets = plan.experiment.evaluate.sets.iter();
    let mut changed = sets.filter(|(name, set)| own.get(*name).is_some_and(|own| own != *set));
    match changed.next() {
        None => Ok(()),
        Some((name, _)) => Err(Error::input(format!(
            "the run's eval.csv and scores/ hold scores of its own evaluate.sets.{name}, which --set \
             changes"
        ))),
    }
}
