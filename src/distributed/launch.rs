//! `--nproc N`: several processes on this machine, with the environment that torchrun gives.

use super::env::Launch;
use crate::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the others may go on when one rank has failed: for a checkpoint, and their own words.
const GRACE: Duration = Duration::from_secs(30);
/// How long after its start a rank may be unable to hold back a signal, which would end it.
const LOADING: Duration = Duration::from_millis(500);
/// The variable that tells a rank the process id of who started it.
pub const STARTER: &str = "ARCRUN_RANK_OF";
/// Waiting for them that takes longer is told of.
const PATIENCE: Duration = Duration::from_secs(3);
/// The exit code of a stop that was asked for.
const STOPPED: u8 = 75;
const POLL: Duration = Duration::from_millis(20);

/// `arguments` without `--nproc N` or `--nproc=N`, up to a `--`.
pub fn without_nproc(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let (mut kept, mut arguments) = (Vec::new(), arguments.into_iter());
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            kept.push(argument);
            kept.extend(arguments);
            break;
        }
        if argument == "--nproc" {
            arguments.next();
        } else if !argument.as_encoded_bytes().starts_with(b"--nproc=") {
            kept.push(argument);
        }
    }
    kept
}

/// A port of this machine that nothing listens at.
pub fn free_port() -> Result<u16> {
    let found = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let found = found.map(|address| address.port());
    found.map_err(|error| Error::failed(format!("found no free port on this machine: {error}")))
}

/// Starts `count` processes of this program with `arguments`, and waits for all of them. Rank 0 has this
/// process's stdout and stderr; of the others stderr comes through, each line after `[rank R] `. Signals
/// that ask for a stop are passed on. Where a rank fails, the others have 30 s. Returns the exit code of
/// the first that failed (1 where a signal ended it), or 0.
///
/// # Errors
/// A process that is itself one of several, or a program that can't be started.
pub fn local_processes(count: usize, arguments: &[OsString]) -> Result<u8> {
    if Launch::from_environment()?.is_some() {
        return Err(Error::input("--nproc inside of a process that torchrun or Slurm started")
            .help("leave --nproc out: the launcher says how many processes there are"));
    }
    let program = std::env::current_exe()
        .map_err(|error| Error::failed(format!("this program's own file is unknown: {error}")))?;
    run(count, program.as_os_str(), arguments, GRACE)
}

fn run(count: usize, program: &OsStr, arguments: &[OsString], grace: Duration) -> Result<u8> {
    let failed = |error| Error::failed(format!("cannot start {}: {error}", program.display()));
    // Before the first start, so that none is missed.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2]).map_err(failed)?;
    // None of the ranks begins with signals that are held back for ever.
    crate::torch::signals::unblock();
    let port = free_port()?.to_string();
    let mut ranks = Ranks { all: Vec::new() };
    for rank in 0..count {
        let mut command = Command::new(program);
        command.args(arguments);
        environment(&mut command, rank, count, &port);
        // Ctrl-C reaches this process alone, which passes it on once.
        command.process_group(0);
        if rank > 0 {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().map_err(failed)?;
        let lines = child.stderr.take().map(|stderr| pass_on(rank, stderr));
        ranks.all.push(Rank { child, lines, status: None });
    }
    let (mut first, mut waits): (Option<(ExitStatus, Instant)>, bool) = (None, false);
    // What was passed on, and whether all that is left was ended.
    let (mut asked, mut killed) = (Vec::new(), false);
    let begun = Instant::now();
    loop {
        if begun.elapsed() > LOADING {
            for signal in signals.pending() {
                ranks.signal(Signal::from_named_raw(signal));
                if signal == SIGINT && asked.contains(&SIGINT) {
                    // Whoever presses Ctrl-C twice does not wait for what hangs.
                    killed = true;
                    ranks.signal(Some(Signal::KILL));
                }
                asked.push(signal);
            }
        }
        for (number, rank) in ranks.all.iter_mut().enumerate() {
            let Some(status) = rank.poll() else { continue };
            match status.signal() {
                Some(_) if killed => crate::tell!("rank {number} of {count} did not end: killed"),
                // A stop that came before the rank listened.
                Some(signal) if asked.contains(&signal) => {}
                // It could not say so itself.
                Some(signal) => {
                    crate::tell!("rank {number} of {count} was ended by {}", name_of(signal));
                }
                None => {}
            }
            if !status.success() && first.is_none() {
                first = Some((status, Instant::now()));
            }
        }
        if ranks.all.iter().all(|rank| rank.status.is_some()) {
            break;
        }
        if !waits && first.is_some_and(|(_, since)| since.elapsed() > PATIENCE) {
            waits = true;
            crate::tell!("waiting for the other ranks to end, {} s at most", grace.as_secs());
        }
        if first.is_some_and(|(_, since)| since.elapsed() > grace) {
            killed = true;
            ranks.signal(Some(Signal::KILL));
        }
        std::thread::sleep(POLL);
    }
    for rank in &mut ranks.all {
        if let Some(lines) = rank.lines.take() {
            let _ = lines.join();
        }
    }
    Ok(first.map_or(0, |(status, _)| match status.signal() {
        Some(signal) if asked.contains(&signal) => STOPPED,
        _ => exit_code(status),
    }))
}

/// What torchrun sets for each of its processes.
fn environment(command: &mut Command, rank: usize, count: usize, port: &str) {
    let (rank, size) = (rank.to_string(), count.to_string());
    for name in ["RANK", "LOCAL_RANK"] {
        command.env(name, &rank);
    }
    for name in ["WORLD_SIZE", "LOCAL_WORLD_SIZE"] {
        command.env(name, &size);
    }
    command.envs([("GROUP_RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port)]);
    command.envs([("TORCHELASTIC_RESTART_COUNT", "0"), ("TORCHELASTIC_MAX_RESTARTS", "0")]);
    command.env("TORCHELASTIC_RUN_ID", format!("nproc-{}", std::process::id()));
    command.env_remove("TORCHELASTIC_USE_AGENT_STORE");
    command.env(STARTER, std::process::id().to_string());
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("OMP_NUM_THREADS", (cores / count).max(1).to_string());
    }
}

struct Rank {
    child: Child,
    lines: Option<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Rank {
    /// Its status where it has just ended.
    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_some() {
            return None;
        }
        self.status = self.child.try_wait().ok().flatten();
        self.status
    }
}

/// None outlives this.
struct Ranks {
    all: Vec<Rank>,
}

impl Ranks {
    fn signal(&self, signal: Option<Signal>) {
        let running = self.all.iter().filter(|rank| rank.status.is_none());
        for rank in running {
            let pid = i32::try_from(rank.child.id()).ok().and_then(Pid::from_raw);
            if let (Some(pid), Some(signal)) = (pid, signal) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for rank in self.all.iter_mut().filter(|rank| rank.status.is_none()) {
            let _ = rank.child.kill();
            let _ = rank.child.wait();
        }
    }
}

/// Lines of a rank to stderr, until it closes its own.
fn pass_on(rank: usize, stderr: ChildStderr) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            let whole = [format!("[rank {rank}] ").as_bytes(), &line].concat();
            // A stderr that is closed is no reason to end.
            let _ = std::io::stderr().write_all(&whole);
            line.clear();
        }
    })
}

/// That of the process; of one that a signal ended that of the ranks which lost it.
fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn name_of(signal: i32) -> String {
    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
    let why = if name == "SIGKILL" { ", which the system sends where memory runs out" } else { "" };
    format!("{name} ({signal}){why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nproc_is_left_out() {
        let strip =
            |line: &str| without_nproc(line.split(' ').map(OsString::from)).join(OsStr::new(" "));
        assert_eq!(strip("a.toml --nproc 4 --set x=1"), "a.toml --set x=1");
        assert_eq!(strip("--nproc=4 a.toml"), "a.toml");
        assert_eq!(strip("a.toml -- --nproc 4"), "a.toml -- --nproc 4");
        assert_eq!(strip("a.toml --nproc"), "a.toml");
    }

    fn shell(count: usize, script: &str, grace: Duration) -> u8 {
        let arguments = ["-c", script].map(OsString::from);
        run(count, OsStr::new("sh"), &arguments, grace).unwrap()
    }

    #[test]
    fn every_rank_knows_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "echo $RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT > {}/$RANK",
            folder.path().display()
        );
        assert_eq!(shell(3, &script, GRACE), 0);
        let said = |rank: usize| {
            let text = std::fs::read_to_string(folder.path().join(rank.to_string())).unwrap();
            text.split_whitespace().map(String::from).collect::<Vec<_>>()
        };
        let port = said(0)[4].clone();
        assert!(port.parse::<u16>().unwrap() > 0);
        for rank in 0..3 {
            let own = rank.to_string();
            assert_eq!(said(rank), [&own, &own, "3", "127.0.0.1", &port]);
        }
    }

    #[test]
    fn the_first_failure_counts_and_the_others_do_not_hang() {
        let begun = Instant::now();
        let script = "if [ $RANK = 1 ]; then exit 3; fi; sleep 60";
        assert_eq!(shell(2, script, Duration::from_millis(300)), 3);
        assert!(begun.elapsed() < Duration::from_secs(30));
        let killed = "if [ $RANK = 1 ]; then kill -9 $$; fi; exit 0";
        assert_eq!(shell(2, killed, GRACE), 1);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        assert!(run(2, OsStr::new("/no/such/program"), &[], GRACE).is_err());
    }
}
