use super::*;
use crate::checkpoint::state::{Best, tests::example};
use crate::checkpoint::{find, list, locate, read, read_group, read_state};
use std::process::{Command, Stdio};
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

/// Runs one ignored test of this file in a process of its own, in the folder `RUN`.
fn child(name: &str, run: &Path, before: &str) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(exe);
    command.args([
        "--ignored",
        "--exact",
        &format!("{}::{name}", &module_path!()["arcrun::".len()..]),
    ]);
    command.env("RUN", run).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "the body of no_space_left_costs_nothing_but_the_save"]
fn save_under_a_file_size_limit() {
    let run = PathBuf::from(std::env::var_os("RUN").expect("started by its parent"));
    let store = Store::open(&run, Policy::default()).unwrap();
    let mut big = snapshot(2, 0, true);
    let weight = Tensor::zeros([1 << 16], (Kind::Float, Device::Cpu));
    big.tensors.get_mut("optimizer").unwrap().insert("big".into(), weight);
    let error = store.save(&big).unwrap_err();
    fs::write(run.join("said"), error.to_string()).unwrap();
}

#[test]
fn no_space_left_costs_nothing_but_the_save() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    Store::open(run, Policy::default()).unwrap().save(&snapshot(1, 0, true)).unwrap();
    // A file may have 128 blocks of 512 bytes; without the signal, writing more is an error.
    let limits = "trap '' XFSZ; ulimit -f 128;";
    assert!(child("save_under_a_file_size_limit", run, limits).status().unwrap().success());
    let said = fs::read_to_string(run.join("said")).unwrap();
    for part in ["cannot write", "optimizer.safetensors", "stand as they were"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(
        names(run),
        ["latest=e0001-b00000-s00000010-min", "min-loss=e0001-b00000-s00000010-min"]
    );
    assert_eq!(folders(run), 1);
    read(&run.join("checkpoints/latest")).unwrap();
}

#[test]
fn an_unwritable_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file, Policy::default()).unwrap_err();
    assert!(error.to_string().contains("file/checkpoints"), "{error}");
}

#[test]
#[ignore = "the body of a_kill_at_any_moment_leaves_whole_checkpoints"]
fn save_for_ever() {
    let run = PathBuf::from(std::env::var_os("RUN").expect("started by its parent"));
    let store = Store::open(&run, Policy { every_epochs: 3, last_epochs: 1 }).unwrap();
    let from = store.resume().unwrap().map_or(0, |resumed| resumed.snapshot.state.step);
    for step in from + 1.. {
        store.save(&snapshot(step / 10, step % 10, step % 7 == 0)).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_whole_checkpoints() {
    let run = tempfile::tempdir().unwrap();
    let run = run.path();
    let mut newest = 0;
    for kill in 0..15 {
        let mut process = child("save_for_ever", run, "").spawn().unwrap();
        // Let it get going, then an odd number of microseconds more.
        let before = fs::read_link(run.join("checkpoints/latest")).ok();
        while fs::read_link(run.join("checkpoints/latest")).ok() == before {
            assert!(process.try_wait().unwrap().is_none(), "the writer ended by itself");
            std::thread::yield_now();
        }
        let odd = crate::random::derive(3, crate::random::Stream::Init, 0, kill) % 20_000;
        std::thread::sleep(std::time::Duration::from_micros(odd));
        process.kill().unwrap();
        process.wait().unwrap();

        let found = list(run);
        assert!(found.iter().any(|(name, _)| *name == Name::Latest), "kill {kill}");
        for (name, path) in &found {
            let snapshot = read(path).unwrap_or_else(|e| panic!("kill {kill}, {name}: {e}"));
            let step = snapshot.state.step as f64;
            assert_eq!(snapshot.tensors["model"]["backbone.0"], tensor(step));
            if *name == Name::Latest {
                assert!(snapshot.state.step >= newest, "kill {kill} lost a checkpoint");
                newest = snapshot.state.step;
            }
        }
    }
    assert!(newest >= 15);
}
