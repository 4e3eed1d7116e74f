//! What goes wrong between processes, and what is said of it.

use super::{LIMIT, join, possible, said, started};
use arcrun::distributed::{Group, Launch, Launcher, Reduction, free_port};
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

const SHORT: Duration = Duration::from_secs(4);

fn launch(port: u16) -> Launch {
    Launch {
        launcher: Launcher::Torchrun,
        rank: 1,
        local_rank: 1,
        size: 2,
        local_size: None,
        master: "127.0.0.1".to_string(),
        port,
        restarts: 0,
        run: String::new(),
        agent_store: false,
    }
}

#[test]
fn a_master_that_is_not_there_is_named_within_the_limit() {
    if !possible() {
        let error = Group::join(&launch(1), tch::Device::Cpu, SHORT).unwrap_err().to_string();
        assert!(error.contains("no Gloo"), "{error}");
        return;
    }
    let (port, begun) = (free_port().unwrap(), Instant::now());
    let error = Group::join(&launch(port), tch::Device::Cpu, SHORT).unwrap_err().to_string();
    for part in ["rank 1 of 2", &format!("127.0.0.1:{port}"), "4 s"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn ranks_that_never_come_are_an_error() {
    if possible() {
        let master = Launch { rank: 0, local_rank: 0, ..launch(free_port().unwrap()) };
        let error = Group::join(&master, tch::Device::Cpu, SHORT).unwrap_err().to_string();
        assert!(error.contains("rank 0 of 2"), "{error}");
    }
}

#[test]
fn a_lost_rank_stops_the_others() {
    if !possible() {
        return;
    }
    let outputs = started(2, "failures::one_dies", &[]);
    let outputs: Vec<_> =
        outputs.into_iter().map(|rank| rank.wait_with_output().unwrap()).collect();
    let text = said(&outputs[0]);
    assert!(outputs[0].status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(outputs[1].status.code(), Some(9));
}

#[test]
#[ignore = "one rank of a_lost_rank_stops_the_others"]
fn one_dies() {
    let group = join(Duration::from_secs(20));
    if group.rank() == 1 {
        // As a kill does: nothing is closed in order.
        std::process::exit(9);
    }
    let begun = Instant::now();
    let mut values = Tensor::zeros([1000], (Kind::Float, tch::Device::Cpu));
    let error = group.all_reduce(&mut values, Reduction::Sum).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(40));
    let text = error.to_string();
    for part in ["rank 0 of 2", "reduce", "127.0.0.1:", "20 s"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn ranks_that_differ_are_named() {
    if !possible() {
        return;
    }
    for (rank, child) in started(3, "failures::one_differs", &[]).into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let text = said(&output);
        assert!(output.status.success() && text.contains("1 passed"), "rank {rank}: {text}");
    }
}

#[test]
#[ignore = "one rank of ranks_that_differ_are_named"]
fn one_differs() {
    let group = join(LIMIT);
    group.agree("program", "same").unwrap();
    let own = if group.rank() == 2 { "sha256:bbb" } else { "sha256:aaa" };
    let text = group.agree("configuration", own).unwrap_err().to_string();
    for part in ["rank 2 and rank 0 differ", "configuration", "sha256:bbb", "sha256:aaa"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
