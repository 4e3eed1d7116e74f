//! Two network namespaces with addresses of their own stand in for two machines. Skipped, aloud, where
//! they can't be made: that takes root and iproute2.

mod support;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arcrun::checkpoint::{Name, find};
use support::ranks::{SAME, can_join, goes_on, same_curve, start};
use support::{Ended, Tiny, status, wait_until};

const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const PORT: &str = "29500";

/// Two namespaces with a cable between them; gone with the value.
struct Machines {
    names: [String; 2],
    ends: [String; 2],
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Machines {
    /// None, aloud, where there can be none.
    fn new() -> Option<Machines> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let machines = Machines {
            names: ["a", "b"].map(|end| format!("arcrun-{pid}-{next}{end}")),
            // The system takes 15 characters.
            ends: ["a", "b"].map(|end| format!("ar{pid}-{next}{end}")),
        };
        match machines.set_up() {
            Ok(()) => Some(machines),
            Err(error) => {
                println!("skipped: two machines: {error}");
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let [first, second] = [0, 1].map(|at| (&self.names[at][..], &self.ends[at][..]));
        for (name, _) in [first, second] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        let cable = ["link", "add", first.1, "netns", first.0, "type", "veth", "peer", "name"];
        ip(&[&cable[..], &[second.1, "netns", second.0]].concat())?;
        for ((name, end), address) in [first, second].into_iter().zip(ADDRESSES) {
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", end])?;
            ip(&["-n", name, "link", "set", end, "up"])?;
        }
        Ok(())
    }

    /// A command on machine `at` starts with it.
    fn on(&self, at: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.names[at]]
    }

    /// The program on both machines, each the only rank there, by torchrun's variables.
    fn start(&self, tiny: &Tiny, args: &[&str]) -> [Child; 2] {
        [0, 1].map(|rank| {
            let words =
                [&self.on(rank)[..], &["env", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=1"]].concat();
            let mut command = tiny.under(&words, &[args, &SAME[..]].concat());
            start(&mut command, rank, ADDRESSES[0], PORT)
        })
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            // The cable goes with them.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

#[test]
fn two_machines_have_the_curve_of_one_process() {
    let Some(machines) = Machines::new() else { return };
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let ranks = machines.start(&tiny, &["tiny.toml", "-q", "--run-dir", "run"]);
    for rank in ranks {
        Ended::wait(rank).exits(0);
    }
    same_curve(&tiny.path("run"), &tiny.train("one", &SAME));
}

#[test]
fn torchrun_on_two_machines_has_the_curve_of_one_process() {
    let Some(python) = std::env::var("ARCRUN_TEST_TORCH_PYTHON").ok() else {
        println!("skipped: torchrun (ARCRUN_TEST_TORCH_PYTHON names no Python with torch)");
        return;
    };
    let Some(machines) = Machines::new() else { return };
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let agents = [0, 1].map(|at| {
        let torchrun = [&python, "-m", "torch.distributed.run", "--no-python", "--nnodes", "2"];
        let endpoint = format!("{}:29400", ADDRESSES[0]);
        // Both have the host name of this machine, by which torchrun would find where its store is.
        let is_host = format!("is_host={}", at == 0);
        let meeting = [
            ["--rdzv-backend", "c10d", "--rdzv-endpoint", &endpoint],
            ["--rdzv-conf", &is_host, "--local-addr", ADDRESSES[at]],
        ];
        let words = [&machines.on(at)[..], &torchrun, &meeting.concat()].concat();
        let run = ["a", "b"][at];
        let args = [&["tiny.toml", "-q", "--run-dir", run], &SAME[..]].concat();
        let mut command = tiny.under(&words, &args);
        command.env("OMP_NUM_THREADS", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    for agent in agents {
        Ended::wait(agent).exits(0);
    }
    let written = ["a", "b"].map(|run| tiny.path(run)).into_iter().find(|run| run.exists());
    same_curve(&written.unwrap(), &tiny.train("one", &SAME));
}

#[test]
fn a_cable_that_is_pulled_ends_both_ranks_and_the_run_can_go_on() {
    let Some(machines) = Machines::new() else { return };
    let tiny = Tiny::new();
    if !can_join(&tiny) {
        return;
    }
    let args = ["tiny.toml", "--run-dir", "run", "--set", "train.epochs=100000"];
    let more = ["--set", "checkpoint.every_steps=2", "--set", "distributed.timeout=4s"];
    let ranks = machines.start(&tiny, &[&args[..], &more].concat());
    let run = tiny.path("run");
    wait_until("a checkpoint", || find(&run, Name::Latest).is_ok());
    let begun = Instant::now();
    ip(&["-n", &machines.names[1], "link", "set", &machines.ends[1], "down"]).unwrap();
    for (rank, child) in ranks.into_iter().enumerate() {
        let of = format!("rank {rank} of 2 (master 10.77.0.1:{PORT})");
        Ended::wait(child).exits(1).says(&[&of, "time limit 4 s", "start the run again"]);
    }
    // The limit, and time for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(4 + 20), "{:?}", begun.elapsed());
    assert_eq!(status(&run), "failed");
    goes_on(&tiny);
}
