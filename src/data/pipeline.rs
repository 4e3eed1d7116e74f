//! Numbered pieces of work, done by threads, handed out in order, with a bound on how many are
//! ahead of the consumer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What the threads do.
pub trait Work: Send + Sync + 'static {
    /// What each thread keeps from one piece to the next.
    type Scratch: Default;
    type Output: Send + 'static;

    /// Does piece `number`. Once `stopped` is true nobody wants the result: return soon.
    fn run(
        &self,
        number: usize,
        scratch: &mut Self::Scratch,
        stopped: &dyn Fn() -> bool,
    ) -> Self::Output;
}

/// Dropping it stops the threads and waits for them.
pub struct Pipeline<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    end: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    ahead: usize,
}

struct State<T> {
    /// The next piece to begin.
    next: usize,
    /// The next piece to deliver.
    wanted: usize,
    /// One past the last piece to begin.
    end: usize,
    ready: BTreeMap<usize, T>,
    panicked: bool,
}

impl<T: Send + 'static> Pipeline<T> {
    /// Begins the pieces in `numbers`; at most `max(ahead, threads)` are begun or finished before
    /// the consumer takes the first of them.
    pub fn start<W: Work<Output = T>>(
        work: W,
        numbers: Range<usize>,
        threads: usize,
        ahead: usize,
    ) -> Self {
        let state = State {
            next: numbers.start,
            wanted: numbers.start,
            end: numbers.end,
            ready: BTreeMap::new(),
            panicked: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            ahead: ahead.max(threads),
        });
        let work = Arc::new(work);
        let threads = (0..threads.min(numbers.len()))
            .map(|number| {
                let (work, shared) = (Arc::clone(&work), Arc::clone(&shared));
                let thread = thread::Builder::new().name(format!("loader-{}", number + 1));
                let thread = thread.spawn(move || shared.work(&*work));
                thread.expect("the system has a thread to give")
            })
            .collect();
        Self { shared, threads, end: numbers.end }
    }

    /// The next result, in order.
    ///
    /// # Panics
    /// If a worker panicked.
    pub fn take(&mut self) -> Option<T> {
        let mut state = self.shared.lock();
        loop {
            let wanted = state.wanted;
            if wanted >= state.end {
                return None;
            }
            if let Some(output) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.shared.changed.notify_all();
                return Some(output);
            }
            assert!(!state.panicked, "a worker thread panicked");
            state = self.shared.wait(state);
        }
    }

    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.shared.lock().wanted)
    }

    /// Begins nothing more and delivers nothing more.
    pub fn stop(&mut self) {
        let mut state = self.shared.lock();
        state.end = 0;
        state.ready.clear();
        self.end = 0;
        self.shared.changed.notify_all();
    }
}

impl<T> Drop for Pipeline<T> {
    fn drop(&mut self) {
        self.shared.lock().end = 0;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was already reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl<T> Shared<T> {
    fn work<W: Work<Output = T>>(&self, work: &W) {
        let _alarm = Alarm(self);
        let mut scratch = W::Scratch::default();
        let stopped = || self.lock().end == 0;
        while let Some(number) = self.begin() {
            let output = work.run(number, &mut scratch, &stopped);
            self.lock().ready.insert(number, output);
            self.changed.notify_all();
        }
    }

    /// Waits for room and takes the next number.
    fn begin(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.next >= state.end {
                return None;
            }
            if state.next < state.wanted + self.ahead {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.wait(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the consumer about a panic, so that it does not wait for ever.
struct Alarm<'a, T>(&'a Shared<T>);

impl<T> Drop for Alarm<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().panicked = true;
            self.0.changed.notify_all();
        }
    }
}
