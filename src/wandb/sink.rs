//! The sink: events of the training become records of the segment.

use super::describe::{config_record, environment, file_name, metric, wrapped};
use super::folder::{Segment, draw_id, segments};
use super::log::{FileKind, Log, item, json_number, now};
use super::proto::{Environment, Git, Header, Item, Kind, Run, Timestamp, Version};
use super::segment::SegmentWriter;
use super::settings::{Mode, Settings};
use super::timing::Timing;
use super::worker::{Control, Said, Worker};
use crate::cli::progress::Spinner;
use crate::record::{EpochRow, Event, RunInfo, Sink, Status, StepRow, log_line};
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The oldest official client that the files are meant for: as that of 0.31.0 states.
const MIN_CONSUMER: &str = "0.70.0";
/// Letters of a picture's checksum in its name.
const DIGITS: usize = 20;

/// A run that is about to be logged.
pub struct Open<'a> {
    pub settings: Settings,
    /// The run folder.
    pub run: &'a Path,
    pub info: &'a RunInfo,
    /// The resolved experiment, TOML.
    pub config: &'a str,
    /// Optimizer steps done before this session.
    pub steps_before: u64,
    pub stop: StopFlag,
    pub timing: Timing,
    /// Shows no progress.
    pub quiet: bool,
}

pub struct WandbSink {
    segment: Segment,
    log: Arc<Mutex<Log>>,
    control: Arc<Control>,
    /// The last step, until nothing more can belong to it.
    pending: Option<(u64, f64, Vec<Item>)>,
    online: bool,
    checkpoints: bool,
    run: PathBuf,
    stop: StopFlag,
    server: String,
    timing: Timing,
    quiet: bool,
    /// How the run ended; a sink that is dropped without it belongs to a crash.
    exit: u8,
    closed: bool,
}

impl WandbSink {
    /// Opens the session's segment and starts the thread.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn open(open: Open<'_>) -> Result<WandbSink> {
        let Open { settings, run, info, config, steps_before, stop, timing, quiet } = open;
        let before = segments(run);
        let known = before.last().map(|segment| segment.run_id.clone());
        let fresh = known.is_none() && settings.run_id.is_none();
        let id = known.or_else(|| settings.run_id.clone()).unwrap_or_else(draw_id);
        let runtime = match before.last().map(Segment::last_runtime) {
            Some(Ok(runtime)) => runtime,
            // A damaged file of an earlier session takes nothing from this one.
            Some(Err(_)) | None => 0.0,
        };
        let resumed = !before.is_empty();
        let segment = Segment::create(run, settings.folder.as_deref(), &id)?;
        let writer = SegmentWriter::create(&segment.file())?;
        let mut log = Log::new(writer, runtime);
        let starting_step = if steps_before == 0 { 0 } else { steps_before as i64 + 1 };
        let git = info.git.as_ref().map(|git| Git {
            commit: git.commit.clone(),
            remote_url: git.remote.clone().unwrap_or_default(),
        });
        let start_time = Some(Timestamp::from_seconds(now()));
        let version = Version {
            producer: concat!("arcrun ", env!("CARGO_PKG_VERSION")).into(),
            min_consumer: MIN_CONSUMER.into(),
        };
        log.write(Kind::Header(Header { version: Some(version) }));
        log.write(Kind::Run(Run {
            run_id: id,
            entity: settings.entity.clone(),
            project: settings.project.clone(),
            config: Some(config_record(config)),
            group: settings.group.clone(),
            job_type: settings.job_type.clone(),
            display_name: settings.display_name.clone(),
            notes: settings.notes.clone(),
            tags: settings.tags.clone(),
            host: info.host.clone(),
            starting_step,
            start_time,
            resumed,
            runtime: runtime as i32,
            git: git.clone(),
        }));
        let environment = environment(info, git, start_time);
        log.write(Kind::Environment(environment.clone()));
        for (name, glob, over) in
            [("epoch", "", ""), ("", "epoch/*", "epoch"), ("", "eval/*", "epoch")]
        {
            log.write(Kind::Metric(metric(name, glob, over)));
        }
        let mut sink = WandbSink {
            segment,
            log: Arc::new(Mutex::new(log)),
            control: Arc::default(),
            pending: None,
            online: settings.mode == Mode::Online,
            checkpoints: settings.checkpoints,
            run: run.to_owned(),
            stop: stop.clone(),
            server: settings.server.clone(),
            timing,
            quiet,
            exit: 1,
            closed: false,
        };
        sink.write_files(config, &environment)?;
        // Broken from the start: better said now than with the first step.
        if let Some(failure) = sink.log().failure() {
            return Err(Error::failed(failure));
        }
        settings.warnings.iter().for_each(|text| sink.control.warning(text));
        settings.notes_aloud.iter().for_each(|text| sink.control.notice(text));
        let (log, control) = (sink.log.clone(), sink.control.clone());
        let worker = Worker { settings, run: run.to_owned(), log, control, stop, timing, fresh };
        worker.start().map_err(|e| Error::failed(format!("cannot start a thread: {e}")))?;
        Ok(sink)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files that are known before the first step.
    fn write_files(&mut self, config: &str, environment: &Environment) -> Result<()> {
        let metadata = json!({
            "os": environment.os,
            "program": environment.program,
            "args": environment.args,
            "git": environment.git.as_ref().map(|git| json!({
                "remote": git.remote_url, "commit": git.commit,
            })),
            "host": environment.host,
            "cpu_count": environment.cpu_count,
            "cpu_count_logical": environment.cpu_count_logical,
            "gpu": environment.gpu,
            "gpu_count": environment.gpu_count,
            "executable": environment.executable,
            "startedAt": jiff::Timestamp::now().to_string(),
        });
        let pretty = |value: &Value| format!("{value:#}\n");
        // W&B shows config.yaml; JSON is YAML.
        let yaml = wrapped(config);
        self.add_file("config.toml", config.as_bytes(), FileKind::Other)?;
        self.add_file("wandb-metadata.json", pretty(&metadata).as_bytes(), FileKind::Wandb)?;
        self.add_file("config.yaml", pretty(&yaml).as_bytes(), FileKind::Wandb)
    }

    fn add_file(&mut self, path: &str, content: &[u8], kind: FileKind) -> Result<()> {
        let place = self.segment.files().join(path);
        let write = || {
            place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&place, content)
        };
        write().map_err(|e| Error::io("write", &place, e))?;
        self.log().file(path, false, kind);
        Ok(())
    }

    /// Adds values to the step at hand; those that come after it was written are the summary's.
    fn add(&mut self, values: Vec<(String, String)>) {
        match &mut self.pending {
            Some((_, _, items)) => items.extend(values.into_iter().map(|(n, json)| item(&n, json))),
            None => {
                let mut log = self.log();
                values.into_iter().for_each(|(name, json)| log.set_summary(&name, json));
            }
        }
    }

    fn write_pending(&mut self) {
        if let Some((step, time, items)) = self.pending.take() {
            self.log().history(step, items, time);
        }
    }

    fn on_step(&mut self, row: &StepRow) {
        self.write_pending();
        let StepRow {
            step,
            epoch,
            loss,
            lr,
            images_per_second,
            accuracy,
            grad_norm,
            extras,
            wait: _,
        } = row;
        let mut items = Vec::with_capacity(6 + extras.len());
        let mut add = |name: &str, value: f64| items.push(item(name, json_number(value)));
        add("train/loss", *loss);
        add("train/lr", *lr);
        add("train/images_per_second", *images_per_second);
        if let Some(accuracy) = accuracy {
            add("train/accuracy", *accuracy);
        }
        if let Some(grad_norm) = grad_norm {
            add("train/grad_norm", *grad_norm);
        }
        for (name, value) in extras {
            add(&format!("train/{name}"), *value);
        }
        items.push(item("epoch", epoch.to_string()));
        self.pending = Some((*step, now(), items));
    }

    fn on_epoch(&mut self, row: &EpochRow) {
        let EpochRow {
            epoch: _,
            train_loss,
            train_accuracy,
            val_loss,
            val_accuracy,
            lr,
            seconds,
            images_per_second,
            extras,
        } = row;
        let optional = [
            ("epoch/train_accuracy", train_accuracy),
            ("epoch/val_loss", val_loss),
            ("epoch/val_accuracy", val_accuracy),
        ];
        let given = optional.iter().filter_map(|(name, value)| Some((*name, (**value)?)));
        let always = [
            ("epoch/train_loss", *train_loss),
            ("epoch/lr", *lr),
            ("epoch/seconds", *seconds),
            ("epoch/images_per_second", *images_per_second),
        ];
        let named = always.into_iter().chain(given).map(|(n, v)| (n.to_owned(), v));
        let extras = extras.iter().map(|(name, value)| (format!("epoch/{name}"), *value));
        self.add(named.chain(extras).map(|(name, value)| (name, json_number(value))).collect());
    }

    fn on_evaluated(&mut self, checkpoint: &str, set: &str, metrics: &[crate::evaluate::Metric]) {
        // Only the weights of the step at hand belong to its line.
        let (prefix, of_step) = match checkpoint {
            "latest" => (format!("eval/{set}"), true),
            other => (format!("eval-{other}/{set}"), false),
        };
        let values = metrics.iter().flat_map(|metric| {
            let value = (format!("{prefix}/{}", metric.name), json_number(metric.value));
            let std =
                metric.std.map(|std| (format!("{prefix}/{}_std", metric.name), json_number(std)));
            std::iter::once(value).chain(std)
        });
        let values: Vec<(String, String)> = values.collect();
        if of_step {
            self.add(values);
        } else {
            let mut log = self.log();
            values.into_iter().for_each(|(name, json)| log.set_summary(&name, json));
        }
    }

    /// A picture of the step at hand.
    fn on_image(&mut self, key: &str, caption: &str, size: (u32, u32), png: &[u8]) -> Result<()> {
        let step = self.pending.as_ref().map_or(0, |(step, _, _)| *step);
        let sha = crate::checkpoint::durable::hex(&Sha256::digest(png));
        let path = format!("media/images/{}_{step}_{}.png", file_name(key), &sha[..DIGITS]);
        self.add_file(&path, png, FileKind::Media)?;
        let value = json!({
            "_type": "image-file", "path": path, "sha256": sha, "size": png.len(),
            "format": "png", "width": size.0, "height": size.1, "caption": caption,
        });
        self.add(vec![(key.to_owned(), value.to_string())]);
        Ok(())
    }

    fn on_ended(&mut self, status: Status, best: Option<(u64, f64)>) {
        self.write_pending();
        if let Some((epoch, loss)) = best {
            let mut log = self.log();
            log.set_summary("best/epoch", epoch.to_string());
            log.set_summary("best/loss", json_number(loss));
        }
        self.exit = status.exit_code();
    }

    /// The weights to keep, as a link below `files/`: a copy would double the disk they take.
    fn link_checkpoint(&mut self) -> Result<()> {
        let weights = ["min-loss", "latest"]
            .map(|name| self.run.join("checkpoints").join(name).join("model.safetensors"));
        let Some(weights) = weights.iter().find(|path| path.is_file()) else { return Ok(()) };
        let link = self.segment.files().join("model.safetensors");
        let target = std::fs::canonicalize(weights).map_err(|e| Error::io("read", weights, e))?;
        std::os::unix::fs::symlink(target, &link).map_err(|e| Error::io("make", &link, e))?;
        self.log().file("model.safetensors", true, FileKind::Other);
        Ok(())
    }

    /// Waits for the upload as long as it gets on.
    fn wait(&self) {
        let spinner = Spinner::new("uploading to W&B", self.quiet);
        let mut confirmed = self.control.confirmed.load(Ordering::Relaxed);
        let mut since = Instant::now();
        while !self.control.is_done() {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.control.confirmed.load(Ordering::Relaxed);
            if now != confirmed {
                (confirmed, since) = (now, Instant::now());
            }
            spinner.set(confirmed as usize);
            if since.elapsed() > self.timing.give_up {
                self.control.abort();
                break;
            }
        }
        spinner.finish();
    }

    fn end(&mut self, code: u8) {
        self.write_pending();
        let mut log = self.log();
        log.write_summary();
        if self.stop.is_terminated() {
            // The run may end before the thread looked.
            log.preempting();
        }
        log.exit(code);
        drop(log);
        self.control.finish();
    }
}

impl Sink for WandbSink {
    fn on(&mut self, event: &Event) -> Result<()> {
        // What is said after the last record is for the others.
        if self.closed {
            return Ok(());
        }
        match event {
            Event::Step(row) => {
                self.on_step(row);
                return Ok(());
            }
            Event::EpochEnded(row) => self.on_epoch(row),
            Event::Evaluated { checkpoint, set, metrics, .. } => {
                self.on_evaluated(checkpoint, set, metrics);
            }
            Event::Image { key, caption, width, height, png } => {
                if let Err(error) = self.on_image(key, caption, (*width, *height), png) {
                    self.control.warn(format!("{error}: the picture is left out of W&B"));
                }
            }
            Event::Histogram { key, counts, edges } => {
                let edges: Vec<String> = edges.iter().map(|edge| json_number(*edge)).collect();
                let (counts, edges) = (json!(counts), edges.join(","));
                let json =
                    format!("{{\"_type\":\"histogram\",\"values\":{counts},\"bins\":[{edges}]}}");
                self.add(vec![(key.clone(), json)]);
            }
            Event::RunEnded { status, best, .. } => self.on_ended(*status, *best),
            _ => {}
        }
        if let Some(line) = log_line(event) {
            let stderr = matches!(event, Event::Warning(_));
            line.lines().for_each(|line| self.log().output(stderr, line));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.write_pending();
        self.log().write_summary();
        Ok(())
    }

    fn heard(&mut self) -> Vec<Event> {
        if let Some(failure) = self.log().failure() {
            self.control.warn(format!("{failure}: from here on this run is not logged to W&B"));
        }
        let said = self.control.heard().into_iter();
        said.map(|said| match said {
            Said::Notice(text) => Event::Notice(text),
            Said::Warning(text) => Event::Warning(text),
        })
        .collect()
    }

    fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        if self.checkpoints
            && let Err(error) = self.link_checkpoint()
        {
            self.control.warn(format!("{error}: the weights are left out of W&B"));
        }
        self.end(self.exit);
        self.wait();
        if self.online && !self.control.is_complete() {
            let text = format!(
                "not everything has reached W&B ({}); it is on disk: run sync {}",
                self.server,
                self.run.display()
            );
            match self.control.has_warned() {
                true => self.control.notice(text),
                false => self.control.warn(text),
            }
        }
        Ok(())
    }
}

/// A crash: what is known is written, nothing is waited for.
impl Drop for WandbSink {
    fn drop(&mut self) {
        if !self.closed {
            self.end(1);
            self.control.abort();
        }
    }
}
