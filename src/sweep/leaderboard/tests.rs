use super::*;
use crate::config::{Experiment, load_str};
use crate::sweep::settings::Counts;
use crate::sweep::settings::Goal;
use crate::sweep::{Entry, Record};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn trial(number: usize, set: &Value) -> Trial {
    let set = set.as_object().unwrap().clone();
    let (id, name) = (format!("{number:012x}"), format!("t{number}"));
    Trial { id, name, set, ..Trial::default() }
}

/// lr x seed, of which the last group has a table and no value.
fn manifest() -> Manifest {
    let sets = [
        json!({ "optimizer.lr": 0.1, "seed": 1 }),
        json!({ "optimizer.lr": 0.1, "seed": 2 }),
        json!({ "optimizer.lr": 0.01, "seed": 1 }),
        json!({ "seed": 2, "optimizer.lr": 0.01 }),
        json!({ "optimizer.lr": 1.0, "seed": 1 }),
        json!({ "optimizer.lr": 1.0, "seed": 2, "loss": { "kind": "cosface", "margin": 0.35 } }),
    ];
    let trials = sets.iter().enumerate().map(|(n, set)| trial(n, set)).collect();
    let axes = ["optimizer.lr", "seed", "loss"].map(str::to_owned).to_vec();
    Manifest { name: "grid".into(), trials, axes, ..Manifest::default() }
}

fn told(state: &mut State, record: Record) {
    state.apply(&Entry { time: "2026-01-01T00:00:00Z".into(), record });
}

fn ran(state: &mut State, number: usize, values: &[f64], outcome: Option<Outcome>) {
    let trial = || format!("{number:012x}");
    told(state, Record::Started { trial: trial(), runner: Default::default() });
    for (epoch, value) in (1..).zip(values) {
        told(state, Record::Reported { trial: trial(), epoch, value: *value });
    }
    if let Some(outcome) = outcome {
        let (code, note, seconds) = (None, None, 1.5);
        told(state, Record::Ended { trial: trial(), outcome, code, seconds, note });
    }
}

/// Values 0.3, 0.5 of the first group; 0.25 and one that diverged; one pruned; one waits.
fn state(manifest: &Manifest) -> State {
    let mut state = State::new(manifest);
    ran(&mut state, 0, &[0.2, 0.3], Some(Outcome::Finished));
    ran(&mut state, 1, &[0.9, 0.5], Some(Outcome::Finished));
    ran(&mut state, 2, &[0.25], None);
    ran(&mut state, 3, &[0.4, f64::NAN], Some(Outcome::Diverged));
    ran(&mut state, 4, &[], Some(Outcome::Killed));
    state
}

#[test]
fn groups_are_ranked_by_their_mean() {
    let manifest = manifest();
    let state = state(&manifest);
    let board = rank(&manifest, &state, &Objective::default());
    let places: Vec<&[usize]> = board.groups.iter().map(|group| &group.trials[..]).collect();
    // Waiting before failed, where neither has a value.
    assert_eq!(places, [&[2, 3][..], &[0, 1], &[5], &[4]]);
    let [one, two, three, _] = &board.groups[..] else { panic!() };
    assert_eq!((one.mean, one.std, one.count), (Some(0.25), None, 1));
    assert_eq!((two.mean, two.count), (Some(0.4), 2));
    // Two values d apart: d / sqrt(2).
    assert!((two.std.unwrap() - 0.2 / 2.0_f64.sqrt()).abs() < 1e-15);
    assert_eq!((three.mean, three.std, three.count), (None, None, 0));
    let rows: Vec<(usize, usize)> = board.rows.iter().map(|row| (row.trial, row.rank)).collect();
    assert_eq!(rows, [(2, 1), (3, 1), (0, 2), (1, 2), (5, 3), (4, 4)]);
    assert!(board.rows[1].value.unwrap().is_nan());
    let words: Vec<&str> = board.rows.iter().map(|row| row.status.as_str()).collect();
    let expected =
        ["running", "failed: diverged", "finished", "finished", "waiting", "failed: killed"];
    assert_eq!(words, expected);

    let best = Objective { goal: Goal::Maximize, value: Counts::Best, ..Objective::default() };
    let board = rank(&manifest, &state, &best);
    // 0.3, 0.9 and 0.25, 0.4.
    assert_eq!(board.groups[0].trials, [0, 1]);
    assert_eq!(board.groups[0].mean, Some(0.6));
    assert_eq!(board.groups[1].mean, Some(0.325));
    let least = Objective { value: Counts::Best, ..Objective::default() };
    // 0.2, 0.5 and 0.25, 0.4.
    assert_eq!(rank(&manifest, &state, &least).groups[0].mean, Some(0.325));
}

#[test]
fn proposed_settings_make_groups_when_they_are_known() {
    let place = |number| Some(crate::sweep::manifest::Proposed { block: 0, number });
    let one = |n: usize| Trial { proposed: place(n), ..trial(n, &json!({ "seed": n })) };
    let manifest = Manifest { trials: vec![one(0), one(1)], ..Manifest::default() };
    let mut state = State::new(&manifest);
    assert_eq!(rank(&manifest, &state, &Objective::default()).groups.len(), 2);
    for number in 0..2 {
        let set = json!({ "optimizer.lr": 0.5 }).as_object().unwrap().clone();
        told(&mut state, Record::Proposed { trial: format!("{number:012x}"), set });
    }
    assert_eq!(rank(&manifest, &state, &Objective::default()).groups.len(), 1);
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn the_sheet_holds_what_the_runs_say() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest();
    let state = state(&manifest);
    let run = folder.path().join("trials/t0");
    fs::create_dir_all(&run).unwrap();
    let epochs = "epoch,train_loss,val_loss,seconds\n1,3,2,9\n2,2.5,0.3,9\n3,,0.1";
    fs::write(run.join("epochs.csv"), epochs).unwrap();
    let eval = "epoch,checkpoint,set,metric,value,std\n1,latest,\"a,b\",auc,0.5,\n\
        2,latest,\"a,b\",auc,0.75,\n2,min-loss,\"a,b\",auc,0.9,\n";
    fs::write(run.join("eval.csv"), eval).unwrap();
    let mut sheet = Sheet::default();
    let path = sheet.write(folder.path(), &manifest, &state, &Objective::default()).unwrap();
    let table = rows(&path);
    let head = "trial,name,status,run,attempts,epoch,rank,parameter_optimizer.lr,parameter_seed,\
        parameter_loss,parameter_loss.margin,seconds,val_loss,val_loss_mean,val_loss_std,\
        val_loss_seeds,train_loss,a,b/auc";
    assert_eq!(table[0].join(","), head);
    assert_eq!(table.len(), 7);
    let of = |name: &str| table.iter().find(|row| row[1] == name).unwrap().clone();
    let t0 = of("t0");
    assert_eq!(t0[2..12], ["finished", "trials/t0", "1", "2", "2", "0.1", "1", "", "", "1.5"]);
    assert_eq!(t0[12..14], ["0.3", "0.4"]);
    assert_eq!(t0[15..], ["2", "2.5", "0.75"]);
    assert!((t0[14].parse::<f64>().unwrap() - 0.2 / 2.0_f64.sqrt()).abs() < 1e-15);
    assert_eq!(of("t3")[12..], ["NaN", "0.25", "", "1", "", ""]);
    assert_eq!(of("t5")[2..12], ["waiting", "", "0", "0", "", "1.0", "2", "cosface", "0.35", ""]);

    // The report reads it.
    let page = crate::report::page(&[folder.path().into()], folder.path(), &|_, _| {}).unwrap();
    assert_eq!((page.runs, page.sweeps), (0, 1));

    // Another size is read again, an equal file is not.
    fs::write(run.join("epochs.csv"), epochs.replace("2.5", "2.25")).unwrap();
    sheet.write(folder.path(), &manifest, &state, &Objective::default()).unwrap();
    let t0 = rows(&path).into_iter().find(|row| row[1] == "t0").unwrap();
    assert_eq!(t0[16], "2.25");
    fs::remove_file(run.join("epochs.csv")).unwrap();
    sheet.write(folder.path(), &manifest, &state, &Objective::default()).unwrap();
    assert!(!rows(&path)[0].contains(&"train_loss".to_string()));
}

#[test]
fn the_best_is_an_experiment() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    manifest.name = "two\nlines".into();
    let resolve = |sets: &Sets| -> crate::Result<Experiment> {
        let text = "[data]\nkind = \"synthetic_faces\"\n";
        let sets: Vec<String> = sets.iter().map(|(key, value)| format!("{key}={value}")).collect();
        load_str("base.toml", text, &sets).map(|loaded| loaded.experiment)
    };
    let nothing = State::new(&manifest);
    let objective = Objective::default();
    let none = best_experiment(folder.path(), &manifest, &nothing, &objective, resolve).unwrap();
    assert_eq!(none, None);
    let state = state(&manifest);
    let path = best_experiment(folder.path(), &manifest, &state, &objective, resolve).unwrap();
    let path = path.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let train = format!("# Train it: run '{}'\n", path.display());
    for part in [
        "# Best of sweep two lines: trial t2\n",
        "# val_loss: 0.2500, mean over 1 of 2 seeds\n",
        "# this trial: 0.2500, epoch 1, running\n",
        "#   optimizer.lr = 0.01\n",
        &train,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let back = load_str::<Experiment>("best.toml", &text, &[]).unwrap().experiment;
    assert_eq!(back, resolve(&manifest.trials[2].set).unwrap());
    assert_ne!(back, resolve(&manifest.trials[0].set).unwrap());
}

#[test]
fn a_table_for_the_terminal() {
    let mut manifest = manifest();
    manifest.trials[0].name = "a-name-that-is-much-too-long-for-this".into();
    let board = rank(&manifest, &state(&manifest), &Objective::default());
    let expected = "\
rank  trial        val_loss             epoch  status
   1  t2 +1        0.2500 (1)             1-2  1 running, 1 failed: diverged
   2  a-name-tha…  0.4000 ± 0.1414 (2)      2  finished
   -  t5           -                        0  waiting
";
    assert_eq!(text_table(&board, 3, 76), expected);
    let narrow = text_table(&board, 9, 30);
    assert!(narrow.lines().all(|line| line.chars().count() <= 30), "{narrow}");
    assert_eq!(narrow.lines().count(), 5);
}
