//! Several processes train as one would: the same curve, one set of files, an end that all share.

mod support;

use std::path::Path;

use arcrun::checkpoint::{Name, find, read, read_state};
use support::pairs::pairs;
use support::ranks::{
    SAME, can_join, children, every_step_once, free_port, kill, numbers, same_curve, start,
};
use support::{Ended, Tiny, run_json, signal, status, untimed, wait_until};

fn train(tiny: &Tiny, run: &str, ranks: usize, more: &[&str]) -> std::path::PathBuf {
    let ranks = ranks.to_string();
    let args = ["--nproc", &ranks];
    tiny.train(run, &[&SAME[..], &args, more].concat())
}

#[test]
fn one_two_and_four_processes_have_the_same_curve() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    for (name, more) in [
        ("plain", &[][..]),
        ("uneven", &["--set", "train.batch_size=7"]),
        ("accumulated", &["--set", "train.batch_size=4", "--set", "train.accumulate=3"]),
        ("averaged", &["--set", "train.ema.decay=0.9", "--set", "optimizer.kind=adamw"]),
        ("sharded", &["--set", "loss.shard=true", "--set", "train.clip_grad_norm=5"]),
    ] {
        let one = tiny.train(&format!("{name}-one"), &[&SAME[..], more].concat());
        for ranks in [2, 4] {
            let run = train(&tiny, &format!("{name}-{ranks}"), ranks, more);
            same_curve(&run, &one);
            assert_eq!(untimed(&run.join("eval.csv")).len(), untimed(&one.join("eval.csv")).len());
            assert_eq!(status(&run), "finished");
            let parameters = |run: &Path| run_json(run)["parameters"].clone();
            assert_eq!(parameters(&run), parameters(&one));
            assert_eq!(run_json(&run)["processes"], ranks);
            // What is kept is that of one process, whole.
            let kept = |run: &Path| read(&find(run, Name::Latest).unwrap()).unwrap().tensors;
            for (group, tensors) in kept(&one) {
                let ours = &kept(&run)[&group];
                assert_eq!(ours.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
                for (name, theirs) in tensors {
                    assert_eq!(ours[&name].size(), theirs.size(), "{group} {name}");
                }
            }
        }
    }
}

#[test]
fn losses_over_pairs_and_with_statistics_see_the_whole_batch() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let pk = ["--set", "sampler.kind=pk", "--set", "sampler.images_per_identity=2"];
    for (kind, more) in
        [("triplet", &pk[..]), ("supcon", &pk[..]), ("adaface", &[]), ("curricularface", &[])]
    {
        let kind_of = format!("loss.kind={kind}");
        let more = [&["--set", &kind_of], more].concat();
        let one = tiny.train(&format!("{kind}-one"), &[&SAME[..], &more].concat());
        let run = train(&tiny, &format!("{kind}-two"), 2, &more);
        // The first steps: later ones amplify the rounding of the first.
        close(&run, &one);
    }
}

/// In bfloat16 the sums of the passes are rounded, those of the gradients over the ranks are not.
#[test]
fn autocast_has_the_curve_of_one_process_to_its_rounding() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let more = ["--set", "train.amp=bf16", "--set", "train.accumulate=2"];
    let one = tiny.train("one", &[&SAME[..], &more].concat());
    let plain = tiny.train("plain", &[&SAME[..], &more[2..]].concat());
    let run = train(&tiny, "two", 2, &more);
    assert_eq!(status(&run), "finished");
    let mut rounded = 0;
    for name in ["loss", "grad_norm"] {
        let of = |run: &Path| numbers(run, "steps.csv", name);
        let (ours, theirs, wide) = (of(&run), of(&one), of(&plain));
        assert_eq!(ours.len(), theirs.len());
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            // 8 bits of mantissa, over 12 steps that amplify it.
            let far = (ours - theirs).abs();
            assert!(far <= 5e-2 * theirs.abs().max(0.1), "{name} {at}: {ours} {theirs}");
            rounded += usize::from((ours - wide[at]).abs() > 1e-4 * wide[at].abs());
        }
    }
    assert!(rounded > 0, "autocast changed nothing");
}

/// Every image is augmented by what is drawn for it, whichever rank loads it; images beside captions are
/// compared with those of all ranks.
#[test]
fn augmented_batches_and_captions_are_those_of_one_process() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let more = [
        "sampler.kind=pk",
        "sampler.images_per_identity=2",
        "loss.kind=supcon",
        "augmentation.horizontal_flip=0.5",
        "augmentation.resized_crop.share=0.5",
        "augmentation.color_jitter.share=0.5",
        "augmentation.cutout.share=0.5",
    ];
    let more: Vec<&str> = more.iter().flat_map(|set| ["--set", set]).collect();
    let one = tiny.train("one", &[&SAME[..], &more].concat());
    let run = train(&tiny, "two", 2, &more);
    close(&run, &one);

    let tiny = pairs();
    let of = |run: &str, more: &[&str]| {
        let args = ["pairs.toml", "-q", "--run-dir", run, "--set", "train.epochs=2"];
        tiny.succeed(&[&args, &SAME[..], more].concat());
        tiny.path(run)
    };
    close(&of("two", &["--nproc", "2"]), &of("one", &[]));
}

#[track_caller]
fn close(run: &Path, one: &Path) {
    for name in ["loss", "grad_norm"] {
        let (ours, theirs) = (numbers(run, "steps.csv", name), numbers(one, "steps.csv", name));
        assert_eq!(ours.len(), theirs.len());
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate().take(4) {
            let far = (ours - theirs).abs();
            assert!(far <= 1e-3 * theirs.abs().max(1e-2), "{name} {at}: {ours} {theirs}");
        }
    }
}

#[test]
fn a_stop_is_one_for_all_and_any_number_of_ranks_goes_on() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let long = ["--set", "train.epochs=40"];
    let run = tiny.path("run");
    // Class weights that are divided: two ranks, then three, then one.
    let shard = ["--set", "loss.shard=true"];
    let args = ["tiny.toml", "--run-dir", "run", "--nproc", "2"];
    let args = [&args, &SAME[..], &long, &shard].concat();
    let child = tiny.spawn(&args);
    wait_until("a step", || run.join("steps.csv").exists());
    signal(&child, "TERM");
    Ended::wait(child).exits(75).says(&["stopped by ", "--continue-train latest", " --nproc 2"]);
    assert_eq!(status(&run), "stopped");
    let stopped = read_state(&find(&run, Name::Latest).unwrap()).unwrap().step;
    let steps = |more: &str| {
        let at = ["--set", more, "--continue-train", "latest", "--set", "loss.shard=true"];
        let args = ["tiny.toml", "-q", "--run-dir", "run"];
        [&args[..], &SAME, &at].concat().into_iter().map(String::from).collect::<Vec<_>>()
    };
    let next = format!("train.epochs={}", stopped / 8 + 2);
    let args = steps(&next);
    tiny.run(
        &[&["--nproc", "3"], &args.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
    )
    .exits(0);
    let after = format!("train.epochs={}", stopped / 8 + 3);
    let args = steps(&after);
    tiny.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    every_step_once(&run);
    assert_eq!(run_json(&run)["continued"], 2);
}

#[test]
fn a_killed_rank_ends_the_others_and_auto_goes_on() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let run = tiny.path("run");
    let args = ["tiny.toml", "--run-dir", "run", "--nproc", "2", "--set", "train.epochs=100000"];
    let more = ["--set", "checkpoint.every_steps=2", "--set", "distributed.timeout=20s"];
    let child = tiny.spawn(&[&args, &SAME[..], &more].concat());
    wait_until("a checkpoint", || find(&run, Name::Latest).is_ok());
    let ranks = children(&child);
    assert_eq!(ranks.len(), 2);
    kill(ranks[1]);
    let ended = Ended::wait(child);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told = ["rank 1 of 2 was ended by SIGKILL (9)", "rank 0 of 2", "another rank ended"];
    let ended = ended.says(&told);
    assert_eq!(status(&run), "failed", "{}", ended.stderr);
    let before = read_state(&find(&run, Name::Latest).unwrap()).unwrap().step;
    let epochs = format!("train.epochs={}", before / 8 + 2);
    let args = ["tiny.toml", "-q", "--run-dir", "run", "--nproc", "2", "--continue-train", "auto"];
    tiny.run(&[&args, &SAME[..], &["--set", &epochs]].concat()).exits(0);
    assert_eq!(status(&run), "finished");
}

#[test]
fn ranks_with_different_experiments_are_refused() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let port = free_port();
    let rank = |rank: usize, lr: &str| {
        let lr = format!("optimizer.lr={lr}");
        let run = format!("run-{rank}");
        let args =
            ["tiny.toml", "--run-dir", &run, "--set", &lr, "--set", "distributed.timeout=20s"];
        start(&mut tiny.command(&[&args, &SAME[..]].concat()), rank, "127.0.0.1", &port)
    };
    let (first, second) = (rank(0, "0.1"), rank(1, "0.2"));
    for child in [first, second] {
        let ended = Ended::wait(child);
        assert!(ended.code != Some(0), "{}", ended.stderr);
        ended.says(&[
            "differ in the configuration",
            "optimizer.lr = 0.2 on rank 1, optimizer.lr = 0.1 on rank 0",
        ]);
    }
    assert!(!tiny.path("run-0").exists());
}

#[test]
fn a_step_of_several_processes_is_measured() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let args = ["bench", "step", "tiny.toml", "--steps", "3", "--classes", "30", "--json"];
    let shard = ["--nproc", "2", "--set", "loss.shard=true"];
    let said = tiny.succeed(&[&args[..], &shard].concat());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["processes"], 2);
    let number = |name: &str| said[name].as_f64().unwrap();
    // Two ranks send once what they average, and what else they say.
    assert!(number("sent_mb") >= number("gradients_mb") && number("gradients_mb") > 0.0, "{said}");
    assert!(number("images_per_second") > 0.0 && number("resident_mb") > 0.0, "{said}");
    assert!((0.0..=1.0).contains(&number("hidden_share")), "{said}");
    let refused = tiny.run(&["bench", "loss", "tiny.toml", "--nproc", "2"]);
    refused.exits(2).says(&["--nproc"]);
}

/// Commands that would do all of their work in each process.
#[test]
fn what_is_one_process_refuses_a_launcher() {
    let tiny = Tiny::new();
    tiny.write("sweep.toml", "base = \"tiny.toml\"\n[axes]\n\"optimizer.lr\" = [0.1]\n");
    for args in [&["eval", "nowhere"][..], &["sweep", "sweep.toml"]] {
        let refused = start(&mut tiny.command(args), 1, "127.0.0.1", "29511");
        Ended::wait(refused).exits(2).says(&["is one process", "2 of it"]);
    }
}

/// Eight identities, nine processes: every rank says so, with one exit code.
#[test]
fn more_ranks_than_classes_to_divide_are_refused_by_all() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let args = ["tiny.toml", "--run-dir", "run", "--nproc", "9", "--set", "loss.shard=true"];
    let refused = tiny.run(&[&args, &SAME[..]].concat()).exits(2);
    assert_eq!(refused.stderr.matches("divides 8 classes over 9 processes").count(), 9);
    assert!(!refused.stderr.contains("another rank ended"), "{}", refused.stderr);
    assert!(!tiny.path("run").exists());
}

/// Norms of whole tensors are not those of a rank's part.
#[test]
fn optimizers_that_take_norms_of_tensors_refuse_divided_classes() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    for kind in ["lamb", "lars"] {
        let set = format!("optimizer.kind={kind}");
        let args = ["tiny.toml", "--run-dir", "run", "--set", &set, "--set", "loss.shard=true"];
        let args = [&args, &SAME[..], &["--set", "optimizer.weight_decay=0.01"]].concat();
        let refused = tiny.run(&[&args[..], &["--nproc", "2"]].concat()).exits(2);
        refused.says(&["optimizer.kind", "loss.shard"]);
        assert!(!tiny.path("run").exists());
    }
}

#[test]
fn half_an_environment_is_an_error() {
    let tiny = Tiny::new();
    let mut command = tiny.command(&["tiny.toml"]);
    Ended::of(command.env("RANK", "1")).exits(2).says(&["WORLD_SIZE", "torchrun"]);
    let mut command = tiny.command(&["tiny.toml"]);
    command.envs([("RANK", "4"), ("WORLD_SIZE", "2")]);
    Ended::of(&mut command).exits(2).says(&["RANK is 4", "WORLD_SIZE is 2"]);
    tiny.run(&["tiny.toml", "--nproc", "0"]).exits(2);
    assert!(tiny.is_untouched());
}
