//! `crash.txt`: what a run leaves behind when it ends badly.

use super::{Event, Sink, Status};
use crate::Result;
use std::backtrace::Backtrace;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// How far the run of this process has come. A panic hook has no other way to know.
struct Watch {
    run: PathBuf,
    epoch: u64,
    step: u64,
    /// The last two, with their steps.
    checkpoints: Vec<(u64, PathBuf)>,
    /// The step whose weights are bad; a checkpoint in the background may be told of later.
    spoiled: Option<u64>,
}

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

fn watch() -> MutexGuard<'static, Option<Watch>> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink that knows where training stands, so that a panic anywhere in the process, or
/// [`note`], can say so in `<run>/crash.txt`. One run at a time: a new one takes over.
pub struct CrashNote {
    run: PathBuf,
}

impl CrashNote {
    pub fn open(run: &Path) -> CrashNote {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                note(&format!("{panic}"), Some(&Backtrace::force_capture()));
                before(panic);
            }));
        });
        *watch() = Some(Watch {
            run: run.to_owned(),
            epoch: 0,
            step: 0,
            checkpoints: vec![],
            spoiled: None,
        });
        CrashNote { run: run.to_owned() }
    }
}

/// Writes the note for the run under way: the message, where it stood, what to continue from.
/// Returns its path; nothing where no run is under way or the note can't be written.
pub fn note(message: &str, backtrace: Option<&Backtrace>) -> Option<PathBuf> {
    // A panic while this thread holds the watch must not wait for itself.
    let guard = match WATCH.try_lock() {
        Ok(guard) => guard,
        Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(std::sync::TryLockError::WouldBlock) => return None,
    };
    let Watch { run, epoch, step, checkpoints, spoiled } = guard.as_ref()?;
    let mut text =
        format!("time: {}\nepoch: {epoch}\nsteps done: {step}\n", jiff::Timestamp::now());
    let good = checkpoints.iter().rfind(|(step, _)| Some(*step) != *spoiled);
    let last = good.map(|(_, path)| path.display().to_string());
    let last = last.as_deref().unwrap_or("none");
    // Writing to a String can't fail.
    let _ = writeln!(text, "last good checkpoint: {last}\n\n{message}");
    if let Some(backtrace) = backtrace {
        let _ = write!(text, "\n{backtrace}");
    }
    let path = run.join("crash.txt");
    std::fs::write(&path, text).ok().map(|()| path)
}

/// The weights after this step turned out to be bad: a checkpoint of them is no good one.
pub fn spoil(step: u64) {
    if let Some(watch) = watch().as_mut() {
        watch.spoiled = Some(step);
    }
}

impl Sink for CrashNote {
    fn on(&mut self, event: &Event) -> Result<()> {
        let mut guard = watch();
        let Some(watch) = guard.as_mut().filter(|watch| watch.run == self.run) else {
            return Ok(());
        };
        match event {
            Event::RunStarted { step, .. } => watch.step = *step,
            Event::EpochStarted { epoch, .. } => watch.epoch = *epoch,
            Event::Step(row) => (watch.epoch, watch.step) = (row.epoch, row.step),
            Event::CheckpointSaved { path, step, .. } => {
                watch.checkpoints.push((*step, path.clone()));
                let old = watch.checkpoints.len().saturating_sub(2);
                watch.checkpoints.drain(..old);
            }
            Event::RunEnded { status: Status::Finished | Status::Stopped, .. } => *guard = None,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let mut guard = watch();
        if guard.as_ref().is_some_and(|watch| watch.run == self.run) {
            *guard = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::StepRow;

    /// In a process of its own: the panics of other tests would write over the note.
    #[test]
    fn a_panic_and_an_error_leave_a_note() {
        let body = "record::crash::tests::panic_and_fail";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", body])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[test]
    #[ignore = "the body of a_panic_and_an_error_leave_a_note"]
    fn panic_and_fail() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = CrashNote::open(folder.path());
        let row = StepRow { step: 42, epoch: 3, ..StepRow::default() };
        sink.on(&Event::Step(row)).unwrap();
        let saved = Event::CheckpointSaved {
            names: vec!["latest".into()],
            path: "checkpoints/.saved/e0002".into(),
            epoch: 2,
            step: 40,
            seconds: 0.1,
        };
        sink.on(&saved).unwrap();
        std::thread::spawn(|| panic!("lost {}", "a loader")).join().unwrap_err();
        let path = folder.path().join("crash.txt");
        let text = std::fs::read_to_string(&path).unwrap();
        for part in
            ["epoch: 3", "steps done: 42", "checkpoint: checkpoints/.saved/e0002", "lost a loader"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(note("no space left", None), Some(path.clone()));
        assert!(std::fs::read_to_string(&path).unwrap().contains("no space left"));

        sink.close().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(note("afterwards", None), None);
        assert!(!path.exists());
    }
}
