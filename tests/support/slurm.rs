//! A real Slurm, which `tools/slurm/start.sh` starts on this machine.

use super::Ended;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// A Slurm of one node with 8 CPUs and arrays of at most 5 tasks, shared by the tests that run.
pub struct Slurm {
    folder: PathBuf,
}

static RUNNING: Mutex<Weak<Slurm>> = Mutex::new(Weak::new());

fn tool(name: &str, folder: &Path) -> Ended {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/slurm").join(name);
    Ended::of(Command::new(path).arg(folder))
}

impl Slurm {
    /// None, aloud, where there is none.
    pub fn get() -> Option<Arc<Slurm>> {
        // One that panicked leaves no Slurm behind: its share was dropped.
        let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(slurm) = running.upgrade() {
            return Some(slurm);
        }
        for program in ["slurmctld", "slurmd", "munged"] {
            let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists());
            if !found {
                println!("skipped: no {program} here (Debian: apt install slurm-wlm munge)");
                return None;
            }
        }
        // The same for the same checkout: what killed tests left running is stopped first.
        let checkout = env!("CARGO_TARGET_TMPDIR").bytes();
        let number = checkout.fold(5381u32, |sum, byte| sum.wrapping_mul(33) ^ u32::from(byte));
        let folder = std::env::temp_dir().join(format!("arcrun-slurm-{number:08x}"));
        let ended = tool("start.sh", &folder);
        if ended.code == Some(3) {
            println!("skipped: {}", ended.stderr.trim());
            return None;
        }
        ended.exits(0);
        let slurm = Arc::new(Slurm { folder });
        *running = Arc::downgrade(&slurm);
        Some(slurm)
    }

    pub fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// One of Slurm's commands.
    pub fn say(&self, program: &str, args: &[&str]) -> Ended {
        Ended::of(Command::new(program).args(args).env("SLURM_CONF", self.conf()))
    }

    /// A field of `scontrol show job`; empty for a job that is unknown.
    pub fn field(&self, job: &str, field: &str) -> String {
        let shown = self.say("scontrol", &["--oneliner", "show", "job", job]).stdout;
        let words = shown.split_whitespace();
        let mut values = words.filter_map(|word| word.strip_prefix(field)?.strip_prefix('='));
        values.next().unwrap_or("").to_owned()
    }

    /// A requeued task waits for two minutes; this ends the wait.
    pub fn start_now(&self, task: &str) {
        let args = ["update", &format!("JobId={task}"), "StartTime=now"];
        eventually("the task may start", || self.say("scontrol", &args).code == Some(0));
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        tool("stop.sh", &self.folder);
    }
}

#[track_caller]
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    eventually_or(what, done, String::new);
}

/// Waits for a condition. Only to give up on what hangs: nothing is measured.
#[track_caller]
pub fn eventually_or(what: &str, mut done: impl FnMut() -> bool, story: impl Fn() -> String) {
    let until = Instant::now() + Duration::from_secs(240);
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}\n{}", story());
        std::thread::sleep(Duration::from_millis(100));
    }
}
