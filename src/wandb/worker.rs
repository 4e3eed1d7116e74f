//! The thread beside the training: reads the machine, and uploads what the segment holds.

use super::api::{Api, Failure, Hooks};
use super::folder;
use super::log::Log;
use super::settings::{Mode, Settings};
use super::system::Sampler;
use super::timing::Timing;
use super::upload::{Progress, Upload};
use crate::train::signals::StopFlag;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Failed attempts in a row after which the user is told, once.
const TELL_AFTER: u32 = 2;
/// Between looks at whether a signal arrived.
const LOOK: Duration = Duration::from_millis(250);

/// Something to be told to all sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Notice(String),
    Warning(String),
}

/// What the training thread and the worker share.
#[derive(Default)]
pub struct Control {
    /// There is something new to look at.
    pub wake: Arc<Notify>,
    /// The last record is written.
    finish: AtomicBool,
    /// Leave at once.
    abort: Notify,
    /// The thread has nothing more to do.
    done: AtomicBool,
    /// Everything was uploaded.
    complete: AtomicBool,
    /// Records that the server has.
    pub confirmed: AtomicU64,
    said: Mutex<Vec<Said>>,
    warned: AtomicBool,
}

impl Control {
    fn said(&self) -> MutexGuard<'_, Vec<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn notice(&self, text: impl Into<String>) {
        self.said().push(Said::Notice(text.into()));
    }

    /// Something that has nothing to do with the server.
    pub fn warning(&self, text: impl Into<String>) {
        self.said().push(Said::Warning(text.into()));
    }

    /// The first warning is told, others are of the same trouble.
    pub fn warn(&self, text: impl Into<String>) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            self.said().push(Said::Warning(text.into()));
        }
    }

    /// What was said since the last call.
    pub fn heard(&self) -> Vec<Said> {
        std::mem::take(&mut *self.said())
    }

    pub fn has_warned(&self) -> bool {
        self.warned.load(Ordering::Relaxed)
    }

    pub fn finish(&self) {
        self.finish.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub fn abort(&self) {
        self.abort.notify_one();
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }
}

/// What the worker needs to know.
pub struct Worker {
    pub settings: Settings,
    /// The run folder.
    pub run: PathBuf,
    pub log: Arc<Mutex<Log>>,
    pub control: Arc<Control>,
    pub stop: StopFlag,
    pub timing: Timing,
    /// The run's id was drawn by this session.
    pub fresh: bool,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has no more threads.
    pub fn start(self) -> std::io::Result<()> {
        let control = self.control.clone();
        std::thread::Builder::new().name("wandb".into()).spawn(move || {
            // A panic here must not leave the training waiting at its end.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run()));
            if result.is_err() {
                control.warn("W&B's thread failed: the rest is kept on disk for `run sync`");
            }
            control.done.store(true, Ordering::Release);
        })?;
        Ok(())
    }

    fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                self.control.warn(format!("W&B is off: {error}"));
                return;
            }
        };
        runtime.block_on(async {
            let sampling = tokio::spawn(sample(
                self.log.clone(),
                self.control.clone(),
                self.stop.clone(),
                self.timing.sample,
            ));
            tokio::select! {
                () = self.upload() => {}
                () = self.control.abort.notified() => {}
            }
            sampling.abort();
        });
    }

    /// Until the run is over and uploaded, or the upload is given up.
    async fn upload(&self) {
        if self.settings.mode == Mode::Online
            && let Err(failure) = self.upload_all().await
        {
            self.control.warn(format!(
                "W&B ({}): {failure}; the run goes on, what it logs is kept on disk for `run sync`",
                self.settings.server
            ));
        }
        // The machine is read until the end also where nothing is uploaded.
        while !self.control.finish.load(Ordering::Acquire) {
            self.control.wake.notified().await;
        }
    }

    async fn upload_all(&self) -> Result<(), Failure> {
        let broken = |error: crate::Error| Failure::Unreachable(error.to_string());
        let api = self.api()?;
        let segments = folder::segments(&self.run);
        let (resume, fresh) = (self.settings.resume, self.fresh);
        let mut upload =
            Upload::begin(&api, segments, ("", ""), resume, fresh).await.map_err(broken)??;
        let page = upload.page(&site(&self.settings.server));
        self.control.notice(format!("W&B: {page}"));
        if let Some(last) = upload.server.last_step.filter(|_| self.settings.run_id.is_some()) {
            self.control.notice(format!(
                "W&B run {} has steps up to {last} already: they are not sent again",
                upload.server.id
            ));
        }
        loop {
            // Looked at before reading: all that was written before the end is then read.
            let finish = self.control.finish.load(Ordering::Acquire);
            let progress = upload.advance().await.map_err(broken)??;
            self.control.confirmed.store(upload.confirmed, Ordering::Relaxed);
            self.tell(&mut upload);
            if upload.stopped {
                self.stop.ask("the run's page on W&B");
            }
            if progress == Progress::More {
                continue;
            }
            if finish {
                upload.finish().await?;
                self.tell(&mut upload);
                self.control.complete.store(true, Ordering::Release);
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(self.timing.interval) => {}
                () = self.control.wake.notified() => {}
            }
            upload.heartbeat().await?;
        }
    }

    fn tell(&self, upload: &mut Upload<'_>) {
        self.control.said().extend(upload.said.drain(..).map(Said::Warning));
    }

    fn api(&self) -> Result<Api, Failure> {
        let (control, at) = (self.control.clone(), self.settings.server.clone());
        let failed = move |why: &str, repeated: u32| {
            if repeated >= TELL_AFTER {
                control.warn(format!(
                    "W&B can't be reached at {at} ({why}): the run goes on, what it logs is kept on disk and \
                     sent when W&B answers again"
                ));
            }
        };
        let hooks = Hooks { failed: Some(Box::new(failed)), hurry: self.control.wake.clone() };
        let Settings { server, key, .. } = &self.settings;
        // Nobody waits: the run may be older than the outage.
        let timing = Timing { graphql_retries: u32::MAX, ..self.timing };
        let api = Api::new(server, key.as_ref(), timing, hooks)
            .map_err(|why| Failure::Unreachable(format!("it is off: {why}")))?;
        if let Some(trouble) = api.trouble() {
            self.control.warning(format!("W&B: {trouble}"));
        }
        Ok(api)
    }
}

/// Where people look at runs.
pub fn site(server: &str) -> String {
    server.replacen("://api.wandb.ai", "://wandb.ai", 1)
}

/// Reads the machine at every interval, and marks a pre-emption as soon as its signal arrives.
async fn sample(log: Arc<Mutex<Log>>, control: Arc<Control>, stop: StopFlag, interval: Duration) {
    let mut sampler = Sampler::default();
    let mut marked = false;
    let mut next = tokio::time::Instant::now();
    loop {
        if tokio::time::Instant::now() >= next {
            let readings = sampler.read();
            log.lock().unwrap_or_else(PoisonError::into_inner).stats(readings);
            next += interval;
        }
        if !marked && stop.is_terminated() {
            marked = true;
            log.lock().unwrap_or_else(PoisonError::into_inner).preempting();
            control.wake.notify_one();
        }
        tokio::time::sleep(interval.min(LOOK)).await;
    }
}
