//! What a schedule will do, as a picture.

use super::{Horizon, Scheduler, SchedulerConfig};
use crate::plot::{Band, LineChart, Mark, Series, TopAxis, number};

/// Steps beyond which not every one is looked at; more can't be told apart on any paper.
const SAMPLES: usize = 200_000;

/// More marks than this would hide the line.
const MARKS: usize = 40;

/// The learning rate over the steps of a training that starts at `base`: the warm-up shaded, sudden
/// changes marked, epochs along the upper edge. `reduce_on_plateau` is drawn for a loss that never
/// falls, and says so.
pub fn chart(name: &str, config: &SchedulerConfig, base: f64, horizon: Horizon) -> LineChart {
    let Horizon { steps, steps_per_epoch } = horizon;
    let mut scheduler = config.build(base, horizon);
    let rates = rates(&mut scheduler, horizon);
    let warm_up = config.warmup().length(horizon).min(steps);
    let proper: Vec<(usize, f64)> =
        rates.iter().copied().filter(|(step, _)| *step >= warm_up).collect();
    let proper = if proper.is_empty() { &rates } else { &proper };

    let mut subtitle = vec![length(horizon)];
    if matches!(config, SchedulerConfig::ReduceOnPlateau(_)) {
        subtitle.push(
            "Worst case: drawn for a loss that never falls. The real schedule depends on the \
             monitored loss."
                .into(),
        );
    }
    let lowest = proper.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let mut y_marks = vec![Mark { at: base, name: format!("optimizer.lr {}", number(base)) }];
    if lowest.is_finite() && (lowest - base).abs() > 1e-9 * base {
        y_marks.push(Mark { at: lowest, name: format!("lowest {}", number(lowest)) });
    }
    LineChart {
        title: format!("{name}: {} schedule", config.kind()),
        subtitle,
        x_label: "optimizer step".into(),
        y_label: "learning rate".into(),
        log_y: falls_by_factors(config) && lowest > 0.0 && base >= 20.0 * lowest,
        y_range: None,
        x_range: Some((0.0, steps.max(1) as f64)),
        top: Some(TopAxis { label: "epoch".into(), every: steps_per_epoch.max(1) as f64 }),
        series: vec![Series::line("learning rate", held(&rates, steps))],
        bands: match warm_up {
            0 => Vec::new(),
            to => vec![Band { from: 0.0, to: to as f64, name: "warm-up".into() }],
        },
        x_marks: marks(config, proper, steps_per_epoch),
        y_marks,
        ..LineChart::default()
    }
}

/// `900 steps: 9 epochs of 100`
pub fn length(Horizon { steps, steps_per_epoch }: Horizon) -> String {
    let epochs = steps as f64 / steps_per_epoch.max(1) as f64;
    let plural = |count: f64, what: &str| match count == 1.0 {
        true => format!("1 {what}"),
        false => format!("{} {what}s", (count * 100.0).round() / 100.0),
    };
    let (steps, epochs) = (plural(steps as f64, "step"), plural(epochs, "epoch"));
    format!("{steps}: {epochs} of {steps_per_epoch}")
}

/// Steps and the rates that they are made with: all of them, or evenly picked ones.
fn rates(scheduler: &mut Scheduler, horizon: Horizon) -> Vec<(usize, f64)> {
    let every = horizon.steps.div_ceil(SAMPLES).max(1);
    let mut observed = 0;
    let mut rates = Vec::new();
    for step in (0..horizon.steps).step_by(every) {
        while observed < step / horizon.steps_per_epoch.max(1) {
            scheduler.observe(1.0);
            observed += 1;
        }
        rates.push((step, scheduler.lr(step)));
    }
    rates
}

/// The line that keeps each rate until the next one, corners only.
fn held(rates: &[(usize, f64)], steps: usize) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (n, (step, rate)) in rates.iter().enumerate() {
        let until = rates.get(n + 1).map_or(steps, |next| next.0);
        match line.last_mut() {
            Some(last) if last.1 == *rate => last.0 = until as f64,
            _ => line.extend([(*step as f64, *rate), (until as f64, *rate)]),
        }
    }
    line
}

/// Schedules whose later part a linear axis would show as 0.
fn falls_by_factors(config: &SchedulerConfig) -> bool {
    match config {
        SchedulerConfig::Exponential(_)
        | SchedulerConfig::MultiStep(_)
        | SchedulerConfig::ReduceOnPlateau(_)
        | SchedulerConfig::Step(_) => true,
        SchedulerConfig::Constant(_)
        | SchedulerConfig::Cosine(_)
        | SchedulerConfig::CosineRestarts(_)
        | SchedulerConfig::Linear(_)
        | SchedulerConfig::OneCycle(_)
        | SchedulerConfig::Polynomial(_) => false,
    }
}

/// Where the rate jumps, and the peak of a cycle.
fn marks(config: &SchedulerConfig, rates: &[(usize, f64)], steps_per_epoch: usize) -> Vec<Mark> {
    let jumps = |jumps: fn(f64, f64) -> bool| -> Vec<usize> {
        let pairs = rates.windows(2).filter(|pair| jumps(pair[0].1, pair[1].1));
        pairs.map(|pair| pair[1].0).collect()
    };
    let at = match config {
        SchedulerConfig::MultiStep(_)
        | SchedulerConfig::ReduceOnPlateau(_)
        | SchedulerConfig::Step(_) => jumps(|before, after| before != after),
        SchedulerConfig::CosineRestarts(_) => jumps(|before, after| before < after),
        SchedulerConfig::OneCycle(_) => {
            let peak = rates.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let name = "peak".to_string();
            return peak.map(|(step, _)| Mark { at: *step as f64, name }).into_iter().collect();
        }
        SchedulerConfig::Constant(_)
        | SchedulerConfig::Cosine(_)
        | SchedulerConfig::Exponential(_)
        | SchedulerConfig::Linear(_)
        | SchedulerConfig::Polynomial(_) => Vec::new(),
    };
    if at.len() > MARKS {
        return Vec::new();
    }
    let name = |step: usize| match step.checked_rem(steps_per_epoch) {
        Some(0) => format!("epoch {}", step / steps_per_epoch),
        _ => format!("step {step}"),
    };
    at.into_iter().map(|step| Mark { at: step as f64, name: name(step) }).collect()
}
