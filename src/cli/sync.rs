//! `run sync`.

use super::say;
use crate::cli::args::SyncArgs;
use crate::cli::progress::Spinner;
use crate::record::{RunDir, Verbosity};
use crate::train::signals::StopFlag;
use crate::wandb::{Environment, Settings, Synced, Timing, Wandb, sync as upload};
use crate::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every run in turn; one that fails keeps no other from being uploaded.
pub fn sync(options: &SyncArgs, verbosity: Verbosity) -> Result<()> {
    let stop = StopFlag::listen()?;
    let environment = Environment::of_process();
    let settings = Settings::resolve(&Wandb::default(), &environment, "")?;
    let mut failed = None;
    for run in &options.runs {
        match one(run, &settings, &environment, &stop, verbosity) {
            Ok(Synced { page, sent, total, warnings }) => {
                warnings.iter().for_each(|warning| crate::tell!("warning: {warning}"));
                say(&format!("{}: {sent} lines sent, {total} there: {page}\n", run.display()))?;
            }
            Err(stopped @ Error::Stopped { .. }) => return Err(stopped),
            Err(error) => {
                if let Some(before) = failed.replace(error) {
                    super::print_error(&before);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn one(
    run: &Path,
    settings: &Settings,
    environment: &Environment,
    stop: &StopFlag,
    verbosity: Verbosity,
) -> Result<Synced> {
    // Held until the upload is over: a run that is being written uploads itself.
    let _lock = RunDir::open(run)?;
    let quiet = verbosity == Verbosity::Quiet;
    let spinner = Spinner::new("uploading to W&B", quiet);
    let said = AtomicBool::new(quiet);
    let tell = {
        let spinner = spinner.clone();
        move |confirmed: u64, why: Option<&str>| {
            spinner.set(confirmed as usize);
            if let Some(why) = why
                && !said.swap(true, Ordering::Relaxed)
            {
                crate::tell!("W&B does not answer yet ({why}): trying again, Ctrl-C stops");
            }
        }
    };
    let settings = Settings {
        entity: environment.get("WANDB_ENTITY").unwrap_or_default().to_owned(),
        project: environment.get("WANDB_PROJECT").unwrap_or_default().to_owned(),
        ..settings.clone()
    };
    let result = upload(run, &settings, Timing::default(), stop, tell);
    spinner.finish();
    result
}
