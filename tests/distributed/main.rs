//! Several processes against one, by Gloo (and NCCL, where there are GPUs) on 127.0.0.1: this test binary
//! starts itself, once for each rank, on an ignored test that is one rank's part.

mod failures;
mod gpus;
mod layers;
mod losses;
mod pairs;
mod sampled;

#[path = "../common/mod.rs"]
mod common;

use arcrun::distributed::{Group, Launch, Reduction, free_port};
use arcrun::torch::c10d::has_gloo;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tch::{Device, Kind, Tensor};

/// Of meeting and of every collective.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the ignored test `body` as `size` ranks, each of which must pass.
fn ranks(size: usize, body: &str) {
    let outputs = started(size, body, &[]).into_iter().map(|rank| rank.wait_with_output().unwrap());
    for (rank, output) in outputs.collect::<Vec<_>>().into_iter().enumerate() {
        let text = said(&output);
        assert!(output.status.success() && text.contains("1 passed"), "rank {rank}: {text}");
    }
}

/// False, and a line for the summary, where this build can't group processes.
fn possible() -> bool {
    if !has_gloo() {
        println!("skipped: this build has no Gloo");
    }
    has_gloo()
}

fn started(size: usize, body: &str, environment: &[(&str, &str)]) -> Vec<Child> {
    let port = free_port().unwrap().to_string();
    let start = |rank: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", body, "--nocapture"])
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", size.to_string())
            .env("LOCAL_WORLD_SIZE", size.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", &port)
            .env("TORCHELASTIC_RUN_ID", "test")
            .env("OMP_NUM_THREADS", "1")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    (0..size).map(start).collect()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// One rank's part begins with it.
fn join(limit: Duration) -> Arc<Group> {
    let launch = Launch::from_environment().unwrap().expect("started by `ranks`");
    Arc::new(Group::join(&launch, tch::Device::Cpu, limit).unwrap())
}

/// Float64 numbers that are the same on every rank.
fn numbers(seed: i64, shape: &[i64]) -> Tensor {
    tch::manual_seed(seed);
    Tensor::randn(shape, (Kind::Double, Device::Cpu))
}

/// Where this rank's samples begin and how many they are: uneven parts, and none on rank 1 of three.
fn part(group: &Group, total: i64) -> (i64, i64) {
    let counts = match group.size() {
        2 => vec![total / 3, total - total / 3],
        3 => vec![total - total / 4, 0, total / 4],
        size => panic!("no parts for {size} ranks"),
    };
    (counts[..group.rank()].iter().sum(), counts[group.rank()])
}

fn average(group: &Group, tensor: &Tensor) -> Tensor {
    let mut sum = tensor.detach().copy();
    group.all_reduce(&mut sum, Reduction::Sum).unwrap();
    sum / group.size() as f64
}

/// Within 1e-9 of the largest value.
#[track_caller]
fn close(what: &str, got: &Tensor, expected: &Tensor) {
    assert_eq!(got.size(), expected.size(), "{what}");
    if got.numel() == 0 {
        return;
    }
    let (got, expected) = (got.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let largest = expected.abs().max().double_value(&[]).max(1e-3);
    let difference = (&got - &expected).abs().max().double_value(&[]);
    assert!(difference <= 1e-9 * largest, "{what}: {difference} of {largest}");
}
