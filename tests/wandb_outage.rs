//! Memory while W&B is away, in a process of its own: that of other tests would be counted too.

mod wandb_double;
mod wandb_run;

use arcrun::record::Status;
use arcrun::wandb::{Timing, segments};
use std::time::Duration;
use wandb_double::Double;
use wandb_run::Logged;

/// An hour without a server, in which a step is logged every 0.13 s.
#[test]
fn an_hour_of_outage_costs_no_memory() {
    let (double, mut run) = (Double::start(), Logged::new());
    run.checkpoints = 1000;
    double.down();
    // Seconds pass as milliseconds.
    let timing = Timing::default().faster(1000.0);
    let mut recorder = run.open(Some(&double), timing, 0);
    let steps = 40_000;
    run.steps(&mut recorder, 1..=steps / 10);
    let before = resident();
    let begun = std::time::Instant::now();
    for part in 0..9 {
        let from = steps / 10 * (part + 1);
        run.steps(&mut recorder, from + 1..=from + steps / 10);
        // The hour passes evenly: the client keeps trying.
        std::thread::sleep(Duration::from_millis(400).saturating_sub(begun.elapsed() / 1000));
    }
    let grown = resident() - before;
    let waiting = std::fs::metadata(segments(run.path())[0].file()).unwrap().len() as f64;
    // What waits is on the disk: of 10 MB and more less than a quarter may show.
    assert!(waiting > 1e7 && grown < waiting / 4.0, "{grown} of {waiting}");
    double.up();
    run.end(recorder, Status::Finished);
    run.assert_equal(&double);
    double.assert_clean();
    assert_eq!(run.warnings.lock().unwrap().len(), 1);
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = status.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    pages * 4096.0
}
