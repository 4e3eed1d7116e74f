//! From the segments of a run to the server: the same code while it runs and in `run sync`.
//!
//! What is sent is read from the disk, a piece at a time: memory does not grow with what waits, and
//! nothing that was not sent is lost. The server says what it has, so repeating is safe.

use super::api::{Api, Failure};
use super::folder::Segment;
use super::lines::{escape, line, name, preamble};
use super::log::json_number;
use super::proto::{Kind, Run};
use super::segment::SegmentReader;
use super::server_run::{self, ServerRun};
use super::settings::Resume;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Bytes of a request after which the rest waits for the next one.
const REQUEST: usize = 1 << 20;
/// Longest line that the server takes.
const LINE: usize = (10 << 20) - (100 << 10);

/// Where in which segment the upload stands.
struct Place {
    segment: usize,
    reader: SegmentReader,
    /// Steps from here on are told by a later segment.
    until: i64,
}

/// Lines gathered for one request.
#[derive(Default)]
struct Batch {
    history: Vec<String>,
    events: Vec<String>,
    output: Vec<String>,
    /// Something to be sent besides lines.
    summary: bool,
    preempting: bool,
    /// To be uploaded after it: a storage that hangs must not hold up the lines.
    files: Vec<(usize, String)>,
    bytes: usize,
    records: u64,
}

/// How a run ended, once it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub code: i32,
}

/// What an upload told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to send.
    More,
    /// Everything written so far has been sent.
    UpToDate,
}

pub struct Upload<'a> {
    pub(super) api: &'a Api,
    pub server: ServerRun,
    pub(super) segments: Vec<Segment>,
    runs: Vec<Run>,
    place: Place,
    /// Output lines passed so far, sent or known to the server.
    output_seen: u64,
    summary: BTreeMap<String, String>,
    summary_sent: bool,
    runtime: f64,
    pub ended: Option<Ended>,
    /// Files at the end, and those that were sent: (segment, path).
    pub(super) files_at_end: Vec<(usize, String)>,
    pub(super) uploaded: Vec<String>,
    pub(super) finishing: bool,
    /// A file could not be sent.
    pub(super) incomplete: bool,
    last_request: Instant,
    /// The user pressed Stop.
    pub stopped: bool,
    /// Records that the server has confirmed.
    pub confirmed: u64,
    /// To be said, once each.
    pub said: Vec<String>,
}

impl<'a> Upload<'a> {
    /// Tells the server of the run and asks what it has. `fresh`: the run's id was drawn a moment
    /// ago, so that there is nothing to ask. Entity and project, where given, win over the run's own.
    ///
    /// # Errors
    /// Outside: a segment that can't be read. Inside: the server's refusal.
    pub async fn begin(
        api: &'a Api,
        segments: Vec<Segment>,
        (entity, project): (&str, &str),
        resume: Resume,
        fresh: bool,
    ) -> Result<Result<Upload<'a>, Failure>> {
        let mut runs = Vec::new();
        let mut whole = Vec::new();
        let (mut said, mut empty) = (Vec::new(), Vec::new());
        for segment in segments {
            match segment.run() {
                Ok(Some(run)) => {
                    runs.push(run);
                    whole.push(segment);
                }
                // A session that was killed before its first record has nothing to tell.
                Ok(None) => empty.push(segment.file().display().to_string()),
                // One that is damaged keeps no other from being uploaded.
                Err(error) => said.push(format!("{error}: this session is left out")),
            }
        }
        let Some(mut last) = runs.last().cloned() else {
            let files = empty.iter().map(|file| format!("{file} holds no run")).chain(said);
            let files = files.collect::<Vec<_>>().join("; ");
            return Err(Error::input(format!("nothing can be uploaded: {files}"))
                .help("the CSV files beside it hold what the run logged"));
        };
        let stated = [(entity, &mut last.entity), (project, &mut last.project)];
        stated
            .into_iter()
            .filter(|(name, _)| !name.is_empty())
            .for_each(|(n, to)| n.clone_into(to));
        let place = Place::open(&whole, &runs, 0)?;
        let server = match Self::introduce(api, &last, &whole, resume, fresh).await? {
            Ok(server) => server,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(Ok(Upload {
            api,
            server,
            segments: whole,
            runs,
            place,
            output_seen: 0,
            summary: BTreeMap::new(),
            summary_sent: true,
            runtime: 0.0,
            ended: None,
            files_at_end: Vec::new(),
            uploaded: Vec::new(),
            finishing: false,
            incomplete: false,
            last_request: Instant::now(),
            stopped: false,
            confirmed: 0,
            said,
        }))
    }

    async fn introduce(
        api: &Api,
        run: &Run,
        segments: &[Segment],
        resume: Resume,
        fresh: bool,
    ) -> Result<Result<ServerRun, Failure>> {
        let (program, metrics) = match segments.last() {
            Some(segment) => preamble(segment)?,
            None => Default::default(),
        };
        let ask = async {
            let own = server_run::viewer(api).await?;
            let entity = if run.entity.is_empty() { own } else { run.entity.clone() };
            let found = match fresh {
                true => None,
                false => server_run::resume_status(api, run, &entity).await?,
            };
            if !fresh {
                server_run::allowed(resume, found.is_some(), &run.run_id)?;
            }
            let id = found.as_ref().map(|(id, _)| id.as_str());
            let told = server_run::upsert(api, run, &entity, id, &program, &metrics).await?;
            let there = found.map(|(_, there)| there).unwrap_or_default();
            let ServerRun { entity, project, id, display_name, .. } = told;
            Ok(ServerRun { entity, project, id, display_name, ..there })
        };
        Ok(ask.await)
    }

    /// The run's page.
    pub fn page(&self, site: &str) -> String {
        let ServerRun { entity, project, id, .. } = &self.server;
        format!("{site}/{}/{}/runs/{id}", escape(entity), escape(project))
    }

    /// Sends the next piece of what is written.
    ///
    /// # Errors
    /// As [`Upload::begin`].
    pub async fn advance(&mut self) -> Result<Result<Progress, Failure>> {
        let batch = self.gather()?;
        let progress = match batch.bytes < REQUEST {
            true => Progress::UpToDate,
            false => Progress::More,
        };
        if !batch.is_empty() || !self.summary_sent {
            let body = self.body(&batch);
            if let Err(failure) = self.send(&body).await {
                return Ok(Err(failure));
            }
            self.server.history_lines += batch.history.len() as u64;
            self.server.events_lines += batch.events.len() as u64;
            self.server.output_lines += batch.output.len() as u64;
        }
        for (segment, path) in &batch.files {
            self.put(*segment, path).await;
        }
        self.confirmed += batch.records;
        Ok(Ok(progress))
    }

    fn is_at_end(&self) -> bool {
        self.place.segment + 1 == self.segments.len()
    }

    /// An empty request, where nothing was sent for long.
    pub async fn heartbeat(&mut self) -> Result<(), Failure> {
        match self.last_request.elapsed() >= self.api.timing.heartbeat {
            true => self.send(&json!({})).await,
            false => Ok(()),
        }
    }

    /// The files that wait for the end, and the word that the run is over.
    pub async fn finish(&mut self) -> Result<(), Failure> {
        self.finishing = true;
        let waiting = std::mem::take(&mut self.files_at_end);
        for (segment, path) in waiting {
            self.put(segment, &path).await;
        }
        // The official client counts a run without an end as failed.
        let code = self.ended.map_or(1, |ended| ended.code);
        let mut body = self.body(&Batch { summary: true, ..Batch::default() });
        body["complete"] = true.into();
        body["exitcode"] = code.into();
        if !self.uploaded.is_empty() {
            body["uploaded"] = json!(self.uploaded);
        }
        self.send(&body).await?;
        for segment in self.segments.iter().filter(|_| !self.incomplete) {
            // The mark saves time only.
            let _ = std::fs::write(segment.synced(), "");
        }
        Ok(())
    }

    /// Reads records until a request is full or nothing more is written.
    fn gather(&mut self) -> Result<Batch> {
        let mut batch = Batch::default();
        while batch.bytes < REQUEST {
            let Some(record) = self.place.reader.read()? else {
                if self.place.reader.damaged > 0 {
                    let file = self.segments[self.place.segment].file();
                    let file = file.display();
                    self.said.push(format!(
                        "{file}: {} blocks are damaged and left out",
                        self.place.reader.damaged
                    ));
                    self.place.reader.damaged = 0;
                }
                if self.is_at_end() {
                    break;
                }
                self.place = Place::open(&self.segments, &self.runs, self.place.segment + 1)?;
                continue;
            };
            batch.records += 1;
            let Some(kind) = record.kind else { continue };
            self.take(kind, &mut batch);
        }
        Ok(batch)
    }

    fn take(&mut self, kind: Kind, batch: &mut Batch) {
        match kind {
            Kind::History(history) => {
                let step = history.step.map_or(0, |step| step.num);
                let values: Vec<(&str, &str)> =
                    history.item.iter().map(|item| (name(item), item.json.as_str())).collect();
                self.summarise(&values);
                let known = self.server.last_step.is_some_and(|last| step <= last);
                if step < self.place.until && !known {
                    self.add(batch, Lines::History, line(&values));
                }
            }
            Kind::Summary(summary) => {
                let values: Vec<(&str, &str)> = summary
                    .update
                    .iter()
                    .filter(|item| item.nested.len() < 2)
                    .map(|item| (name(item), item.json.as_str()))
                    .collect();
                self.summarise(&values);
            }
            Kind::Stats(stats) => {
                let time = stats.timestamp.map_or(0.0, |time| time.to_seconds());
                if self.server.last_event.is_none_or(|last| time > last) {
                    let started = self.runs[self.place.segment].start_time.unwrap_or_default();
                    let before = f64::from(self.runs[self.place.segment].runtime);
                    let runtime = before + (time - started.to_seconds()).max(0.0);
                    let mut values = vec![
                        ("_wandb".to_string(), "true".to_string()),
                        ("_timestamp".to_string(), json_number(time)),
                        ("_runtime".to_string(), json_number(runtime)),
                    ];
                    let readings = stats.item.into_iter();
                    values.extend(readings.map(|item| (format!("system.{}", item.key), item.json)));
                    let values: Vec<(&str, &str)> =
                        values.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                    self.add(batch, Lines::Events, line(&values));
                }
            }
            Kind::Output(output) => {
                let time = output.timestamp.unwrap_or_default();
                let time = jiff::Timestamp::new(time.seconds, time.nanos).unwrap_or_default();
                let time = time.strftime("%Y-%m-%dT%H:%M:%S.%6f");
                for text in output.line.trim_end_matches('\n').split('\n') {
                    self.output_seen += 1;
                    if self.output_seen > self.server.output_lines + batch.output.len() as u64 {
                        let prefix = if output.stream == 0 { "ERROR " } else { "" };
                        self.add(batch, Lines::Output, format!("{prefix}{time} {text}"));
                    }
                }
            }
            Kind::Files(files) => {
                for file in files.files {
                    let list = match file.policy {
                        0 => &mut batch.files,
                        _ => &mut self.files_at_end,
                    };
                    list.push((self.place.segment, file.path));
                }
            }
            Kind::Preempting(_) => batch.preempting = self.is_at_end(),
            Kind::Exit(exit) if self.is_at_end() => {
                self.ended = Some(Ended { code: exit.code });
                self.runtime = self.runtime.max(f64::from(exit.runtime));
            }
            _ => {}
        }
    }

    fn add(&mut self, batch: &mut Batch, to: Lines, line: String) {
        if line.len() > LINE {
            self.said.push(format!(
                "a line of {} bytes is longer than W&B takes and is left out there",
                line.len()
            ));
            return;
        }
        batch.bytes += line.len();
        match to {
            Lines::History => batch.history.push(line),
            Lines::Events => batch.events.push(line),
            Lines::Output => batch.output.push(line),
        }
    }

    fn summarise(&mut self, values: &[(&str, &str)]) {
        for (name, json) in values {
            if *name == "_runtime" {
                self.runtime = json.parse().unwrap_or(self.runtime);
            }
            match self.summary.get_mut(*name) {
                Some(value) => (*json).clone_into(value),
                None => _ = self.summary.insert((*name).to_owned(), (*json).to_owned()),
            }
        }
        self.summary_sent &= values.is_empty();
    }

    fn body(&self, batch: &Batch) -> Value {
        let mut files = serde_json::Map::new();
        let mut add = |name: &str, offset: u64, content: &[String]| {
            if !content.is_empty() {
                files.insert(name.into(), json!({ "offset": offset, "content": content }));
            }
        };
        add("wandb-history.jsonl", self.server.history_lines, &batch.history);
        add("wandb-events.jsonl", self.server.events_lines, &batch.events);
        add("output.log", self.server.output_lines, &batch.output);
        if !self.summary_sent || batch.summary {
            let runtime = format!("{{\"runtime\":{}}}", self.runtime as i64);
            let values = self.summary.iter().map(|(name, json)| (name.as_str(), json.as_str()));
            let values: Vec<(&str, &str)> = values.chain([("_wandb", runtime.as_str())]).collect();
            add("wandb-summary.json", 0, &[line(&values)]);
        }
        let mut body = json!({});
        if !files.is_empty() {
            body["files"] = Value::Object(files);
        }
        if batch.preempting {
            body["preempting"] = true.into();
        }
        body
    }

    async fn send(&mut self, body: &Value) -> Result<(), Failure> {
        let ServerRun { entity, project, id, .. } = &self.server;
        let path = format!("files/{}/{}/{id}/file_stream", escape(entity), escape(project));
        let answer = self.api.stream(&path, body.to_string().as_bytes()).await?;
        self.last_request = Instant::now();
        self.summary_sent |= body["files"]["wandb-summary.json"].is_object();
        self.stopped |= answer["stopped"].as_bool() == Some(true);
        Ok(())
    }
}

/// A file of the stream.
#[derive(Clone, Copy)]
enum Lines {
    History,
    Events,
    Output,
}

impl Batch {
    fn is_empty(&self) -> bool {
        let lines = self.history.len() + self.events.len() + self.output.len();
        lines == 0 && !self.preempting
    }
}

impl Place {
    fn open(segments: &[Segment], runs: &[Run], segment: usize) -> Result<Place> {
        let reader = SegmentReader::open(&segments[segment].file())?;
        let later = runs[segment + 1..].iter().map(|run| run.starting_step);
        Ok(Place { segment, reader, until: later.min().unwrap_or(i64::MAX) })
    }
}
