//! Reduced when the monitored loss stops falling. Reference:
//! `torch.optim.lr_scheduler.ReduceLROnPlateau` with mode "min", threshold_mode "rel".
//!
//! As there: better means below best x (1 - threshold), so with a negative best the rule asks for
//! less than an improvement; a metric that is not a number counts as no improvement.

use super::warmup::Warmup;
use super::{Horizon, Schedule};
use serde::{Deserialize, Serialize};

/// A reduction smaller than this is not made.
const EPS: f64 = 1e-8;

crate::config_struct! {
    /// Multiply by `factor` when the monitored loss has not fallen for `patience` epochs (PyTorch's
    /// ReduceLROnPlateau).
    pub struct ReduceOnPlateau {
        /// Factor of each reduction.
        pub factor: f64 = 0.1, below(0.0, 1.0);
        /// Epochs without improvement that are let pass.
        pub patience: usize = 10;
        /// Relative improvement that counts.
        pub threshold: f64 = 1e-4, non_negative();
        /// Epochs after a reduction in which nothing is counted.
        pub cooldown: usize = 0;
        /// Lower bound of the learning rate.
        pub min_lr: f64 = 0.0, non_negative();
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built {
    config: ReduceOnPlateau,
    state: State,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// None before the first observation and, since JSON has no infinity, for an infinite best.
    best: Option<f64>,
    bad_epochs: usize,
    cooldown: usize,
    /// None until the first reduction.
    lr: Option<f64>,
}

impl ReduceOnPlateau {
    pub fn build(&self) -> Box<dyn Schedule> {
        Box::new(Built { config: self.clone(), state: State::default() })
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, _step: usize, _horizon: Horizon) -> f64 {
        self.state.lr.unwrap_or(base)
    }

    fn observe(&mut self, metric: f64, base: f64) {
        let ReduceOnPlateau { factor, patience, threshold, cooldown, min_lr, warmup: _ } =
            &self.config;
        let state = &mut self.state;
        let best = state.best.unwrap_or(f64::INFINITY);
        if metric < best * (1.0 - threshold) {
            state.best = Some(metric);
            state.bad_epochs = 0;
        } else {
            state.bad_epochs += 1;
        }
        if state.cooldown > 0 {
            state.cooldown -= 1;
            state.bad_epochs = 0;
        }
        if state.bad_epochs > *patience {
            let old = state.lr.unwrap_or(base);
            let new = (old * factor).max(*min_lr);
            if old - new > EPS {
                state.lr = Some(new);
            }
            state.cooldown = *cooldown;
            state.bad_epochs = 0;
        }
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> crate::Result<()> {
        self.state = State::deserialize(state).map_err(|error| {
            crate::Error::input(format!("the checkpoint's scheduler state is not ours: {error}"))
        })?;
        Ok(())
    }
}
