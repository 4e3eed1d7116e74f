//! What one does with a trained run: eval all, embed, compare, search, and the same as a library.

mod support;

use arcrun::Model;
use arcrun::checkpoint::read_with_texts;
use std::path::{Path, PathBuf};
use support::{Tiny, csv};

/// A trained run and its unseen faces: four persons of four images.
fn trained() -> (Tiny, PathBuf, Vec<PathBuf>) {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "checkpoint.every_epochs=1"]);
    let pattern = tiny.path("datasets/*/test/*/*.jpg").display().to_string();
    let mut images: Vec<PathBuf> = glob::glob(&pattern).unwrap().map(Result::unwrap).collect();
    images.sort();
    assert_eq!(images.len(), 16, "{pattern}");
    (tiny, run, images)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_run_folder_is_a_model() {
    let (tiny, run, images) = trained();
    let model = Model::open(&run).unwrap();
    assert_eq!((model.dim(), model.checkpoint.as_str(), model.epoch), (16, "min-loss", 3));
    assert_eq!(model.labels.names.len(), 8);
    let embeddings = model.embed(&images[..2]).unwrap();
    assert_eq!(embeddings.image.len(), 32);
    let expected = cosine(&embeddings.image[..16], &embeddings.image[16..]);

    // The training data is not needed for any of it.
    let [a, b] = [0, 1].map(|i| {
        let copy = tiny.path(format!("{i}.jpg"));
        std::fs::copy(&images[i], &copy).unwrap();
        copy.display().to_string()
    });
    std::fs::remove_dir_all(tiny.path("datasets")).unwrap();
    let said = tiny.succeed(&["compare", "run", &a, &b, "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let close = |key: &str, expected: f64| {
        let value = said[key].as_f64().unwrap();
        assert!((value - expected).abs() < 1e-6, "{key}: {value} {expected}");
    };
    close("cosine", expected);
    close("euclidean", (2.0 - 2.0 * expected).sqrt());
    let rows = csv(&run.join("eval.csv"));
    let tuned = rows.iter().rfind(|row| row[1] == "min-loss" && row[3] == "threshold").unwrap();
    close("threshold", tuned[4].parse().unwrap());
    assert_eq!(said["same"], 2.0 - 2.0 * expected < tuned[4].parse().unwrap());

    let verdict =
        |threshold: &str| tiny.succeed(&["compare", "run", &a, &b, "--threshold", threshold]);
    assert!(verdict("4.1").starts_with("same person"));
    assert!(verdict("0").starts_with("different persons"));
    assert!(verdict("0").contains("--threshold"));
    // Nothing was tuned after the first epoch.
    let first = ["compare", "run", &a, &b, "--checkpoint", "1"];
    tiny.run(&first).exits(2).says(&["no threshold of epoch-0001", "--threshold"]);
    tiny.run(&[&first[..], &["--threshold", "1.2"]].concat()).exits(0);
    tiny.run(&["compare", "run", &a, &b, "--tuned-on", "lfw"]).exits(2).says(&["set lfw"]);
    tiny.run(&["compare", "run", &a, "gone.jpg"]).exits(2).says(&["gone.jpg"]);
    tiny.run(&["compare", "nowhere", &a, &b]).exits(2).says(&["nowhere is not there"]);
}

#[test]
fn embeddings_are_written_in_three_forms() {
    let (tiny, run, images) = trained();
    let model = Model::open(&run).unwrap();
    let expected = model.embed(&images).unwrap().image;
    let faces = tiny.path("datasets/*/test/*/*.jpg").display().to_string();
    let embed = |more: &[&str]| {
        tiny.succeed(&[&["embed", "run", "--images", &faces], more].concat());
    };
    embed(&["--output", "out/e.csv"]);
    let rows = csv(&tiny.path("out/e.csv"));
    assert_eq!((rows.len(), rows[0].len()), (17, 17));
    assert_eq!(rows[1][0], images[0].display().to_string());
    let values: Vec<f32> =
        rows[1..].iter().flat_map(|row| row[1..].iter().map(|v| v.parse().unwrap())).collect();
    assert_eq!(values, expected);

    embed(&["--output", "e.npy"]);
    let npy = std::fs::read(tiny.path("e.npy")).unwrap();
    assert!(npy.starts_with(b"\x93NUMPY\x01\x00"));
    let values: Vec<f32> = npy[npy.len() - 4 * 256..]
        .chunks(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(values, expected);
    assert_eq!(npy.len() % 64, 0);
    assert_eq!(csv(&tiny.path("e.images.csv")).len(), 17);

    embed(&[
        "--output",
        "e.safetensors",
        "--normalise",
        "--flip",
        "concat",
        "--checkpoint",
        "latest",
    ]);
    let (tensors, texts) = read_with_texts(&tiny.path("e.safetensors")).unwrap();
    let tensor = &tensors["embeddings"];
    assert_eq!(tensor.size(), [16, 32]);
    let norms = tensor.norm_scalaropt_dim(2, [1], false);
    assert!((norms - 1.0).abs().max().double_value(&[]) < 1e-6);
    let names: Vec<String> = serde_json::from_str(&texts["images"]).unwrap();
    assert_eq!(names.len(), 16);
    assert_eq!((texts["flip"].as_str(), texts["normalised"].as_str()), ("concat", "true"));

    std::fs::write(tiny.path("broken.jpg"), b"\xff\xd8 no image").unwrap();
    let both = ["embed", "run", "--images", &faces, "broken.jpg", "--output", "b.csv"];
    tiny.run(&both).exits(2).says(&["broken.jpg"]);
    assert!(!tiny.path("b.csv").exists(), "nothing half-written");
    tiny.run(&[&both[..], &["--skip-broken"]].concat()).exits(0).says(&["left out: broken.jpg"]);
    assert_eq!(csv(&tiny.path("b.csv")).len(), 17);
    for (output, says) in [("e.txt", ".csv, .npy or .safetensors"), ("run", "unknown form")] {
        tiny.run(&["embed", "run", "--images", &faces, "--output", output]).exits(2).says(&[says]);
    }
    tiny.run(&["embed", "run", "--images", "none/*.jpg", "--output", "e.csv"])
        .exits(2)
        .says(&["--images none/*.jpg: no image there"]);
}

#[test]
fn a_search_names_the_nearest_and_draws_them() {
    let (tiny, run, images) = trained();
    let faces = tiny.path("datasets/*/test/*/*.jpg").display().to_string();
    let query = images[5].display().to_string();
    let args = ["search", "run", "--gallery", &faces, "--query", &query, "--top-k", "3"];
    tiny.succeed(&[&args[..], &["--output", "found.json"]].concat());
    let found: serde_json::Value =
        serde_json::from_slice(&std::fs::read(tiny.path("found.json")).unwrap()).unwrap();
    let hits: Vec<PathBuf> =
        found[&query].as_array().unwrap().iter().map(|hit| hit.as_str().unwrap().into()).collect();
    let embeddings = Model::open(&run).unwrap().embed(&images).unwrap().image;
    let row = |i: usize| &embeddings[i * 16..(i + 1) * 16];
    let mut others: Vec<usize> = (0..16).filter(|i| *i != 5).collect();
    others.sort_by(|a, b| cosine(row(5), row(*b)).total_cmp(&cosine(row(5), row(*a))));
    let expected: Vec<&Path> = others[..3].iter().map(|i| images[*i].as_path()).collect();
    assert_eq!(hits, expected, "its own file is no hit");
    let sheet = image::open(tiny.path("found.png")).unwrap();
    assert!(sheet.width() > 4 * 112 && sheet.height() > 112);

    // So few images an index finds all of.
    let found = std::fs::read(tiny.path("found.json")).unwrap();
    let by_index = [&args[..], &["--output", "index.json", "--index", "hnsw"]].concat();
    let said = tiny.run(&by_index).exits(0);
    assert!(said.stdout.contains("the index finds 100.00 % of the true 3 best (of 1 query)"));
    assert_eq!(std::fs::read(tiny.path("index.json")).unwrap(), found);

    tiny.run(&[&args[..], &["--output", "found.txt"]].concat()).exits(2).says(&["no .json file"]);
    let zero = ["search", "run", "--gallery", &faces, "--query", &query, "--top-k", "0"];
    tiny.run(&[&zero[..], &["--output", "z.json"]].concat()).exits(2).says(&["--top-k is 0"]);
    assert!(!tiny.path("z.json").exists());
}

#[test]
fn all_checkpoints_make_one_table_with_the_best_marked() {
    let tiny = Tiny::new();
    let run = tiny.train(
        "run",
        &[
            "--set",
            "checkpoint.weights_every_epochs=1",
            "--set",
            "evaluate.sets.near.kind=retrieval",
            "--set",
            "evaluate.sets.index.kind=retrieval",
            "--set",
            "evaluate.sets.index.index=hnsw",
        ],
    );
    tiny.succeed(&["eval", "run", "--checkpoint", "all"]);
    let rows = csv(&run.join("eval-all.csv"));
    assert_eq!(rows[0][..3], ["epoch", "checkpoint", "loss"]);
    let near = rows[0].iter().position(|name| name == "near/recall@1").unwrap();
    assert!(rows[0].contains(&"unseen/accuracy".to_string()), "{:?}", rows[0]);
    let epochs: Vec<&str> = rows[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(epochs, ["1", "2", "3"], "weights kept of every epoch, each once");
    assert!(rows[3][1].contains("latest"), "{:?}", rows[3]);
    let best: Vec<usize> =
        (1..rows.len()).filter(|row| rows[*row].last().unwrap() == "*").collect();
    let value = |row: usize| rows[row][near].parse::<f64>().unwrap();
    assert_eq!(best.len(), 1);
    assert!((1..rows.len()).all(|row| value(row) <= value(best[0])));
    let losses = csv(&run.join("epochs.csv"));
    let column = losses[0].iter().position(|name| name == "val_loss").unwrap();
    assert_eq!(rows[2][2], losses[2][column]);

    // Rankings of every evaluation, as JSON.
    for name in ["untrained", "epoch-0002", "epoch-0003", "min-loss"] {
        let path = run.join(format!("retrieval/near/{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let ranking: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        assert_eq!(ranking.len(), 16);
        for (query, hits) in &ranking {
            let hits = hits.as_array().unwrap();
            assert_eq!(hits.len(), 10);
            assert!(hits.iter().all(|hit| hit != query));
        }
    }
    let metrics = csv(&run.join("eval.csv"));
    let of_set = |set: &str, metric: &str| {
        let row = metrics.iter().rfind(|row| row[2] == set && row[3] == metric);
        row.unwrap_or_else(|| panic!("no {metric}"))[4].parse::<f64>().unwrap()
    };
    let of = |metric: &str| of_set("near", metric);
    for metric in ["recall@1", "recall@5", "recall@10", "precision@1", "map", "map@r", "cmc@1"] {
        assert!((0.0..=1.0).contains(&of(metric)), "{metric}");
    }
    assert_eq!(of("recall@1"), of("cmc@1"));
    // Of 16 images an index misses none, so that what it scores is what the exact search does.
    assert_eq!(of_set("index", "index_recall@10"), 1.0);
    for metric in ["recall@1", "recall@5", "recall@10"] {
        assert_eq!(of_set("index", metric), of(metric), "{metric}");
    }
}

#[test]
fn nothing_that_is_read_is_written_over() {
    let (tiny, _, images) = trained();
    let folder = tiny.path("own");
    std::fs::create_dir_all(&folder).unwrap();
    image::open(&images[0]).unwrap().save(folder.join("q.png")).unwrap();
    std::fs::copy(&images[1], folder.join("e.csv")).unwrap();
    let kept = std::fs::read(folder.join("q.png")).unwrap();
    let search = ["search", "run", "--gallery", "own", "--query", "own/q.png"];
    let refused = |more: &[&str], parts: &[&str]| {
        tiny.run(&[&search[..], more].concat()).exits(2).says(parts);
    };
    refused(&["--output", "own/q.json"], &["--contact-sheet", "q.png", "files that are read"]);
    refused(&["--output", "s.json", "--contact-sheet", "x.jpg"], &["no .png file"]);
    tiny.run(&["embed", "run", "--images", "own/e.csv", "--output", "own/e.csv"])
        .exits(2)
        .says(&["--output", "files that are read"]);
    assert_eq!(std::fs::read(folder.join("q.png")).unwrap(), kept);
    tiny.run(&["compare", "run", "own/q.png", "own/none.png", "--threshold", "1"])
        .exits(2)
        .says(&["no image file at", "none.png"]);

    // All that can't be read are named, by the evaluation's set too.
    for name in ["a.jpg", "b.jpg"] {
        std::fs::write(folder.join(name), "no picture").unwrap();
    }
    tiny.run(&["embed", "run", "--images", "own", "--output", "e.npy"]).exits(2).says(&[
        "2 images can't be read",
        "a.jpg",
        "b.jpg",
    ]);
    let set = ["--set", "evaluate.sets.own.kind=retrieval", "--set", "evaluate.sets.own.query=own"];
    tiny.run(&[&["check", "tiny.toml"], &set[..]].concat()).exits(2).says(&[
        "evaluate.sets.own",
        "2 images can't be read",
        "b.jpg",
    ]);
}

#[test]
fn a_tuned_threshold_holds_under_the_runs_own_settings() {
    let (tiny, run, images) = trained();
    let [a, b] = [0, 5].map(|i: usize| images[i].display().to_string());
    let scored = std::fs::read(run.join("eval.csv")).unwrap();
    tiny.run(&["compare", "run", &a, &b, "--set", "evaluate.flip=sum"])
        .exits(2)
        .says(&["evaluate.flip", "--threshold"]);
    tiny.run(&["compare", "run", &a, &b, "--set", "evaluate.flip=sum", "--threshold", "1"])
        .exits(0);
    let own = ["--output", "run/eval.csv"];
    tiny.run(&[&["eval", "run", "--set", "evaluate.flip=sum"], &own[..]].concat())
        .exits(2)
        .says(&["evaluate.flip", "--output"]);
    tiny.run(&["eval", "run", "--scores", "--set", "evaluate.sets.unseen.pairs=20"])
        .exits(2)
        .says(&["evaluate.sets.unseen"]);
    assert_eq!(std::fs::read(run.join("eval.csv")).unwrap(), scored);
}
