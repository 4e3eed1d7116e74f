//! The command line as a user types it, end to end.

mod support;

use std::path::{Path, PathBuf};

use support::{Tiny, column, csv, status};

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let tiny = Tiny::new();
    let printed =
        tiny.succeed(&["tiny.toml", "--print-config", "--set", "optimizer.kind=adamw", "--lr=0.5"]);
    tiny.write("printed.toml", &printed);
    assert_eq!(tiny.succeed(&["printed.toml", "--print-config"]), printed);
    let values: toml::Table = toml::from_str(&printed).unwrap();
    assert_eq!(values["optimizer"]["lr"].as_float(), Some(0.5));
    assert_eq!(values["optimizer"]["beta2"].as_float(), Some(0.999));
    assert!(tiny.is_untouched());
}

/// The configuration in the run folder is the printed one, and trains the same.
#[test]
fn the_configuration_of_a_run_repeats_it() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "train.epochs=1"]);
    tiny.succeed(&["run/config.toml", "-q", "--run-dir", "again"]);
    let losses = |run: &Path| column(&run.join("steps.csv"), "loss");
    assert_eq!(losses(&tiny.path("again")), losses(&run));
}

#[test]
fn a_dry_run_says_what_a_run_would_be() {
    let tiny = Tiny::new();
    let ready = tiny.succeed(&["tiny.toml", "--dry-run"]);
    for part in [
        "tiny.toml: ready",
        "63 images of 8 identities",
        "9 images",
        "3 epochs of 8",
        "unseen: 40 pairs",
    ] {
        assert!(ready.contains(part), "{part:?} in {ready}");
    }
    assert!(!tiny.path("results").exists());
}

#[test]
fn check_tells_of_every_file() {
    let tiny = Tiny::new();
    tiny.write("wrong.toml", "base = \"tiny.toml\"\n[train]\nepochs = \"x\"\n");
    tiny.write("large.toml", "base = \"tiny.toml\"\n[train]\nbatch_size = 100\n");
    let ended = tiny.run(&["check", "wrong.toml", "tiny.toml", "large.toml"]).exits(2).says(&[
        "wrong.toml:3:10",
        "large.toml:3:14",
        "2 of 3 experiments are wrong",
    ]);
    assert!(ended.stdout.contains("tiny.toml: ready"), "{}", ended.stdout);
    tiny.succeed(&["check", "tiny.toml"]);
    assert!(!tiny.path("results").exists());
}

#[test]
fn explain_names_the_layers() {
    let tiny = Tiny::new();
    tiny.write("mine.toml", "base = \"tiny.toml\"\n[optimizer]\nlr = 0.2\n");
    let mut command = tiny.command(&["explain", "lr", "mine.toml", "--set", "lr=0.4"]);
    command.env("ARCRUN_SET_OPTIMIZER__LR", "0.3");
    let explained = support::Ended::of(&mut command).exits(0).stdout;
    for part in [
        "optimizer.lr\n",
        "0.05  the base file",
        "0.2   the experiment file  mine.toml:3:6",
        "0.3   the environment",
        "-> optimizer.lr  0.4   --set",
    ] {
        assert!(explained.contains(part), "{part:?} in {explained}");
    }
    tiny.run(&["explain", "optimizer.lrr", "mine.toml"]).exits(2).says(&["lrr"]);
    // Names of the user's own choice exist only where they are stated.
    let of_sum = ["mine.toml", "--set", "loss.kind=sum", "--set", "loss.parts.a.loss.kind=arcface"];
    let explain = |key: &str| tiny.run(&[&["explain", key], &of_sum[..]].concat());
    let stated = explain("loss.parts.a.loss.margin").exits(0).stdout;
    assert!(stated.contains("the default holds"), "{stated}");
    explain("loss.parts.b.weight")
        .exits(2)
        .says(&["there is no `loss.parts.b`", "`loss.parts` has a"]);
    explain("groups.rules.stem.frozen")
        .exits(2)
        .says(&["there is no `groups.rules.stem`", "nothing is stated in `groups.rules`"]);
}

#[test]
fn parts_lists_every_family() {
    let tiny = Tiny::new();
    let overview = tiny.succeed(&["parts"]);
    for (family, kinds) in [
        ("data", &["image_folder", "synthetic_faces"][..]),
        ("backbone", &["efficient_fr", "resnet18", "resnet50"]),
        ("loss", &["arcface", "cosface", "cross_entropy"]),
        ("optimizer", &["adam", "adamw", "sgd", "rmsprop", "adagrad", "lion", "lars", "lamb"]),
        ("scheduler", &["constant", "cosine", "multi_step", "reduce_on_plateau", "step"]),
        ("scheduler", &["cosine_restarts", "exponential", "linear", "one_cycle", "polynomial"]),
        ("evaluate.sets", &["lfw", "unseen_pairs"]),
    ] {
        assert!(overview.contains(&format!("{family}: ")), "{family} in {overview}");
        let parts = tiny.succeed(&["parts", family]);
        for kind in kinds {
            assert!(overview.contains(&format!("  {kind} ")), "{kind} in {overview}");
            assert!(parts.contains(&format!("kind = \"{kind}\"")), "{kind} in {parts}");
        }
    }
    assert!(tiny.succeed(&["parts", "loss"]).contains("margin = 0.5    (number"));
    tiny.run(&["parts", "los"]).exits(2).says(&["named los", "did you mean loss?"]);
}

#[test]
fn spellings_of_other_trainers_work() {
    let tiny = Tiny::new();
    let printed = tiny.succeed(&[
        "tiny.toml",
        "--batch-size",
        "4",
        "--epochs=5",
        "--lr",
        "1e-2",
        "--weight_decay",
        "0.1",
        "--seed",
        "9",
        "--print_config",
    ]);
    let values: toml::Table = toml::from_str(&printed).unwrap();
    assert_eq!(values["train"]["batch_size"].as_integer(), Some(4));
    assert_eq!(values["train"]["epochs"].as_integer(), Some(5));
    assert_eq!(values["optimizer"]["lr"].as_float(), Some(0.01));
    assert_eq!(values["optimizer"]["weight_decay"].as_float(), Some(0.1));
    assert_eq!(values["seed"].as_integer(), Some(9));
}

#[test]
fn the_environment_stands_between_file_and_set() {
    let tiny = Tiny::new();
    let printed = |sets: &[&str]| {
        let mut command = tiny.command(&[&["tiny.toml", "--print-config"], sets].concat());
        command.env("ARCRUN_SET_TRAIN__EPOCHS", "7").env("ARCRUN_TEST_DATA", "no key");
        let printed = support::Ended::of(&mut command).exits(0).stdout;
        let values: toml::Table = toml::from_str(&printed).unwrap();
        values["train"]["epochs"].as_integer().unwrap()
    };
    assert_eq!(printed(&[]), 7);
    assert_eq!(printed(&["--set", "epochs=8"]), 8);
}

#[test]
fn a_pattern_runs_several_experiments() {
    let tiny = Tiny::new();
    for (name, loss) in [("a", "arcface"), ("b", "cross_entropy")] {
        let text = format!("base = \"../tiny.toml\"\n[loss]\nkind = \"{loss}\"\n");
        tiny.write(&format!("several/{name}.toml"), &text);
    }
    tiny.succeed(&["several/*.toml", "-q", "--epochs", "1"]);
    for name in ["a", "b"] {
        let runs = tiny.path("results").join(name).read_dir().unwrap();
        let runs: Vec<PathBuf> = runs.map(|run| run.unwrap().path()).collect();
        assert_eq!(runs.len(), 1);
        assert_eq!(status(&runs[0]), "finished");
    }
    tiny.run(&["several/*.toml", "--run-dir", "one"]).exits(2).says(&["--run-dir names one"]);
}

/// A failed one does not keep the next from running.
#[test]
fn one_failure_among_several_experiments() {
    let tiny = Tiny::new();
    tiny.write("a.toml", "base = \"tiny.toml\"\n[optimizer]\nlr = 1e30\n");
    tiny.write("b.toml", "base = \"tiny.toml\"\n");
    tiny.run(&["a.toml", "b.toml", "-q", "--epochs", "1"])
        .exits(1)
        .says(&["the loss `arcface` is NaN"]);
    for (name, expected) in [("a", "diverged"), ("b", "finished")] {
        let run = tiny.path("results").join(name).read_dir().unwrap().next().unwrap().unwrap();
        assert_eq!(status(&run.path()), expected);
    }
}

#[test]
fn data_synth_draws_the_same_files_again() {
    let tiny = Tiny::new();
    let draw = |folder: &str, more: &[&str]| {
        let args = "--identities 3 --images 4 --unseen 4 --unseen-images 6 --size 48 --pairs 20";
        let command = [&["data", "synth", folder][..], &args.split(' ').collect::<Vec<_>>(), more];
        tiny.succeed(&command.concat())
    };
    let said = draw("one", &["--seed", "5", "--contact-sheet", "sheet.png"]);
    assert!(said.starts_with("36 images in one"), "{said}");
    assert!(draw("one", &["--seed", "5"]).contains("holds this data set already"));
    draw("two", &["--seed", "5"]);
    draw("three", &["--seed", "6"]);
    let (one, two, three) =
        (files(&tiny.path("one")), files(&tiny.path("two")), files(&tiny.path("three")));
    assert!(one == two, "the same seed drew other files");
    assert!(one != three, "another seed drew the same files");
    assert_eq!(
        one.iter().filter(|(name, _)| name.extension().is_some_and(|e| e == "jpg")).count(),
        36
    );

    let sheet = image::open(tiny.path("sheet.png")).unwrap();
    assert!(sheet.width() >= 4 * 48 && sheet.height() >= 3 * 48, "{}", sheet.width());
}

#[test]
fn data_align_writes_a_folder_or_nothing() {
    let tiny = Tiny::new();
    let photo = image::RgbImage::from_fn(200, 160, |x, y| image::Rgb([x as u8, y as u8, 90]));
    std::fs::create_dir_all(tiny.path("photos/ann")).unwrap();
    photo.save(tiny.path("photos/ann/1.png")).unwrap();
    photo.save(tiny.path("photos/2.png")).unwrap();
    let line = "60,60,110,62,85,90,65,115,105,116";
    let landmarks = |second: &str| {
        let text =
            format!("path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\nann/1.png,{line}\n{second},{line}\n");
        std::fs::write(tiny.path("photos/landmarks.csv"), text).unwrap();
    };
    let align = ["data", "align", "photos/landmarks.csv", "aligned", "--size", "56"];
    landmarks("3.png");
    tiny.run(&align)
        .exits(2)
        .says(&["photos/landmarks.csv, line 3: no image photos/3.png", "--images"]);
    assert!(!tiny.path("aligned").exists());
    landmarks("2.png");
    let said = tiny.succeed(&align);
    assert!(said.starts_with("2 faces in aligned"), "{said}");
    for name in ["aligned/ann/1.png", "aligned/2.png"] {
        assert_eq!(image::open(tiny.path(name)).unwrap().width(), 56);
    }
    tiny.run(&align).exits(2).says(&["aligned exists already"]);
    tiny.run(&["data", "align", "photos/landmarks.csv", "other", "--jpeg", "101"]).exits(2);
    let more =
        ["data", "align", "photos/landmarks.csv", "other", "--images", "photos", "--jpeg", "90"];
    tiny.succeed(&more);
    assert_eq!(files(&tiny.path("other")).len(), 2);
    assert!(tiny.path("other/ann/1.jpg").is_file());
}

/// Every image and list below a folder, with its content.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let pattern = folder.join("**/*").display().to_string();
    let found = glob::glob(&pattern).unwrap().map(Result::unwrap);
    let kept = found.filter(|path| path.extension().is_some_and(|e| e == "jpg" || e == "txt"));
    kept.map(|path| (path.strip_prefix(folder).unwrap().into(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn eval_scores_a_run_as_its_training_did() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "checkpoint.every_epochs=1"]);
    let scores = tiny.succeed(&["eval", "run", "--checkpoint", "latest", "--output", "e.csv"]);
    assert!(scores.contains("unseen, latest (epoch 3)"), "{scores}");
    let (ours, theirs) = (csv(&tiny.path("e.csv")), csv(&run.join("eval.csv")));
    let of_latest = theirs.into_iter().filter(|row| row[0] == "3" && row[1] == "latest");
    assert_eq!(ours[1..], of_latest.collect::<Vec<_>>());

    let all = tiny.succeed(&["eval", "run", "--checkpoint", "all"]);
    for name in ["latest", "previous", "min-loss", "epoch-0001", "epoch-0003"] {
        assert!(all.contains(&format!("unseen, {name} (epoch ")), "{name} in {all}");
    }
    assert!(tiny.succeed(&["eval", "tiny.toml"]).contains("unseen, untrained (epoch 0)"));
    tiny.run(&["eval", "run", "--checkpoint", "7"]).exits(2).says(&["epoch-0007", "it has latest"]);
    tiny.run(&["eval", "nowhere"]).exits(2).says(&["nowhere"]);
}

#[test]
fn half_precision_trains_on_the_cpu() {
    let tiny = Tiny::new();
    for amp in ["bf16", "fp16"] {
        let set = format!("train.amp={amp}");
        let run = tiny.train(amp, &["--set", &set, "--set", "train.max_steps=2"]);
        let losses = column(&run.join("steps.csv"), "loss");
        assert_eq!(losses.len(), 2);
        assert!(losses.iter().all(|loss| loss.parse::<f64>().unwrap().is_finite()), "{losses:?}");
        let header = csv(&run.join("steps.csv")).swap_remove(0);
        assert_eq!(header.contains(&"amp_scale".to_string()), amp == "fp16", "{header:?}");
        assert_eq!(status(&run), "finished");
    }
    let numbers = |name: &str| -> Vec<f64> {
        let column = column(&tiny.path("fp16/steps.csv"), name);
        column.iter().map(|number| number.parse().unwrap()).collect()
    };
    // A skipped step, and nothing else in so few, halves the scale.
    let mut scale = 65536.0;
    for (after, skipped) in numbers("amp_scale").into_iter().zip(numbers("amp_skipped")) {
        scale *= 0.5f64.powf(skipped);
        assert_eq!(after, scale);
    }
    let latest = tiny.path("fp16/checkpoints/latest");
    let state = arcrun::checkpoint::read_state(&latest).unwrap();
    assert_eq!(state.scaler.unwrap()["scale"], scale);
}

#[test]
fn groups_are_said_and_kept_to() {
    let tiny = Tiny::new();
    tiny.write(
        "groups.toml",
        r#"
        base = "tiny.toml"
        [groups]
        norms_and_biases_decay = false
        layer_decay = 0.5
        head.lr_scale = 3.0
        rules.stem = { match = "backbone.stem.*", frozen = true }
        "#,
    );
    // One block of 8 and one of 16 channels above the frozen stem, then the head.
    let said = "parameter groups: lr x 3, weight decay x 1: 1 tensor, 256 values; \
                lr x 3, weight decay x 0: 1 tensor, 16 values; \
                lr x 1, weight decay x 1: 1 tensor, 128 values; \
                lr x 0.5, weight decay x 1: ";
    let checked = tiny.succeed(&["check", "groups.toml"]);
    assert!(checked.contains(said) && checked.contains("; frozen: 3 tensors, "), "{checked}");
    assert!(!tiny.succeed(&["check", "tiny.toml"]).contains("parameter groups"));

    let args = ["groups.toml", "-q", "--set", "checkpoint.weights_every_epochs=1", "--run-dir"];
    tiny.succeed(&[&args[..], &["run"]].concat());
    let log = std::fs::read_to_string(tiny.path("run/log.txt")).unwrap();
    assert!(log.contains(said), "{log}");
    let weights = |epoch: usize| {
        let file = tiny.path(format!("run/weights/epoch-{epoch:04}.safetensors"));
        arcrun::checkpoint::read_weights(&file).unwrap()
    };
    let (first, last) = (weights(1), weights(3));
    for (name, expected) in [
        ("backbone.stem.conv.weight", true),
        ("backbone.stem.bn.bias", true),
        // Running statistics are no parameters.
        ("backbone.stem.bn.running_mean", false),
        ("backbone.stages.0.0.pointwise.bn.bias", false),
        ("loss.weight", false),
    ] {
        assert_eq!(first[name].equal(&last[name]), expected, "{name}");
    }
}

#[test]
fn the_record_of_a_run_is_as_documented() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "checkpoint.weights_every_epochs=3"]);
    for file in [
        "config.toml",
        "run.json",
        "log.txt",
        "checkpoints/latest/model.safetensors",
        "checkpoints/latest/state.json",
        "checkpoints/min-loss/optimizer.safetensors",
        "weights/epoch-0003.safetensors",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let head = |file: &str| csv(&run.join(file))[0].join(",");
    assert_eq!(
        head("steps.csv"),
        "step,epoch,loss,lr,images_per_second,accuracy,grad_norm,embedding_norm,target_cosine,top_cosine"
    );
    assert!(head("epochs.csv").starts_with("epoch,train_loss,train_accuracy,val_loss,val_acc"));
    assert_eq!(head("eval.csv"), "epoch,checkpoint,set,metric,value,std");
    let evaluated = column(&run.join("eval.csv"), "checkpoint");
    for name in ["untrained", "latest", "min-loss"] {
        assert!(evaluated.iter().any(|checkpoint| checkpoint == name), "{name}");
    }
}

/// The experiments that come with the program.
/// A validation image for each identity makes no pair; a second one does.
#[test]
fn losses_over_pairs_are_validated_on_pairs_only() {
    let pairs = ["--set", "loss.kind=triplet", "--set", "sampler.kind=pk", "--set"];
    let tiny = Tiny::new();
    let single = [&pairs[..], &["sampler.images_per_identity=2"]].concat();
    let run = tiny.train("single", &single);
    assert!(column(&run.join("epochs.csv"), "val_loss").iter().all(String::is_empty));
    let log = std::fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(log.contains("of 8 identities have two validation images or more"), "{log}");
    assert!(log.contains("watch the epoch's mean training loss"), "{log}");

    let double = [&single[..], &["--set", "data.validation=0.25"]].concat();
    let run = tiny.train("double", &double);
    let losses = column(&run.join("epochs.csv"), "val_loss");
    assert!(losses.iter().all(|loss| loss.parse::<f64>().unwrap() > 0.0), "{losses:?}");
}

#[test]
fn every_experiment_of_the_repository_loads() {
    let tiny = Tiny::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files: Vec<PathBuf> = folder.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 4);
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "toml")) {
        let printed = tiny.succeed(&[file.to_str().unwrap(), "--print-config"]);
        assert!(toml::from_str::<toml::Table>(&printed).is_ok());
    }
}
