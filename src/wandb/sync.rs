//! `run sync`: what a run logged goes to the server, as far as it is not there.

use super::api::{Api, Failure, Hooks};
use super::folder::segments;
use super::settings::Settings;
use super::timing::Timing;
use super::upload::{Progress, Upload};
use super::worker::site;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What a sync did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The run's page.
    pub page: String,
    /// History lines that the server did not have.
    pub sent: u64,
    /// History lines that it has now.
    pub total: u64,
    /// What could not be uploaded, or was damaged.
    pub warnings: Vec<String>,
}

/// Uploads the segments of a run folder. Names of entity and project that `settings` state win over
/// those that the run was logged with. `tell` hears how many records have gone through, and why
/// something is repeated.
///
/// # Errors
/// `Input` where the folder holds nothing to upload, the key is missing or refused; `Failed` where
/// the server can't be reached; `Stopped` after a signal: what was sent stays there.
pub fn sync(
    run: &Path,
    settings: &Settings,
    timing: Timing,
    stop: &StopFlag,
    tell: impl Fn(u64, Option<&str>) + Send + Sync + 'static,
) -> Result<Synced> {
    let segments = segments(run);
    if segments.is_empty() {
        return Err(Error::input(format!("{} holds nothing to upload", run.display()))
            .help("a run folder has wandb/offline-run-*, unless it ran with mode \"disabled\""));
    }
    if settings.key.is_none() {
        return Err(Error::input("there is no W&B API key")
            .help("set WANDB_API_KEY, in the environment or in .env, or write it to ~/.netrc"));
    }
    let tell: Arc<Tell> = Arc::new(tell);
    let last = Arc::new(Mutex::new(0));
    let hooks = {
        let (tell, last) = (tell.clone(), last.clone());
        let failed = move |why: &str, _: u32| {
            let confirmed = *last.lock().unwrap_or_else(PoisonError::into_inner);
            tell(confirmed, Some(why));
        };
        Hooks { failed: Some(Box::new(failed)), ..Hooks::default() }
    };
    let api =
        Api::new(&settings.server, settings.key.as_ref(), timing, hooks).map_err(Error::input)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::failed(format!("cannot start: {e}")))?;
    let work = async {
        let resume = settings.resume;
        let names = (settings.entity.as_str(), settings.project.as_str());
        let mut upload =
            Upload::begin(&api, segments, names, resume, false).await?.map_err(refused)?;
        let before = upload.server.history_lines;
        while upload.advance().await?.map_err(refused)? == Progress::More {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = upload.confirmed;
            tell(upload.confirmed, None);
        }
        upload.finish().await.map_err(refused)?;
        let total = upload.server.history_lines;
        let page = upload.page(&site(&settings.server));
        let warnings = std::mem::take(&mut upload.said);
        Ok(Synced { page, sent: total - before, total, warnings })
    };
    let stopped = async {
        while !stop.is_set() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = stopped => Err(Error::stopped("stopped by a signal").help(
                "what was sent stays there: the same command sends the rest",
            )),
        }
    })
}

type Tell = dyn Fn(u64, Option<&str>) + Send + Sync;

fn refused(failure: Failure) -> Error {
    let text = format!("W&B: {failure}");
    match failure {
        Failure::Refused { status: Some(401), .. } => {
            Error::input(text).help("look at WANDB_API_KEY, .env and ~/.netrc, in this order")
        }
        Failure::Refused { .. } => Error::input(text).help(
            "look at the entity and the project: WANDB_ENTITY and WANDB_PROJECT state others",
        ),
        Failure::Unreachable(_) => {
            Error::failed(text).help("nothing is lost: the same command sends the rest later")
        }
    }
}
