//! Schedulers: the learning rate at every step.
//!
//! All but `reduce_on_plateau` are functions of the position alone, so a resumed run needs no
//! state from them. Warm-up stands in front of any of them: it counts optimizer steps, and the
//! schedule proper starts at its own zero when the warm-up is over (PyTorch's `SequentialLR`).

pub mod chart;
pub mod constant;
pub mod cosine;
pub mod cosine_restarts;
pub mod exponential;
pub mod linear;
pub mod multi_step;
pub mod one_cycle;
pub mod plateau;
pub mod polynomial;
pub mod step;
pub mod warmup;

use warmup::Warmup;

crate::config_family! {
    /// How the learning rate moves.
    pub enum SchedulerConfig("scheduler") {
        Constant(constant::Constant) = "constant",
        Cosine(cosine::Cosine) = "cosine",
        CosineRestarts(cosine_restarts::CosineRestarts) = "cosine_restarts",
        Exponential(exponential::Exponential) = "exponential",
        Linear(linear::Linear) = "linear",
        MultiStep(multi_step::MultiStep) = "multi_step",
        OneCycle(one_cycle::OneCycle) = "one_cycle",
        Polynomial(polynomial::Polynomial) = "polynomial",
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
    /// The length of a training of `epochs`, cut off after `max_steps` unless that is 0.
    pub fn new(steps_per_epoch: usize, epochs: usize, max_steps: usize) -> Self {
        let steps = steps_per_epoch.saturating_mul(epochs);
        let steps = if max_steps == 0 { steps } else { steps.min(max_steps) };
        Horizon { steps, steps_per_epoch }
    }

    /// `step` counted in `unit`, whole units.
    fn count(&self, step: usize, unit: Unit) -> usize {
        match unit {
            Unit::Step => step,
            Unit::Epoch => step / self.steps_per_epoch.max(1),
        }
    }

    /// How far `step` is through `period` units, from 0 to 1; a period of 0 is the whole horizon.
    fn progress(&self, step: usize, period: usize, unit: Unit) -> f64 {
        let period = if period == 0 { self.count(self.steps, unit) } else { period };
        (self.count(step, unit) as f64 / period.max(1) as f64).min(1.0)
    }
}

/// A schedule without its warm-up.
pub trait Schedule: std::fmt::Debug {
    /// Learning rate before optimizer step `step` (0-based, counted from the end of the warm-up);
    /// `horizon` is what is left after the warm-up.
    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64;

    /// The rate that a warm-up leads up to.
    fn first(&self, base: f64) -> f64 {
        base
    }

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
        let schedule: Box<dyn Schedule> = match self {
            SchedulerConfig::Constant(config) => config.build(),
            SchedulerConfig::Cosine(config) => config.build(),
            SchedulerConfig::CosineRestarts(config) => config.build(),
            SchedulerConfig::Exponential(config) => config.build(),
            SchedulerConfig::Linear(config) => config.build(),
            SchedulerConfig::MultiStep(config) => config.build(),
            SchedulerConfig::OneCycle(config) => config.build(),
            SchedulerConfig::Polynomial(config) => config.build(),
            SchedulerConfig::ReduceOnPlateau(config) => config.build(),
            SchedulerConfig::Step(config) => config.build(),
        };
        Scheduler { base, horizon, warmup: self.warmup().clone(), schedule }
    }

    /// What stands in front of the schedule.
    pub fn warmup(&self) -> &Warmup {
        match self {
            SchedulerConfig::Constant(config) => &config.warmup,
            SchedulerConfig::Cosine(config) => &config.warmup,
            SchedulerConfig::CosineRestarts(config) => &config.warmup,
            SchedulerConfig::Exponential(config) => &config.warmup,
            SchedulerConfig::Linear(config) => &config.warmup,
            SchedulerConfig::MultiStep(config) => &config.warmup,
            SchedulerConfig::OneCycle(config) => &config.warmup,
            SchedulerConfig::Polynomial(config) => &config.warmup,
            SchedulerConfig::ReduceOnPlateau(config) => &config.warmup,
            SchedulerConfig::Step(config) => &config.warmup,
        }
    }

    /// What is wrong with the values taken together, `base` being `optimizer.lr`: (key below
    /// `scheduler`, message).
    pub fn validate(&self, base: f64) -> Vec<(&'static str, String)> {
        match self {
            SchedulerConfig::Cosine(config) => no_higher(config.min_lr, base),
            SchedulerConfig::CosineRestarts(config) => no_higher(config.min_lr, base),
            SchedulerConfig::Linear(config) => config.validate(),
            SchedulerConfig::OneCycle(config) => config.validate(),
            SchedulerConfig::Polynomial(config) => no_higher(config.min_lr, base),
            SchedulerConfig::ReduceOnPlateau(config) => no_higher(config.min_lr, base),
            SchedulerConfig::Constant(_)
            | SchedulerConfig::Exponential(_)
            | SchedulerConfig::MultiStep(_)
            | SchedulerConfig::Step(_) => Vec::new(),
        }
    }
}

/// Refuses a lower bound above the rate that it bounds: the rate would climb, or never move.
fn no_higher(min_lr: f64, base: f64) -> Vec<(&'static str, String)> {
    if min_lr > base {
        let message = format!("is {min_lr}, above optimizer.lr, which is {base}");
        return vec![("min_lr", message)];
    }
    Vec::new()
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
            return self.schedule.first(self.base) * self.warmup.factor(step, length);
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
