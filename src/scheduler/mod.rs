//! Schedulers: the learning rate at every step.
//!
//! All but `reduce_on_plateau` are functions of the position alone, so a resumed run needs no
//! state from them. Warm-up stands in front of any of them: it counts optimizer steps, and the
//! schedule proper starts at its own zero when the warm-up is over (PyTorch's `SequentialLR`).

pub mod constant;
pub mod cosine;
pub mod multi_step;
pub mod plateau;
pub mod step;
pub mod warmup;

use warmup::Warmup;

crate::config_family! {
    /// How the learning rate moves.
    pub enum SchedulerConfig("scheduler") {
        Constant(constant::Constant) = "constant",
        Cosine(cosine::Cosine) = "cosine",
        MultiStep(multi_step::MultiStep) = "multi_step",
        ReduceOnPlateau(plateau::ReduceOnPlateau) = "reduce_on_plateau",
        Step(step::Step) = "step",
    }
}

crate::config_choice! {
    /// What a schedule counts.
    pub enum Unit {
        /// Optimizer steps.
        Step = "step",
        /// Whole epochs.
        Epoch = "epoch",
    }
}

/// Length of the training, in optimizer steps.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    pub steps: usize,
    pub steps_per_epoch: usize,
}

impl Horizon {
    /// `step` counted in `unit`, whole units.
    fn count(&self, step: usize, unit: Unit) -> usize {
        match unit {
            Unit::Step => step,
            Unit::Epoch => step / self.steps_per_epoch.max(1),
        }
    }
}

/// A schedule without its warm-up.
pub trait Schedule: std::fmt::Debug {
    /// Learning rate before optimizer step `step` (0-based, counted from the end of the warm-up);
    /// `horizon` is what is left after the warm-up.
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64;

    /// The monitored metric at the end of an epoch; lower is better.
    fn observe(&mut self, _metric: f64, _base: f64) {}

    /// What a checkpoint must carry.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn load_state(&mut self, _state: &serde_json::Value) -> crate::Result<()> {
        Ok(())
    }
}

impl SchedulerConfig {
    pub fn build(&self, base: f64, horizon: Horizon) -> Scheduler {
        let (schedule, warmup): (Box<dyn Schedule>, &Warmup) = match self {
            SchedulerConfig::Constant(config) => (config.build(), &config.warmup),
            SchedulerConfig::Cosine(config) => (config.build(), &config.warmup),
            SchedulerConfig::MultiStep(config) => (config.build(), &config.warmup),
            SchedulerConfig::ReduceOnPlateau(config) => (config.build(), &config.warmup),
            SchedulerConfig::Step(config) => (config.build(), &config.warmup),
        };
        Scheduler { base, horizon, warmup: warmup.clone(), schedule }
    }
}

/// Warm-up, then a schedule.
#[derive(Debug)]
pub struct Scheduler {
    base: f64,
    horizon: Horizon,
    warmup: Warmup,
    schedule: Box<dyn Schedule>,
}

impl Scheduler {
    /// Learning rate for optimizer step `step` (0-based).
    pub fn lr(&self, step: usize) -> f64 {
        let length = self.warmup.length(self.horizon);
        if step < length {
            return self.base * self.warmup.factor(step, length);
        }
        let left = self.horizon.steps.saturating_sub(length);
        let horizon = Horizon { steps: left, ..self.horizon };
        self.schedule.lr(self.base, step - length, horizon)
    }

    pub fn observe(&mut self, metric: f64) {
        self.schedule.observe(metric, self.base);
    }

    pub fn state(&self) -> serde_json::Value {
        self.schedule.state()
    }

    pub fn load_state(&mut self, state: &serde_json::Value) -> crate::Result<()> {
        self.schedule.load_state(state)
    }
}
