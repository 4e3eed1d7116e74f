//! Trials as job arrays of Slurm.
//!
//! A task of an array is `run sweep task FOLDER --offset FIRST`: its trial is the one at place
//! `FIRST + task` of the manifest. The journal and the trial's lock say whether there is anything
//! to do, so a task more does no harm and submitting again is always safe.

pub mod cluster;
pub mod queue;
pub mod script;
pub mod status;
pub mod submit;
pub mod task;

pub use cluster::Cluster;
pub use queue::{Job, Queued, jobs, queue};
pub use status::{report, status_lines};
pub use submit::submit;
pub use task::{RunRequest, Task, run_task};

/// What the journal calls this launcher.
pub const LAUNCHER: &str = "slurm";

/// A value that stands on an `#SBATCH` line.
fn one_word() -> crate::config::check::Check<String> {
    crate::config::check::that("one word", |value: &String| {
        !value.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c))
    })
}

crate::config_struct! {
    /// What a task of the job array asks Slurm for. Empty and 0 leave it to the cluster.
    pub struct Slurm {
        /// Partition.
        pub partition: String = String::new(), one_word();
        /// GPUs of a trial.
        pub gpus: usize = 0;
        /// CPUs of a trial.
        pub cpus: usize = 0;
        /// Memory of a trial, as Slurm writes it: `16G`.
        pub mem: String = String::new(), one_word();
        /// Time limit of a trial, as Slurm writes it: `04:00:00`.
        pub time: String = String::new(), one_word();
        /// Account.
        pub account: String = String::new(), one_word();
        /// Seconds before the time limit at which a trial is stopped with a checkpoint and requeued;
        /// 0 is never.
        pub signal_before: usize = 120, at_most(65535);
        /// How often a task may requeue itself; 0 is no limit.
        pub requeue_limit: usize = 100;
        /// Tasks at a time; 0 is no limit.
        pub concurrent: usize = 0;
        /// Further lines of the job script, such as `#SBATCH --constraint=a100` or `module load cuda`.
        pub extra: Vec<String> = Vec::new();
    }
}

crate::config_struct! {
    /// Where trials run besides this machine.
    pub struct Launcher {
        /// With `--launcher slurm`.
        pub slurm: Slurm = Slurm::default();
    }
}
