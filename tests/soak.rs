//! A training that is killed over and over, at any moment, ends as one that nobody touched.
//!
//! `ARCRUN_SOAK_KILLS=100 cargo test --test soak -- --nocapture` is the long version;
//! `ARCRUN_SOAK_SEED=N` repeats the moments of another run, as far as a machine can.

mod support;

use arcrun::checkpoint::{Name, list, read};
use arcrun::random::{Stream, derive};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};
use support::{Tiny, assert_same_training, run_json, status, steps};

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// A checkpoint is being written.
fn writes(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoints/.saved")).into_iter().flatten();
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-"))
}

fn latest(run: &Path) -> Option<std::path::PathBuf> {
    std::fs::read_link(run.join("checkpoints/latest")).ok()
}

/// Waits for something that the process does; it may also end.
fn until(child: &mut Child, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the program hangs");
    }
}

/// One start of the program and its end by SIGKILL. Whether a checkpoint was being written then;
/// None where it had ended by itself.
fn kill(tiny: &Tiny, args: &[&str], run: &Path, round: u64, seed: u64) -> Option<bool> {
    let random = |index: u64, below: u64| derive(seed, Stream::Split, round, index) % below;
    let (rows, newest) = (steps(run), latest(run));
    let mut child = tiny.spawn(args);
    let pause = match round % 4 {
        // While a checkpoint is being written.
        0 => {
            until(&mut child, || latest(run) != newest || steps(run) > rows);
            until(&mut child, || writes(run));
            Duration::from_micros(random(0, 3_000))
        }
        // Between steps, or in one.
        1 => {
            let more = random(0, 7) as usize;
            until(&mut child, || steps(run) > rows + more);
            Duration::from_micros(random(1, 40_000))
        }
        // Wherever it is: while it reads what there is, in the first steps.
        2 => Duration::from_millis(random(0, 600)),
        // While the names are being swapped and old checkpoints deleted.
        _ => {
            until(&mut child, || latest(run) != newest);
            Duration::from_micros(random(0, 2_000))
        }
    };
    std::thread::sleep(pause);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    match ended {
        None => Some(writes(run)),
        Some(status) => {
            assert!(status.success(), "the program ended by itself: {status}");
            None
        }
    }
}

#[test]
fn kills_at_any_moment_change_nothing() {
    let kills = number("ARCRUN_SOAK_KILLS", 10);
    let seed = number("ARCRUN_SOAK_SEED", 1);
    let tiny = Tiny::new();
    // No round gets further than two epochs, so that every kill finds the run at work.
    let epochs = format!("train.epochs={}", 2 * kills + 2);
    let settings =
        ["checkpoint.every_steps=2", "checkpoint.last_epochs=2", "record.wandb.mode=disabled"];
    let mut sets = vec!["--set", &epochs, "--set", "evaluate.every_epochs=16"];
    settings.iter().for_each(|set| sets.extend(["--set", set]));
    let whole = tiny.train("whole", &sets);

    let run = tiny.path("run");
    let args = ["tiny.toml", "-q", "--run-dir", "run", "--continue-train", "auto"];
    let args = [&args[..], &sets].concat();
    let (mut done, mut in_writing) = (0, 0);
    for round in 0..kills {
        let Some(writing) = kill(&tiny, &args, &run, round, seed) else { break };
        done += 1;
        in_writing += u64::from(writing);
        for (name, folder) in list(&run) {
            let snapshot =
                read(&folder).unwrap_or_else(|e| panic!("seed {seed}, kill {round}: {name}: {e}"));
            let of_end = matches!(name, Name::MinLoss | Name::Epoch(_));
            assert!(!of_end || snapshot.state.batch_in_epoch == 0, "kill {round}: {name}");
        }
    }
    let continued = |run: &Path| run_json(run)["continued"].as_u64().unwrap();
    let before = if run.join("run.json").exists() { continued(&run) } else { 0 };
    println!(
        "seed {seed}: {done} kills, {in_writing} while a checkpoint was written, at step {} of {}; \
         gone on {before} times",
        steps(&run),
        steps(&whole),
    );
    assert_eq!(done, kills, "the run ended before the last kill");
    assert!(in_writing > 0, "no kill met a checkpoint that was being written");
    tiny.succeed(&args);
    assert_eq!(status(&run), "finished");
    assert_same_training(&run, &whole);
    assert!(!writes(&run), "leftovers");
    assert!(!run.join("checkpoints/.damaged").exists(), "a checkpoint was damaged");
    let kept = |run: &Path| -> Vec<String> {
        list(run).into_iter().map(|(name, path)| format!("{name} {:?}", path.file_name())).collect()
    };
    assert_eq!(kept(&run), kept(&whole));
}
