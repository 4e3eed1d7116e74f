//! Training N epochs equals training them with stops in between: the program is stopped, killed
//! and continued, and what it leaves is compared with that of an uninterrupted run.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arcrun::checkpoint::{Name, find, read, read_state};
use support::{
    Ended, Tiny, assert_same_training, column, csv, run_json, signal, status, steps, untimed,
    wait_until,
};

/// Longer than [`Tiny`]'s, so that a signal finds it at work.
const LONG: [&str; 2] = ["--set", "train.epochs=12"];

/// Starts the program, sends it a signal `after` more steps and waits for its end.
fn interrupt(tiny: &Tiny, args: &[&str], run: &Path, after: usize, name: &str) -> Ended {
    let before = steps(run);
    let mut child = tiny.spawn(args);
    wait_until("a step", || steps(run) >= before + after || child.try_wait().unwrap().is_some());
    if child.try_wait().unwrap().is_none() {
        signal(&child, name);
    }
    Ended::wait(child)
}

/// Stops a run every few steps until it is finished; returns where in an epoch it was stopped.
fn in_pieces(tiny: &Tiny, run: &str, settings: &[&str]) -> Vec<u64> {
    let path = tiny.path(run);
    let fresh = [&["tiny.toml", "--run-dir", run], settings].concat();
    let continued = [&fresh[..], &["--continue-train", "latest"]].concat();
    let mut stops = Vec::new();
    let mut args = &fresh;
    for (signal, after) in ["INT", "TERM"].into_iter().cycle().zip([3, 7, 12, 5].iter().cycle()) {
        let ended = interrupt(tiny, args, &path, *after, signal);
        if ended.code == Some(0) {
            return stops;
        }
        let command = format!("run tiny.toml --run-dir {run} --continue-train latest");
        ended.exits(75).says(&["\nstopped ", "continue with: ", &command]);
        assert_eq!(status(&path), "stopped");
        stops.push(read_state(&find(&path, Name::Latest).unwrap()).unwrap().batch_in_epoch);
        args = &continued;
    }
    unreachable!()
}

#[track_caller]
fn stops_change_nothing(settings: &[&str]) {
    let tiny = Tiny::new();
    let settings = [&LONG, settings].concat();
    let whole = tiny.train("whole", &settings);
    // On a busy machine a signal may find the run at the end of an epoch, or finished.
    let mut tries = ["first", "second", "third", "fourth"].into_iter();
    let (run, stops) = loop {
        let run = tries.next().expect("never stopped inside an epoch");
        let stops = in_pieces(&tiny, run, &settings);
        if stops.iter().any(|batch| (1..8).contains(batch)) {
            break (tiny.path(run), stops);
        }
    };
    assert_same_training(&run, &whole);
    assert_eq!(run_json(&run)["continued"], stops.len());
}

#[test]
fn sgd_goes_on_as_if_never_stopped() {
    stops_change_nothing(&["--set", "nesterov=true"]);
}

#[test]
fn lamb_with_groups_goes_on_as_if_never_stopped() {
    stops_change_nothing(&[
        "--set",
        "optimizer.kind=lamb",
        "--set",
        "groups.norms_and_biases_decay=false",
        "--set",
        "groups.layer_decay=0.7",
        "--set",
        "groups.rules.stem.match=backbone.stem.*",
        "--set",
        "groups.rules.stem.frozen=true",
        "--set",
        "train.clip_grad_value=0.1",
    ]);
}

/// A stop may fall before the epoch of the thaw, into it or after it.
#[test]
fn a_thaw_goes_on_as_if_never_stopped() {
    stops_change_nothing(&[
        "--set",
        "optimizer.kind=adamw",
        "--set",
        "finetune.freeze_stages=1",
        "--set",
        "finetune.unfreeze_epoch=5",
        "--set",
        "groups.backbone.lr_scale=0.3",
        "--set",
        "finetune.gradient_checkpointing=1",
    ]);
}

#[test]
fn adam_and_reduce_on_plateau_go_on_as_if_never_stopped() {
    stops_change_nothing(&[
        "--set",
        "optimizer.kind=adam",
        "--set",
        "scheduler.kind=reduce_on_plateau",
        "--set",
        "scheduler.patience=0",
        "--set",
        "scheduler.threshold=0.2",
        "--set",
        "scheduler.warmup.steps=11",
        "--set",
        "train.early_stopping.patience=6",
    ]);
}

#[test]
fn adamw_and_cosface_go_on_as_if_never_stopped() {
    stops_change_nothing(&["--set", "optimizer.kind=adamw", "--set", "loss.kind=cosface"]);
}

/// The state of a loss is in the checkpoint: lambda's iteration, t, the running norms.
#[test]
fn losses_go_on_with_their_state() {
    for (kind, column_of_state) in
        [("sphereface", "lambda"), ("curricularface", "t"), ("adaface", "norm_mean")]
    {
        let kind = format!("loss.kind={kind}");
        stops_change_nothing(&["--set", &kind]);
        let tiny = Tiny::new();
        let run = tiny.train("run", &["--set", &kind]);
        let values = column(&run.join("steps.csv"), column_of_state);
        let moves = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(moves + 1 == values.len(), "{kind}: {column_of_state} stands still: {values:?}");
    }
}

#[test]
fn a_sum_of_losses_goes_on_with_the_state_of_each() {
    stops_change_nothing(&[
        "--set",
        "loss.kind=sum",
        "--set",
        "loss.parts.a.loss.kind=curricularface",
        "--set",
        "loss.parts.b.loss.kind=adaface",
        "--set",
        "loss.parts.b.weight=0.5",
    ]);
}

#[test]
fn triplets_drawn_at_random_go_on_as_if_never_stopped() {
    let sampler = ["--set", "sampler.kind=pk", "--set", "sampler.images_per_identity=2"];
    for kind in ["loss.kind=triplet", "loss.kind=supcon"] {
        stops_change_nothing(&[&sampler[..], &["--set", kind]].concat());
    }
}

#[test]
fn fp16_goes_on_with_its_scale() {
    stops_change_nothing(&["--set", "train.amp=fp16", "--set", "optimizer.kind=adam"]);
}

/// Groups of three of eight images: the last of each identity is filled up with another.
#[test]
fn batches_of_pairs_go_on_as_if_never_stopped() {
    stops_change_nothing(&[
        "--set",
        "sampler.kind=pk",
        "--set",
        "sampler.images_per_identity=3",
        "--set",
        "train.batch_size=9",
    ]);
}

/// Kills at moments that differ from run to run by a fixed sequence; what they hit differs with
/// the machine, and every moment must do.
#[test]
fn kills_lose_nothing_before_the_last_checkpoint() {
    let tiny = Tiny::new();
    let settings = [&LONG[..], &["--set", "checkpoint.every_steps=2"]].concat();
    let whole = tiny.train("whole", &settings);
    let args = [&["tiny.toml", "-q", "--continue-train", "auto"], &settings[..]].concat();
    for round in 0..8 {
        let mut child = tiny.spawn(&args);
        if round % 2 == 0 {
            wait_until("a step", || {
                tiny.runs().last().is_some_and(|run| steps(run) > 0)
                    || child.try_wait().unwrap().is_some()
            });
        }
        let pause = arcrun::random::derive(7, arcrun::random::Stream::Split, 0, round) % 250;
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    tiny.succeed(&args);
    let finished = |run: &PathBuf| run.join("run.json").exists() && status(run) == "finished";
    let run = tiny.runs().into_iter().find(finished).unwrap();
    assert_same_training(&run, &whole);
    let saved = std::fs::read_dir(run.join("checkpoints/.saved")).unwrap();
    let left: Vec<_> = saved.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_finished_run_says_so_and_may_grow() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &[]);
    let before = read_state(&find(&run, Name::Latest).unwrap()).unwrap();
    let again = ["tiny.toml", "-q", "--run-dir", "run", "--continue-train", "latest"];
    assert!(tiny.succeed(&again).contains("run is finished: nothing to continue"));
    assert_eq!(read_state(&find(&run, Name::Latest).unwrap()).unwrap(), before);

    tiny.succeed(&[&again[..], &["--set", "train.epochs=4"]].concat());
    assert_eq!(column(&run.join("epochs.csv"), "epoch"), ["1", "2", "3", "4"]);
    assert_eq!(steps(&run), 32);
    let evaluations: BTreeMap<_, _> = csv(&run.join("eval.csv"))[1..]
        .iter()
        .map(|row| ((row[0].clone(), row[1].clone(), row[3].clone()), ()))
        .collect();
    assert_eq!(evaluations.len(), csv(&run.join("eval.csv")).len() - 1, "a score is there twice");
}

#[test]
fn min_loss_and_a_path_fork_a_run_that_names_its_parent() {
    let tiny = Tiny::new();
    tiny.succeed(&["tiny.toml", "-q", "--set", "checkpoint.every_epochs=1"]);
    let parent = tiny.runs().pop().unwrap();
    let id = parent.file_name().unwrap().to_str().unwrap().to_string();
    let epoch = parent.join("checkpoints/epoch-0002");
    let untouched = untimed(&parent.join("steps.csv"));
    for from in ["min_loss", epoch.to_str().unwrap()] {
        let more = ["--set", "train.epochs=5", "--set", "checkpoint.every_epochs=1"];
        tiny.succeed(&[&["tiny.toml", "-q", "--continue_train", from], &more[..]].concat());
        let fork = tiny.runs().pop().unwrap();
        assert_ne!(fork, parent);
        let named = &run_json(&fork)["parent"];
        assert_eq!(named["run"], id.as_str());
        let checkpoint = Path::new(named["checkpoint"].as_str().unwrap());
        assert_eq!(named["hash"], read_state(checkpoint).unwrap().checkpoint_hash());
        let first: u64 = column(&fork.join("steps.csv"), "step")[0].parse().unwrap();
        assert_eq!(first, read_state(checkpoint).unwrap().step + 1);
        assert_eq!(status(&fork), "finished");
        // The next round forks from the first run again.
        std::fs::remove_dir_all(&fork).unwrap();
    }
    assert_eq!(untimed(&parent.join("steps.csv")), untouched);
}

#[test]
fn runs_of_one_second_are_apart_and_the_newest_is_continued() {
    let tiny = Tiny::new();
    let two = [tiny.spawn(&["tiny.toml", "-q"]), tiny.spawn(&["tiny.toml", "-q"])];
    two.into_iter().for_each(|child| drop(Ended::wait(child).exits(0)));
    let runs = tiny.runs();
    assert_eq!(runs.len(), 2);
    for run in &runs {
        assert_eq!(steps(run), 24);
    }
    tiny.succeed(&["tiny.toml", "-q", "--continue-train", "latest", "--set", "train.epochs=4"]);
    assert_eq!([steps(&runs[0]), steps(&runs[1])], [24, 32]);
    assert_eq!(tiny.runs(), runs);
}

#[test]
fn a_run_that_another_process_holds_is_refused() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    let lock = std::fs::File::open(run.join(".lock")).unwrap();
    lock.lock().unwrap();
    let again = ["tiny.toml", "--run-dir", "run", "--continue-train", "latest"];
    tiny.run(&again).exits(2).says(&["run is held by process", "help: wait for it to end"]);
    lock.unlock().unwrap();
    tiny.succeed(&again);
}

#[test]
fn another_experiment_is_refused_key_by_key() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &[]);
    let again = |settings: &[&str]| {
        let args = ["tiny.toml", "--run-dir", "run", "--continue-train", "latest"];
        let longer = ["--set", "train.epochs=4"];
        tiny.run(&[&args[..], &longer, settings].concat())
    };
    again(&["--set", "optimizer.lr=0.3", "--set", "loss.margin=0.1"]).exits(2).says(&[
        "optimizer.lr: 0.3 now, 0.05 then",
        "loss.margin: 0.1 now, 0.2 then",
        "help: only limits",
    ]);
    again(&["--set", "backbone.channels=[8, 24]"]).exits(2).says(&["backbone.channels"]);
    again(&["--set", "data.identities=9"]).exits(2).says(&["data.identities: 9 now, 8 then"]);
    assert_eq!(status(&run), "finished");
    assert_eq!(steps(&run), 24);
}

/// After a stop by what was not finite it is the natural thing to leave such steps out.
#[test]
fn a_run_goes_on_with_another_policy_for_what_is_not_finite() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    let before = csv(&run.join("steps.csv"));
    let again = |epochs: &str, policy: &str| {
        let args = ["tiny.toml", "-q", "--run-dir", "run", "--continue-train", "latest"];
        let sets = ["--epochs", epochs, "--set", policy];
        tiny.run(&[&args[..], &sets].concat())
    };
    again("2", "on_nonfinite=skip").exits(0);
    again("3", "on_nonfinite=stop").exits(0);
    let rows = csv(&run.join("steps.csv"));
    assert_eq!((rows.len(), rows[0].last().unwrap().as_str()), (25, "left_out"));
    assert_eq!(column(&run.join("steps.csv"), "left_out"), [[""; 8], ["0.0"; 8], [""; 8]].concat());
    for (row, before) in rows.iter().zip(&before) {
        assert_eq!(row[..before.len()], before[..]);
    }
    // A file that is none of the program's is refused before anything is changed.
    std::fs::write(run.join("epochs.csv"), "epoch,loss\n1,2\n").unwrap();
    let info = run_json(&run);
    again("4", "on_nonfinite=skip").exits(2).says(&["epochs.csv has the columns epoch,loss"]);
    assert_eq!((run_json(&run), &csv(&run.join("steps.csv"))), (info, &rows));
}

/// The bits need the same number of threads.
#[test]
fn another_number_of_threads_is_said() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    let log = || std::fs::read_to_string(run.join("log.txt")).unwrap();
    let again = ["--continue-train", "latest", "--epochs"];
    tiny.train("run", &[&again[..], &["2"]].concat());
    assert!(!log().contains("train.threads"), "{}", log());
    tiny.train("run", &[&again[..], &["3", "--set", "train.threads=2"]].concat());
    assert!(log().contains("train.threads: 2 now, 1 before: from here on the bits"), "{}", log());
}

/// The keys are the same, the people in the folder are not.
#[test]
fn another_label_map_is_refused() {
    let tiny = Tiny::new();
    let synth = "data synth faces --identities 4 --images 4 --unseen 0 --pairs 0 --size 32";
    tiny.succeed(&synth.split(' ').collect::<Vec<_>>());
    tiny.write(
        "tiny.toml",
        "[data]\nroot = \"faces/train\"\n\
         fractions = { train = 0.75, validation = 0.25, test = 0.0 }\n\
         [preprocess]\nheight = 32\nwidth = 32\n\
         [backbone]\nchannels = [8]\ndepths = [1]\n\
         [train]\nepochs = 2\nbatch_size = 4\nthreads = 1\ndevice = \"cpu\"\n",
    );
    let run = tiny.train("run", &[]);
    let somebody = tiny.path("faces/train").read_dir().unwrap().next().unwrap().unwrap();
    std::fs::rename(somebody.path(), tiny.path("faces/train/somebody-else")).unwrap();
    let again = ["tiny.toml", "--run-dir", "run", "--continue-train", "latest"];
    tiny.run(&[&again[..], &["--set", "train.epochs=4"]].concat())
        .exits(2)
        .says(&[
            "checkpoint run/checkpoints/latest was trained on other identities: 1 that the data lacks (",
            "1 that it does not know (\"somebody-else\")",
            "help: continue on the data set",
        ]);
    assert_eq!(steps(&run), 6);
}

/// A configuration that was changed by hand does not get past the tensors.
#[test]
fn another_architecture_is_refused() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    let narrow = tiny.train("narrow", &["--set", "train.epochs=1", "--set", "head.dropout=0.1"]);
    let toml = std::fs::read_to_string(run.join("config.toml")).unwrap();
    std::fs::write(run.join("config.toml"), toml.replace("[8, 16]", "[8, 24]")).unwrap();
    let says = ["is of another architecture", "help: continue with the experiment that wrote it"];
    tiny.run(&["eval", "run"]).exits(2).says(&says);
    let from = narrow.join("checkpoints/latest");
    tiny.run(&["tiny.toml", "--continue-train", from.to_str().unwrap()])
        .exits(2)
        .says(&["head.dropout: 0.2 now, 0.1 then"]);
}

#[test]
fn a_truncated_checkpoint_is_passed_over_aloud() {
    let tiny = Tiny::new();
    let whole = tiny.train("whole", &["--set", "train.epochs=4"]);
    let run = tiny.train("run", &["--set", "train.epochs=4", "--set", "checkpoint.every_epochs=2"]);
    let latest = find(&run, Name::Latest).unwrap();
    let previous = find(&run, Name::Previous).unwrap();
    let model = latest.join("model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();

    let by_path = ["tiny.toml", "--continue-train", latest.to_str().unwrap()];
    let damaged = ["model.safetensors is damaged: truncated", "help: continue from another"];
    tiny.run(&by_path).exits(2).says(&damaged);

    let again = ["tiny.toml", "--run-dir", "run", "--continue-train", "latest"];
    let settings = ["--set", "train.epochs=4", "--set", "checkpoint.every_epochs=2"];
    let said = read_state(&previous).unwrap();
    let before = format!("continuing from the checkpoint before it: epoch {}", said.epoch);
    tiny.run(&[&again[..], &settings].concat()).exits(0).says(&[
        "checkpoint set aside",
        "truncated",
        &before,
    ]);
    assert!(read(&find(&run, Name::Latest).unwrap()).is_ok());
    assert_eq!(untimed(&run.join("steps.csv")), untimed(&whole.join("steps.csv")));
}

/// The program is held up by the lock on the data set that is being drawn, so that both signals
/// find it at the same place.
#[cfg(target_os = "linux")]
#[test]
fn a_second_sigint_stops_at_once() {
    let tiny = Tiny::new();
    std::fs::create_dir(tiny.path("datasets")).unwrap();
    let lock = std::fs::File::create(tiny.path("datasets/faces.lock")).unwrap();
    lock.lock().unwrap();
    let mut child = tiny.spawn(&["tiny.toml", "--set", "data.root=faces"]);
    let field = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    // Bits of the masks. The handler of SIGTERM is installed last.
    let (sigint, sigterm) = (1 << 1, 1 << 14);
    wait_until("the handlers", || field("SigCgt") & sigterm != 0);
    signal(&child, "INT");
    wait_until("the first signal", || field("ShdPnd") & sigint == 0);
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "INT");
    wait_until("the end", || child.try_wait().unwrap().is_some());
    Ended::wait(child).exits(130);
}
