//! `run eval`: scores a run's checkpoints, or an experiment's weights without training.

use super::args::Settings;
use super::{request, say};
use crate::checkpoint::{self, Name};
use crate::config::{Loaded, Request, load, load_text};
use crate::evaluate::{Absent, eval_csv};
use crate::plan::Plan;
use crate::record::{RunDir, Verbosity};
use crate::train::evaluation::Scored;
use crate::train::model::Model;
use crate::train::session::{Prepared, prepare};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

pub fn eval(
    target: &Path,
    which: Option<&str>,
    output: Option<&Path>,
    scores: bool,
    settings: &Settings,
    verbosity: Verbosity,
) -> Result<()> {
    if let Some(path) = output {
        // Found out now, not after the evaluation.
        eval_csv::append(path, 0, "", &[]).map_err(Error::into_input)?;
    }
    let scored = if target.is_dir() {
        of_run(target, which.unwrap_or("min-loss"), scores, settings, verbosity)?
    } else if scores {
        return Err(Error::input("--scores needs a run folder, not a file")
            .help("an experiment that was not trained has no folder to keep scores in"));
    } else if let Some(which) = which {
        return Err(Error::input(format!("--checkpoint {which} needs a run folder, not a file")));
    } else {
        of_experiment(target, settings, verbosity)?
    };
    for Scored { epoch, checkpoint, set, metrics, distances: _ } in &scored {
        say(&format!("{set}, {checkpoint} (epoch {epoch})\n"))?;
        for metric in metrics {
            let std = metric.std.map(|std| format!(" +- {std:.4}")).unwrap_or_default();
            say(&format!("  {:<24}{:.4}{std}\n", metric.name, metric.value))?;
        }
        if let Some(path) = output {
            eval_csv::append(path, *epoch as usize, checkpoint, &[(set, metrics)])?;
        }
    }
    Ok(())
}

fn of_run(
    run: &Path,
    which: &str,
    scores: bool,
    settings: &Settings,
    verbosity: Verbosity,
) -> Result<Vec<Scored>> {
    // A training that goes on writes scores of its own: held until the last file is written.
    let _held = scores.then(|| RunDir::open(run)).transpose()?;
    let folders: Vec<(String, PathBuf)> = match which {
        "all" => {
            checkpoint::list(run).into_iter().map(|(name, path)| (name.to_string(), path)).collect()
        }
        text => {
            let name = Name::parse(text).ok_or_else(|| {
                Error::input(format!("there is no checkpoint \"{text}\""))
                    .help("use latest, min-loss, the number of an epoch, or all")
            })?;
            vec![(name.to_string(), checkpoint::find(run, name)?)]
        }
    };
    let file = run.join("config.toml");
    let text = crate::config::read_file(&file)?;
    // The run's configuration is resolved: the environment has had its say.
    let request = Request { file, sets: settings.sets(), environment: Vec::new() };
    let loaded: Loaded = load_text(&request, &text, crate::config::DEFAULTS)?;
    let plan = Plan::new(loaded)?;
    let Prepared { mut evaluation, .. } =
        prepare(&plan, verbosity, Absent::Refuse, &StopFlag::default())?;
    evaluation.scores = scores.then(|| run.to_path_buf());
    some_sets(&evaluation.sets, &plan)?;
    let mut scored = Vec::new();
    for (name, folder) in folders {
        let (weights, state) = checkpoint::read_group(&folder, "model")?;
        let model = Model::build(&plan.experiment, state.labels.names.len(), plan.device);
        let expected = checkpoint::shapes(&model.tensors());
        checkpoint::same_tensors(&folder, &expected, &checkpoint::shapes(&weights))?;
        model.load(&weights);
        for result in evaluation.run(&model, &name, state.epoch, &StopFlag::default())? {
            evaluation.write_distances(&result.checkpoint, &result.set, &result.distances)?;
            scored.push(result);
        }
    }
    Ok(scored)
}

fn of_experiment(file: &Path, settings: &Settings, verbosity: Verbosity) -> Result<Vec<Scored>> {
    let loaded: Loaded = load(&request(file, settings))?;
    let plan = Plan::new(loaded)?;
    let Prepared { splits, evaluation, .. } =
        prepare(&plan, verbosity, Absent::Refuse, &StopFlag::default())?;
    some_sets(&evaluation.sets, &plan)?;
    let model = Model::build(&plan.experiment, splits.train.labels.len(), plan.device);
    let (source, _) = plan.experiment.backbone.common();
    crate::train::pretrained::load(&model, source)?;
    let name = if source.is_none() { "untrained" } else { "pretrained" };
    evaluation.run(&model, name, 0, &StopFlag::default())
}

fn some_sets<T>(sets: &[T], plan: &Plan) -> Result<()> {
    match sets {
        [] => Err(Error::input(format!("{} names no evaluation set", plan.file.display()))
            .help("add one, as in --set evaluate.sets.lfw.kind=lfw")),
        _ => Ok(()),
    }
}
