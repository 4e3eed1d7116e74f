//! Which run `--continue-train` goes on with.

mod support;

use support::{Tiny, column, status, steps};

#[test]
fn auto_with_a_new_folder_starts_there_and_over_where_no_checkpoint_is() {
    let tiny = Tiny::new();
    tiny.train("other", &[]);
    let settings = ["--set", "optimizer.lr=0.01"];
    let auto = |run: &str| {
        let args = ["tiny.toml", "--run-dir", run, "--continue-train", "auto"];
        tiny.run(&[&args[..], &settings[..]].concat()).exits(0);
        assert_eq!(status(&tiny.path(run)), "finished");
    };
    auto("new");
    // Killed before its first checkpoint.
    std::fs::remove_dir_all(tiny.path("new/checkpoints")).unwrap();
    let json = std::fs::read_to_string(tiny.path("new/run.json")).unwrap();
    std::fs::write(tiny.path("new/run.json"), json.replace("finished", "running")).unwrap();
    auto("new");
    assert_eq!(column(&tiny.path("new/steps.csv"), "step").len(), 24);
}

/// As if killed before the first checkpoint of its own.
fn begun(tiny: &Tiny) -> std::path::PathBuf {
    // The ids of runs are of one second; this one is later than all.
    let run = tiny.path("results/tiny/99991231-235959-0000");
    let args = ["tiny.toml", "-q", "--run-dir", run.to_str().unwrap()];
    tiny.succeed(&[&args[..], &["--set", "train.epochs=1"]].concat());
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let json = std::fs::read_to_string(run.join("run.json")).unwrap();
    std::fs::write(run.join("run.json"), json.replace("finished", "running")).unwrap();
    run
}

/// A run of one epoch that is to have three.
fn unfinished(tiny: &Tiny) -> std::path::PathBuf {
    tiny.succeed(&["tiny.toml", "-q", "--set", "train.epochs=1"]);
    tiny.runs().pop().unwrap()
}

#[test]
fn a_newer_run_without_a_checkpoint_hides_none() {
    for what in ["auto", "latest"] {
        let tiny = Tiny::new();
        let older = unfinished(&tiny);
        let newer = begun(&tiny);
        let said = tiny.run(&["tiny.toml", "--continue-train", what]).exits(0);
        said.says(&["has no checkpoint: continuing "]);
        assert_eq!(steps(&older), 24, "{what}");
        assert_eq!(tiny.runs(), [older, newer]);
    }
}

#[test]
fn auto_starts_anew_where_the_older_run_is_done_or_another() {
    let tiny = Tiny::new();
    tiny.succeed(&["tiny.toml", "-q"]);
    begun(&tiny);
    tiny.succeed(&["tiny.toml", "-q", "--continue-train", "auto"]);
    assert_eq!(tiny.runs().len(), 3, "the finished run was gone on with");
    let latest = tiny.succeed(&["tiny.toml", "-q", "--continue-train", "latest"]);
    assert!(latest.contains("is finished: nothing to continue"), "{latest}");

    let tiny = Tiny::new();
    let older = unfinished(&tiny);
    begun(&tiny);
    let other = ["tiny.toml", "-q", "--set", "optimizer.lr=0.01", "--continue-train"];
    tiny.succeed(&[&other[..], &["auto"]].concat());
    assert_eq!((tiny.runs().len(), steps(&older)), (3, 8));
    // The fresh one is between the two, for its date; `latest` finds it.
    let said = tiny.succeed(&[&other[..], &["latest"]].concat());
    assert!(said.contains("is finished"), "{said}");
}

#[test]
fn min_loss_is_of_the_newest_run_that_has_one() {
    let tiny = Tiny::new();
    let older = unfinished(&tiny);
    begun(&tiny);
    tiny.succeed(&["tiny.toml", "-q", "--continue-train", "min-loss"]);
    let fork = tiny.runs().into_iter().nth(1).unwrap();
    let id = older.file_name().unwrap().to_str().unwrap();
    assert_eq!(support::run_json(&fork)["parent"]["run"], id);
}

#[test]
fn a_fork_goes_into_the_folder_that_was_named() {
    let tiny = Tiny::new();
    let one = ["--set", "train.epochs=1"];
    let [run, other] = ["run", "other"].map(|name| tiny.train(name, &one));
    let fork = |run_dir: &str| {
        let from = ["--continue-train", "run/checkpoints/latest"];
        tiny.run(&[&["tiny.toml", "-q", "--run-dir", run_dir][..], &from].concat())
    };
    fork("new/fork").exits(0);
    let info = support::run_json(&tiny.path("new/fork"));
    assert_eq!((&info["parent"]["run"], &info["run"]), (&"run".into(), &"fork".into()));
    assert!(tiny.runs().is_empty());
    let before = std::fs::read(other.join("run.json")).unwrap();
    fork("other").exits(2).says(&["other holds a run already", "help: ", "another --run-dir"]);
    assert!(tiny.runs().is_empty());
    assert_eq!(std::fs::read(other.join("run.json")).unwrap(), before);
    // Its own run's folder says where the checkpoint is, as with min-loss.
    fork("run").exits(0);
    assert_eq!((tiny.runs().len(), steps(&run)), (1, 8));
}
