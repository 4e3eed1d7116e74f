//! The same learning rate throughout.

use super::warmup::Warmup;
use super::{Horizon, Schedule};

crate::config_struct! {
    /// The same learning rate throughout.
    pub struct Constant {
        pub warmup: Warmup = Warmup::default();
    }
}

#[derive(Debug)]
struct Built;

impl Constant {
    pub fn build(&self) -> Box<dyn Schedule> {
        let Constant { warmup: _ } = self;
        Box::new(Built)
    }
}

impl Schedule for Built {
    fn lr(&self, base: f64, _step: usize, _horizon: Horizon) -> f64 {
        base
    }
}
