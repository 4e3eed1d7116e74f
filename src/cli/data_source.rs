//! What a command on data is given: an experiment, a run, a pack or a plain folder.

use std::path::{Path, PathBuf};

use super::args::Settings;
use super::request;
use crate::config::{DEFAULTS, Loaded, Request, load, load_text};
use crate::data::{PackFile, Splits};
use crate::inference::plan_of;
use crate::plan::Plan;
use crate::record::{RunInfo, Verbosity};
use crate::train::session::open_splits;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

/// Where the data comes from.
#[derive(Debug)]
pub enum Source {
    /// An experiment file.
    Experiment,
    /// A run's folder, and what it recorded.
    Run(Box<RunInfo>),
    /// A pack.
    Pack,
    /// A folder of identities, read with the defaults of `image_folder`.
    Folder,
}

impl Source {
    /// By what `path` is.
    ///
    /// # Errors
    /// Nothing is there, or a damaged `run.json`.
    pub fn of(path: &Path) -> Result<Source> {
        if !path.exists() {
            return Err(Error::input(format!("{} is not there", path.display())).help(
                "give a folder of identities, an experiment file, a run's folder or a pack",
            ));
        }
        Ok(match path.is_dir() {
            true if RunInfo::is_in(path) => Source::Run(Box::new(RunInfo::read(path)?)),
            true => Source::Folder,
            false if PackFile::is_pack(path) => Source::Pack,
            false if path.extension().is_some_and(|extension| extension == "pack") => Source::Pack,
            false => Source::Experiment,
        })
    }

    /// The experiment, which for a folder or a pack is the defaults; on the CPU, for no command on
    /// data computes with the network.
    ///
    /// # Errors
    /// A wrong experiment or setting.
    pub fn plan(&self, path: &Path, settings: &Settings) -> Result<Plan> {
        let device = settings.device.clone().or_else(|| Some("cpu".into()));
        let settings = Settings { device, set: settings.set.clone() };
        match self {
            Source::Experiment => {
                let loaded: Loaded = load(&request(path, &settings))?;
                Plan::without_training(loaded)
            }
            Source::Run(_) => plan_of(path, &settings.sets()),
            Source::Pack => stand_in("pack", "file", path, &settings),
            Source::Folder => stand_in("image_folder", "root", path, &settings),
        }
    }
}

/// An experiment that says no more than where its data is.
fn stand_in(kind: &str, key: &str, path: &Path, settings: &Settings) -> Result<Plan> {
    let place = absolute(path)?;
    let place = place.to_str().ok_or_else(|| {
        Error::input(format!("the name of {} is not UTF-8", path.display()))
            .help("name it in an experiment of a folder above it, or rename it")
    })?;
    let data = toml::Table::from_iter([
        ("kind".to_owned(), toml::Value::from(kind)),
        (key.to_owned(), toml::Value::from(place)),
    ]);
    let file = toml::Table::from_iter([
        ("name".to_owned(), toml::Value::from("data")),
        ("data".to_owned(), toml::Value::Table(data)),
    ]);
    let text = toml::to_string(&file).expect("plain values");
    // The text stands beside the data; its name is what errors say.
    let request = Request { sets: settings.sets(), ..Request::new(path) };
    Plan::without_training(load_text(&request, &text, DEFAULTS)?)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io("find", path, e).into_input())
}

/// Opens the data of a plan; from a plan that only stands in, captions are welcome too.
///
/// # Errors
/// What is missing or contradicts itself.
pub fn open(source: &Source, plan: &Plan, verbosity: Verbosity, stop: &StopFlag) -> Result<Splits> {
    match source {
        Source::Pack => {
            let datasets = &plan.experiment.paths.datasets;
            crate::data::open(&plan.experiment.data, datasets, plan.experiment.seed, &|_, _| true)
        }
        _ => open_splits(plan, verbosity, stop),
    }
}

/// `celeba: image_folder`, for the first line of what is told.
pub fn title(path: &Path, plan: &Plan) -> String {
    let experiment = &plan.experiment;
    let root = experiment.data.root(&experiment.paths.datasets);
    let kind = experiment.data.kind();
    match root == path || absolute(path).is_ok_and(|path| path == root) {
        true => format!("{}: {kind}", path.display()),
        false => format!("{}: {kind} {}", path.display(), root.display()),
    }
}
