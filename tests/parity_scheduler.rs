//! Schedulers against `torch.optim.lr_scheduler`: `tools/parity/scheduler.py`.

mod common;

use arcrun::scheduler::{Horizon, Scheduler};
use common::{Comparison, assert_known, experiment, of_kind, read_json};
use serde::Deserialize;
use toml::{Table, Value};

/// Cases of keys that arcrun lacks: `eps`, `threshold_mode` "abs", `mode` "max".
const SKIPPED: [&str; 3] =
    ["plateau_flat_eps", "plateau_near_threshold_absolute", "plateau_maximum"];

/// PyTorch's keys that arcrun has as constants.
const FIXED: [(&str, &str); 3] =
    [("mode", "\"min\""), ("threshold_mode", "\"rel\""), ("eps", "1e-8")];

/// Kinds that count nothing, epochs only, or steps only.
const WITHOUT_UNIT: [&str; 3] = ["constant", "reduce_on_plateau", "one_cycle"];

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    config: Table,
    base_lr: f64,
    warm_up: Option<WarmUp>,
    /// None is NaN.
    metrics: Option<Vec<Option<f64>>>,
    lr: Vec<f64>,
}

#[derive(Deserialize)]
struct WarmUp {
    start_factor: f64,
    end_factor: f64,
    total_iters: usize,
}

impl Case {
    /// The keys of `[scheduler]`, with `unit` where the kind has it.
    fn keys(&self, unit: &str) -> Table {
        let mut keys = of_kind(&self.kind, Table::new());
        for (name, value) in &self.config {
            let name = match name.as_str() {
                "step_size" => "every",
                "T_max" | "T_0" => "period",
                "total_iters" => "period",
                "T_mult" => "multiplier",
                "anneal_strategy" => "anneal",
                "eta_min" => "min_lr",
                // The whole training here.
                "total_steps" => {
                    let steps = (self.lr.len() - self.warm_up_steps()) as i64;
                    assert_eq!(*value, Value::Integer(steps), "{}", self.name);
                    continue;
                }
                fixed if FIXED.iter().any(|(name, _)| *name == fixed) => {
                    let (_, only) = FIXED.iter().find(|(name, _)| *name == fixed).unwrap();
                    let only: Value = only.parse().unwrap();
                    assert_eq!(*value, only, "{}: {fixed} is not a key here", self.name);
                    continue;
                }
                same => same,
            };
            keys.insert(name.into(), value.clone());
        }
        if !WITHOUT_UNIT.contains(&self.kind.as_str()) {
            keys.insert("unit".into(), unit.into());
        }
        keys
    }

    /// The same with the warm-up, its length stated by `length`: a key and its value.
    fn with_warm_up(&self, length: (&str, Value)) -> Table {
        let mut keys = self.keys("step");
        if let Some(WarmUp { start_factor, end_factor, total_iters: _ }) = self.warm_up {
            assert_eq!(end_factor, 1.0, "{}", self.name);
            let mut warmup = Table::new();
            warmup.insert("start".into(), start_factor.into());
            warmup.insert(length.0.into(), length.1);
            keys.insert("warmup".into(), Value::Table(warmup));
        }
        keys
    }

    fn warm_up_steps(&self) -> usize {
        self.warm_up.as_ref().map_or(0, |warm_up| warm_up.total_iters)
    }

    fn build(&self, keys: &Table, horizon: Horizon) -> Scheduler {
        experiment("scheduler", keys).scheduler.build(self.base_lr, horizon)
    }

    /// Holds `lr(step)` to element `step / steps_per_lr` of the reference.
    fn compare(&self, comparison: &mut Comparison, scheduler: &Scheduler, steps_per_lr: usize) {
        for step in 0..self.lr.len() * steps_per_lr {
            let expected = self.lr[step / steps_per_lr];
            self.number(comparison, step, scheduler.lr(step), expected);
        }
    }

    /// 1e-12 relative, and 1e-15 absolute for a cosine that ends at 0.
    fn number(&self, comparison: &mut Comparison, step: usize, ours: f64, expected: f64) {
        let name = format!("{}.lr[{step}]", self.name);
        let least = if self.kind == "cosine" { 1e-3 } else { 0.0 };
        comparison.number(&name, ours, expected, expected.abs().max(least), 1e-12);
    }
}

fn cases(plateau: bool) -> Vec<Case> {
    let cases: Vec<Case> = read_json("scheduler/cases.json");
    assert_known(&SKIPPED, cases.iter().map(|case| case.name.as_str()));
    let cases = cases.into_iter().filter(|case| {
        !SKIPPED.contains(&case.name.as_str()) && (case.kind == "reduce_on_plateau") == plateau
    });
    cases.collect()
}

#[test]
fn schedules_by_step_with_their_warm_up() {
    let cases = cases(false);
    let mut comparison = Comparison::default();
    for case in &cases {
        let horizon = Horizon { steps: case.lr.len(), steps_per_epoch: 4 };
        let steps = case.warm_up_steps();
        let in_steps = case.with_warm_up(("steps", Value::Integer(steps as i64)));
        case.compare(&mut comparison, &case.build(&in_steps, horizon), 1);
        let in_epochs = case.with_warm_up(("epochs", Value::Float(steps as f64 / 4.0)));
        case.compare(&mut comparison, &case.build(&in_epochs, horizon), 1);
    }
    comparison.finish();
    assert_eq!(cases.len(), 61, "cases");
}

#[test]
fn schedules_by_epoch() {
    let mut cases = cases(false);
    cases.retain(|case| case.warm_up.is_none() && case.kind != "one_cycle");
    let mut comparison = Comparison::default();
    for case in &cases {
        let horizon = Horizon { steps: 3 * case.lr.len(), steps_per_epoch: 3 };
        case.compare(&mut comparison, &case.build(&case.keys("epoch"), horizon), 3);
    }
    comparison.finish();
    assert_eq!(cases.len(), 22, "cases");
}

/// Without a period the cosine takes what the warm-up leaves.
#[test]
fn a_cosine_fills_the_training() {
    let mut cases = cases(false);
    cases.retain(|case| case.kind == "cosine");
    let mut comparison = Comparison::default();
    for case in &cases {
        let mut keys = case.with_warm_up(("steps", Value::Integer(case.warm_up_steps() as i64)));
        let Some(Value::Integer(period)) = keys.remove("period") else { panic!("{}", case.name) };
        let steps = case.warm_up_steps() + period as usize;
        let horizon = Horizon { steps, steps_per_epoch: 1 };
        case.compare(&mut comparison, &case.build(&keys, horizon), 1);
    }
    comparison.finish();
    assert_eq!(cases.len(), 10, "cases");
}

/// So do the line and the power.
#[test]
fn falls_fill_the_training() {
    let mut cases = cases(false);
    cases.retain(|case| case.config.get("total_iters") == Some(&Value::Integer(100)));
    let mut comparison = Comparison::default();
    for case in &cases {
        let steps = case.warm_up_steps();
        let mut keys = case.with_warm_up(("steps", Value::Integer(steps as i64)));
        assert_eq!(keys.remove("period"), Some(Value::Integer(100)), "{}", case.name);
        let horizon = Horizon { steps: steps + 100, steps_per_epoch: 7 };
        case.compare(&mut comparison, &case.build(&keys, horizon), 1);
    }
    comparison.finish();
    assert_eq!(cases.len(), 7, "cases");
}

/// A period of 0 counts whole epochs where the unit is the epoch.
#[test]
fn falls_fill_the_epochs() {
    let mut cases = cases(false);
    cases.retain(|case| case.config.get("total_iters") == Some(&Value::Integer(100)));
    cases.retain(|case| case.warm_up.is_none());
    let mut comparison = Comparison::default();
    for case in &cases {
        let mut keys = case.keys("epoch");
        assert_eq!(keys.remove("period"), Some(Value::Integer(100)), "{}", case.name);
        let horizon = Horizon { steps: 300, steps_per_epoch: 3 };
        case.compare(&mut comparison, &case.build(&keys, horizon), 3);
    }
    comparison.finish();
    assert_eq!(cases.len(), 4, "cases");
}

/// Twice: once straight through, once taken up from its saved state at every epoch.
#[test]
fn the_plateau_and_its_state() {
    let cases = cases(true);
    let horizon = Horizon { steps: 1000, steps_per_epoch: 7 };
    let mut comparison = Comparison::default();
    for case in &cases {
        let keys = case.keys("epoch");
        let mut straight = case.build(&keys, horizon);
        let mut resumed = case.build(&keys, horizon);
        let metrics = case.metrics.as_ref().unwrap();
        assert_eq!(case.lr.len(), metrics.len() + 1, "{}", case.name);
        for (epoch, &expected) in case.lr.iter().enumerate() {
            let step = 7 * epoch;
            case.number(&mut comparison, step, straight.lr(step), expected);
            assert_eq!(straight.lr(step), straight.lr(step + 6), "{}: one epoch", case.name);
            let text = resumed.state().to_string();
            resumed = case.build(&keys, horizon);
            resumed.load_state(&serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(resumed.lr(step), straight.lr(step), "{}: resumed", case.name);
            if let Some(metric) = metrics.get(epoch) {
                straight.observe(metric.unwrap_or(f64::NAN));
                resumed.observe(metric.unwrap_or(f64::NAN));
            }
        }
    }
    comparison.finish();
    assert_eq!(cases.len(), 11, "cases");
}
