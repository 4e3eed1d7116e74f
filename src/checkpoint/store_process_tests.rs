//! A store in a process that fails or is killed.

use super::*;
use std::process::{Command, Stdio};

/// Runs one ignored test of this file in a process of its own, in the folder `RUN`.
fn child(name: &str, run: &Path, before: &str) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(exe);
    let path = &module_path!()["arcrun::".len()..];
    command.args(["--ignored", "--exact", &format!("{path}::{name}")]);
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
