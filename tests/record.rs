//! What a run records beside its CSV files: scores, pictures, TensorBoard's event files; and that all
//! of it holds through a kill, a continued run and odd names.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use arcrun::evaluate::scores_csv;
use arcrun::record::tfevents::{self, What};
use support::{Ended, Tiny, column, signal, status, wait_until};

const TENSORBOARD: [&str; 2] = ["--set", "record.tensorboard=true"];
const PLOTS: [&str; 2] = ["--set", "record.plots=true"];

fn rows(run: &Path) -> usize {
    std::fs::read_to_string(run.join("steps.csv")).map_or(0, |text| text.matches('\n').count())
}

/// A run that is killed inside an epoch once and stopped once, then finished.
fn interrupted(tiny: &Tiny, run: &str, settings: &[&str]) -> PathBuf {
    let fresh = [&["tiny.toml", "--run-dir", run, "--set", "train.epochs=12"], settings].concat();
    let continued = [&fresh[..], &["--continue-train", "auto"]].concat();
    let path = tiny.path(run);
    for (args, name) in [(&fresh, "KILL"), (&continued, "TERM")] {
        let before = rows(&path);
        let mut child = tiny.spawn(args);
        wait_until("steps", || rows(&path) > before + 20 || child.try_wait().unwrap().is_some());
        assert!(child.try_wait().unwrap().is_none(), "finished before it was interrupted");
        signal(&child, name);
        Ended::wait(child);
    }
    tiny.run(&continued).exits(0);
    assert_eq!(status(&path), "finished");
    path
}

/// Tag -> (step, value) as TensorBoard keeps them: a session's start voids what came from its step on.
fn tensorboard(run: &Path) -> BTreeMap<String, Vec<(i64, f32)>> {
    let entries = std::fs::read_dir(run.join("tensorboard")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut kept: BTreeMap<String, Vec<(i64, f32)>> = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("events.out.tfevents.1"), "{name}");
        for event in tfevents::read(&std::fs::read(&file).unwrap()).unwrap() {
            match event.what {
                Some(What::SessionLog(_)) => kept
                    .values_mut()
                    .for_each(|values| values.retain(|(step, _)| *step < event.step)),
                Some(What::Summary(summary)) => {
                    for value in summary.value {
                        let Some(scalar) = value.simple_value else { continue };
                        kept.entry(value.tag).or_default().push((event.step, scalar));
                    }
                }
                _ => {}
            }
        }
    }
    kept.retain(|_, values| !values.is_empty());
    kept
}

/// A Python that has what the check needs.
fn python() -> Option<Command> {
    let python = std::env::var_os("ARCRUN_TEST_PYTHON").map(Command::new);
    if python.is_none() {
        eprintln!("skipped: ARCRUN_TEST_PYTHON names no Python to read the files with");
    }
    python
}

fn check_with_python(run: &Path) {
    let Some(mut python) = python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/parity/record");
    let said = Ended::of(python.arg(script.join("check_tensorboard.py")).arg(run)).exits(0).stdout;
    assert!(said.contains("agree"), "{said}");
}

#[test]
fn an_interrupted_run_records_every_step_once() {
    let tiny = Tiny::new();
    let run = interrupted(&tiny, "run", &TENSORBOARD);
    let steps = column(&run.join("steps.csv"), "step");
    let counted: Vec<String> = (1..=96).map(|step| step.to_string()).collect();
    assert_eq!(steps, counted);
    let kept = tensorboard(&run);
    for (tag, name) in [
        ("train/loss", "loss"),
        ("train/lr", "lr"),
        ("train/accuracy", "accuracy"),
        ("train/embedding_norm", "embedding_norm"),
    ] {
        let values = column(&run.join("steps.csv"), name).into_iter().enumerate();
        let expected: Vec<(i64, f32)> =
            values.map(|(n, text)| (n as i64 + 1, text.parse::<f64>().unwrap() as f32)).collect();
        assert_eq!(kept[tag], expected, "{tag}");
    }
    let losses = column(&run.join("epochs.csv"), "val_loss").into_iter().zip(1..);
    let expected: Vec<(i64, f32)> =
        losses.map(|(text, epoch)| (8 * epoch, text.parse::<f64>().unwrap() as f32)).collect();
    assert_eq!(kept["epoch/val_loss"], expected);
    // Untrained, and every second of twelve epochs.
    let steps: Vec<i64> = kept["eval/unseen/auc"].iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 16, 32, 48, 64, 80, 96]);
    assert_eq!(kept["eval/unseen/min-loss/auc"].len(), 1);
    let files = std::fs::read_dir(run.join("tensorboard")).unwrap().count();
    assert_eq!(files, 3);
    check_with_python(&run);
}

#[test]
fn scores_are_those_of_an_uninterrupted_run() {
    let tiny = Tiny::new();
    let constant = ["--set", "scheduler.kind=constant", "--set", "evaluate.every_epochs=1"];
    let whole = tiny.train("whole", &[&constant[..], &["--set", "train.epochs=4"]].concat());
    tiny.train("run", &[&constant[..], &["--set", "train.epochs=2"]].concat());
    let more = ["--set", "train.epochs=4", "--continue-train", "latest"];
    let run = tiny.train("run", &[&constant[..], &more].concat());
    for checkpoint in ["untrained", "latest", "min-loss"] {
        let read = |run: &Path| {
            std::fs::read_to_string(scores_csv::path(run, "unseen", checkpoint)).unwrap()
        };
        let text = read(&run);
        assert!(text == read(&whole), "{checkpoint}");
        assert!(text.starts_with("fold,first,second,same,distance\n1,/"), "{checkpoint}");
        assert_eq!(text.lines().count(), 41);
    }
    // The threshold in eval.csv is that of the scores.
    let (set, distances) = scores_csv::read(&scores_csv::path(&run, "unseen", "latest")).unwrap();
    let result = arcrun::evaluate::score(&distances, &set).unwrap();
    let file = run.join("eval.csv");
    let rows = column(&file, "metric").into_iter().zip(column(&file, "value"));
    let last =
        rows.zip(column(&file, "checkpoint")).rfind(|((m, _), c)| m == "auc" && c == "latest");
    assert_eq!(last.unwrap().0.1.parse::<f64>().unwrap(), result.auc);
}

#[test]
fn scores_are_written_when_asked_and_not_into_a_run_at_work() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "record.scores=false"]);
    assert!(!run.join("scores").exists() && !run.join("plots").exists());
    tiny.run(&["plot", "roc", "run"]).exits(2).says(&["run eval RUN_DIR --scores"]);
    tiny.succeed(&["eval", "run"]);
    assert!(!run.join("scores").exists());
    tiny.run(&["eval", "tiny.toml", "--scores"]).exits(2).says(&["needs a run folder"]);
    {
        let _held = arcrun::record::RunDir::open(&run).unwrap();
        tiny.run(&["eval", "run", "--scores"]).exits(2).says(&["is held by process"]);
        tiny.succeed(&["eval", "run"]);
    }
    tiny.succeed(&["eval", "run", "--scores", "--checkpoint", "all"]);
    let drawn = tiny.succeed(&["plot", "roc", "run"]);
    assert!(drawn.contains("plots/roc-unseen.png") && drawn.contains("plots/scores-unseen.svg"));
}

/// Any name that TOML takes, through every file: CSV by RFC 4180, names of folders and pictures.
#[test]
fn odd_names_of_sets_survive() {
    const NAME: &str = "odd, \"set\"\n名/x";
    let tiny = Tiny::new();
    let quoted = r#""odd, \"set\"\n名/x""#;
    tiny.write(
        "odd.toml",
        &format!(
            "base = \"tiny.toml\"\n[evaluate.sets.{quoted}]\nkind = \"unseen_pairs\"\npairs = 40\n\
             folds = 2\n[train]\nepochs = 1\n[evaluate]\nevery_epochs = 1\n"
        ),
    );
    let settings = [&["odd.toml", "-q", "--run-dir", "run"], &PLOTS[..], &TENSORBOARD].concat();
    tiny.run(&settings).exits(0);
    let run = tiny.path("run");
    let file = run.join("eval.csv");
    let mut reader = csv::Reader::from_path(&file).unwrap();
    let sets: Vec<String> = reader.records().map(|row| row.unwrap()[2].to_string()).collect();
    let odd = sets.iter().filter(|set| *set == NAME).count();
    assert!(odd > 0 && odd * 2 == sets.len(), "{sets:?}");
    if let Some(mut python) = python() {
        let script = "import csv, json, sys\n\
                      rows = csv.DictReader(open(sys.argv[1], newline='', encoding='utf-8'))\n\
                      print(json.dumps([row['set'] for row in rows]))";
        let said = Ended::of(python.args(["-c", script]).arg(&file)).exits(0).stdout;
        assert_eq!(serde_json::from_str::<Vec<String>>(&said).unwrap(), sets);
    }
    let (set, _) = scores_csv::read(&scores_csv::path(&run, NAME, "latest")).unwrap();
    assert_eq!(set.pairs.len(), 40);
    let name = scores_csv::file_name(NAME);
    for picture in ["roc", "scores"] {
        let svg = std::fs::read_to_string(run.join(format!("plots/{picture}-{name}.svg"))).unwrap();
        assert!(svg.contains("odd, ") && svg.contains("名/x"), "{picture}");
    }
    assert_eq!(tensorboard(&run)[&format!("eval/{NAME}/auc")].len(), 2);
    check_with_python(&run);
}

#[test]
fn pictures_of_one_run_and_of_several() {
    let tiny = Tiny::new();
    let run = tiny.train("one", &PLOTS);
    let mut drawn: Vec<String> = std::fs::read_dir(run.join("plots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    drawn.sort();
    let names = ["accuracy", "learning-rate", "loss", "roc-unseen", "scores-unseen", "throughput"];
    let files = names.iter().flat_map(|name| {
        // The numbers of both are beside them.
        let csv = name.ends_with("-unseen").then(|| format!("{name}.csv"));
        csv.into_iter().chain([format!("{name}.png"), format!("{name}.svg")])
    });
    assert_eq!(drawn, files.collect::<Vec<_>>());
    let svg = |path: &str| std::fs::read_to_string(tiny.path(path)).unwrap();
    for part in ["best epoch ", "validation", "training, each step", "run one"] {
        assert!(svg("one/plots/loss.svg").contains(part), "{part}");
    }
    for part in ["untrained: AUC 0.", "latest (epoch 3): AUC 0.", "min-loss (epoch "] {
        assert!(svg("one/plots/roc-unseen.svg").contains(part), "{part}");
    }
    // The same again from the folder alone.
    let before = svg("one/plots/loss.svg");
    let said = tiny.succeed(&["plot", "curves", "one", "--output", "again"]);
    assert_eq!(said.lines().count(), 8);
    assert_eq!(svg("again/loss.svg"), before);

    tiny.train("two", &["--set", "train.epochs=1", "--set", "name=two", "--set", "validation=0"]);
    tiny.run(&["plot", "curves", "one", "two"]).exits(2).says(&["--output DIR"]);
    tiny.run(&["plot", "curves", "one", "one", "--output", "x"]).exits(2).says(&["given twice"]);
    tiny.run(&["plot", "roc", "nowhere"]).exits(2).says(&["nowhere is no run folder"]);
    tiny.succeed(&["plot", "curves", "one", "two", "--output", "both"]);
    tiny.succeed(&["plot", "roc", "one", "two", "--output", "both"]);
    let loss = svg("both/loss.svg");
    assert!(loss.contains("2 runs") && loss.contains("epoch") && loss.contains("two"), "{loss}");
    assert!(svg("both/roc-unseen.svg").contains("two (min-loss): AUC 0."));
}

#[test]
fn a_picture_that_can_not_be_drawn_is_one_warning() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    std::fs::create_dir_all(run.join("plots/loss.png/taken")).unwrap();
    let more = ["tiny.toml", "--run-dir", "run", "--continue-train", "latest"];
    let ended = tiny.run(&[&more[..], &PLOTS].concat()).exits(0);
    let warnings = ended.stderr.matches("are not up to date").count();
    assert_eq!(warnings, 1, "{}", ended.stderr);
    assert_eq!(status(&run), "finished");
    assert!(std::fs::read_to_string(run.join("log.txt")).unwrap().contains("loss.png"));
    assert!(run.join("plots/roc-unseen.svg").exists(), "the others are drawn all the same");
}
