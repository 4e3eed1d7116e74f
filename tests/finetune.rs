//! Fine-tuning through the program: what is frozen stays to the bit, until it is thawed.

mod support;

use arcrun::checkpoint::{Name, Named, find, read_group, read_weights};
use std::collections::BTreeSet;
use std::path::Path;
use support::{Ended, Tiny, column, untimed};

/// Trains `epochs` epochs with settings; weights are kept after each.
fn train(tiny: &Tiny, run: &str, epochs: usize, sets: &[&str]) -> Vec<Named> {
    let epochs_set = format!("train.epochs={epochs}");
    let all = ["checkpoint.weights_every_epochs=1", &epochs_set];
    let all: Vec<&str> = all.iter().chain(sets).flat_map(|set| ["--set", *set]).collect();
    let run = tiny.train(run, &all);
    (1..=epochs).map(|epoch| weights(&run, epoch)).collect()
}

fn weights(run: &Path, epoch: usize) -> Named {
    read_weights(&run.join(format!("weights/epoch-{epoch:04}.safetensors"))).unwrap()
}

/// Names of the tensors that are not the same in both.
fn moved(before: &Named, after: &Named) -> BTreeSet<String> {
    assert!(before.keys().eq(after.keys()));
    let differs = |(name, tensor): (&String, _)| !after[name].equal(tensor);
    let names = before.iter().filter(|pair| differs(*pair));
    names.map(|(name, _)| name.clone()).collect()
}

/// Names of all tensors for which `of` is true.
fn all(named: &Named, of: impl Fn(&str) -> bool) -> BTreeSet<String> {
    named.keys().filter(|name| of(name)).cloned().collect()
}

fn is_statistic(name: &str) -> bool {
    name.contains(".running_")
}

/// Parameters of the backbone's batch norms.
fn is_affine(name: &str) -> bool {
    name.contains(".bn.") && !is_statistic(name)
}

/// tiny.toml's stem and first stage.
fn is_early(name: &str) -> bool {
    name.starts_with("backbone.stem.") || name.starts_with("backbone.stages.0.")
}

#[test]
fn frozen_stages_stand_still_until_the_epoch() {
    let tiny = Tiny::new();
    let sets = ["finetune.freeze_stages=1", "finetune.unfreeze_epoch=3"];
    let epochs = train(&tiny, "run", 3, &sets);
    let late = all(&epochs[0], |name| !is_early(name));
    assert_eq!(moved(&epochs[0], &epochs[1]), late);
    assert_eq!(moved(&epochs[1], &epochs[2]), all(&epochs[0], |_| true));
    // The schedule is that of a training without a freeze.
    let plain = tiny.train("plain", &[]);
    let rates = |run: &Path| column(&run.join("steps.csv"), "lr");
    assert_eq!(rates(&tiny.path("run")), rates(&plain));
    let log = std::fs::read_to_string(tiny.path("run/log.txt")).unwrap();
    for said in [
        "fine-tuning of efficient_fr: stem and stage 1 of 2 frozen until epoch 3, ",
        "unfrozen with epoch 3: stem and stage 1 of 2 of the backbone, ",
    ] {
        assert!(log.contains(said), "no {said:?} in {log}");
    }
}

#[test]
fn a_frozen_backbone_is_thawed_as_a_whole() {
    let tiny = Tiny::new();
    let sets = ["backbone.frozen=true", "finetune.unfreeze_epoch=2", "optimizer.kind=adamw"];
    let epochs = train(&tiny, "run", 3, &sets);
    assert_eq!(moved(&epochs[0], &epochs[1]), all(&epochs[0], |_| true));
    let frozen = train(&tiny, "frozen", 2, &sets[..1]);
    let backbone = all(&frozen[0], |name| name.starts_with("backbone."));
    assert!(moved(&frozen[0], &frozen[1]).is_disjoint(&backbone));

    // The state of the optimizer begins with the thaw.
    let state = |epoch: u64, sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        let run = format!("state-{epoch}");
        let epochs = format!("train.epochs={epoch}");
        let run = tiny.train(&run, &[&["--set", epochs.as_str()], &sets[..]].concat());
        read_group(&find(&run, Name::Latest).unwrap(), "optimizer").unwrap().0
    };
    let before = state(1, &sets);
    assert!(before.keys().all(|name| !name.starts_with("backbone.")), "{:?}", before.keys());
    let after = state(2, &sets);
    let steps = |name: &str| after[name].int64_value(&[]);
    assert_eq!(steps("backbone.stem.conv.weight.step"), 8);
    assert_eq!(steps("head.linear.weight.step"), 16);
}

#[test]
fn frozen_statistics_stay_and_their_weights_train_unless_told() {
    let tiny = Tiny::new();
    let sets = ["finetune.freeze_batch_norm=true", "finetune.freeze_batch_norm_affine=true"];
    let only_statistics = train(&tiny, "statistics", 2, &sets[..1]);
    let kept = all(&only_statistics[0], is_statistic);
    assert!(!kept.is_empty());
    let trained = all(&only_statistics[0], |name| !is_statistic(name));
    assert_eq!(moved(&only_statistics[0], &only_statistics[1]), trained);

    let affine = train(&tiny, "affine", 2, &sets);
    let trained = all(&affine[0], |name| !is_statistic(name) && !is_affine(name));
    assert_eq!(moved(&affine[0], &affine[1]), trained);

    // With the thaw too.
    let sets = [&sets[..], &["backbone.frozen=true", "finetune.unfreeze_epoch=2"]].concat();
    let thawed = train(&tiny, "thawed", 2, &sets);
    assert_eq!(moved(&thawed[0], &thawed[1]), trained);
}

/// What a rule of `[groups]` freezes is not thawed, and shares of the rate hold after the thaw.
#[test]
fn groups_hold_after_the_thaw() {
    let tiny = Tiny::new();
    let sets = [
        "finetune.freeze_stages=2",
        "finetune.unfreeze_epoch=2",
        "groups.backbone.lr_scale=0.1",
        "groups.rules.stem.match=backbone.stem.*",
        "groups.rules.stem.frozen=true",
    ];
    let epochs = train(&tiny, "run", 2, &sets);
    let stem = all(&epochs[0], |name| name.starts_with("backbone.stem.") && !is_statistic(name));
    let rest = all(&epochs[0], |name| !stem.contains(name));
    assert_eq!(moved(&epochs[0], &epochs[1]), rest);
}

#[test]
fn recomputed_activations_change_no_bit_of_a_training() {
    let tiny = Tiny::new();
    // Rates that do not depend on where a training ends.
    let more = ["--set", "optimizer.kind=adam", "--set", "scheduler={kind = \"constant\"}"];
    let model = |run: &Path| {
        std::fs::read(find(run, Name::Latest).unwrap().join("model.safetensors")).unwrap()
    };
    let kept = tiny.train("kept", &more);
    let checkpointing = ["--set", "finetune.gradient_checkpointing=1"];
    let recomputed = tiny.train("recomputed", &[&more[..], &checkpointing].concat());
    assert!(model(&kept) == model(&recomputed));
    // So it may be switched on where memory is short.
    let half = tiny.train("half", &[&more[..], &["--set", "train.max_steps=16"]].concat());
    let rest = ["--continue-train", "latest"];
    tiny.train("half", &[&more[..], &checkpointing, &rest].concat());
    assert!(model(&kept) == model(&half));
}

/// Ended right before the thaw and after its epoch: checkpoints have no optimizer state of what was
/// frozen, or a younger one. `tests/resume.rs` stops such a training at any step.
#[test]
fn checkpoints_from_before_and_after_a_thaw_are_continued() {
    let tiny = Tiny::new();
    let sets = [
        "optimizer.kind=adam",
        "backbone.frozen=true",
        "finetune.unfreeze_epoch=3",
        "finetune.freeze_batch_norm=true",
        "scheduler={kind = \"constant\"}",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let train = |run: &str, epochs: &str, more: &[&str]| {
        tiny.train(run, &[&sets[..], &["--set", epochs], more].concat())
    };
    let whole = train("whole", "train.epochs=4", &[]);
    for (run, epochs) in [("before", "train.epochs=2"), ("after", "train.epochs=3")] {
        train(run, epochs, &[]);
        let path = train(run, "train.epochs=4", &["--continue-train", "latest"]);
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let latest = |run: &Path| find(run, Name::Latest).unwrap();
            let bytes = |run: &Path| std::fs::read(latest(run).join(file)).unwrap();
            assert!(bytes(&path) == bytes(&whole), "{run}: {file} differs");
        }
        assert_eq!(untimed(&path.join("steps.csv")), untimed(&whole.join("steps.csv")), "{run}");
    }
}

/// `run check` says what is frozen and counts what will train.
#[test]
fn check_says_what_is_frozen() {
    let tiny = Tiny::new();
    let check = |sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        tiny.succeed(&[&["check", "tiny.toml"], &sets[..]].concat())
    };
    let line = |text: &str| {
        text.lines().find(|line| line.trim_start().starts_with("parameters")).unwrap().to_owned()
    };
    let plain = check(&[]);
    assert!(!plain.contains("fine-tuning"), "{plain}");
    let frozen = check(&["finetune.freeze_stages=2", "finetune.gradient_checkpointing=2"]);
    assert_ne!(line(&frozen), line(&plain));
    let said = "stem and stages 1 to 2 of 2 frozen, ";
    assert!(frozen.contains(said) && frozen.contains("recomputed, 2 blocks at a time"), "{frozen}");
    // What is said to be frozen is what trains no more, with a thaw and without.
    let number = |text: &str, before: &str| -> usize {
        let (head, _) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
        head.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let trained =
        |text: &str| -> usize { line(text).split_whitespace().last().unwrap().parse().unwrap() };
    for stages in [1, 2] {
        let stages = format!("finetune.freeze_stages={stages}");
        let frozen = check(&[&stages]);
        let (tensors, values) = (number(&frozen, " tensors, "), number(&frozen, " values"));
        assert_eq!(values, trained(&plain) - trained(&frozen), "{frozen}");
        let thawed = check(&[&stages, "finetune.unfreeze_epoch=3"]);
        assert_eq!((number(&thawed, " tensors, "), number(&thawed, " values")), (tensors, values));
        assert!(tensors > 0 && values > 0, "{frozen}");
    }
    let later = check(&["backbone.frozen=true", "finetune.unfreeze_epoch=5"]);
    assert_eq!(line(&later), line(&plain));
    assert!(later.contains("all frozen until epoch 5, which is after the last, 3"), "{later}");
}

fn refused(sets: &[&str]) -> Ended {
    let tiny = Tiny::new();
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let ended = tiny.run(&[&["tiny.toml"], &sets[..]].concat()).exits(2);
    assert!(!tiny.path("results").exists());
    ended
}

#[test]
fn keys_that_do_not_fit_are_named() {
    let none = ["head.projection=none", "head.embedding_dim=16", "sampler.kind=pk"];
    let triplets = [&none[..], &["loss={kind = \"triplet\"}", "backbone.frozen=true"]].concat();
    let later = [&triplets[..], &["finetune.unfreeze_epoch=2"]].concat();
    for (sets, says) in [
        (
            &["backbone.frozen=true", "finetune.freeze_stages=1"][..],
            "`finetune.freeze_stages` is 1, but backbone.frozen = true keeps all stages",
        ),
        (
            &["finetune.unfreeze_epoch=3"],
            "`finetune.unfreeze_epoch` is 3, but nothing is frozen until then",
        ),
        (
            &["backbone.frozen=true", "finetune.unfreeze_epoch=1"],
            "`finetune.unfreeze_epoch` is 1, which is the first epoch",
        ),
        (
            &["backbone.frozen=true", "finetune.freeze_batch_norm=true"],
            "`finetune.freeze_batch_norm` is true, but backbone.frozen = true keeps the statistics",
        ),
        (
            &["finetune.freeze_batch_norm_affine=true"],
            "`finetune.freeze_batch_norm_affine` is true, but needs finetune.freeze_batch_norm",
        ),
        (
            &["backbone.frozen=true", "finetune.gradient_checkpointing=1"],
            "`finetune.gradient_checkpointing` is 1, but backbone.frozen = true keeps no activations",
        ),
        (
            &["finetune.freeze_stages=3"],
            "`finetune.freeze_stages` is 3, but backbone.kind = \"efficient_fr\" has 2 stages",
        ),
        (
            &["backbone={kind = \"embedding_2d\"}", "finetune.freeze_batch_norm=true"],
            "`finetune.freeze_batch_norm` is true, but backbone.kind = \"embedding_2d\" has no batch",
        ),
        (
            &["backbone={kind = \"mobilefacenet\", kernel = [2, 2]}", "train.batch_size=1"],
            "`train.batch_size` is 1, but the backbone \"mobilefacenet\" ends in a batch norm",
        ),
        (&triplets, "`backbone.frozen` leaves no parameter to train: head and loss have none"),
        (&later, "`backbone.frozen` leaves no parameter to train until epoch 2"),
    ] {
        refused(sets).says(&[says]);
    }
}

/// Depth counts where the backbone trains later on.
#[test]
fn layer_decay_has_something_to_act_on_after_a_thaw() {
    let tiny = Tiny::new();
    let sets = ["backbone.frozen=true", "finetune.unfreeze_epoch=2", "groups.layer_decay=0.5"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    let checked = tiny.succeed(&[&["check", "tiny.toml"], &sets[..]].concat());
    assert!(checked.contains("lr x 0.125"), "{checked}");
}
