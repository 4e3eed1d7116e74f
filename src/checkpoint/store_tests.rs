use super::*;
use crate::checkpoint::state::{Best, tests::example};
use crate::checkpoint::{find, list, locate, read, read_group, read_state};
use tch::{Device, Kind, Tensor};

fn tensor(value: f64) -> Tensor {
    Tensor::full([4, 64], value, (Kind::Float, Device::Cpu))
}

/// A snapshot of `epoch` epochs, ten steps each, whose tensors all hold the step.
fn snapshot(epoch: u64, batch: u64, min_loss: bool) -> Snapshot {
    let step = epoch * 10 + batch;
    let mut state = State { epoch, step, batch_in_epoch: batch, ..example() };
    let best = if min_loss { step } else { 1 };
    state.min_loss = Some(Best { value: 0.5, epoch, step: best });
    let group = |prefix: &str| -> Named {
        (0..3).map(|i| (format!("{prefix}.{i}"), tensor(step as f64))).collect()
    };
    let tensors =
        [("model".into(), group("backbone")), ("optimizer".into(), group("momentum"))].into();
    Snapshot { tensors, state }
}

fn names(run: &Path) -> Vec<String> {
    list(run)
        .iter()
        .map(|(name, path)| format!("{name}={}", path.file_name().unwrap().to_str().unwrap()))
        .collect()
}

fn folders(run: &Path) -> usize {
    fs::read_dir(run.join("checkpoints/.saved")).unwrap().count()
}

#[test]
fn saves_read_back_and_old_ones_go() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let store = Store::open(run, Policy { every_epochs: 2, last_epochs: 0 }).unwrap();
    assert!(store.resume().unwrap().is_none());
    for epoch in 1..=5 {
        store.save(&snapshot(epoch, 0, epoch == 3)).unwrap();
    }
    assert_eq!(
        names(run),
        [
            "latest=e0005-b00000-s00000050",
            "previous=e0004-b00000-s00000040",
            "min-loss=e0003-b00000-s00000030-min",
            "epoch-0002=e0002-b00000-s00000020",
            "epoch-0004=e0004-b00000-s00000040",
        ]
    );
    assert_eq!(folders(run), 4);

    let latest = read(&find(run, Name::Latest).unwrap()).unwrap();
    assert_eq!(latest.state.step, 50);
    assert_eq!(latest.state.history, example().history);
    assert_eq!(latest.tensors["optimizer"]["momentum.2"], tensor(50.0));
    let (model, state) = read_group(&run.join("checkpoints/min-loss"), "model").unwrap();
    assert_eq!((model.len(), state.step), (3, 30));
    assert_eq!(model["backbone.0"], tensor(30.0));
    assert_eq!(locate(run).unwrap(), find(run, Name::Latest).unwrap());
    let error = find(run, Name::Epoch(3)).unwrap_err();
    assert!(matches!(&error, Error::Input { help: Some(h), .. } if h.contains("epoch-0002")));
    assert_eq!(locate(&run.join("nowhere")).unwrap_err().exit_code(), 2);
}

#[test]
fn equal_training_has_equal_hashes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let save = |run: &Path, snapshot: &Snapshot| {
        Store::open(run, Policy::default()).unwrap().save(snapshot).unwrap().hash
    };
    let mut same = snapshot(1, 0, true);
    same.state.run = "another".into();
    assert_eq!(save(one.path(), &snapshot(1, 0, true)), save(two.path(), &same));
    let mut other = snapshot(1, 0, true);
    other.tensors.get_mut("optimizer").unwrap().insert("momentum.0".into(), tensor(0.1));
    assert_ne!(save(one.path(), &same), save(two.path(), &other));
}

#[test]
fn a_position_saved_again_takes_its_place() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::open(run.path(), Policy { every_epochs: 1, last_epochs: 0 }).unwrap();
    store.save(&snapshot(1, 0, true)).unwrap();
    let mut again = snapshot(1, 0, true);
    again.state.finished = true;
    let saved = store.save(&again).unwrap();
    assert_eq!(saved.names, [Name::Latest, Name::MinLoss, Name::Epoch(1)]);
    assert_eq!(folders(run.path()), 1);
    assert!(read_state(&run.path().join("checkpoints/epoch-0001")).unwrap().finished);
}

#[test]
fn damage_is_named() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::open(run.path(), Policy::default()).unwrap();
    let path = store.save(&snapshot(1, 0, true)).unwrap().path;
    let model = path.join("model.safetensors");
    let whole = fs::read(&model).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let longer = [whole.as_slice(), b"x"].concat();
    for (content, says) in [
        (Some(&whole[..whole.len() / 2]), "truncated"),
        (Some(&flipped[..]), "checksum"),
        (Some(&longer[..]), "too long"),
        (Some(&b""[..]), "truncated"),
        (None, "missing"),
    ] {
        match content {
            Some(content) => fs::write(&model, content).unwrap(),
            None => fs::remove_file(&model).unwrap(),
        }
        let Err(Error::Input { message, help }) = read(&path) else { panic!("{says}: no error") };
        assert!(message.contains("model.safetensors") && message.contains(says), "{message}");
        assert!(help.unwrap().contains("another checkpoint"));
    }
    fs::write(&model, whole).unwrap();
    fs::remove_file(path.join("state.json")).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("state.json is damaged"));
}

#[test]
fn a_damaged_latest_falls_back_saying_so() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let store = Store::open(run, Policy::default()).unwrap();
    store.save(&snapshot(1, 0, false)).unwrap();
    let latest = store.save(&snapshot(2, 0, true)).unwrap().path;
    let optimizer = latest.join("optimizer.safetensors");
    let content = fs::read(&optimizer).unwrap();
    fs::write(&optimizer, &content[..content.len() - 1]).unwrap();

    let resumed = Store::open(run, Policy::default()).unwrap().resume().unwrap().unwrap();
    assert_eq!(resumed.snapshot.state.step, 10);
    assert_eq!(resumed.snapshot.state.min_loss, None);
    let said = resumed.warnings.join("\n");
    for part in ["optimizer.safetensors", "truncated", "epoch 1, step 10", "least loss is lost"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(names(run), ["latest=e0001-b00000-s00000010"]);
    assert!(run.join("checkpoints/.damaged/e0002-b00000-s00000020-min").is_dir());

    fs::write(resumed.path.join("state.json"), "{}").unwrap();
    let error = store.resume().unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("state.json"), "{error}");
}

#[test]
fn a_newer_latest_is_refused_not_passed_over() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::open(run.path(), Policy::default()).unwrap();
    store.save(&snapshot(1, 0, false)).unwrap();
    let latest = store.save(&snapshot(2, 0, false)).unwrap().path.join("state.json");
    let text = fs::read_to_string(&latest).unwrap();
    fs::write(&latest, text.replace("\"format_version\": 1", "\"format_version\": 7")).unwrap();
    let error = store.resume().unwrap_err();
    assert!(error.to_string().contains("format 7"), "{error}");
}

#[test]
fn opening_mends_names_and_cleans_up() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let store = Store::open(run, Policy::default()).unwrap();
    store.save(&snapshot(1, 0, true)).unwrap();
    store.save(&snapshot(2, 0, true)).unwrap();
    let before = names(run);
    let root = run.join("checkpoints");
    // As if killed after the rename of the folder, before the names were swapped.
    fs::remove_file(root.join("latest")).unwrap();
    std::os::unix::fs::symlink(".saved/e0001-b00000-s00000010-min", root.join("latest")).unwrap();
    fs::remove_file(root.join("min-loss")).unwrap();
    fs::create_dir(root.join(".saved/.tmp-e0003-1")).unwrap();
    fs::write(root.join(".saved/.tmp-e0003-1/model.safetensors"), "half").unwrap();
    Store::open(run, Policy::default()).unwrap();
    assert_eq!(names(run), before);
    assert_eq!(folders(run), 2);
    // As after a copy that follows symlinks.
    let latest = fs::canonicalize(root.join("latest")).unwrap();
    fs::remove_file(root.join("latest")).unwrap();
    fs::rename(&latest, root.join("latest")).unwrap();
    Store::open(run, Policy::default()).unwrap();
    assert_eq!(names(run), before);
}

#[test]
fn weights_only_copies() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::open(run.path(), Policy::default()).unwrap();
    let snapshot = snapshot(4, 0, false);
    let path = store.save_weights(4, &snapshot.tensors["model"]).unwrap();
    assert_eq!(path, run.path().join("weights/epoch-0004.safetensors"));
    assert_eq!(tensors::read_weights(&path).unwrap()["backbone.1"], tensor(40.0));
}

/// Every way in which the newest can be broken leads to the one before it.
#[test]
fn whatever_is_wrong_with_latest_the_one_before_it_serves() {
    type Breaking = (&'static str, fn(&Path));
    let ways: [Breaking; 7] = [
        ("state.json is damaged", |folder| {
            let state = folder.join("state.json");
            let text = fs::read_to_string(&state).unwrap();
            fs::write(state, text.replace("\"epoch\": 2", "\"epoch\": 3")).unwrap();
        }),
        ("state.json is damaged", |folder| fs::write(folder.join("state.json"), "").unwrap()),
        ("state.json is damaged", |folder| fs::remove_file(folder.join("state.json")).unwrap()),
        ("model.safetensors is damaged: the file is missing", |folder| {
            fs::remove_file(folder.join("model.safetensors")).unwrap();
        }),
        ("model.safetensors is damaged: its checksum", |folder| {
            let mut bytes = fs::read(folder.join("model.safetensors")).unwrap();
            bytes[200] ^= 4;
            fs::write(folder.join("model.safetensors"), bytes).unwrap();
        }),
        ("optimizer.safetensors is damaged", |folder| {
            fs::remove_file(folder.join("optimizer.safetensors")).unwrap();
            fs::create_dir(folder.join("optimizer.safetensors")).unwrap();
        }),
        ("state.json is damaged: the file is missing", |folder| {
            fs::remove_dir_all(folder).unwrap();
            fs::create_dir(folder).unwrap();
        }),
    ];
    for (says, breaking) in ways {
        let run = tempfile::tempdir().unwrap();
        let store = Store::open(run.path(), Policy::default()).unwrap();
        store.save(&snapshot(1, 0, true)).unwrap();
        let latest = store.save(&snapshot(2, 0, false)).unwrap().path;
        breaking(&latest);
        let resumed =
            Store::open(run.path(), Policy::default()).unwrap().resume().unwrap().unwrap();
        assert_eq!(resumed.snapshot.state.step, 10, "{says}");
        assert!(resumed.warnings[0].contains(says), "{says}: {:?}", resumed.warnings);
        assert!(resumed.warnings[1].contains("epoch 1, step 10"), "{:?}", resumed.warnings);
        assert_eq!(resumed.snapshot.state.min_loss.map(|best| best.step), Some(10));
        let both = ["latest", "min-loss"].map(|name| format!("{name}=e0001-b00000-s00000010-min"));
        assert_eq!(names(run.path()), both);
    }
}

/// A snapshot that is the best of these metrics so far, over what was best before.
fn best_of(epoch: u64, metrics: &[&str], before: &State) -> Snapshot {
    let mut snapshot = snapshot(epoch, 0, false);
    snapshot.state.min_loss = None;
    snapshot.state.best = before.best.clone();
    for metric in metrics {
        let best = Best { value: epoch as f64, epoch, step: epoch * 10 };
        snapshot.state.best.insert((*metric).to_owned(), best);
    }
    snapshot
}

#[test]
fn the_best_by_metric_is_kept_and_verified() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let store = Store::open(run, Policy { every_epochs: 0, last_epochs: 1 }).unwrap();
    let (far, recall) = ("lfw.tar@far=1e-3", "own/set.recall@1");
    let mut state = State::default();
    for (epoch, metrics) in
        [(1, &[far, recall][..]), (2, &[far]), (3, &[recall]), (4, &[]), (5, &[])]
    {
        let snapshot = best_of(epoch, metrics, &state);
        store.save(&snapshot).unwrap();
        state = snapshot.state;
    }
    assert_eq!(
        names(run),
        [
            "latest=e0005-b00000-s00000050",
            "previous=e0004-b00000-s00000040",
            "best-lfw.tar@far=1e-3=e0002-b00000-s00000020+lfw.tar@far=1e-3",
            "best-own%2Fset.recall@1=e0003-b00000-s00000030+own%2Fset.recall@1",
            "epoch-0005=e0005-b00000-s00000050",
        ]
    );
    let name = Name::parse("best-own/set.recall@1").unwrap();
    let folder = find(run, name.clone()).unwrap();
    assert_eq!(read_state(&folder).unwrap().step, 30);
    // Damaged, it is nothing to go on comparing with.
    fs::write(folder.join("model.safetensors"), "").unwrap();
    let resumed = Store::open(run, Policy::default()).unwrap().resume().unwrap().unwrap();
    let said = resumed.warnings.join("\n");
    assert!(said.contains("truncated") && said.contains("best own/set.recall@1 is lost"), "{said}");
    assert_eq!(resumed.snapshot.state.best.keys().collect::<Vec<_>>(), [far]);
    assert!(find(run, name).is_err());

    let many: Vec<String> = (0..9).map(|i| format!("a-rather-long-name-{i}.accuracy")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = store.save(&best_of(6, &many, &State::default())).unwrap_err().to_string();
    assert!(refused.contains("too many metrics"), "{refused}");
}

#[test]
fn a_damaged_min_loss_is_seen_when_the_run_goes_on() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let policy = || Policy { every_epochs: 2, last_epochs: 0 };
    let store = Store::open(run, policy()).unwrap();
    for epoch in 1..=5 {
        store.save(&snapshot(epoch, 0, epoch <= 3)).unwrap();
    }
    let least = find(run, Name::MinLoss).unwrap();
    fs::remove_file(least.join("optimizer.safetensors")).unwrap();
    let resume = || Store::open(run, policy()).unwrap().resume().unwrap().unwrap();
    // The fourth's copy of what was least is of the third; the second's is its own.
    let resumed = resume();
    assert!(resumed.warnings[0].contains("optimizer.safetensors is damaged"));
    let state = resumed.snapshot.state;
    assert_eq!((state.step, state.min_loss.map(|best| best.step)), (50, Some(20)));
    assert!(find(run, Name::MinLoss).unwrap().ends_with("e0002-b00000-s00000020-min"));
    assert!(resume().warnings.is_empty());
    // Someone deletes it.
    fs::remove_dir_all(find(run, Name::MinLoss).unwrap()).unwrap();
    let resumed = resume();
    assert!(resumed.warnings[0].contains("least loss is lost"), "{:?}", resumed.warnings);
    assert_eq!(resumed.snapshot.state.min_loss, None);
}

#[test]
fn a_damaged_copy_is_set_aside() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let store = Store::open(run, Policy::default()).unwrap();
    store.save(&snapshot(1, 0, true)).unwrap();
    store.save(&snapshot(2, 0, false)).unwrap();
    let root = run.join("checkpoints");
    // Copied with symlinks followed, but not wholly.
    fs::remove_file(root.join("latest")).unwrap();
    fs::create_dir(root.join("latest")).unwrap();
    fs::write(root.join("latest/state.json"), "{").unwrap();
    let resumed = Store::open(run, Policy::default()).unwrap().resume().unwrap().unwrap();
    assert!(resumed.warnings[0].contains("latest/state.json is damaged"), "{:?}", resumed.warnings);
    assert_eq!(resumed.snapshot.state.step, 20);
    assert!(root.join(".damaged/latest").is_dir());
}

#[test]
fn a_read_only_checkpoint_is_not_deleted() {
    use std::os::unix::fs::PermissionsExt;
    let run = tempfile::tempdir().unwrap();
    let store = Store::open(run.path(), Policy::default()).unwrap();
    let kept = store.save(&snapshot(1, 0, false)).unwrap().path;
    let mode = |mode| fs::set_permissions(&kept, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    for epoch in 2..6 {
        assert_eq!(store.save(&snapshot(epoch, 0, false)).unwrap().warnings, [""; 0]);
    }
    assert_eq!(read(&kept).unwrap().state.step, 10);
    assert_eq!(folders(run.path()), 3);
    mode(0o755);
    store.save(&snapshot(6, 0, false)).unwrap();
    assert!(!kept.exists());
}

#[path = "store_process_tests.rs"]
mod processes;
