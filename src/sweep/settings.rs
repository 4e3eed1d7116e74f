//! How a sweep runs and what it is judged by: the tables of a sweep file besides its axes.

use super::state::Observation;

/// Longest duration that makes sense, seconds.
const YEAR: f64 = 3.2e7;

crate::config_choice! {
    /// What is better.
    pub enum Goal {
        /// By the metric: smaller losses and error rates, larger accuracies and areas.
        Auto = "auto",
        /// Larger values.
        Maximize = "maximize",
        /// Smaller values.
        Minimize = "minimize",
    }
}

crate::config_choice! {
    /// Which of a trial's values counts.
    pub enum Counts {
        /// The last one.
        Last = "last",
        /// The best one over the epochs.
        Best = "best",
    }
}

crate::config_struct! {
    /// What trials are compared by.
    pub struct Objective {
        /// A column of epochs.csv such as `val_loss`, or SET/METRIC of eval.csv such as
        /// `unseen/accuracy`, of checkpoint `latest`.
        pub metric: String = "val_loss".into(), required();
        /// `maximize`, `minimize` or, by the metric's name, `auto`.
        pub goal: Goal = Goal::Auto;
        /// Whether a trial's `last` value counts or its `best`.
        pub value: Counts = Counts::Last;
    }
}

impl Objective {
    /// What counts of a trial's values, which are in order: the last, or the best finite one.
    pub fn of(&self, seen: &[Observation]) -> Option<f64> {
        let last = seen.last().map(|seen| seen.value);
        match self.value {
            Counts::Last => last,
            Counts::Best => {
                let finite = seen.iter().map(|seen| seen.value).filter(|value| value.is_finite());
                let better = |a: &f64, b: &f64| self.score(*a).total_cmp(&self.score(*b));
                // Of a trial that never had a finite one, whatever it had.
                finite.max_by(better).or(last)
            }
        }
    }

    /// By the name: a loss, an error rate, a time.
    fn lower_is_better(&self) -> bool {
        let name = self.metric.rsplit('/').next().unwrap_or(&self.metric);
        ["loss", "eer", "far@", "standard_error", "seconds"].iter().any(|low| name.contains(low))
            && !name.starts_with("tar@")
            && !name.starts_with("val@")
    }

    /// The value as one that is better the larger it is.
    pub fn score(&self, value: f64) -> f64 {
        match self.goal {
            Goal::Maximize => value,
            Goal::Minimize => -value,
            Goal::Auto => match self.lower_is_better() {
                true => -value,
                false => value,
            },
        }
    }
}

crate::config_struct! {
    /// How trials are run.
    pub struct Running {
        /// Trials at a time; 0 is one for each GPU, or one.
        pub jobs: usize = 0, at_most(4096);
        /// CPU threads of a trial; 0 divides the cores by the jobs.
        pub threads: usize = 0, at_most(4096);
        /// Seconds without a step after which a trial is called slow.
        pub slow_after: f64 = 300.0, positive(), at_most(YEAR);
        /// How many of these without a step until it is stopped; 0 is never.
        pub stop_after: usize = 4, at_most(1_000_000);
        /// Seconds that a trial has for its last checkpoint when it is stopped, then it is killed.
        pub grace: f64 = 60.0, positive(), at_most(YEAR);
        /// Seconds that a trial may take in all; 0 is no limit.
        pub time_limit: f64 = 0.0, non_negative(), at_most(YEAR);
    }
}

crate::config_struct! {
    /// How often a trial that ended badly is tried again, by what happened to it.
    pub struct Retry {
        /// It exited with an error.
        pub failed: usize = 1;
        /// It crashed or was killed, as the system does where memory runs out.
        pub killed: usize = 2;
        /// It said that memory (of the machine or the GPU) is exhausted.
        pub out_of_memory: usize = 1;
        /// It took too long, or did no step for too long.
        pub timeout: usize = 1;
        /// Its loss stopped being finite: the same again gives the same.
        pub diverged: usize = 0;
        /// Seconds before the first repetition; doubles each time.
        pub wait: f64 = 2.0, non_negative(), at_most(YEAR);
        /// Longest wait, seconds.
        pub longest_wait: f64 = 300.0, non_negative(), at_most(YEAR);
    }
}
