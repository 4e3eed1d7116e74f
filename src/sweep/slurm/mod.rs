//! Trials as a job array of Slurm.

crate::config_struct! {
    /// What a task of the job array asks Slurm for. Empty and 0 leave it to the cluster.
    pub struct Slurm {
        /// Partition.
        pub partition: String = String::new();
        /// GPUs of a trial.
        pub gpus: usize = 0;
        /// CPUs of a trial.
        pub cpus: usize = 0;
        /// Memory of a trial, as Slurm writes it: `16G`.
        pub mem: String = String::new();
        /// Time limit of a trial, as Slurm writes it: `04:00:00`.
        pub time: String = String::new();
        /// Account.
        pub account: String = String::new();
        /// Seconds before the time limit at which a trial is stopped with a checkpoint and requeued.
        pub signal_before: usize = 120;
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
