//! The W&B client against a server that fails in every way: afterwards it has what the CSV files
//! have, each line once and in order, and the training heard of the trouble at most once.

mod wandb_double;
mod wandb_run;

use arcrun::record::{Event, Status};
use arcrun::wandb::{Timing, segments};
use std::time::{Duration, SystemTime};
use wandb_double::{Double, Fault, VIEWER, Where};
use wandb_run::{KEY, Logged};

/// Seconds become milliseconds; a server that hangs is given up soon, its own waits are real.
fn fast() -> Timing {
    let soon = Duration::from_millis(300);
    let fast = Timing::default().faster(1000.0);
    Timing { graphql_timeout: soon, stream_timeout: soon, put_timeout: soon, ..fast }
}

#[test]
fn everything_arrives_as_the_csv_has_it() {
    let (double, run) = (Double::start(), Logged::new());
    double.require_key(KEY);
    let mut recorder = run.open(Some(&double), fast(), 0);
    run.steps(&mut recorder, 1..=300);
    run.end(recorder, Status::Finished);
    let state = run.assert_equal(&double);
    double.assert_clean();
    assert_eq!(*run.warnings.lock().unwrap(), [""; 0]);
    let page = format!("{}/{VIEWER}/faces/runs/{}", double.url(), run.run_id());
    assert!(run.notices.lock().unwrap().iter().any(|text| text.contains(&page)));

    assert_eq!((state.complete, state.exitcode), (true, Some(0)));
    assert_eq!((state.display_name.as_str(), state.tags.join(",")), ("a name", "face".into()));
    assert_eq!(state.plain_config().get("train").unwrap()["epochs"], 3);
    assert!(state.config["_wandb"]["value"]["t"].is_object());
    assert_eq!(state.config["_wandb"]["value"]["m"][1]["5"], 1);
    assert_eq!(state.summary["train/lr"], 1e-5);
    assert_eq!((&state.summary["best/epoch"], &state.summary["_step"]), (&2.into(), &300.into()));
    assert!(state.summary["_wandb"]["runtime"].is_u64());
    let ends = ["epoch 1", "evaluated latest", "finished after 1.0 s"];
    for part in ends {
        assert!(state.output.iter().any(|line| line.contains(part)), "{:?}", state.output);
    }
    for file in ["config.toml", "wandb-metadata.json", "config.yaml"] {
        assert!(state.files.contains_key(file), "{file}");
        assert!(state.uploaded.iter().any(|name| name == file), "{file}");
    }
    let events = double.event_rows(&run.run_id());
    assert!(events.iter().any(|row| row["system.proc.memory.rssMB"].as_f64().unwrap() > 1.0));
    // Repeating changes nothing.
    let synced = run.sync(&double, fast()).unwrap();
    assert_eq!((synced.sent, synced.total), (0, 300));
    assert_eq!(run.assert_equal(&double).output, state.output);
    double.assert_clean();
}

/// Every fault at every kind of request, one run after the other.
#[test]
fn no_fault_costs_a_line() {
    let faults = || {
        let soon = SystemTime::now() + Duration::from_secs(1);
        vec![
            Fault::status(429),
            Fault::retry_after(429, 1),
            Fault::retry_at(503, soon),
            Fault::status(500),
            Fault::status(503),
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::HangBefore,
            Fault::HangAfter,
            Fault::Garbage,
            Fault::Slow(Duration::from_millis(100)),
            Fault::CutBody,
            Fault::RateLimit { remaining: 0, reset: 1 },
        ]
    };
    let places = [Where::Viewer, Where::Upsert, Where::Stream, Where::CreateFiles, Where::Put];
    let fault_runs = |place: Where| {
        for fault in faults() {
            let (double, run) = (Double::start(), Logged::new());
            // What is answered in the end is not asked for again.
            let applied = matches!(fault, Fault::Slow(_) | Fault::RateLimit { .. });
            double.fault(place, fault.clone(), if applied { 1 } else { 2 });
            // A stream fails in the middle of the run, too.
            let mut recorder = run.open(Some(&double), fast(), 0);
            run.steps(&mut recorder, 1..=60);
            let seen = double.wait_until(Duration::from_secs(20), |state| state.count(place) > 0);
            assert!(seen, "{place:?} {fault:?}");
            run.steps(&mut recorder, 61..=90);
            run.end(recorder, Status::Finished);
            let state = run.assert_equal(&double);
            assert!(state.complete, "{place:?} {fault:?}");
            assert_eq!(double.faults_left(), 0, "{place:?} {fault:?}");
            assert_eq!(double.violations(), [""; 0], "{place:?} {fault:?}");
            assert!(run.warnings.lock().unwrap().len() <= 1, "{place:?} {fault:?}");
            assert!(state.files.contains_key("config.toml"), "{place:?} {fault:?}");
        }
    };
    // The waits are the server's: they pass side by side.
    std::thread::scope(|scope| {
        for place in places {
            scope.spawn(move || fault_runs(place));
        }
    });
}

#[test]
fn a_damaged_session_keeps_no_other_from_being_uploaded() {
    let (double, run) = (Double::start(), Logged::new());
    let mut recorder = run.open(None, fast(), 0);
    run.steps(&mut recorder, 1..=10);
    drop(recorder);
    std::fs::write(segments(run.path())[0].file(), "no .wandb").unwrap();
    let error = run.sync(&double, fast()).unwrap_err().to_string();
    assert!(error.contains("nothing can be uploaded") && error.contains(".wandb"), "{error}");
    let mut recorder = run.open(None, fast(), 10);
    run.steps(&mut recorder, 11..=20);
    run.end(recorder, Status::Finished);
    let synced = run.sync(&double, fast()).unwrap();
    assert_eq!((synced.sent, synced.warnings.len()), (10, 1), "{:?}", synced.warnings);
    double.assert_clean();
}

/// A proxy that repeats what it was sent.
#[test]
fn no_answer_brings_the_key_to_light() {
    use base64::Engine;
    let sent = base64::engine::general_purpose::STANDARD.encode(format!("api:{KEY}"));
    for secret in [KEY, &sent] {
        for graphql in [false, true] {
            let (double, run) = (Double::start(), Logged::new());
            let message = format!("no \u{1b}[31m<Basic {secret}>");
            let body = serde_json::json!({"errors": [{"message": message}]}).to_string();
            let fault = match graphql {
                true => Fault::graphql_error(&message),
                false => Fault::body(400, &body),
            };
            double.fault(Where::Upsert, fault, 1);
            let mut recorder = run.open(Some(&double), fast(), 0);
            run.steps(&mut recorder, 1..=10);
            run.end(recorder, Status::Finished);
            let warnings = run.warnings.lock().unwrap().join("\n");
            assert!(warnings.contains("no  [31m<Basic [hidden]>"), "{warnings:?}");
        }
    }
}

/// A conflict is repeated where the run is made, and ends the stream anywhere else.
#[test]
fn refusals_cost_one_warning_and_keep_the_data() {
    for (place, fault, part) in [
        (Where::Viewer, Fault::status(401), "API key is not valid"),
        (Where::Upsert, Fault::graphql_error("project not found"), "project not found"),
        (Where::Upsert, Fault::status(404), "404"),
        (Where::Stream, Fault::status(409), "409"),
        (Where::Stream, Fault::status(400), "400"),
    ] {
        let (double, run) = (Double::start(), Logged::new());
        double.fault(place, fault, 1);
        let mut recorder = run.open(Some(&double), fast(), 0);
        run.steps(&mut recorder, 1..=30);
        run.end(recorder, Status::Finished);
        let warnings = run.warnings.lock().unwrap().clone();
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{part}: {warnings:?}");
        assert!(!warnings[0].contains(KEY));
        let left = run.notices.lock().unwrap().last().cloned().unwrap();
        assert!(left.contains("run sync"), "{left}");
        // What was refused once goes through later.
        assert_eq!(run.sync(&double, fast()).unwrap().total, 30);
        run.assert_equal(&double);
        double.assert_clean();
    }
    let (double, run) = (Double::start(), Logged::new());
    double.fault(Where::Upsert, Fault::status(409), 3);
    let mut recorder = run.open(Some(&double), fast(), 0);
    run.steps(&mut recorder, 1..=30);
    run.end(recorder, Status::Finished);
    run.assert_equal(&double);
    assert_eq!(double.faults_left(), 0);
}

#[test]
fn a_continued_run_goes_on_in_the_same_one() {
    let (double, run) = (Double::start(), Logged::new());
    let mut recorder = run.open(Some(&double), fast(), 0);
    run.steps(&mut recorder, 1..=48);
    // Killed after step 48, the last checkpoint at 40.
    drop(recorder);
    double.wait_until(Duration::from_secs(5), |state| state.count(Where::Stream) > 0);
    let first = run.run_id();
    let mut recorder = run.open(Some(&double), fast(), 40);
    run.steps(&mut recorder, 41..=70);
    run.end(recorder, Status::Stopped);
    let mut recorder = run.open(Some(&double), fast(), 70);
    run.steps(&mut recorder, 71..=90);
    run.end(recorder, Status::Finished);
    assert_eq!((run.run_id(), segments(run.path()).len()), (first, 3));
    let state = run.assert_equal(&double);
    double.assert_clean();
    assert_eq!((state.exitcode, double.runs().len()), (Some(0), 1));
    let runtimes: Vec<f64> = double
        .history_rows(&run.run_id())
        .iter()
        .map(|row| row["_runtime"].as_f64().unwrap())
        .collect();
    assert!(runtimes.is_sorted(), "{runtimes:?}");
    assert_eq!(double.count(Where::Resume), 2, "a new run has nothing to resume");
}

#[test]
fn sync_uploads_all_sessions_of_an_offline_run_once() {
    let (double, run) = (Double::start(), Logged::new());
    let mut recorder = run.open(None, fast(), 0);
    run.steps(&mut recorder, 1..=48);
    drop(recorder);
    let mut recorder = run.open(None, fast(), 40);
    run.steps(&mut recorder, 41..=100);
    run.end(recorder, Status::Diverged);
    assert!(run.notices.lock().unwrap()[0].contains("no W&B API key"));
    assert_eq!(*run.warnings.lock().unwrap(), [""; 0]);
    // The server goes away in the middle; the next one gets the rest.
    double.fault(Where::Stream, Fault::ResetAfter, 1);
    double.fault(Where::Stream, Fault::status(400), 1);
    let refused = run.sync(&double, fast()).unwrap_err();
    assert_eq!(refused.exit_code(), 2, "{refused}");
    for (sent, again) in [(0, 0), (0, 1)] {
        let synced = run.sync(&double, fast()).unwrap();
        assert!(synced.total == 100 && (again == 0 || synced.sent == sent), "{synced:?}");
    }
    let state = run.assert_equal(&double);
    assert_eq!((state.exitcode, double.runs().len()), (Some(3), 1));
    double.assert_clean();
}

#[test]
fn sync_says_what_is_missing() {
    let (double, run) = (Double::start(), Logged::new());
    let error = run.sync(&double, fast()).unwrap_err();
    assert!(error.to_string().contains("nothing to upload"), "{error}");
    let mut recorder = run.open(None, fast(), 0);
    run.steps(&mut recorder, 1..=5);
    drop(recorder);
    double.require_key("another");
    let error = run.sync(&double, fast()).unwrap_err();
    assert!(error.to_string().contains("API key is not valid"), "{error}");
    double.require_key(KEY);
    // A run that was killed ends as failed.
    assert_eq!(run.sync(&double, fast()).unwrap().total, 5);
    assert_eq!(run.assert_equal(&double).exitcode, Some(1));
}

#[test]
fn stop_on_the_page_stops_the_training() {
    let (double, run) = (Double::start(), Logged::new());
    double.press_stop();
    let mut recorder = run.open(Some(&double), fast(), 0);
    run.steps(&mut recorder, 1..=10);
    let begun = std::time::Instant::now();
    while !run.stop.is_set() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(run.stop.is_set() && run.stop.by().contains("W&B"));
    run.end(recorder, Status::Stopped);
    assert_eq!(run.assert_equal(&double).exitcode, Some(75));
}

#[test]
fn pictures_and_histograms_are_media() {
    let (double, run) = (Double::start(), Logged::new());
    let mut recorder = run.open(Some(&double), fast(), 0);
    run.steps(&mut recorder, 1..=1);
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(6, 4).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let image = Event::Image {
        key: "train/ü batch".into(),
        caption: "two".into(),
        width: 6,
        height: 4,
        png: png.into_inner(),
    };
    recorder.emit(&image).unwrap();
    let (counts, edges) = (vec![1, 2], vec![0.0, 0.5, 1.0]);
    recorder.emit(&Event::Histogram { key: "w".into(), counts, edges }).unwrap();
    run.steps(&mut recorder, 2..=10);
    run.end(recorder, Status::Finished);
    let state = run.assert_equal(&double);
    let row = &double.history_rows(&run.run_id())[0];
    let image = &row["train/ü batch"];
    assert_eq!((&image["_type"], &image["width"]), (&"image-file".into(), &6.into()));
    let file = &state.files[image["path"].as_str().unwrap()];
    assert_eq!(file.len() as u64, image["size"].as_u64().unwrap());
    let histogram =
        serde_json::json!({"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]});
    assert_eq!(row["w"], histogram);
    double.assert_clean();
}

#[test]
fn the_ids_of_the_environment_are_heeded() {
    let (double, mut run) = (Double::start(), Logged::new());
    run.variables = vec![
        ("WANDB_RUN_ID", "mine-1".into()),
        ("WANDB_ENTITY", "team".into()),
        ("WANDB_RUN_GROUP", "seeds".into()),
    ];
    let elsewhere = tempfile::tempdir().unwrap();
    run.variables.push(("WANDB_DIR", elsewhere.path().display().to_string()));
    let mut recorder = run.open(Some(&double), fast(), 0);
    run.steps(&mut recorder, 1..=10);
    run.end(recorder, Status::Finished);
    let state = run.assert_equal(&double);
    assert_eq!((state.id.as_str(), state.entity.as_str()), ("mine-1", "team"));
    assert_eq!(state.group.as_deref(), Some("seeds"));
    assert_eq!(std::fs::read_dir(elsewhere.path().join("wandb")).unwrap().count(), 1);

    // Another run must not take the same id where that is forbidden.
    let mut other = Logged::new();
    other.variables = run.variables.clone();
    other.variables.push(("WANDB_RESUME", "never".into()));
    let mut recorder = other.open(Some(&double), fast(), 0);
    other.steps(&mut recorder, 1..=10);
    other.end(recorder, Status::Finished);
    let warnings = other.warnings.lock().unwrap().clone();
    assert!(warnings[0].contains("WANDB_RESUME=never, but run mine-1 exists"), "{warnings:?}");
    assert_eq!(double.history_rows("mine-1").len(), 10);
}
