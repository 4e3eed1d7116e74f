//! The program with W&B: online, killed and continued, offline and synced, and with bad input.

mod support;
mod wandb_double;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Ended, Tiny, signal};
use wandb_double::{Double, Where};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

fn online(tiny: &Tiny, double: &Double, args: &[&str]) -> Command {
    let mut command = tiny.command(args);
    command.env_remove("WANDB_MODE").env("WANDB_BASE_URL", double.url()).env("WANDB_API_KEY", KEY);
    command
}

/// The steps of the server are those of steps.csv, value by value.
#[track_caller]
fn assert_equal(double: &Double, run: &Path) {
    let state = double.runs().remove(0);
    let rows = double.history_rows(&state.id);
    let mut reader = csv::Reader::from_path(run.join("steps.csv")).unwrap();
    let steps: Vec<BTreeMap<String, String>> =
        reader.deserialize().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), steps.len());
    for (row, step) in rows.iter().zip(steps) {
        assert_eq!(row["_step"].to_string(), step["step"]);
        for column in ["loss", "lr", "accuracy", "grad_norm", "target_cosine"] {
            let value = row[&format!("train/{column}")].as_f64().unwrap();
            assert_eq!(value, step[column].parse::<f64>().unwrap(), "{column}");
        }
    }
    let last = rows.last().unwrap();
    assert!(last["epoch/val_loss"].is_f64() && last["eval/unseen/accuracy"].is_f64(), "{last:?}");
}

#[test]
fn a_run_is_on_the_server_while_it_trains_and_goes_on_there() {
    let (tiny, double) = (Tiny::new(), Double::start());
    double.require_key(KEY);
    let args = ["tiny.toml", "--run-dir", "run", "--set", "train.epochs=2"];
    let told = Ended::of(&mut online(&tiny, &double, &args)).exits(0);
    assert!(told.stderr.contains(&format!("W&B: {}", double.url())), "{}", told.stderr);
    let run = tiny.path("run");
    let state = double.runs().remove(0);
    assert_eq!((state.complete, state.exitcode), (true, Some(0)));
    assert_eq!((state.project.as_str(), state.job_type.as_deref()), ("arcrun", Some("train")));
    assert_eq!(state.plain_config()["loss"]["margin"], 0.2);
    assert!(state.display_name.starts_with("tiny-"), "{}", state.display_name);
    assert!(state.summary["eval-min-loss/unseen/accuracy"].is_f64());
    let picture = &double.history_rows(&state.id)[0]["train/batch"];
    assert_eq!(picture["_type"], "image-file");
    assert!(image::load_from_memory(&state.files[picture["path"].as_str().unwrap()]).is_ok());
    let config = std::fs::read(run.join("config.toml")).unwrap();
    assert_eq!(state.files["config.toml"], config);
    let everything = std::fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(!everything.contains(KEY) && !String::from_utf8(config).unwrap().contains(KEY));

    let more = [
        "tiny.toml",
        "--run-dir",
        "run",
        "--continue-train",
        "latest",
        "--set",
        "record.wandb.checkpoints=true",
        "--set",
        "record.wandb.histograms=true",
        "--set",
        "evaluate.every_epochs=1",
    ];
    Ended::of(&mut online(&tiny, &double, &more)).exits(0);
    assert_eq!(double.runs().len(), 1);
    assert_equal(&double, &run);
    let state = double.runs().remove(0);
    let weights = std::fs::read(run.join("checkpoints/min-loss/model.safetensors")).unwrap();
    assert!(state.files["model.safetensors"] == weights);
    let histogram =
        double.history_rows(&state.id).last().unwrap()["parameters/loss.weight"].clone();
    let counts: u64 =
        histogram["values"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!((counts, histogram["bins"].as_array().unwrap().len()), (8 * 16, 65));
    double.assert_clean();
}

#[test]
fn sigterm_is_a_pre_emption_and_the_stop_button_a_stop() {
    for button in [false, true] {
        let (tiny, double) = (Tiny::new(), Double::start());
        if button {
            double.press_stop();
        }
        let args = ["tiny.toml", "--run-dir", "run", "--set", "train.epochs=2000"];
        let mut command = online(&tiny, &double, &args);
        let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        if !button {
            assert!(double.wait_until(Duration::from_secs(60), |s| s.count(Where::Stream) > 0));
            signal(&child, "TERM");
        }
        let ended = Ended::wait(child).exits(75);
        let state = double.runs().remove(0);
        assert_eq!(state.exitcode, Some(75));
        assert_eq!(state.preempting.contains(&true), !button, "{:?}", state.preempting);
        assert!(ended.stderr.contains(if button { "W&B" } else { "SIGTERM" }), "{}", ended.stderr);
        assert!(tiny.path("run/checkpoints/latest").exists());
    }
}

#[test]
fn offline_then_synced_twice() {
    let (tiny, double) = (Tiny::new(), Double::start());
    let ended = tiny.run(&["tiny.toml", "--run-dir", "run", "--set", "record.wandb.mode=auto"]);
    ended.exits(0);
    let sync = || Ended::of(&mut online(&tiny, &double, &["sync", "run"]));
    let first = sync().exits(0);
    assert!(first.stdout.contains("24 lines sent, 24 there"), "{}", first.stdout);
    assert!(sync().exits(0).stdout.contains("0 lines sent, 24 there"));
    double.assert_clean();
    assert_eq!(double.runs().len(), 1);
}

#[test]
fn trouble_with_wandb_is_one_line_and_exit_code_0() {
    let (tiny, double) = (Tiny::new(), Double::start());
    double.require_key("another");
    let args = ["tiny.toml", "--run-dir", "run", "--set", "train.epochs=1"];
    let ended = Ended::of(&mut online(&tiny, &double, &args)).exits(0);
    let warnings: Vec<&str> = ended.stderr.lines().filter(|l| l.contains("warning")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("API key is not valid"), "{warnings:?}");
    assert!(!ended.stderr.contains(KEY));
    let told = Ended::of(&mut online(&tiny, &double, &["sync", "run"])).exits(2);
    told.says(&["API key is not valid", "WANDB_API_KEY"]);
    let mut keyless = tiny.command(&["sync", "run"]);
    Ended::of(keyless.env("HOME", "/nowhere")).exits(2).says(&["no W&B API key"]);

    // A folder that can't be made costs the log, not the training.
    let mut nowhere = tiny.command(&["tiny.toml", "--run-dir", "no", "--set", "train.epochs=1"]);
    let told = Ended::of(nowhere.env("WANDB_DIR", "/dev/null")).exits(0);
    told.says(&["WANDB_DIR", "is not logged to W&B"]);
    let none = tiny.run(&["tiny.toml", "--run-dir", "off", "--set", "record.wandb.mode=disabled"]);
    none.exits(0);
    assert!(!tiny.path("off/wandb").exists());
    tiny.run(&["sync", "off"]).exits(2).says(&["nothing to upload"]);
    tiny.run(&["sync", "nowhere"]).exits(2).says(&["no run folder"]);
    let mut bad = online(&tiny, &double, &["tiny.toml"]);
    let told = Ended::of(bad.env("WANDB_PROJECT", "a/b")).exits(2);
    told.says(&["WANDB_PROJECT", "a/b"]);
    let mut check = online(&tiny, &double, &["check", "tiny.toml"]);
    Ended::of(check.env("WANDB_RUN_ID", "a b")).exits(2).says(&["WANDB_RUN_ID"]);
    assert!(tiny.runs().is_empty(), "nothing was started");
}

/// A file-size limit stands in for a full disk: the log ends, the training does not.
#[test]
fn a_full_disk_in_the_log_is_one_warning() {
    let tiny = Tiny::new();
    let script = "ulimit -f 400; exec \"$0\" \"$@\"";
    let args = [
        "tiny.toml",
        "--run-dir",
        "run",
        "--set",
        "train.epochs=120",
        "--set",
        "evaluate.every_epochs=0",
    ];
    let ended = Ended::of(&mut tiny.under_shell(script, &args)).exits(0);
    let warnings: Vec<&str> = ended.stderr.lines().filter(|l| l.contains("warning")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("is not logged to W&B"), "{warnings:?}");
    let steps = std::fs::read_to_string(tiny.path("run/steps.csv")).unwrap();
    assert_eq!(steps.lines().count(), 1 + 120 * 8);
}
