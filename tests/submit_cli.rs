//! `run submit` from a trained run to a server's answer.

mod submit_server;
mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use submit_server::{Act, Server, say};
use support::{Ended, Tiny, column, signal, wait_until};

const TOKEN: &str = "0123456789abcdef";

/// A trained run with a checkpoint of each of its three epochs; queries and gallery are unseen faces
/// by the names of file and folder.
fn trained() -> (Tiny, PathBuf) {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "checkpoint.every_epochs=1"]);
    let pattern = tiny.path("datasets/*/test/*/*.jpg").display().to_string();
    let mut images: Vec<PathBuf> = glob::glob(&pattern).unwrap().map(Result::unwrap).collect();
    images.sort();
    for (number, image) in images.iter().enumerate() {
        let folder = if number % 4 == 0 { "query" } else { "gallery" };
        let copy = tiny.path(format!("{folder}/{number}.jpg"));
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(image, copy).unwrap();
    }
    (tiny, run)
}

fn submit(tiny: &Tiny, server: Option<&Server>, more: &[&str]) -> Command {
    let mut command = tiny.command(&["submit", "run", "--query", "query", "--gallery", "gallery"]);
    command.args(["--set", "submit.group_name=us", "--set", "submit.backoff_seconds=0.01"]);
    if let Some(server) = server {
        command.arg("--set").arg(format!("submit.url={}", server.url));
        command.env("ARCRUN_SUBMIT_TOKEN", TOKEN);
    }
    command.args(more);
    command
}

#[test]
fn a_checkpoint_then_all_of_them() {
    let (tiny, run) = trained();
    // The training data is not needed.
    std::fs::remove_dir_all(tiny.path("datasets")).unwrap();
    let table = run.join("submission_accuracy.csv");
    let dry = Ended::of(&mut submit(&tiny, None, &["--dry-run", "--top-k", "5"])).exits(0);
    assert!(
        dry.stdout.contains("min-loss.dry-run.json: min-loss (epoch 3), not posted"),
        "{dry:?}"
    );
    let written = std::fs::read(run.join("submissions/min-loss.dry-run.json")).unwrap();
    let body: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(body["groupname"], "us");
    let images = body["images"].as_object().unwrap();
    assert_eq!(images.keys().collect::<Vec<_>>(), ["0.jpg", "12.jpg", "4.jpg", "8.jpg"]);
    assert!(images.values().all(|hits| hits.as_array().unwrap().len() == 5));
    assert!(!table.exists());
    let found = tiny.run(&[
        "search",
        "run",
        "--query",
        "query",
        "--gallery",
        "gallery",
        "--top-k",
        "5",
        "--output",
        "found.json",
    ]);
    found.exits(0);
    let found: Value =
        serde_json::from_slice(&std::fs::read(tiny.path("found.json")).unwrap()).unwrap();
    for (query, hits) in images {
        let short = |v: &Value| v.as_str().unwrap().rsplit('/').next().unwrap().to_string();
        let searched = found[format!("query/{query}")].as_array().unwrap();
        assert_eq!(
            searched.iter().map(short).collect::<Vec<_>>(),
            hits.as_array().unwrap().iter().map(short).collect::<Vec<_>>()
        );
    }

    let server = Server::start([
        say(200, r#"{"accuracy": 0.75}"#),
        say(200, r#"{"accuracy": 0.25}"#),
        say(503, "later"),
        say(200, "<html>"),
    ]);
    let one = Ended::of(&mut submit(&tiny, Some(&server), &["--top-k", "5"])).exits(0);
    assert!(one.stdout.contains("min-loss (epoch 3): accuracy 0.75"), "{one:?}");
    assert_eq!(server.seen()[0].body, written);
    assert_eq!(server.seen()[0].authorization.as_deref(), Some("Bearer 0123456789abcdef"));

    let all = ["--checkpoint", "all", "--top-k", "5"];
    let all = Ended::of(&mut submit(&tiny, Some(&server), &all)).exits(1);
    let same = "epoch-0003 latest min-loss are the same: submitted once";
    assert!(all.stderr.contains(same), "{all:?}");
    assert!(all.stderr.contains("1 of 3 answers hold no accuracy"), "{all:?}");
    assert!(all.stdout.contains("epoch-0001 (epoch 1): accuracy 0.25"), "{all:?}");
    assert!(all.stdout.contains("epoch-0002 (epoch 2): no accuracy: the answer is no JSON"));
    assert!(all.stdout.contains("epoch-0003 (epoch 3): accuracy 0.75; the same was scored before"));
    assert_eq!(server.seen().len(), 4);
    assert_eq!(column(&table, "epoch"), ["3", "1", "2"]);
    assert_eq!(column(&table, "accuracy"), ["0.75", "0.25", ""]);
    let said = format!("{dry:?}{one:?}{all:?}{}", std::fs::read_to_string(table).unwrap());
    assert!(!said.contains(TOKEN));
}

#[test]
fn weights_without_a_checkpoint_are_submitted_too() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &["--set", "checkpoint.weights_every_epochs=1"]);
    let faces = tiny.path("datasets/*/test/*/*.jpg").display().to_string();
    let args =
        ["submit", "run", "--dry-run", "--checkpoint", "all", "--set", "submit.group_name=us"];
    tiny.succeed(&[&args[..], &["--query", &faces, "--gallery", &faces]].concat());
    let body = |name: &str| {
        let path = run.join("submissions").join(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    assert_ne!(body("epoch-0001.dry-run.json"), body("epoch-0003.dry-run.json"));
    assert!(!body("epoch-0002.dry-run.json").is_empty());
    // Of one that has no folder of its own, by its number.
    let one = ["embed", "run", "--checkpoint", "1", "--images", &faces, "--output", "e.csv"];
    tiny.succeed(&one);
}

#[test]
fn what_is_missing_is_said_before_anything_is_computed() {
    let (tiny, run) = trained();
    let refused = |command: &mut Command, part: &str| {
        Ended::of(command).exits(2).says(&[part]);
        assert!(!run.join("submissions").exists());
    };
    let server = Server::start([]);
    refused(&mut submit(&tiny, None, &[]), "submit.url is not given");
    let mut command = submit(&tiny, Some(&server), &[]);
    refused(command.env_remove("ARCRUN_SUBMIT_TOKEN"), "ARCRUN_SUBMIT_TOKEN is not set");
    refused(&mut submit(&tiny, None, &["--dry-run", "--top-k", "0"]), "--top-k is 0");
    refused(&mut submit(&tiny, None, &["--dry-run", "--checkpoint", "7"]), "no checkpoint");
    let other = ["--dry-run", "--set", "submit.url=example.org"];
    refused(&mut submit(&tiny, None, &other), "submit.url");
    let bare =
        ["submit", "run", "--dry-run", "--gallery", "gallery", "--set", "submit.group_name=us"];
    refused(&mut tiny.command(&bare), "no query images are named");
    let nowhere = ["submit", "run", "--dry-run", "--query", "nowhere", "--gallery", "gallery"];
    refused(tiny.command(&nowhere).args(["--set", "submit.group_name=us"]), "nowhere");
    assert!(server.seen().is_empty());
}

#[test]
fn images_of_one_name_are_told_apart_and_a_query_is_not_its_own_hit() {
    let (tiny, run) = trained();
    for folder in ["a", "b"] {
        std::fs::create_dir_all(tiny.path(format!("gallery/{folder}"))).unwrap();
        let copy = tiny.path(format!("gallery/{folder}/same.jpg"));
        std::fs::copy(tiny.path("query/0.jpg"), copy).unwrap();
    }
    let more = ["--dry-run", "--query", "gallery/a/same.jpg", "--top-k", "99"];
    let ended = Ended::of(&mut submit(&tiny, None, &more)).exits(0);
    ended.says(&[
        "two gallery images are called same.jpg: all are named by their path below gallery",
        "the gallery has 14 images",
    ]);
    let written = std::fs::read(run.join("submissions/min-loss.dry-run.json")).unwrap();
    let body: Value = serde_json::from_slice(&written).unwrap();
    let hits = body["images"]["same.jpg"].as_array().unwrap();
    assert_eq!((hits.len(), &hits[0]), (13, &Value::from("b/same.jpg")));
    assert!(!hits.contains(&"a/same.jpg".into()));
}

/// The answer is on the disk or was never there: the next start posts the same by the same key.
#[test]
fn killed_while_the_server_thinks_then_submitted_again() {
    let (tiny, run) = trained();
    let server = Server::start([Act::Hang, say(200, r#"{"accuracy": 0.5}"#)]);
    let mut child = submit(&tiny, Some(&server), &[]).spawn().unwrap();
    wait_until("the results arrive", || !server.seen().is_empty());
    signal(&child, "KILL");
    child.wait().unwrap();
    assert!(!run.join("submission_accuracy.csv").exists());
    Ended::of(&mut submit(&tiny, Some(&server), &[])).exits(0);
    let seen = server.seen();
    assert_eq!((&seen[0].key, &seen[0].body), (&seen[1].key, &seen[1].body));
    assert_eq!(column(&run.join("submission_accuracy.csv"), "accuracy"), ["0.5"]);
}
