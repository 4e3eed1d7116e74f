//! Eight runs of one machine and one server: together they keep its limits, and lose nothing.

mod wandb_double;
mod wandb_run;

use arcrun::record::Status;
use arcrun::wandb::Timing;
use std::time::{Duration, Instant};
use wandb_double::{Double, Fault, Seen, Where};
use wandb_run::Logged;

const RUNS: usize = 8;

/// Each run would send a request every millisecond; together they may every `node_interval`.
fn timing(node_interval: Duration, node_burst: u32) -> Timing {
    let fast = Timing::default().faster(1000.0);
    let give_up = Duration::from_secs(120);
    Timing { interval: Duration::from_millis(1), node_interval, node_burst, give_up, ..fast }
}

/// Logs the runs side by side for so long.
fn train(double: &Double, runs: &[Logged], timing: Timing, lasts: Duration) {
    std::thread::scope(|scope| {
        for run in runs {
            scope.spawn(move || {
                let mut recorder = run.open(Some(double), timing, 0);
                let begun = Instant::now();
                let mut step = 0;
                while begun.elapsed() < lasts {
                    run.steps(&mut recorder, step + 1..=step + 10);
                    step += 10;
                    std::thread::sleep(Duration::from_millis(10));
                }
                run.end(recorder, Status::Finished);
            });
        }
    });
    for run in runs {
        run.assert_equal(double);
        assert_eq!(*run.warnings.lock().unwrap(), [""; 0]);
    }
    double.assert_clean();
}

fn paced(double: &Double) -> Vec<Seen> {
    let requests = double.requests(Where::Any);
    requests.into_iter().filter(|seen| seen.kind != Where::Put).collect()
}

#[test]
fn together_they_keep_the_rate() {
    let double = Double::start();
    let runs: Vec<Logged> = (0..RUNS).map(|_| Logged::new()).collect();
    let (interval, burst) = (Duration::from_millis(25), 10);
    train(&double, &runs, timing(interval, burst), Duration::from_secs(3));
    let times: Vec<Instant> = paced(&double).iter().map(|seen| seen.at).collect();
    let window = Duration::from_secs(1);
    let until = |from: Instant| times.iter().filter(move |at| **at >= from && **at < from + window);
    let most = times.iter().map(|from| until(*from).count()).max().unwrap();
    // 40 a second and the burst; as many as half a second holds may arrive late, when the machine is
    // busy.
    assert!(most <= 40 + 10 + 20, "{most} requests in a second");
    // Without a pace there would be hundreds, with one for each run eight times the budget.
    let all = *times.last().unwrap() - times[0];
    let rate = times.len() as f64 / all.as_secs_f64();
    assert!(rate <= 60.0, "{rate} requests a second");
}

#[test]
fn one_that_is_told_to_wait_keeps_all_away() {
    let double = Double::start();
    let runs: Vec<Logged> = (0..RUNS).map(|_| Logged::new()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(double.wait_until(Duration::from_secs(30), |s| s.count(Where::Stream) > 40));
            double.fault(Where::Stream, Fault::retry_after(429, 2), 1);
        });
        let timing = timing(Duration::from_millis(10), 20);
        train(&double, &runs, timing, Duration::from_secs(5));
    });
    let requests = paced(&double);
    let told: Vec<&Seen> = requests.iter().filter(|seen| seen.status == Some(429)).collect();
    let [told] = told[..] else { panic!("{} were told to wait", told.len()) };
    let after = |from: f64, to: f64| {
        let (from, to) =
            (told.at + Duration::from_secs_f64(from), told.at + Duration::from_secs_f64(to));
        requests.iter().filter(|seen| seen.at > from && seen.at < to).count()
    };
    // What was on its way when the answer came still arrives, and while a busy machine lets the one
    // read it, the others may begin another or two. Without a shared pause there would be 190.
    assert!(after(0.0, 1.9) <= 3 * RUNS, "{}", after(0.0, 1.9));
    // Then they go on.
    assert!(after(1.9, 60.0) > RUNS);
}
