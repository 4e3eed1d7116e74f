//! A run that is logged without being trained: the events of a training into the real sinks.

#![allow(dead_code, reason = "each test binary uses a part")]

use crate::wandb_double::{Double, RunState};
use arcrun::evaluate::Metric;
use arcrun::record::{Columns, CsvSink, EpochRow, Event, Recorder, RunInfo, Sink, Status, StepRow};
use arcrun::train::signals::StopFlag;
use arcrun::wandb::{
    Environment, Mode, Open, Settings, Synced, Timing, Wandb, WandbSink, segments, sync,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

pub const KEY: &str = "0123456789abcdef0123456789abcdef01234567";
pub const STEPS_PER_EPOCH: u64 = 10;

/// A run folder without anything in it.
pub struct Logged {
    folder: TempDir,
    /// What the sinks were told, notices and warnings apart.
    pub notices: Arc<Mutex<Vec<String>>>,
    pub warnings: Arc<Mutex<Vec<String>>>,
    pub stop: StopFlag,
    /// Epochs between checkpoints, each of which brings everything to the disk.
    pub checkpoints: u64,
    /// Of the environment, besides the server and the key.
    pub variables: Vec<(&'static str, String)>,
}

struct Ears(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>);

impl Sink for Ears {
    fn on(&mut self, event: &Event) -> arcrun::Result<()> {
        match event {
            Event::Notice(text) => self.0.lock().unwrap().push(text.clone()),
            Event::Warning(text) => self.1.lock().unwrap().push(text.clone()),
            _ => {}
        }
        Ok(())
    }
}

/// Loss of a step, with what JSON has no words for among them.
pub fn loss(step: u64) -> f64 {
    match step % 100 {
        13 => f64::NAN,
        14 => f64::INFINITY,
        15 => f64::NEG_INFINITY,
        _ => 1.0 / step as f64,
    }
}

impl Logged {
    pub fn new() -> Logged {
        Logged {
            folder: tempfile::tempdir().unwrap(),
            notices: Arc::default(),
            warnings: Arc::default(),
            stop: StopFlag::default(),
            checkpoints: 1,
            variables: Vec::new(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn run_id(&self) -> String {
        segments(self.path()).last().unwrap().run_id.clone()
    }

    pub fn settings(&self, double: Option<&Double>) -> Settings {
        let mut values: BTreeMap<String, String> =
            self.variables.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
        values.insert("WANDB_PROJECT".into(), "faces".into());
        if let Some(double) = double {
            values.insert("WANDB_BASE_URL".into(), double.url());
            values.entry("WANDB_API_KEY".into()).or_insert(KEY.into());
        }
        let config = Wandb { tags: vec!["face".into()], ..Wandb::default() };
        let environment = Environment::new(values, Path::new("/nowhere"));
        Settings::resolve(&config, &environment, "a name").unwrap()
    }

    /// Opens the sinks of a session that goes on after `steps_before`.
    pub fn open(&self, double: Option<&Double>, timing: Timing, steps_before: u64) -> Recorder {
        let settings = self.settings(double);
        assert_eq!(settings.mode, if double.is_some() { Mode::Online } else { Mode::Offline });
        let info = RunInfo::new("cosface", "20261122-120000-abcd", self.path());
        let epochs = steps_before / STEPS_PER_EPOCH;
        CsvSink::cut(self.path(), epochs, steps_before, &BTreeMap::new()).unwrap();
        let columns = Columns { steps: vec!["ü/x y".into()], epochs: vec![] };
        let sink = WandbSink::open(Open {
            settings,
            run: self.path(),
            info: &info,
            config: "seed = 7\n[train]\nepochs = 3\n",
            steps_before,
            stop: self.stop.clone(),
            timing,
            quiet: true,
        });
        Recorder::new()
            .with(CsvSink::open(self.path(), columns, 1000).unwrap())
            .with(Ears(self.notices.clone(), self.warnings.clone()))
            .with(sink.unwrap())
    }

    /// Logs steps with their epochs' ends; every third epoch is evaluated.
    pub fn steps(&self, recorder: &mut Recorder, steps: std::ops::RangeInclusive<u64>) {
        for step in steps {
            let epoch = step.div_ceil(STEPS_PER_EPOCH);
            let row = StepRow {
                step,
                epoch,
                loss: loss(step),
                lr: 1e-5,
                images_per_second: 100.5,
                accuracy: Some(0.25),
                grad_norm: (step % 2 == 0).then_some(2.0),
                extras: [("ü/x y".to_string(), step as f64)].into(),
                wait: 0.0,
            };
            recorder.emit(&Event::Step(row)).unwrap();
            if step % STEPS_PER_EPOCH == 0 {
                let row = EpochRow {
                    epoch,
                    train_loss: loss(step),
                    val_loss: (epoch % 2 == 0).then_some(0.5),
                    lr: 1e-5,
                    ..EpochRow::default()
                };
                recorder.emit(&Event::EpochEnded(row)).unwrap();
                if epoch % 3 == 0 {
                    let metrics = vec![Metric::new("tar@far=1e-3", 0.5, Some(0.125))];
                    let (checkpoint, set) = ("latest".to_string(), "lfw/ü".to_string());
                    let event = Event::Evaluated { epoch, checkpoint, set, metrics };
                    recorder.emit(&event).unwrap();
                }
                if epoch % self.checkpoints == 0 {
                    recorder.flush().unwrap();
                }
            }
        }
    }

    pub fn end(&self, mut recorder: Recorder, status: Status) {
        let ended = Event::RunEnded {
            status,
            note: None,
            best: Some((2, 0.5)),
            checkpoint: None,
            seconds: 1.0,
        };
        recorder.emit(&ended).unwrap();
        recorder.close().unwrap();
    }

    pub fn sync(&self, double: &Double, timing: Timing) -> arcrun::Result<Synced> {
        let settings = self.settings(Some(double));
        // The run's own names count, as without WANDB_PROJECT.
        let settings = Settings { project: String::new(), entity: String::new(), ..settings };
        sync(self.path(), &settings, timing, &StopFlag::default(), |_, _| {})
    }

    fn csv(&self, file: &str) -> Vec<BTreeMap<String, String>> {
        let path: PathBuf = self.path().join(file);
        let mut reader = csv::Reader::from_path(&path).unwrap();
        reader.deserialize().map(|row| row.unwrap()).collect()
    }

    /// The server has what the CSV files have: every row once, in order, to the last bit.
    #[track_caller]
    pub fn assert_equal(&self, double: &Double) -> RunState {
        let id = self.run_id();
        let rows = double.history_rows(&id);
        let steps = self.csv("steps.csv");
        assert_eq!(rows.len(), steps.len(), "lines of the history");
        let mut ends: BTreeMap<u64, &Map<String, Value>> = BTreeMap::new();
        for (row, step) in rows.iter().zip(&steps) {
            assert_eq!(row["_step"].to_string(), step["step"]);
            assert_eq!(row["epoch"].to_string(), step["epoch"]);
            for (column, cell) in step {
                if !["step", "epoch"].contains(&column.as_str()) {
                    assert_cell(row, &format!("train/{column}"), cell);
                }
            }
            ends.insert(row["epoch"].as_u64().unwrap(), row);
        }
        for epoch in self.csv("epochs.csv") {
            let row = ends[&epoch["epoch"].parse().unwrap()];
            for (column, cell) in epoch.iter().filter(|(column, _)| *column != "epoch") {
                assert_cell(row, &format!("epoch/{column}"), cell);
            }
        }
        for row in &rows {
            let epoch = row["epoch"].as_u64().unwrap();
            let due = epoch % 3 == 0 && row["_step"].as_u64().unwrap() % STEPS_PER_EPOCH == 0;
            let score = row.get("eval/lfw/ü/tar@far=1e-3").and_then(Value::as_f64);
            assert_eq!(score, due.then_some(0.5));
        }
        double.run(&id).unwrap()
    }
}

#[track_caller]
fn assert_cell(row: &Map<String, Value>, name: &str, cell: &str) {
    match (row.get(name), cell) {
        (None, "") => {}
        (Some(Value::String(word)), "NaN") => assert_eq!(word, "NaN", "{name}"),
        (Some(Value::String(word)), "inf") => assert_eq!(word, "Infinity", "{name}"),
        (Some(Value::String(word)), "-inf") => assert_eq!(word, "-Infinity", "{name}"),
        (Some(value), cell) => {
            assert_eq!(value.as_f64(), cell.parse().ok(), "{name} is {value}, not {cell}");
        }
        (None, cell) => panic!("{name} is missing: {cell}"),
    }
}
