//! Where the time of loading goes.

use std::sync::{Mutex, PoisonError};

/// Seconds by stage: of all threads together, but for `wait`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stages {
    /// Files into memory.
    pub read: f64,
    /// To pixels at the input size.
    pub decode: f64,
    /// Random changes, and into the batch's layout.
    pub augment: f64,
    /// The batch itself: its memory and its lists.
    pub collate: f64,
    /// That the consumer waited for a batch: where it is more than a few per cent of the time, the
    /// network starves.
    pub wait: f64,
}

impl Stages {
    /// Names and seconds, as columns are called: `loader_read` ...
    pub fn columns(&self) -> [(&'static str, f64); 5] {
        let Stages { read, decode, augment, collate, wait } = *self;
        [
            ("loader_read", read),
            ("loader_decode", decode),
            ("loader_augment", augment),
            ("loader_collate", collate),
            ("loader_wait", wait),
        ]
    }

    /// Of all threads, without the wait.
    pub fn busy(&self) -> f64 {
        self.read + self.decode + self.augment + self.collate
    }

    pub fn add(&mut self, other: &Stages) {
        self.read += other.read;
        self.decode += other.decode;
        self.augment += other.augment;
        self.collate += other.collate;
        self.wait += other.wait;
    }
}

/// A sum that several threads add to.
#[derive(Debug, Default)]
pub struct Total(Mutex<Stages>);

impl Total {
    pub fn add(&self, stages: &Stages) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(stages);
    }

    /// What was added since the last time.
    pub fn take(&self) -> Stages {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
