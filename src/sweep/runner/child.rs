//! A trial's process: the program again, on one experiment, with its output caught.

use super::claim::Claim;
use super::outcome::Stopping;
use super::slots::Slot;
use crate::record::feed::{Feed, VARIABLE};
use crate::sweep::Running;
use crate::{Error, Result};
use rustix::process::{Pid, Signal};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

/// What a trial prints.
pub const OUTPUT: &str = "output.log";
/// Variables that name one W&B run: each trial is its own.
const OF_ONE_RUN: [&str; 3] = ["WANDB_RUN_ID", "WANDB_NAME", "WANDB_RESUME"];
/// First characters of the line that begins a session's output.
const HEAD: &str = "=== arcrun ";
/// Bytes of the end of the output that are looked at.
const TAIL: u64 = 16 << 10;

/// What a trial's process tells.
pub enum Told {
    Feed(Feed),
    /// No step for so many seconds.
    Slow(f64),
    /// Whoever watches it is gone.
    Lost,
    /// It ended; with what was done to it before, the end of what it printed, and the claim, which
    /// is to be kept until the end is in the journal.
    Ended {
        status: std::io::Result<ExitStatus>,
        stopping: Stopping,
        said: String,
        seconds: f64,
        claim: Claim,
    },
}

/// What is to be started.
pub struct Launch<'a> {
    pub program: &'a Path,
    pub run_dir: &'a Path,
    /// The trial's experiment.
    pub experiment: &'a Path,
    pub slot: &'a Slot,
    /// There is a checkpoint: thread counts are its own, for the same bits.
    pub continued: bool,
    /// The experiment states its own thread counts.
    pub own_threads: bool,
    pub own_workers: bool,
    /// A line for the head of this session's output.
    pub title: String,
}

/// A running trial, as the runner holds it.
#[derive(Debug)]
pub struct Child {
    stop: mpsc::UnboundedSender<(Stopping, Signal)>,
}

impl Child {
    /// Asks the trial to stop with a checkpoint; once it took longer than the grace, it is killed.
    pub fn stop(&self, why: Stopping, signal: Signal) {
        // A trial that has ended has nobody to listen.
        let _ = self.stop.send((why, signal));
    }

    /// Starts the process and whoever watches it. What it tells goes to `told` under `place`.
    ///
    /// # Errors
    /// The output file or the process can't be made.
    pub fn start(
        launch: &Launch<'_>,
        claim: Claim,
        running: &Running,
        place: usize,
        told: mpsc::UnboundedSender<(usize, Told)>,
    ) -> Result<Child> {
        let path = launch.run_dir.join(OUTPUT);
        let mut output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        writeln!(output, "{HEAD}{}", launch.title).map_err(|e| Error::io("write", &path, e))?;
        let start = || -> std::io::Result<_> {
            let mut command = command(launch);
            command.stdin(claim.to_stdin()?).stdout(Stdio::piped()).stderr(output.try_clone()?);
            command.spawn()
        };
        let process = start().map_err(|e| Error::io("start", launch.program, e))?;
        let (stop, stops) = mpsc::unbounded_channel();
        let watch = Watch { place, told, running: running.clone(), path, output };
        let lost = watch.told.clone();
        let watching = tokio::spawn(watch.run(process, stops, claim));
        tokio::spawn(async move {
            if watching.await.is_err() {
                let _ = lost.send((place, Told::Lost));
            }
        });
        Ok(Child { stop })
    }
}

fn command(launch: &Launch<'_>) -> tokio::process::Command {
    let Launch {
        program,
        run_dir,
        experiment,
        slot,
        continued,
        own_threads,
        own_workers,
        title: _,
    } = launch;
    let mut command = tokio::process::Command::new(program);
    command.arg(experiment).arg("--run-dir").arg(run_dir).args(["--continue-train", "auto"]);
    let threads = slot.threads;
    if !own_threads && !continued {
        command.arg("--set").arg(format!("train.threads={threads}"));
    }
    if !own_workers {
        command.arg("--set").arg(format!("loader.workers={threads}"));
    }
    // What the environment sets is in the manifest already.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(crate::config::VARIABLE_PREFIX) {
            command.env_remove(name);
        }
    }
    for name in OF_ONE_RUN {
        command.env_remove(name);
    }
    command.env(VARIABLE, std::process::id().to_string());
    if let Some(gpu) = &slot.gpu {
        command.env("CUDA_VISIBLE_DEVICES", gpu);
    }
    // Ctrl-C goes to the runner, which stops its trials itself.
    command.process_group(0);
    command
}

/// Follows one process to its end.
struct Watch {
    place: usize,
    told: mpsc::UnboundedSender<(usize, Told)>,
    running: Running,
    path: PathBuf,
    output: File,
}

impl Watch {
    async fn run(
        mut self,
        mut process: tokio::process::Child,
        mut stops: mpsc::UnboundedReceiver<(Stopping, Signal)>,
        claim: Claim,
    ) {
        let begun = Instant::now();
        let pid = process.id().and_then(|pid| Pid::from_raw(pid as i32));
        let signal = |signal: Signal| {
            // It may have ended this very moment.
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, signal);
            }
        };
        let mut lines = process.stdout.take().map(|out| BufReader::new(out).split(b'\n'));
        let mut stopping = Stopping::No;
        let mut kill_at: Option<Instant> = None;
        let mut patience = Patience::new(&self.running, begun);
        let status = loop {
            let now = Instant::now();
            let wake = kill_at.unwrap_or(patience.next).max(now);
            tokio::select! {
                line = next_line(&mut lines) => match line {
                    Some(line) => {
                        patience.progress(Instant::now());
                        self.heard(&line);
                    }
                    None => lines = None,
                },
                status = process.wait() => break status,
                Some((why, how)) = stops.recv() => {
                    if stopping == Stopping::No {
                        stopping = why;
                    }
                    signal(how);
                    kill_at = kill_at.or(Some(Instant::now() + self.grace()));
                },
                () = tokio::time::sleep_until(wake.into()) => {
                    let now = Instant::now();
                    if kill_at.is_some_and(|at| now >= at) {
                        signal(Signal::KILL);
                        // Nothing more can be done; look again now and then.
                        kill_at = Some(now + Duration::from_secs(1));
                    } else if kill_at.is_none() {
                        match patience.judge(now, self.output_size()) {
                            Judgement::Fine => {}
                            Judgement::Slow(seconds) => self.tell(Told::Slow(seconds)),
                            Judgement::Stop => {
                                stopping = Stopping::Timeout;
                                signal(Signal::TERM);
                                kill_at = Some(now + self.grace());
                            }
                        }
                    }
                },
            }
        };
        // What it printed before its end may still be in the pipe; a grandchild may hold it open.
        if lines.is_some() {
            let rest = async {
                while let Some(line) = next_line(&mut lines).await {
                    self.heard(&line);
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
        }
        let said = tail(&self.path);
        let seconds = begun.elapsed().as_secs_f64();
        self.tell(Told::Ended { status, stopping, said, seconds, claim });
    }

    fn grace(&self) -> Duration {
        Duration::from_secs_f64(self.running.grace)
    }

    fn heard(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        match Feed::parse(&text) {
            Some(feed) => self.tell(Told::Feed(feed)),
            // A full disk loses what the trial printed, and nothing else.
            None => drop(writeln!(self.output, "{text}")),
        }
    }

    fn tell(&self, told: Told) {
        // The runner outlives its trials but for a failure of its own.
        let _ = self.told.send((self.place, told));
    }

    fn output_size(&self) -> u64 {
        self.output.metadata().map_or(0, |data| data.len())
    }
}

type Lines = tokio::io::Split<BufReader<tokio::process::ChildStdout>>;

/// None at the end; waits for ever where there is nothing to read any more.
async fn next_line(lines: &mut Option<Lines>) -> Option<Vec<u8>> {
    match lines {
        Some(lines) => lines.next_segment().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// How long a trial may do nothing, and how long it may take.
struct Patience {
    slow_after: Duration,
    stop_after: usize,
    /// Silences in a row.
    silent: usize,
    since: Instant,
    output: u64,
    until: Option<Instant>,
    next: Instant,
}

enum Judgement {
    Fine,
    Slow(f64),
    Stop,
}

impl Patience {
    fn new(running: &Running, begun: Instant) -> Patience {
        let slow_after = Duration::from_secs_f64(running.slow_after);
        let limit = (running.time_limit > 0.0).then(|| Duration::from_secs_f64(running.time_limit));
        let until = limit.map(|limit| begun + limit);
        let next = until.map_or(begun + slow_after, |until| until.min(begun + slow_after));
        Patience {
            slow_after,
            stop_after: running.stop_after,
            silent: 0,
            since: begun,
            output: 0,
            until,
            next,
        }
    }

    fn progress(&mut self, now: Instant) {
        self.silent = 0;
        self.since = now;
    }

    /// At `next`: whether there was progress since the last time; lines of output count too.
    fn judge(&mut self, now: Instant, output: u64) -> Judgement {
        let over = self.until.is_some_and(|until| now >= until);
        if output > self.output {
            self.output = output;
            self.progress(now);
        }
        let due = self.since + self.slow_after * (self.silent as u32 + 1);
        let judgement = if over {
            Judgement::Stop
        } else if now >= due {
            self.silent += 1;
            match self.stop_after > 0 && self.silent >= self.stop_after {
                true => Judgement::Stop,
                false => Judgement::Slow((now - self.since).as_secs_f64()),
            }
        } else {
            Judgement::Fine
        };
        let next = self.since + self.slow_after * (self.silent as u32 + 1);
        self.next = self.until.map_or(next, |until| until.min(next));
        judgement
    }
}

/// The end of a file, as text.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // What an earlier session printed is another story.
    text.rsplit_once(HEAD).map_or(text.as_ref(), |(_, last)| last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_slow_and_then_too_long() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let running = Running { slow_after: 10.0, stop_after: 3, ..Running::default() };
        let mut patience = Patience::new(&running, start);
        assert!(matches!(patience.judge(at(9), 0), Judgement::Fine));
        assert!(matches!(patience.judge(at(10), 0), Judgement::Slow(_)));
        assert_eq!(patience.next, at(20));
        assert!(matches!(patience.judge(at(20), 5), Judgement::Fine), "it printed something");
        assert_eq!(patience.next, at(30));
        assert!(matches!(patience.judge(at(30), 5), Judgement::Slow(_)));
        assert!(matches!(patience.judge(at(40), 5), Judgement::Slow(_)));
        assert!(matches!(patience.judge(at(50), 5), Judgement::Stop));

        let limited = Running { time_limit: 25.0, stop_after: 0, ..running };
        let mut patience = Patience::new(&limited, start);
        patience.progress(at(24));
        assert!(matches!(patience.judge(at(25), 0), Judgement::Stop));
    }
}
