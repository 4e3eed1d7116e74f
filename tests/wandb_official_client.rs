//! The double against the official W&B client: what the double calls a violation must not be
//! something that the client itself does.
//!
//! `ARCRUN_TEST_WANDB` names a Python interpreter with wandb 0.31.0 and numpy and pillow.

mod wandb_double;
mod wandb_run;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use wandb_double::{Double, Fault, RunState, VIEWER, Where};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// The interpreter, else a loud skip.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("ARCRUN_TEST_WANDB").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: ARCRUN_TEST_WANDB names no Python with wandb 0.31.0");
    }
    python
}

fn client(program: &Path, double: &Double, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WANDB_")) {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .env("WANDB_BASE_URL", double.url())
        .env("WANDB_API_KEY", KEY)
        .env("WANDB_DIR", folder)
        .env("WANDB_CONFIG_DIR", folder.join("config"))
        .env("WANDB_CACHE_DIR", folder.join("cache"))
        .env("WANDB_DATA_DIR", folder.join("data"))
        .env("WANDB_ERROR_REPORTING", "false")
        .env("HOME", folder);
    command
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{:?}\n{out}\n{err}", output.status)
}

fn log(python: &Path, double: &Double, folder: &Path, mode: &str, more: &[&str]) -> Output {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parity/record/log_with_wandb.py");
    let mut command = client(python, double, folder);
    command.arg(script).args(["faces", "run00001"]).args(more).env("WANDB_MODE", mode);
    if more.contains(&"20") {
        command.env("WANDB_RESUME", "must");
    }
    command.output().unwrap()
}

/// What `log_with_wandb.py` logged, and nothing that it did not.
fn check(double: &Double, run: &RunState) {
    assert_eq!((&*run.entity, &*run.project), (VIEWER, "faces"));
    assert_eq!(run.display_name, "a name");
    assert_eq!(run.notes.as_deref(), Some("some notes"));
    assert_eq!(run.tags, ["face", "arcface"]);
    assert_eq!(run.group.as_deref(), Some("seeds"));
    assert_eq!(run.job_type.as_deref(), Some("train"));
    let config = json!({
        "lr": 0.01, "model": {"depth": 3, "widths": [8, 16]}, "none": null, "late": "added",
    });
    assert_eq!(Value::Object(run.plain_config()), config);

    let rows = double.history_rows("run00001");
    assert_eq!(rows.len(), 101);
    for (step, row) in rows[..100].iter().enumerate() {
        assert_eq!(row["_step"], step);
        assert_eq!(row["epoch"], step / 10);
        assert_eq!(row["loss"], 1.0 / (1 + step) as f64);
        assert_eq!(row.keys().filter(|key| !key.starts_with('_')).count(), 2, "{row:?}");
    }
    let last = &rows[100];
    assert_eq!(last["_step"], 100);
    assert_eq!([&last["nan"], &last["most"], &last["least"]], ["NaN", "Infinity", "-Infinity"]);
    let histogram = &last["weights"];
    assert_eq!(histogram["_type"], "histogram");
    assert_eq!(histogram["values"], json!([1, 2, 3]));
    let bins: Vec<f64> = serde_json::from_value(histogram["bins"].clone()).unwrap();
    assert_eq!(bins, [0.0, 0.5, 1.0, 1.5]);
    let image = &last["faces"];
    assert_eq!(image["_type"], "image-file");
    assert_eq!(image["caption"], "two faces");
    assert_eq!([&image["width"], &image["height"]], [12, 8]);
    let file = &run.files[image["path"].as_str().unwrap()];
    assert_eq!(file.len(), image["size"].as_u64().unwrap() as usize);
    assert_eq!(image::load_from_memory(file).unwrap().width(), 12);

    assert_eq!(run.summary["best"], 0.125);
    assert_eq!(run.summary["loss"], 0.01);
    assert_eq!(run.summary["epoch"], 9);
    assert_eq!(run.summary["_step"], 100);
    let lines: Vec<&str> = run.output.iter().map(|line| line.trim_end()).collect();
    for step in (0..100).step_by(10) {
        assert!(lines.iter().any(|line| line.ends_with(&format!("step {step}"))), "{lines:?}");
    }
    for name in ["config.yaml", "output.log", "wandb-metadata.json", "wandb-summary.json"] {
        assert!(run.files.contains_key(name), "{name} of {:?}", run.files.keys());
    }
    assert!(run.complete);
    assert_eq!(run.exitcode, Some(0));
}

#[test]
fn online_then_resumed() {
    let Some(python) = python() else { return };
    let double = Double::start();
    double.require_key(KEY);
    let folder = TempDir::new().unwrap();
    let output = log(&python, &double, folder.path(), "online", &[]);
    assert!(output.status.success(), "{}", text(&output));
    double.assert_clean();
    check(&double, &double.run("run00001").unwrap());

    let output = log(&python, &double, folder.path(), "online", &["--steps", "20", "--fail", "3"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    double.assert_clean();
    let run = double.run("run00001").unwrap();
    let steps: Vec<u64> =
        double.history_rows("run00001").iter().map(|row| row["_step"].as_u64().unwrap()).collect();
    assert_eq!(steps, Vec::from_iter(0..122));
    assert_eq!((run.exitcode, double.runs().len()), (Some(3), 1));
}

/// The client's own answer to faults: everything arrives once.
#[test]
fn survives_faults() {
    let Some(python) = python() else { return };
    let double = Double::start();
    double.fault(Where::Upsert, Fault::status(503), 1);
    double.fault(Where::Stream, Fault::ResetAfter, 1);
    double.fault(Where::Stream, Fault::retry_after(429, 1), 1);
    double.fault(Where::CreateFiles, Fault::ResetBefore, 1);
    double.fault(Where::Put, Fault::status(500), 1);
    let folder = TempDir::new().unwrap();
    let output = log(&python, &double, folder.path(), "online", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(double.faults_left(), 0);
    double.assert_clean();
    check(&double, &double.run("run00001").unwrap());
}

#[test]
fn offline_then_synced() {
    let Some(python) = python() else { return };
    let double = Double::start();
    double.require_key(KEY);
    let folder = TempDir::new().unwrap();
    let output = log(&python, &double, folder.path(), "offline", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(double.count(Where::Any), 0, "offline means offline");

    let mut runs = std::fs::read_dir(folder.path().join("wandb")).unwrap();
    let offline = runs
        .find_map(|entry| {
            let entry = entry.unwrap();
            entry.file_name().to_str()?.starts_with("offline-run-").then(|| entry.path())
        })
        .expect("a folder of the offline run");
    let mut sync = client(&python.with_file_name("wandb"), &double, folder.path());
    let output = sync.arg("sync").arg(offline).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    double.assert_clean();
    check(&double, &double.run("run00001").unwrap());
}

#[test]
fn another_key_is_refused() {
    let Some(python) = python() else { return };
    let double = Double::start();
    double.require_key(&KEY.replace('0', "f"));
    let folder = TempDir::new().unwrap();
    let output = log(&python, &double, folder.path(), "online", &[]);
    assert!(!output.status.success(), "{}", text(&output));
    assert!(double.runs().is_empty());
}

/// Our own offline file through the official `wandb sync`, which takes all of it.
#[test]
fn the_official_sync_takes_our_file() {
    let Some(python) = python() else { return };
    let double = Double::start();
    let run = wandb_run::Logged::new();
    let mut recorder = run.open(None, arcrun::wandb::Timing::default(), 0);
    run.steps(&mut recorder, 1..=150);
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(6, 4).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let image = arcrun::record::Event::Image {
        key: "train/batch".into(),
        caption: "two".into(),
        width: 6,
        height: 4,
        png: png.into_inner(),
    };
    run.steps(&mut recorder, 151..=151);
    recorder.emit(&image).unwrap();
    run.end(recorder, arcrun::record::Status::Stopped);
    let segment = arcrun::wandb::segments(run.path()).remove(0);

    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parity/record/read_wandb.py");
    let read = Command::new(&python).arg(reader).arg(segment.file()).output().unwrap();
    assert!(read.status.success(), "{}", text(&read));
    let lines = String::from_utf8(read.stdout).unwrap();
    let records: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(records.iter().filter(|record| record["history"].is_object()).count(), 151);
    assert_eq!(records.last().unwrap()["exit"]["exit_code"], 75);

    let mut sync = client(&python.with_file_name("wandb"), &double, run.path());
    let output = sync.arg("sync").arg(&segment.folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let state = run.assert_equal(&double);
    double.assert_clean();
    assert_eq!((state.complete, state.exitcode), (true, Some(75)));
    assert_eq!(state.plain_config()["train"], json!({"epochs": 3}));
    assert_eq!(
        (state.tags.as_slice(), &*state.display_name),
        (&["face".to_string()][..], "a name")
    );
    assert_eq!(
        (&state.summary["best/epoch"], &state.summary["train/lr"]),
        (&2.into(), &1e-5.into())
    );
    let image = &double.history_rows(&run.run_id())[150]["train/batch"];
    assert_eq!(
        state.files[image["path"].as_str().unwrap()].len() as u64,
        image["size"].as_u64().unwrap()
    );
    assert!(state.files.contains_key("config.toml"));
}
