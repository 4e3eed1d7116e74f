//! What goes wrong between processes: an end within the time limit, words that name what it was, one
//! exit code on all of them, and a run that can go on.

mod support;

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use arcrun::checkpoint::{Name, find};
use support::ranks::{SAME, can_join, free_port, goes_on, start};
use support::{Ended, TINY, Tiny, signal, status, wait_until};

const HERE: &str = "127.0.0.1";

fn rank(tiny: &Tiny, rank: usize, master: &str, port: &str, args: &[&str]) -> Child {
    let args = [&["tiny.toml", "--run-dir", "run"], args, &SAME[..]].concat();
    start(&mut tiny.command(&args), rank, master, port)
}

const SHORT: [&str; 2] = ["--set", "distributed.timeout=2s"];

/// libtorch waits longer between its attempts than they take.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_master_that_can_not_be_met_is_named_within_the_limit() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    // Connections are taken by the system, and nothing is ever said.
    let silent = TcpListener::bind((HERE, 0)).unwrap();
    let silent = (silent.local_addr().unwrap().port().to_string(), silent);
    let everywhere = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let taken = everywhere.local_addr().unwrap().port().to_string();
    // Nobody listens at it.
    let nobody = "1".to_string();
    let free = free_port();
    let begun = Instant::now();
    let cases = [
        (1, HERE, &nobody, "trying to connect to"),
        (1, "nowhere.invalid", &nobody, "no host nowhere.invalid is known here"),
        (0, "nowhere.invalid", &free, "no host nowhere.invalid is known here"),
        (1, HERE, &silent.0, "who listens there says nothing"),
        (0, HERE, &taken, "in use"),
    ];
    let started = cases.map(|(number, master, port, reason)| {
        let child = rank(&tiny, number, master, port, &SHORT);
        (child, format!("rank {number} of 2 did not meet the others at {master}:{port}"), reason)
    });
    for (child, whom, reason) in started {
        Ended::wait(child).exits(1).says(&[
            &whom,
            "within 2 s",
            reason,
            "whether rank 0 runs there",
        ]);
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(!tiny.path("run").exists());
}

#[test]
fn a_service_that_is_no_store_is_told_from_one() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let service = TcpListener::bind((HERE, 0)).unwrap();
    let port = service.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in service.incoming().flatten() {
            let mut stream = stream;
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            // Open for as long as the test runs.
            std::mem::forget(stream);
        }
    });
    let ended = Ended::wait(rank(&tiny, 1, HERE, &port, &SHORT)).exits(1);
    ended.says(&["what listens there is no rank of a run", &format!("{HERE}:{port}")]);
}

/// Long before the time limit is over.
#[test]
fn a_signal_ends_the_wait_for_other_ranks() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let port = free_port();
    let waits = rank(&tiny, 0, HERE, &port, &[]);
    // It runs the store by then.
    wait_until("a store", || std::net::TcpStream::connect(format!("{HERE}:{port}")).is_ok());
    signal(&waits, "TERM");
    let ended = Ended::wait(waits).exits(75);
    ended.says(&["stopped by SIGTERM while rank 0 of 2 waited for the others at"]);
}

/// Rank 0 alone reads checkpoints, the first rank of each machine alone draws data.
#[test]
fn what_one_rank_refuses_all_refuse() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let nothing = &["--continue-train", "latest"][..];
    let broken = ["--set", "data.kind=image_folder", "--set", "data.root=none"];
    for (more, words) in [(nothing, "nothing to continue"), (&broken, "none")] {
        let port = free_port();
        let ranks = [0, 1].map(|number| rank(&tiny, number, HERE, &port, more));
        for child in ranks {
            let ended = Ended::wait(child).exits(2).says(&[words]);
            assert!(!ended.stderr.contains("failed to"), "{}", ended.stderr);
        }
        assert!(!tiny.path("run").exists());
    }
}

/// A machine whose program was built from something else.
#[test]
fn ranks_with_different_programs_are_refused() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let other = tiny.path("other");
    std::fs::copy(env!("CARGO_BIN_EXE_run"), &other).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&other).unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    drop(file);
    let port = free_port();
    let args = [&["tiny.toml", "--run-dir", "run"], &SAME[..]].concat();
    let mut second = Command::new(&other);
    second.args(&args).current_dir(tiny.path("")).env("WANDB_MODE", "offline");
    let ranks = [rank(&tiny, 0, HERE, &port, &[]), start(&mut second, 1, HERE, &port)];
    for child in ranks {
        let ended = Ended::wait(child).exits(1);
        ended.says(&["rank 1 and rank 0 differ in the program"]);
    }
    assert!(!tiny.path("run").exists());
}

/// A machine whose data differ from those of the first.
#[test]
fn ranks_with_different_data_are_refused() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let (_, rest) = TINY.split_once("[preprocess]").unwrap();
    let (rest, _) = rest.split_once("[evaluate]").unwrap();
    let data = "[data]\nkind = \"image_folder\"\nroot = \"faces\"\n[preprocess]";
    tiny.write("tiny.toml", &format!("{data}{rest}"));
    let port = free_port();
    let ranks = [("here", 0), ("there", 1)].map(|(place, number)| {
        let (root, seed) = (format!("{place}/faces"), number.to_string());
        let few = ["--identities", "4", "--images", "5", "--unseen", "0", "--pairs", "0"];
        let synth = ["data", "synth", &root, "--size", "32", "--seed", &seed];
        tiny.run(&[&synth[..], &few].concat()).exits(0);
        let datasets = format!("paths.datasets={place}");
        rank(&tiny, number, HERE, &port, &["--set", &datasets])
    });
    for child in ranks {
        let ended = Ended::wait(child).exits(1);
        ended.says(&["rank 1 and rank 0 differ in the data"]);
    }
    assert!(!tiny.path("run").exists());
}

/// A run under way on two ranks, and its processes.
fn under_way(tiny: &Tiny, timeout: &str) -> [Child; 2] {
    let (port, timeout) = (free_port(), format!("distributed.timeout={timeout}"));
    let long = ["--set", "train.epochs=100000", "--set", "checkpoint.every_steps=2"];
    let args = [&long[..], &["--set", &timeout]].concat();
    let ranks = [0, 1].map(|number| rank(tiny, number, HERE, &port, &args));
    wait_until("a checkpoint", || find(&tiny.path("run"), Name::Latest).is_ok());
    ranks
}

#[test]
fn a_rank_that_hangs_ends_the_others_after_the_time_limit() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let [first, mut hangs] = under_way(&tiny, "3s");
    signal(&hangs, "STOP");
    let begun = Instant::now();
    let ended = Ended::wait(first).exits(1);
    ended.says(&["rank 0 of 2", "time limit 3 s", "another rank ended, hangs or can't be reached"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(status(&tiny.path("run")), "failed");
    // Where it comes back it finds the others gone.
    signal(&hangs, "CONT");
    let ended = hangs.wait().unwrap();
    assert_eq!(ended.code(), Some(1));
    goes_on(&tiny);
}

/// No more memory than it has: where that ends the rank is chance, and so are its words.
#[test]
fn a_rank_out_of_memory_ends_the_others() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: no prlimit here (util-linux)");
        return;
    }
    let [first, lacks] = under_way(&tiny, "20s");
    let pid = lacks.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--as=200000000"]).status();
    assert!(limited.unwrap().success());
    let lacks = Ended::wait(lacks);
    // Rust aborts where a thread or a buffer can't be had.
    assert!([Some(1), None].contains(&lacks.code), "{lacks:?}");
    let ended = Ended::wait(first).exits(1);
    ended.says(&["rank 0 of 2", "another rank ended"]);
    assert_eq!(status(&tiny.path("run")), "failed");
    goes_on(&tiny);
}

/// Rank 0 alone writes: that it can't must not leave the others waiting for it.
#[test]
fn ranks_end_together_where_no_checkpoint_can_be_written() {
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    // 200 blocks of 512 bytes, and a model that is larger.
    let script = "ulimit -f 200; exec \"$0\" \"$@\"";
    let args =
        ["tiny.toml", "--run-dir", "run", "--nproc", "2", "--set", "head.embedding_dim=2048"];
    let large = ["--set", "backbone.channels=[16, 32]", "--set", "distributed.timeout=20s"];
    for shard in ["loss.shard=false", "loss.shard=true"] {
        let _ = std::fs::remove_dir_all(tiny.path("run"));
        let args = [&args[..], &large, &SAME, &["--set", shard]].concat();
        let ended = Ended::of(&mut tiny.under_shell(script, &args)).exits(1);
        let ended = ended.says(&["is not saved: cannot write", "there is no checkpoint"]);
        assert!(!ended.stderr.contains("time limit 20 s"), "{}", ended.stderr);
        assert_eq!(status(&tiny.path("run")), "failed");
    }
}
