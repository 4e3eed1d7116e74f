//! Writes checkpoints on a thread of its own, so that training goes on meanwhile.
//!
//! At most one is under way: whoever wants to write another waits for it first, so that never more
//! than one copy of the training's state is in memory. Nothing is lost silently: what became of a write
//! is handed back, and dropping the writer waits for its end.

use super::store::{Saved, Store};
use super::{Name, Snapshot};
use crate::Result;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// Where checkpoints are written from.
#[derive(Debug)]
pub struct Writer {
    store: Arc<Store>,
    /// None: on the thread that asks for it.
    thread: Option<Thread>,
    under_way: bool,
}

#[derive(Debug)]
struct Thread {
    jobs: SyncSender<Job>,
    done: Receiver<Written>,
    handle: JoinHandle<()>,
}

#[derive(Debug)]
struct Job {
    snapshot: Snapshot,
    /// Also a copy of the weights alone.
    weights: bool,
    begun: Instant,
}

/// What became of a checkpoint.
#[derive(Debug)]
pub struct Written {
    /// Where in the training it was taken: epochs completed, batches of the next, steps.
    pub epoch: u64,
    pub batch: u64,
    pub step: u64,
    pub saved: Result<Saved>,
    /// The copy of the weights alone, where one was asked for.
    pub weights: Option<Result<PathBuf>>,
    /// From the beginning of the snapshot to the end of writing.
    pub seconds: f64,
}

impl Writer {
    pub fn new(store: Store, background: bool) -> Writer {
        let store = Arc::new(store);
        let thread = background.then(|| Thread::start(store.clone()));
        Writer { store, thread, under_way: false }
    }

    /// Begins to write a snapshot, whose taking began at `begun`, and where wanted a copy of its
    /// weights. What became of it is returned at once where this thread writes, else by
    /// [`Writer::poll`] or [`Writer::wait`].
    ///
    /// # Panics
    /// While another is under way: [`Writer::wait`] for it before the snapshot is taken.
    pub fn begin(&mut self, snapshot: Snapshot, weights: bool, begun: Instant) -> Option<Written> {
        assert!(!self.under_way, "two checkpoints are written at once");
        let job = Job { snapshot, weights, begun };
        match &self.thread {
            None => Some(job.write(&self.store)),
            Some(thread) => {
                // Where the thread has ended by a panic, the next wait passes that on.
                let _ = thread.jobs.send(job);
                self.under_way = true;
                None
            }
        }
    }

    /// What became of the write under way; None where it is not over, or there is none.
    pub fn poll(&mut self) -> Option<Written> {
        let thread = self.thread.as_ref().filter(|_| self.under_way)?;
        match thread.done.try_recv() {
            Ok(written) => Some(self.over(written)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.panicked(),
        }
    }

    /// Waits for the write under way, if there is one.
    pub fn wait(&mut self) -> Option<Written> {
        let thread = self.thread.as_ref().filter(|_| self.under_way)?;
        match thread.done.recv() {
            Ok(written) => Some(self.over(written)),
            Err(_) => self.panicked(),
        }
    }

    fn over(&mut self, written: Written) -> Written {
        self.under_way = false;
        written
    }

    /// A panic of the writing thread is one of the program.
    fn panicked(&mut self) -> Option<Written> {
        self.under_way = false;
        if let Some(Err(panic)) = self.thread.take().map(|thread| thread.handle.join()) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(Thread { jobs, done: _done, handle }) = self.thread.take() {
            drop(jobs);
            // A panic has been printed; whoever drops this is ending anyway.
            let _ = handle.join();
        }
    }
}

impl Thread {
    fn start(store: Arc<Store>) -> Thread {
        // One place each: neither side ever waits for the other to take something up.
        let (jobs, todo) = sync_channel::<Job>(1);
        let (tell, done) = sync_channel(1);
        let work = move || {
            for job in todo {
                let written = job.write(&store);
                if tell.send(written).is_err() {
                    return;
                }
            }
        };
        let name = "checkpoints".to_owned();
        let handle = std::thread::Builder::new().name(name).spawn(work).expect("a thread starts");
        Thread { jobs, done, handle }
    }
}

impl Job {
    fn write(self, store: &Store) -> Written {
        let Job { snapshot, weights, begun } = self;
        let state = &snapshot.state;
        let (epoch, batch, step) = (state.epoch, state.batch_in_epoch, state.step);
        let saved = store.save(&snapshot);
        let copy = |group: &str| snapshot.tensors.get(group).filter(|_| weights);
        let of_model = copy("model").map(|weights| store.save_weights(epoch, weights));
        let of_average = copy("ema").map(|weights| store.save_average(epoch, weights));
        let weights = match (of_model, of_average) {
            (Some(Ok(_)), Some(Err(error))) => Some(Err(error)),
            (of_model, _) => of_model,
        };
        // Before anyone hears of it, so that the next snapshot finds the memory free.
        drop(snapshot);
        let seconds = begun.elapsed().as_secs_f64();
        Written { epoch, batch, step, saved, weights, seconds }
    }
}

impl Written {
    /// The names that lead to it; none where it failed.
    pub fn names(&self) -> &[Name] {
        self.saved.as_ref().map_or(&[], |saved| &saved.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Policy, State, find, read};
    use std::path::Path;
    use tch::{Device, Kind, Tensor};

    /// Large enough that writing takes some milliseconds.
    fn weights(step: u64) -> Tensor {
        Tensor::full([1 << 20], step as f64, (Kind::Float, Device::Cpu))
    }

    fn snapshot(step: u64, of: &Tensor) -> Snapshot {
        let model = [("w".to_owned(), of.copy())].into();
        let state = State { epoch: step, step, ..State::default() };
        Snapshot { tensors: [("model".to_owned(), model)].into(), state }
    }

    fn begin(writer: &mut Writer, snapshot: Snapshot, weights: bool) -> Option<Written> {
        writer.begin(snapshot, weights, Instant::now())
    }

    fn open(run: &Path) -> Store {
        Store::open(run, Policy { every_epochs: 1, last_epochs: 0 }).unwrap()
    }

    /// The weights go on while they are written, as in training.
    #[test]
    fn what_is_written_is_the_moment_of_the_snapshot() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let run = |folder: &Path, background: bool| -> Vec<String> {
            let mut writer = Writer::new(open(folder), background);
            let mut weights = weights(0);
            let mut hashes = Vec::new();
            let mut note = |written: Option<Written>| {
                hashes.extend(written.map(|written| written.saved.unwrap().hash));
            };
            for step in 1..=6 {
                let _ = weights.g_add_scalar_(1.0);
                note(writer.wait());
                note(begin(&mut writer, snapshot(step, &weights), step == 6));
                let _ = weights.g_add_scalar_(0.5).g_sub_scalar_(0.5);
            }
            note(writer.wait());
            assert!(writer.wait().is_none() && writer.poll().is_none());
            hashes
        };
        let hashes = run(here.path(), true);
        assert_eq!(hashes.len(), 6);
        assert_eq!(hashes, run(there.path(), false));
        for step in 1..=6 {
            let saved = read(&find(here.path(), Name::Epoch(step)).unwrap()).unwrap();
            assert_eq!(saved.tensors["model"]["w"], weights(step));
        }
        let copy = "weights/epoch-0006.safetensors";
        let bytes = |run: &Path| std::fs::read(run.join(copy)).unwrap();
        assert_eq!(bytes(here.path()), bytes(there.path()));
    }

    #[test]
    fn a_failure_is_handed_back_and_the_next_write_succeeds() {
        let run = tempfile::tempdir().unwrap();
        for background in [true, false] {
            let mut writer = Writer::new(open(run.path()), background);
            let saved = run.path().join("checkpoints/.saved");
            let aside = run.path().join("aside");
            std::fs::rename(&saved, &aside).unwrap();
            let failed = begin(&mut writer, snapshot(1, &weights(1)), true);
            let failed = failed.or_else(|| writer.wait()).unwrap();
            assert_eq!((failed.step, failed.names()), (1, &[][..]));
            assert!(failed.saved.unwrap_err().to_string().contains(".saved"));
            // The copy of the weights lies elsewhere.
            assert!(failed.weights.unwrap().is_ok());
            std::fs::rename(&aside, &saved).unwrap();
            let written = begin(&mut writer, snapshot(2, &weights(2)), false);
            let written = written.or_else(|| writer.wait()).unwrap();
            assert!(written.names().contains(&Name::Latest) && written.weights.is_none());
        }
    }

    #[test]
    fn dropping_waits_for_the_end() {
        let run = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(open(run.path()), true);
        assert!(begin(&mut writer, snapshot(3, &weights(3)), false).is_none());
        drop(writer);
        assert_eq!(read(&find(run.path(), Name::Latest).unwrap()).unwrap().state.step, 3);
    }

    #[test]
    #[should_panic(expected = "no file form")]
    fn a_panic_of_the_thread_is_passed_on() {
        let run = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(open(run.path()), true);
        let complex = Tensor::zeros([1], (Kind::ComplexFloat, Device::Cpu));
        begin(&mut writer, snapshot(1, &complex), false);
        writer.wait();
    }
}
