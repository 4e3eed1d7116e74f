//! One rise to the full rate and one fall far below the start (Smith & Topin 2017, arXiv:1708.07120).
//! Reference: `torch.optim.lr_scheduler.OneCycleLR` with `cycle_momentum=False`, also in that the
//! phases end at fractions of a step, so that the peak itself is missed where `pct_start` times the
//! steps is not whole.
//!
//! Differs from the reference in: momentum is not cycled; a first phase that ends at step 0 has the
//! full rate there, where the reference divides by zero.

use super::warmup::Warmup;
use super::{Horizon, Schedule};
use std::f64::consts::PI;

crate::config_choice! {
    /// Shape of the rise and the fall.
    pub enum Anneal {
        /// Half a cosine.
        Cos = "cos",
        /// A straight line.
        Linear = "linear",
    }
}

crate::config_struct! {
    /// Rise to `optimizer.lr` and fall far below the start, once over the training (Smith & Topin 2017,
    /// arXiv:1708.07120; PyTorch's OneCycleLR). Moves at every step; momentum is not cycled.
    pub struct OneCycle {
        /// Share of the steps in which the rate rises.
        pub pct_start: f64 = 0.3, between(0.0, 1.0);
        /// Shape of the rise and the fall.
        pub anneal: Anneal = Anneal::Cos;
        /// The rate starts at `optimizer.lr` divided by this; a warm-up leads up to there.
        pub div_factor: f64 = 25.0, at_least(1.0);
        /// The rate ends at that start divided by this.
        pub final_div_factor: f64 = 1e4, at_least(1.0);
        /// Fall as long as it rose, back to the start, and only then to the end.
        pub three_phase: bool = false;
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built(OneCycle);

impl OneCycle {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built(self.clone()))
    }

    pub fn validate(&self) -> Vec<(&'static str, String)> {
        if self.three_phase && self.pct_start > 0.5 {
            let message = format!(
                "is {}, but with scheduler.three_phase the rate falls for as long as it rises: must \
                 be at most 0.5",
                self.pct_start
            );
            return vec![("pct_start", message)];
        }
        Vec::new()
    }
}

impl Schedule for Built {
    fn first(&self, base: f64) -> f64 {
        base / self.0.div_factor
    }

    fn lr(&self, base: f64, step: usize, horizon: Horizon) -> f64 {
        let OneCycle { pct_start, anneal, div_factor, final_div_factor, three_phase, warmup: _ } =
            &self.0;
        let steps = horizon.steps.max(1);
        let low = base / div_factor;
        let bottom = low / final_div_factor;
        let peak = pct_start * steps as f64;
        let last = (steps - 1) as f64;
        // (end of the phase, rate at its start, rate at its end)
        let phases: &[(f64, f64, f64)] = match three_phase {
            false => &[(peak - 1.0, low, base), (last, base, bottom)],
            true => &[(peak - 1.0, low, base), (2.0 * peak - 2.0, base, low), (last, low, bottom)],
        };
        let step = step.min(steps - 1) as f64;
        let mut start = 0.0;
        for &(end, from, to) in phases {
            if step <= end {
                let progress = if end > start { (step - start) / (end - start) } else { 1.0 };
                return match anneal {
                    Anneal::Cos => to + (from - to) / 2.0 * (1.0 + (PI * progress).cos()),
                    Anneal::Linear => (to - from) * progress + from,
                };
            }
            start = end;
        }
        bottom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the reference divides by zero.
    #[test]
    fn a_rise_of_one_step_is_the_peak() {
        let built = OneCycle { pct_start: 0.1, ..OneCycle::default() }.build();
        let horizon = Horizon { steps: 10, steps_per_epoch: 5 };
        assert_eq!(built.lr(0.1, 0, horizon), 0.1);
        assert!(built.lr(0.1, 1, horizon) < 0.1);
        let one = Horizon { steps: 1, steps_per_epoch: 5 };
        assert!(built.lr(0.1, 0, one).is_finite());
    }

    #[test]
    fn it_stays_at_the_end() {
        let built = OneCycle::default().build();
        let horizon = Horizon { steps: 10, steps_per_epoch: 5 };
        assert_eq!(built.lr(0.1, 10, horizon), built.lr(0.1, 9, horizon));
        assert!((built.lr(0.1, 9, horizon) - 0.1 / 25.0 / 1e4).abs() < 1e-18);
    }
}
