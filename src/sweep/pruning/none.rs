//! No pruning: every trial runs to its end.

use super::{Seen, Verdict};

crate::config_struct! {
    /// Every trial runs to its end.
    pub struct NoPruning {}
}

impl NoPruning {
    pub fn verdict(&self, _trials: &[Seen], _trial: usize) -> Verdict {
        let Self {} = self;
        Verdict::Continue
    }

    pub fn promotion(&self, _trials: &[Seen]) -> Option<usize> {
        None
    }
}
