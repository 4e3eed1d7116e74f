//! `run parts scheduler EXPERIMENT --plot FILE`: what an experiment's schedule will do.

use std::path::Path;

use super::args::Settings;
use super::{request, say};
use crate::config::{Loaded, load};
use crate::evaluate::Absent;
use crate::plan::Plan;
use crate::plot::Format;
use crate::record::Verbosity;
use crate::scheduler::{Horizon, chart};
use crate::train::build::{steps_per_epoch, train_loader};
use crate::train::session::prepare;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

/// Longer trainings take long to draw and are a slip of the keyboard.
const MOST_STEPS: usize = 10_000_000_000;

/// Points.
const SIZE: (u32, u32) = (800, 440);

/// Draws the schedule to `picture`. Without `steps_per_epoch` the data set is opened and counted.
///
/// # Errors
/// `Input` where the experiment is wrong, `picture` has another extension than .png or .svg, or the
/// data can't be opened; `Failed` where the picture can't be written.
pub fn plot(
    experiment: &Path,
    picture: &Path,
    steps_per_epoch: Option<usize>,
    settings: &Settings,
    verbosity: Verbosity,
) -> Result<()> {
    Format::of(picture)?;
    if let Some(folder) = picture.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        let message = format!("there is no folder {} for the picture", folder.display());
        return Err(Error::input(message).help("create it first"));
    }
    // No step is taken: a machine without the experiment's GPU can draw too.
    let settings = Settings {
        device: settings.device.clone().or_else(|| Some("cpu".into())),
        set: settings.set.clone(),
    };
    let loaded: Loaded = load(&request(experiment, &settings))?;
    let plan = Plan::without_training(loaded)?;
    let steps_per_epoch = match steps_per_epoch {
        Some(steps) => steps,
        None => count_steps(&plan, verbosity)?,
    };
    let (train, scheduler) = (&plan.experiment.train, &plan.experiment.scheduler);
    let horizon = Horizon::new(steps_per_epoch, train.epochs, train.max_steps);
    if horizon.steps > MOST_STEPS {
        let message = format!("{} steps are too many to draw", horizon.steps);
        return Err(Error::input(message).help("lower train.epochs or set train.max_steps"));
    }
    let chart = chart::chart(&plan.name, scheduler, plan.experiment.optimizer.lr(), horizon);
    chart.save(picture, SIZE.0, SIZE.1).map_err(Error::into_input)?;
    say(&format!("{}: {}, {}\n", picture.display(), chart.title, chart::length(horizon)))
}

/// As the training counts them.
fn count_steps(plan: &Plan, verbosity: Verbosity) -> Result<usize> {
    let prepared = prepare(plan, verbosity, Absent::LeaveOut, &StopFlag::default());
    let splits = prepared.map_err(or_state)?.splits;
    Ok(steps_per_epoch(plan, &train_loader(plan, splits.train, splits.on_corrupt)?))
}

/// The other way to say how many steps an epoch has.
fn or_state(error: Error) -> Error {
    const OTHER: &str = "state --steps-per-epoch N, and the data is not needed";
    match error {
        Error::Input { message, help } => {
            let help = help.map_or(OTHER.to_string(), |help| format!("{help}; or {OTHER}"));
            Error::input(message).help(help)
        }
        other => other,
    }
}
