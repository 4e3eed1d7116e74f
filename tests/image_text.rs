//! Images and captions from a file of pairs to retrieval in both directions: training, resume,
//! evaluation, embedding and search by words.

mod support;

use arcrun::Model;
use std::path::PathBuf;
use support::pairs::{PAIRS, pairs};
use support::{Ended, Tiny, column, csv, untimed};

fn train(tiny: &Tiny, run: &str, more: &[&str]) -> PathBuf {
    tiny.succeed(&[&["pairs.toml", "-q", "--run-dir", run], more].concat());
    tiny.path(run)
}

#[test]
fn captions_find_images_and_words_search() {
    let tiny = pairs();
    let run = train(&tiny, "run", &["--set", "train.epochs=12"]);
    let rows = csv(&run.join("eval.csv"));
    let of = |metric: &str, checkpoint: &str| -> f64 {
        let row = rows.iter().rfind(|row| row[1] == checkpoint && row[3] == metric);
        row.unwrap_or_else(|| panic!("no {metric} of {checkpoint}"))[4].parse().unwrap()
    };
    // Of 11 images chance is 5 / 11; what was never trained on is found by what it is made of.
    for direction in ["image_to_text", "text_to_image"] {
        let metric = format!("{direction}/recall@5");
        assert!(of(&metric, "latest") > of(&metric, "untrained"), "{metric}");
        assert!(of(&format!("{direction}/recall@10"), "latest") <= 1.0);
    }
    let rankings = std::fs::read(run.join("retrieval/held/epoch-0012.json")).unwrap();
    let rankings: serde_json::Value = serde_json::from_slice(&rankings).unwrap();
    for direction in ["image_to_text", "text_to_image"] {
        let queries = rankings[direction].as_object().unwrap();
        assert!(queries.values().all(|hits| hits.as_array().unwrap().len() == 10), "{direction}");
    }
    let losses = column(&run.join("epochs.csv"), "val_loss");
    let losses: Vec<f64> = losses.iter().map(|loss| loss.parse().unwrap()).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least < 0.8 * losses[0], "{losses:?}");
    let scale = column(&run.join("steps.csv"), "logit_scale");
    assert!(scale[0].parse::<f64>().unwrap() > 1.0);

    // The run folder alone: by words, then the same numbers as a library.
    let text = "grey with red in the top left";
    let search = ["search", "run", "--gallery", "pairs/images", "--text", text, "--top-k", "3"];
    let said = tiny.run(&[&search[..], &["--output", "found.json"]].concat()).exits(0);
    assert!(said.stdout.contains("the 3 best of 72 images for 1 query\n"), "{said:?}");
    let found: serde_json::Value =
        serde_json::from_slice(&std::fs::read(tiny.path("found.json")).unwrap()).unwrap();
    let hits: Vec<&str> =
        found[text].as_array().unwrap().iter().map(|h| h.as_str().unwrap()).collect();
    assert_eq!(hits.len(), 3);
    let model = Model::open(&run).unwrap();
    let texts = model.embed_texts(&[text]).unwrap();
    let files: Vec<PathBuf> = glob::glob(tiny.path("pairs/images/*.png").to_str().unwrap())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let images = model.embed(&files).unwrap().image;
    let cosine = |image: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        dot(image, &texts) / dot(image, image).sqrt()
    };
    let best = (0..files.len())
        .max_by(|a, b| cosine(&images[a * 16..][..16]).total_cmp(&cosine(&images[b * 16..][..16])))
        .unwrap();
    assert!(files[best].ends_with(hits[0]), "{} {}", files[best].display(), hits[0]);

    let nothing =
        ["search", "run", "--gallery", "pairs/images", "--text", " ", "--output", "n.json"];
    tiny.run(&nothing).exits(2).says(&["--text is empty"]);

    // What is of faces alone says so.
    let said = tiny.succeed(&["export", "run", "--output", "image.safetensors"]);
    assert!(said.contains("the text tower and its head are not in it"), "{said}");
    let pictures = ["pairs/images/red-top left-dim.png", "pairs/images/blue-top left-dim.png"];
    let compared = tiny.run(&[&["compare", "run"], &pictures[..]].concat()).exits(2);
    compared.says(&["has no threshold", "no pairs of images", "--threshold of your own"]);
    tiny.run(&["plot", "roc", "run"]).exits(2).says(&["no evaluation of it was of pairs"]);

    tiny.write("texts.txt", &format!("{text}\n\nblack\n"));
    tiny.succeed(&["embed", "run", "--texts", "texts.txt", "--output", "texts.csv"]);
    let rows = csv(&tiny.path("texts.csv"));
    assert_eq!((rows.len(), rows[0][0].as_str(), rows[2][0].as_str()), (3, "text", "black"));
    for (value, expected) in rows[1][1..].iter().zip(&texts) {
        // Another batch is another order of additions.
        assert!((value.parse::<f32>().unwrap() - expected).abs() < 1e-5, "{value} {expected}");
    }
}

#[test]
fn a_continued_run_is_the_uninterrupted_one() {
    let tiny = pairs();
    let whole = train(&tiny, "whole", &[]);
    let part =
        train(&tiny, "part", &["--set", "train.epochs=2", "--set", "scheduler.kind=constant"]);
    tiny.succeed(&["pairs.toml", "-q", "--run-dir", "part", "--continue-train", "latest"]);
    assert_eq!(untimed(&whole.join("steps.csv")), untimed(&part.join("steps.csv")));
    assert_eq!(csv(&whole.join("eval.csv")), csv(&part.join("eval.csv")));
}

#[test]
fn frozen_towers_stay_and_weights_of_another_run_are_taken() {
    let tiny = pairs();
    let first = train(&tiny, "first", &[]);
    let from = [
        "--set",
        "backbone.pretrained=first",
        "--set",
        "text.pretrained=first",
        "--set",
        "backbone.frozen=true",
        "--set",
        "text.frozen=true",
        "--set",
        "groups.text.lr_scale=1.0",
    ];
    let second = train(&tiny, "second", &from);
    let weights = |run: &PathBuf| Model::open(run).unwrap().network.tensors();
    let (first, second) = (weights(&first), weights(&second));
    for (name, tensor) in &second {
        let same = tensor.equal(&first[name]);
        let is_tower = name.starts_with("backbone.") || name.starts_with("text.");
        if is_tower {
            assert!(same, "{name} moved");
        }
    }
    let moved = |prefix: &str| {
        second.iter().any(|(name, tensor)| name.starts_with(prefix) && !tensor.equal(&first[name]))
    };
    assert!(moved("head.") && moved("text_head."));
    let said = Ended::of(&mut tiny.command(
        &[&["pairs.toml", "--run-dir", "third", "--set", "train.epochs=1"], &from[..4]].concat(),
    ));
    let said = format!("{}{}", said.stdout, said.stderr);
    assert!(
        said.contains("the text tower starts from") && said.contains("the backbone starts from")
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let tiny = pairs();
    let refused = |sets: &[&str], parts: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<&str> = ["pairs.toml", "--dry-run"].into_iter().chain(sets).collect();
        tiny.run(&args).exits(2).says(parts);
    };
    refused(&["text.kind=none"], &["`text.kind`", "needs embeddings of captions"]);
    refused(&["loss.kind=arcface"], &["`loss.kind`", "has captions", "\"clip\""]);
    refused(&["text.heads=5"], &["`text.heads`", "5"]);
    refused(&["data.file=pairs/none.csv"], &["no file `pairs/none.csv` (data.file)"]);
    refused(&["train.batch_size=1"], &["`train.batch_size`", "captions of a batch apart"]);
    for kind in ["sampler.kind=pk", "sampler.kind=class_balanced"] {
        refused(&[kind], &["`sampler.kind`", "draws images by their identities", "\"shuffle\""]);
    }
    refused(&["data.path_column=img"], &["no column `img`", "data.path_column"]);
    refused(&["head.projection=none", "head.embedding_dim=32"], &["`head.projection`", "24"]);
    let faces = ["tiny.toml", "--dry-run", "--set", "evaluate.sets.words.kind=image_text"];
    tiny.run(&faces).exits(2).says(&["`text.kind`", "evaluate.sets.words"]);
    tiny.run(&["tiny.toml", "--dry-run", "--set", "text.kind=clip_text"])
        .exits(2)
        .says(&["`text.kind`", "does not train"]);
    let run = tiny.train("faces", &["--set", "train.epochs=1"]);
    assert!(run.is_dir());
    tiny.run(&[
        "search",
        "faces",
        "--gallery",
        "pairs/images",
        "--text",
        "x",
        "--output",
        "f.json",
    ])
    .exits(2)
    .says(&["this model embeds no captions", "text.kind"]);
}

/// A pack keeps the captions, and says when they don't fit the loss.
#[test]
fn a_pack_of_pairs_trains_alike() {
    let tiny = pairs();
    let run = train(&tiny, "run", &["--set", "train.epochs=1"]);
    let said = tiny.succeed(&["data", "pack", "pairs.toml", "--output", "pairs.pack"]);
    assert!(said.contains("72 images"), "{said}");
    let said = tiny.succeed(&["data", "inspect", "pairs.pack"]);
    assert!(said.contains("50 images with 100 captions"), "{said}");
    std::fs::remove_dir_all(tiny.path("pairs")).unwrap();
    let (head, tail) = (PAIRS.find("[data]").unwrap(), PAIRS.find("[preprocess]").unwrap());
    let data = "[data]\nkind = \"pack\"\nfile = \"pairs.pack\"\n";
    tiny.write("pairs.toml", &format!("{}{data}{}", &PAIRS[..head], &PAIRS[tail..]));
    let packed = train(&tiny, "packed", &["--set", "train.epochs=1"]);
    let losses = |run: &PathBuf| column(&run.join("steps.csv"), "loss");
    assert_eq!(losses(&run), losses(&packed));
    tiny.write("faces.toml", &format!("base = \"tiny.toml\"\n{data}"));
    tiny.run(&["check", "faces.toml"]).exits(2).says(&["loss.kind", "has captions"]);
}

#[test]
fn a_check_and_a_bench_know_captions() {
    let tiny = pairs();
    let said = tiny.succeed(&["check", "pairs.toml"]);
    assert!(said.contains("  train       50 images with 100 captions\n"), "{said}");
    assert!(said.contains("  validation  11 images with 22 captions\n"), "{said}");
    for loss in ["loss.kind=clip", "loss.kind=siglip"] {
        for what in ["step", "loss"] {
            let args =
                ["bench", what, "pairs.toml", "--steps", "1", "--warm-up", "1", "--set", loss];
            let said = tiny.succeed(&args);
            assert!(said.contains("ms"), "{said}");
        }
    }
}

/// A caption alone in the last batch would count as a loss of 0.
#[test]
fn a_last_validation_batch_of_one_caption_counts_nothing() {
    let tiny = pairs();
    // 22 captions in batches of 7.
    let run = train(&tiny, "run", &["--set", "train.epochs=1", "--set", "train.batch_size=7"]);
    let log = std::fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(log.contains("the last caption is left out of the validation"), "{log}");
    let with = val_loss(&run);
    let lines = std::fs::read_to_string(tiny.path("pairs/captions.csv")).unwrap();
    let set = arcrun::data::open(
        &Model::open(&run).unwrap().plan.experiment.data,
        &tiny.path("none"),
        Model::open(&run).unwrap().plan.experiment.seed,
        &|_, _| true,
    );
    let validation = set.unwrap().validation.unwrap();
    let last = validation.captions.last().unwrap();
    // Without that caption the others are validated alike.
    let kept: Vec<&str> =
        lines.lines().filter(|line| !line.trim_end_matches('"').ends_with(last.as_str())).collect();
    assert_eq!(kept.len() + 1, lines.lines().count());
    tiny.write("pairs/captions.csv", &kept.join("\n"));
    let without = train(&tiny, "less", &["--set", "train.epochs=1", "--set", "train.batch_size=7"]);
    assert_eq!(with, val_loss(&without));
    let log = std::fs::read_to_string(without.join("log.txt")).unwrap();
    assert!(!log.contains("left out of the validation"), "{log}");
}

fn val_loss(run: &std::path::Path) -> String {
    column(&run.join("epochs.csv"), "val_loss").remove(0)
}

/// Captions that were changed between the sessions of a run.
#[test]
fn a_run_that_goes_on_says_which_data_changed() {
    let tiny = pairs();
    train(&tiny, "run", &["--set", "train.epochs=1", "--set", "scheduler.kind=constant"]);
    let go_on = |epochs: &str| {
        let sets = ["--set", epochs, "--set", "scheduler.kind=constant"];
        let args = ["pairs.toml", "--run-dir", "run", "--continue-train", "latest"];
        let ended = tiny.run(&[&args[..], &sets].concat()).exits(0);
        format!("{}{}", ended.stdout, ended.stderr)
    };
    let json = |key: &str| support::run_json(&tiny.path("run"))[key].clone();
    let first = json("data");
    let said = go_on("train.epochs=2");
    assert!(!said.contains("is not what the run began with"), "{said}");
    assert_eq!(json("first_data"), serde_json::Value::Null);
    let file = tiny.path("pairs/captions.csv");
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, lines.replace("with red in", "with some red in")).unwrap();
    let said = go_on("train.epochs=3");
    for part in ["train", "validation", "test"] {
        let changed = json("data")[part] != first[part];
        let told = said.contains(&format!("the {part} data is not what the run began with"));
        assert_eq!(told, changed, "{part}: {said}");
    }
    assert!(said.contains("the train data is not"), "{said}");
    assert_eq!(json("first_data"), first);
    std::fs::write(&file, lines).unwrap();
    assert!(!go_on("train.epochs=4").contains("is not what the run began with"));
    assert_eq!((json("data"), json("first_data")), (first, serde_json::Value::Null));
}

/// The variants that the experiment's own comment gives are accepted as they stand there.
#[test]
fn the_shipped_experiment_has_its_variants() {
    let tiny = pairs();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/clip-contrastive.toml");
    let comment = std::fs::read_to_string(file).unwrap();
    let sets = |first: &str, lines: usize| -> Vec<String> {
        let from = comment.lines().skip_while(|line| !line.contains(first)).take(lines);
        let words = from.flat_map(str::split_whitespace).map(str::to_owned);
        words.filter(|word| word == "--set" || word.contains('=')).collect()
    };
    for variant in [sets("frozen encoders", 2), sets("from scratch", 1)] {
        assert!(variant.len() >= 4, "{variant:?}");
        let variant: Vec<&str> = variant.iter().map(String::as_str).collect();
        tiny.succeed(&[&[file, "--print-config"], &variant[..]].concat());
    }
}
