//! Bad input, as a user would hit upon it: each is told with its place and a remedy, ends with the
//! documented exit code, and leaves nothing half written.

mod support;

use std::path::Path;

use arcrun::checkpoint::{Name, find, read};
use support::{Ended, Tiny, run_json, status};

/// Refused (exit code 2) before anything was started, not even the drawing of the data.
#[track_caller]
fn refused(settings: &[&str], says: &[&str]) {
    let tiny = Tiny::new();
    tiny.run(&[&["tiny.toml"], settings].concat()).exits(2).says(says);
    assert!(tiny.is_untouched(), "something was left behind");
}

/// Refused once the data was there, and without a run folder.
#[track_caller]
fn refused_with_data(tiny: &Tiny, settings: &[&str], says: &[&str]) -> Ended {
    let ended = tiny.run(&[&["tiny.toml"], settings].concat()).exits(2).says(says);
    assert_eq!(tiny.runs(), Vec::<std::path::PathBuf>::new());
    ended
}

#[test]
fn no_experiment_file() {
    let tiny = Tiny::new();
    tiny.run(&["tinny.toml"]).exits(2).says(&["no file tinny.toml", "did you mean tiny.toml?"]);
    tiny.run(&["other/*.toml"]).exits(2).says(&["no file matches other/*.toml"]);
    tiny.run(&[]).exits(2);
    assert!(tiny.is_untouched());
}

#[test]
fn a_syntax_error_has_its_place() {
    let tiny = Tiny::new();
    tiny.write("broken.toml", "name = \"x\"\n[train\nepochs = 3\n");
    tiny.run(&["broken.toml"]).exits(2).says(&["this is not TOML", "broken.toml:2:"]);
    assert!(tiny.is_untouched());
}

#[test]
fn a_missing_data_folder() {
    let root = ["--set", "data.kind=image_folder", "--set", "data.root=nowhere"];
    refused(&root, &["no data folder `nowhere` (data.root)", "help: set data.root"]);
    refused(&["--set", "data.kind=image_folder"], &["`data.root` must be given"]);
}

#[test]
fn an_empty_data_folder() {
    let tiny = Tiny::new();
    let root = ["--set", "data.kind=image_folder", "--set", "data.root=empty"];
    std::fs::create_dir(tiny.path("empty")).unwrap();
    refused_with_data(&tiny, &root, &["empty is empty", "help: the layout is"]);
    tiny.write("empty/somebody/notes.txt", "no image");
    refused_with_data(&tiny, &root, &["/empty", "help: "]);
}

#[test]
fn a_class_with_too_few_images_for_the_split() {
    let tiny = Tiny::new();
    for image in ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg"] {
        tiny.write(&format!("faces/{image}"), "");
    }
    let root = ["--set", "data.kind=image_folder", "--set", "data.root=faces"];
    refused_with_data(
        &tiny,
        &root,
        &[
            "identity `b` has 2 images",
            "train 0.8, validation 0.1, test 0.1",
            "data.min_images = 3",
        ],
    );
}

/// Eight identities of eight training images each.
#[test]
fn pairs_that_the_batch_or_the_data_do_not_allow() {
    let pk = ["--set", "sampler.kind=pk"];
    refused(
        &[&pk[..], &["--set", "train.batch_size=10"]].concat(),
        &["`train.batch_size` is 10", "sampler.images_per_identity = 4", "to 8 or 12"],
    );
    refused(
        &[&pk[..], &["--set", "sampler.images_per_identity=8"]].concat(),
        &["`train.batch_size` is 8", "sampler.images_per_identity = 8", "to 16 or more"],
    );
    refused(
        &[&pk[..], &["--set", "sampler.images_per_identity=1"]].concat(),
        &["`sampler.images_per_identity` is 1, must be at least 2"],
    );
    let tiny = Tiny::new();
    refused_with_data(
        &tiny,
        &[&pk[..], &["--set", "train.batch_size=36"]].concat(),
        &["9 identities of", "there are 8 identities", "help: lower train.batch_size to 32"],
    );
    refused_with_data(
        &tiny,
        &[&pk[..], &["--set", "sampler.min_images=9"]].concat(),
        &["there are 0 identities with sampler.min_images = 9 images or more", "help: "],
    );
    for image in ["a/1.jpg", "b/1.jpg", "c/1.jpg"] {
        tiny.write(&format!("faces/{image}"), "");
    }
    let root = ["--set", "data.kind=image_folder", "--set", "data.root=faces"];
    let whole = ["--set", "data.fractions={ train = 1.0, validation = 0.0, test = 0.0 }"];
    refused_with_data(
        &tiny,
        &[&pk[..], &root, &whole].concat(),
        &["`sampler.kind` is \"pk\", but none of the 3 identities has two images", "help: "],
    );
}

#[test]
fn an_unknown_kind() {
    refused(
        &["--set", "loss.kind=arcfaec"],
        &["`loss.kind`: there is no loss of kind \"arcfaec\"", "did you mean \"arcface\"?"],
    );
    refused(&["--set", "evaluate.sets.unseen.kind=lfww"], &["lfww", "did you mean \"lfw\"?"]);
}

#[test]
fn a_wrong_type() {
    refused(
        &["--set", "train.epochs=many"],
        &["`train.epochs`: expected an integer of 0 or greater, found the string \"many\""],
    );
}

#[test]
fn a_value_in_a_list_is_shown_where_it_was_given() {
    let refusal = ["`train.stop_signals[0]` cannot be \"SIGKILL\"", "--set train.stop_signals=["];
    refused(&["--set", "train.stop_signals=[\"SIGKILL\"]"], &refusal);
}

#[test]
fn a_value_out_of_range() {
    refused(&["--set", "head.dropout=1.5"], &["`head.dropout` is 1.5, must be at least 0 and"]);
    refused(&["--set", "train.epochs=0"], &["`train.epochs` is 0, must be at least 1"]);
}

#[test]
fn an_unknown_key_or_option() {
    refused(&["--set", "optimizer.lrr=1"], &["no key `lrr`", "help: its keys: lr, momentum"]);
    refused(&["--margin", "0.3"], &["--margin", "did you mean --set loss.margin=0.3?"]);
    refused(&["--frobnicate"], &["--frobnicate"]);
}

#[test]
fn conflicting_keys() {
    refused(
        &["--set", "optimizer.nesterov=true", "--set", "optimizer.momentum=0"],
        &["`optimizer.nesterov` needs momentum above 0", "--set optimizer.nesterov=true"],
    );
    refused(&["--set", "backbone.depths=[1, 1, 1]"], &["`backbone.depths` has 3 stages where"]);
    for (settings, says) in [
        (
            &["optimizer.kind=lars", "optimizer.nesterov=true", "optimizer.momentum=0"][..],
            "`optimizer.nesterov` needs momentum above 0",
        ),
        (
            &["optimizer.kind=lamb", "optimizer.weight_decay=0"],
            "`optimizer.weight_decay` is 0, so nothing would be adapted",
        ),
        (&["groups.layer_decay=0"], "`groups.layer_decay` is 0.0, must be above 0 and at most 1"),
        (
            &["groups.layer_decay=0.5", "backbone.frozen=true"],
            "`groups.layer_decay` has nothing to act on: backbone.frozen is true",
        ),
        (&["groups.rules.x.lr_scale=2"], "`groups.rules.x.match` must be given"),
        (
            &["groups.rules.x.match=backbone.[a"],
            "`groups.rules.x.match` is \"backbone.[a\", which is no pattern",
        ),
    ] {
        let settings: Vec<&str> = settings.iter().flat_map(|set| ["--set", set]).collect();
        refused(&settings, &[says]);
    }
}

#[test]
fn a_rule_that_matches_no_parameter() {
    let settings = ["--set", "groups.rules.late.match=backbone.stages.2.*"];
    refused_with_data(
        &Tiny::new(),
        &settings,
        &[
            "`groups.rules.late.match` is \"backbone.stages.2.*\", which matches no parameter that",
            "help: names near it: backbone.stages.0.*, backbone.stages.1.*",
            "--set groups.rules.late.match",
        ],
    );
    let frozen = ["--set", "groups.rules.all.match=*", "--set", "groups.rules.all.frozen=true"];
    refused_with_data(&Tiny::new(), &frozen, &["`groups.rules` leaves no parameter to train"]);
}

#[test]
fn several_errors_at_once() {
    let tiny = Tiny::new();
    tiny.write("many.toml", "base = \"tiny.toml\"\n[train]\nepochs = 0\n[loss]\nmargn = 0.5\n");
    tiny.run(&["many.toml", "--set", "scheduler.kind=cosin"]).exits(2).says(&[
        "`train.epochs` is 0",
        "many.toml:3:10",
        "margn",
        "did you mean `loss.margin`?",
        "did you mean \"cosine\"?",
        "3 errors in many.toml",
    ]);
    assert!(tiny.is_untouched());
}

#[test]
fn a_device_that_is_not_there() {
    refused(&["--device", "tpu"], &["`train.device`: unknown device \"tpu\"", "help: --device"]);
    #[cfg(not(target_os = "macos"))]
    refused(
        &["--device", "mps", "--set", "train.amp=bf16"],
        &["device mps is not available", "help: available here: cpu"],
    );
}

/// On the CPU, which has none of it; before a run folder is made.
#[test]
fn what_the_device_cannot_do() {
    refused(
        &["--set", "train.tf32=true"],
        &[
            "`train.tf32`: TensorFloat-32 is a number format of NVIDIA GPUs, not of cpu",
            "help: set train.tf32 = false",
        ],
    );
    refused(
        &["--set", "train.cudnn_benchmark=true", "--set", "train.deterministic=false"],
        &[
            "`train.cudnn_benchmark`: cuDNN is NVIDIA's, and the device is cpu",
            "help: set train.cudnn_benchmark",
        ],
    );
    refused(
        &["--set", "train.cudnn_benchmark=true"],
        &["`train.cudnn_benchmark` is true, but train.deterministic = true asks for the same bits"],
    );
}

/// Only a training asks for it: its run can be evaluated where the GPU is not.
#[test]
fn a_run_of_a_gpu_is_evaluated_on_the_cpu() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.max_steps=2"]);
    let config = run.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("tf32 = false"), "{text}");
    std::fs::write(&config, text.replace("tf32 = false", "tf32 = true")).unwrap();
    tiny.run(&["eval", "run"]).exits(0);
    tiny.run(&[
        "tiny.toml",
        "--run-dir",
        "run",
        "--continue-train",
        "latest",
        "--set",
        "train.max_steps=3",
    ])
    .exits(0);
}

#[test]
fn a_batch_larger_than_the_data() {
    refused_with_data(
        &Tiny::new(),
        &["--set", "train.batch_size=1000"],
        &["`train.batch_size` is 1000, but there are 63 images", "help: lower train.batch_size"],
    );
}

#[test]
fn more_pairs_than_the_unseen_identities_give() {
    refused_with_data(
        &Tiny::new(),
        &["--set", "evaluate.sets.unseen.pairs=4000"],
        &["evaluate.sets.unseen: ", "help: "],
    );
}

#[test]
fn an_unwritable_results_folder() {
    let tiny = Tiny::new();
    tiny.write("file", "");
    let remedy = "choose another with paths.results or --run-dir";
    for place in [["--set", "paths.results=file/below"], ["--run-dir", "file"]] {
        let says = ["cannot write to the results folder", "file", remedy];
        refused_with_data(&tiny, &place, &says);
    }
    tiny.train("run", &["--set", "train.epochs=1"]);
    refused_with_data(
        &tiny,
        &["--run-dir", "run"],
        &["run holds a run already", "help: continue it with --continue-train latest"],
    );
}

#[test]
fn nothing_to_continue() {
    for from in ["latest", "min-loss"] {
        refused(
            &["--continue-train", from],
            &["nothing to continue", "results/tiny", "help: start one without --continue-train"],
        );
        refused(&["--continue-train", from, "--run-dir", "none"], &["nothing to continue", "none"]);
    }
    refused(
        &["--continue-train", "nowhere/latest"],
        &["checkpoint nowhere/latest is missing", "help: give a folder"],
    );
}

#[test]
fn a_loss_that_is_not_finite() {
    let tiny = Tiny::new();
    tiny.run(&["tiny.toml", "--set", "lr=1e30"]).exits(3).says(&[
        "are not finite: the loss `arcface` is NaN in step 2 (epoch 1, learning rate",
        "help: try a lower optimizer.lr",
    ]);
    let run = tiny.runs().pop().unwrap();
    assert_eq!(status(&run), "diverged");
    let note = std::fs::read_to_string(run.join("crash.txt")).unwrap();
    for part in
        ["epoch: 1\n", "steps done: 1\n", "last good checkpoint: none", "the loss `arcface` is NaN"]
    {
        assert!(note.contains(part), "{part:?} in {note}");
    }
    assert!(find(&run, Name::Latest).is_err());
}

/// No step comes after the last one to notice: the look at the weights before a checkpoint does.
#[test]
fn a_divergence_in_the_last_step() {
    let last = ["tiny.toml", "--set", "train.max_steps=1", "--set", "scheduler.warmup.steps=0"];
    let pairs = [
        "--set",
        "loss.kind=triplet",
        "--set",
        "sampler.kind=pk",
        "--set",
        "sampler.images_per_identity=2",
    ];
    let says = "the norm of the weights is inf after step 1 (epoch 1, learning rate ";
    for settings in [&[][..], &pairs] {
        let tiny = Tiny::new();
        let args = [&last[..], &["--set", "lr=1e30"], settings].concat();
        tiny.run(&args).exits(3).says(&[says, "help: "]);
        let run = tiny.runs().pop().unwrap();
        assert_eq!(status(&run), "diverged", "{says}");
        assert!(find(&run, Name::MinLoss).is_err(), "{says}: min-loss was written");
    }
}

#[test]
fn a_sum_that_is_not_one() {
    let part = "loss.parts.a";
    refused(&["--set", "loss.kind=sum"], &["`loss.parts`", "needs a loss of weight above 0"]);
    refused(
        &["--set", "loss.kind=sum", "--set", &format!("{part}.weight=2")],
        &["`loss.parts.a.loss`", "needs a `kind`"],
    );
    refused(
        &["--set", "loss.kind=sum", "--set", &format!("{part}.loss.kind=triplet")],
        &["`sampler.kind`", "the loss \"sum\"", "sampler.kind = \"pk\""],
    );
    refused(
        &["--set", "loss.kind=sum", "--set", &format!("{part}.loss.kind=clip")],
        &["`loss.kind`", "compares images with texts", "image_text"],
    );
}

#[test]
fn numbers_that_float32_does_not_know() {
    for key in ["loss.scale", "optimizer.lr", "train.clip_grad_value"] {
        let setting = format!("{key}=1e300");
        refused(&["--set", &setting], &[key, "float32"]);
    }
    refused(&["--set", "loss.kind=sphereface", "--set", "loss.margin=2.5"], &["an integer"]);
    refused(&["--set", "loss.margin=4"], &["`loss.margin`", "between 0 and"]);
}

/// Files may not grow past a size that the records stay below and the checkpoint does not: what a
/// full disk does, with another error number.
#[test]
fn no_space_left_for_a_checkpoint() {
    let tiny = Tiny::new();
    let wide = ["--set", "backbone.channels=[32, 128]", "--set", "head.embedding_dim=128"];
    let run = tiny.train("run", &[&wide[..], &["--set", "train.epochs=1"]].concat());
    let before = checkpoint_bytes(&run);
    let args = ["tiny.toml", "--run-dir", "run", "--continue-train", "latest"];
    let more = [&args[..], &wide, &["--set", "train.epochs=2"]].concat();

    // Ignored, the signal becomes the error of the write.
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    let mut limited = tiny.under_shell(script, &more);
    Ended::of(&mut limited).exits(1).says(&[
        "warning: no checkpoint of step 16: cannot write ",
        "error: the last state (epoch 2, step 16) is not saved: cannot write ",
        "model.safetensors: File too large",
        "help: latest is that of epoch 1, step 8",
        "the checkpoints written before stand as they were",
    ]);
    assert_eq!(status(&run), "failed");
    assert!(run_json(&run)["note"].as_str().unwrap().contains("File too large"));
    let note = std::fs::read_to_string(run.join("crash.txt")).unwrap();
    assert!(note.contains("steps done: 16") && note.contains("File too large"), "{note}");
    assert!(checkpoint_bytes(&run) == before, "latest has changed");
    assert!(read(&find(&run, Name::Latest).unwrap()).is_ok());
    let saved = run.join("checkpoints/.saved").read_dir().unwrap();
    assert_eq!(saved.count(), 1, "something half written was left");

    tiny.succeed(&more);
    assert_eq!(status(&run), "finished");
}

fn checkpoint_bytes(run: &Path) -> Vec<Vec<u8>> {
    let latest = find(run, Name::Latest).unwrap();
    let files = ["model.safetensors", "optimizer.safetensors", "state.json"];
    files.iter().map(|file| std::fs::read(latest.join(file)).unwrap()).collect()
}

/// A device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn no_space_left_for_the_log() {
    let tiny = Tiny::new();
    std::fs::create_dir(tiny.path("run")).unwrap();
    std::os::unix::fs::symlink("/dev/full", tiny.path("run/log.txt")).unwrap();
    tiny.run(&["tiny.toml", "--run-dir", "run"])
        .exits(2)
        .says(&["log.txt: No space left on device", "help: free some space"]);
    // Nothing was started, and what was there stays.
    let left = std::fs::read_dir(tiny.path("run")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["log.txt"]);
}

#[test]
fn schedules_that_contradict_themselves() {
    let tiny = Tiny::new();
    for (sets, says) in [
        (&["kind=cosine", "min_lr=0.1"][..], "`scheduler.min_lr` is 0.1, above optimizer.lr"),
        (&["kind=cosine_restarts", "min_lr=0.1"], "`scheduler.min_lr` is 0.1, above optimizer.lr"),
        (&["kind=polynomial", "min_lr=0.1"], "`scheduler.min_lr` is 0.1, above optimizer.lr"),
        (&["kind=reduce_on_plateau", "min_lr=0.1"], "`scheduler.min_lr` is 0.1, above optimizer"),
        (&["kind=linear", "start_factor=0"], "`scheduler.start_factor` is 0"),
        (&["kind=linear", "end_factor=1.5"], "`scheduler.end_factor` is 1.5, must be between 0"),
        (&["kind=one_cycle", "three_phase=true", "pct_start=0.6"], "must be at most 0.5"),
        (&["kind=cosine_restarts", "period=0"], "`scheduler.period` is 0, must be at least 1"),
    ] {
        let sets: Vec<String> = sets.iter().map(|set| format!("scheduler.{set}")).collect();
        let mut args = vec!["tiny.toml"];
        args.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
        tiny.run(&args).exits(2).says(&[says, "from --set"]);
    }
    assert!(tiny.is_untouched());
}
