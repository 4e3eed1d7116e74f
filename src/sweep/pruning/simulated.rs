//! Sweeps in which nothing is trained: properties of the rules, and decisions of other
//! implementations (`tools/parity/make_pruning.py`).

use super::asha::Asha;
use super::median::Median;
use super::successive_halving::SuccessiveHalving;
use super::{PruningConfig, Seen, Verdict};
use crate::sweep::Phase;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const NAN: f64 = f64::NAN;

fn asha(min_epochs: u64, reduction: u64) -> PruningConfig {
    PruningConfig::Asha(Asha { min_epochs, reduction })
}

fn halving(min_epochs: u64, reduction: u64) -> PruningConfig {
    PruningConfig::SuccessiveHalving(SuccessiveHalving { min_epochs, reduction })
}

fn median(warm_up_epochs: u64, min_trials: usize, every_epochs: u64) -> PruningConfig {
    PruningConfig::Median(Median { warm_up_epochs, min_trials, every_epochs })
}

fn seen(phase: Phase, epochs: u64, scores: &[(u64, f64)]) -> Seen {
    Seen { phase, scores: scores.to_vec(), promoted_at: None, epochs }
}

fn waiting(count: usize, epochs: u64) -> Vec<Seen> {
    vec![seen(Phase::Waiting, epochs, &[]); count]
}

/// Runs a sweep with so many slots, whose events come in a random order; scores by trial and epoch,
/// reported every so many epochs. With `failing`, one report in so many is the last of its trial.
struct Sweep<'a> {
    rule: PruningConfig,
    slots: usize,
    every: u64,
    failing: u32,
    score: &'a dyn Fn(usize, u64) -> f64,
}

impl Sweep<'_> {
    fn run(&self, mut trials: Vec<Seen>, seed: u64) -> Vec<Seen> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..100_000 {
            let of = |phase| trials.iter().filter(move |t| t.phase == phase).count();
            if of(Phase::Running) < self.slots {
                if let Some(next) = self.rule.promotion(&trials) {
                    let trial = &mut trials[next];
                    assert_eq!(trial.phase, Phase::Pruned);
                    let epoch = trial.scores.last().unwrap().0;
                    assert!(trial.promoted_at < Some(epoch), "promoted twice from {epoch}");
                    (trial.phase, trial.promoted_at) = (Phase::Running, Some(epoch));
                    // It goes on from an older checkpoint now and then.
                    if rng.random_range(0..4) == 0 {
                        trial.scores.pop();
                    }
                    continue;
                }
                let interrupted = trials.iter().position(|t| t.phase == Phase::Interrupted);
                let fresh = trials.iter().position(|t| t.phase == Phase::Waiting);
                if let Some(next) = interrupted.or(fresh) {
                    trials[next].phase = Phase::Running;
                    continue;
                }
            }
            let running: Vec<usize> =
                (0..trials.len()).filter(|at| trials[*at].phase == Phase::Running).collect();
            if running.is_empty() {
                return trials;
            }
            let at = running[rng.random_range(0..running.len())];
            let epoch = trials[at].scores.last().map_or(0, |s| s.0) + self.every;
            let epoch = epoch.min(trials[at].epochs);
            trials[at].scores.push((epoch, (self.score)(at, epoch)));
            let verdict = self.rule.verdict(&trials, at);
            trials[at].phase = match verdict {
                _ if self.failing > 0 && rng.random_range(0..self.failing) == 0 => Phase::Failed,
                _ if epoch == trials[at].epochs => Phase::Finished,
                Verdict::Pause => Phase::Pruned,
                Verdict::Continue if rng.random_range(0..20) == 0 => Phase::Interrupted,
                Verdict::Continue => Phase::Running,
            };
        }
        panic!("the sweep has no end");
    }
}

/// A random order of 0 .. count.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, rng.random_range(0..=at));
    }
    order
}

fn reached(trials: &[Seen], epoch: u64) -> Vec<usize> {
    let far = |at: &usize| trials[*at].scores.last().is_some_and(|(last, _)| *last >= epoch);
    (0..trials.len()).filter(far).collect()
}

#[test]
fn successive_halving_leaves_exactly_the_best() {
    for seed in 0..60 {
        let quality = shuffled(27, seed);
        let score = |trial: usize, _: u64| quality[trial] as f64;
        let slots = 1 + seed as usize % 8;
        let sweep = Sweep { rule: halving(1, 3), slots, every: 1, failing: 0, score: &score };
        let trials = sweep.run(waiting(27, 10), seed);
        for (past, least) in [(2, 18), (4, 24), (10, 26)] {
            let best: Vec<usize> = (0..27).filter(|at| quality[*at] >= least).collect();
            assert_eq!(reached(&trials, past), best, "seed {seed} epoch {past}");
        }
        assert_eq!(trials.iter().filter(|t| t.phase == Phase::Finished).count(), 1);
    }
}

#[test]
fn asha_ends_with_the_best_in_any_order() {
    for seed in 0..100 {
        let count = 5 + seed as usize % 40;
        let quality = shuffled(count, seed);
        let score = |trial: usize, epoch: u64| quality[trial] as f64 + epoch as f64;
        let (slots, every) = (1 + seed as usize % 7, 1 + seed % 2);
        let sweep = Sweep { rule: asha(1, 3), slots, every, failing: 0, score: &score };
        let trials = sweep.run(waiting(count, 20), seed);
        let best = quality.iter().position(|q| *q == count - 1).unwrap();
        assert_eq!(trials[best].phase, Phase::Finished, "seed {seed}");
        // The best third of each rung went on, and nothing is left that could.
        for (rung, next) in [(1, 2), (3, 4), (9, 10)] {
            let on = reached(&trials, rung);
            let mut ranked = on.clone();
            ranked.sort_by_key(|at| std::cmp::Reverse(quality[*at]));
            let (first, second) = (ranked.len() / 3, reached(&trials, next + every - 1));
            assert!(ranked[..first].iter().all(|at| second.contains(at)), "seed {seed} {rung}");
            assert!(second.len() < on.len() || on.len() <= 1, "seed {seed} {rung}");
        }
    }
}

#[test]
fn asha_goes_on_at_once_only_within_its_share() {
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut trials = waiting(30, 9);
        let mut went_on = Vec::new();
        for at in 0..30 {
            trials[at] = seen(Phase::Running, 9, &[(1, rng.random_range(0..8).into())]);
            let better =
                (0..at).filter(|o| trials[*o].scores[0].1 > trials[at].scores[0].1).count();
            match asha(1, 3).verdict(&trials, at) {
                Verdict::Continue => {
                    assert!(better < (at + 1) / 3, "seed {seed}");
                    went_on.push(at);
                }
                Verdict::Pause => {
                    // All that equal it may have been before it, none that is worse.
                    let rivals = |o: &usize| trials[*o].scores[0].1 >= trials[at].scores[0].1;
                    assert!((0..at).filter(rivals).count() >= (at + 1) / 3, "seed {seed}");
                    trials[at].phase = Phase::Pruned;
                }
            }
        }
        assert!(!went_on.is_empty());
    }
}

#[test]
fn equal_trials_leave_a_share() {
    for rule in [asha(1, 3), halving(1, 3)] {
        for seed in 0..40 {
            let sweep =
                Sweep { rule: rule.clone(), slots: 4, every: 1, failing: 0, score: &|_, _| 0.5 };
            let trials = sweep.run(waiting(27, 9), seed);
            let numbers = [2, 4, 9].map(|epoch| reached(&trials, epoch).len());
            assert_eq!(numbers, [9, 3, 3], "seed {seed} {rule:?}");
        }
    }
}

#[test]
fn failures_do_not_keep_the_others_from_ending() {
    for rule in [asha(1, 3), halving(2, 2)] {
        for seed in 0..60 {
            let quality = shuffled(30, seed);
            let score = |trial: usize, epoch: u64| match quality[trial] % 5 {
                0 if epoch > 2 => NAN,
                _ => quality[trial] as f64,
            };
            let sweep = Sweep { rule: rule.clone(), slots: 3, every: 1, failing: 9, score: &score };
            let trials = sweep.run(waiting(30, 11), seed);
            // Someone who can finish does, unless all that got far failed.
            let finished = trials.iter().any(|t| t.phase == Phase::Finished);
            let left =
                |t: &Seen| t.phase == Phase::Pruned && t.scores.last().unwrap().1.is_finite();
            assert!(finished || !trials.iter().any(left), "seed {seed} {rule:?}");
        }
    }
}

#[test]
fn a_score_that_is_not_finite_never_goes_on() {
    let paused = |score: f64| seen(Phase::Pruned, 9, &[(1, score)]);
    for rule in [asha(1, 2), halving(1, 2)] {
        let trials = [paused(NAN), paused(f64::INFINITY), paused(-5.0), paused(f64::NEG_INFINITY)];
        assert_eq!(rule.promotion(&trials), Some(2), "{rule:?}");
        assert_eq!(rule.promotion(&[paused(NAN), paused(NAN)]), None);
        // One that diverged between two rungs counts among those who came to the next.
        let mut trials: Vec<Seen> = (0..4).map(|_| paused(NAN)).collect();
        trials.push(seen(Phase::Failed, 9, &[(1, 7.0), (2, 7.0), (3, NAN)]));
        trials.push(seen(Phase::Pruned, 9, &[(1, 1.0), (2, 1.0), (4, 1.0)]));
        assert_eq!(rule.promotion(&trials), Some(5), "{rule:?}");
    }
}

#[test]
fn rungs_are_reached_at_or_past_them_and_asked_once() {
    let mut trials = waiting(2, 9);
    // The first of its rung stops; it stops no more after a promotion, though it repeats the epoch.
    trials[0] = seen(Phase::Running, 9, &[(2, 1.0)]);
    for rule in [asha(1, 3), halving(1, 3)] {
        assert_eq!(rule.verdict(&trials, 0), Verdict::Pause);
        let promoted = Seen { promoted_at: Some(2), ..trials[0].clone() };
        assert_eq!(rule.verdict(std::slice::from_ref(&promoted), 0), Verdict::Continue);
        let on = |scores: &[(u64, f64)]| Seen { scores: scores.to_vec(), ..promoted.clone() };
        assert_eq!(rule.verdict(&[on(&[(1, 1.0)])], 0), Verdict::Continue);
        assert_eq!(rule.verdict(&[on(&[(2, 1.0), (4, 1.0)])], 0), Verdict::Pause);
        assert_eq!(rule.verdict(&[on(&[(2, 1.0), (4, 1.0), (6, 1.0)])], 0), Verdict::Continue);
        // The end is no rung, nor is one past it.
        assert_eq!(rule.verdict(&[on(&[(2, 1.0), (9, 1.0)])], 0), Verdict::Continue);
        let short = Seen { epochs: 1, scores: vec![(1, 1.0)], ..promoted };
        assert_eq!(rule.verdict(&[short], 0), Verdict::Continue);
        assert_eq!(rule.verdict(&[seen(Phase::Running, 9, &[])], 0), Verdict::Continue);
    }
}

#[test]
fn the_median_rule_spares_the_best_and_asks_when_it_should() {
    let others = |scores: &[f64]| -> Vec<Seen> {
        scores.iter().map(|s| seen(Phase::Finished, 9, &[(1, *s), (2, *s), (4, *s)])).collect()
    };
    let judged = |rule: &PruningConfig, others: &[Seen], own: &[(u64, f64)]| {
        let all = [others, &[seen(Phase::Running, 9, own)]].concat();
        rule.verdict(&all, others.len())
    };
    let (go, stop) = (Verdict::Continue, Verdict::Pause);
    let three = others(&[1.0, 2.0, 3.0]);
    let rule = median(1, 3, 1);
    assert_eq!(judged(&rule, &three, &[(1, 0.0)]), go);
    assert_eq!(judged(&rule, &three, &[(1, 0.0), (2, 1.9)]), stop);
    // The best so far counts, and the median itself is not below it.
    assert_eq!(judged(&rule, &three, &[(1, 2.0), (2, 0.0)]), go);
    assert_eq!(judged(&rule, &three, &[(1, NAN), (2, NAN)]), stop);
    assert_eq!(judged(&rule, &three, &[(2, 1.0)]), stop);
    assert_eq!(judged(&median(1, 4, 1), &three, &[(1, 0.0), (2, 0.0)]), go);
    assert_eq!(judged(&rule, &others(&[NAN, NAN, 3.0]), &[(1, 0.0), (2, 0.0)]), go);
    assert_eq!(judged(&rule, &others(&[1.0, 2.0, 3.0, 4.0]), &[(2, 2.4)]), stop);
    assert_eq!(judged(&rule, &others(&[1.0, 2.0, 3.0, 4.0]), &[(2, 2.5)]), go);
    // Epochs 2, 5, 8 with `every_epochs` 3, or the first report past them.
    let rule = median(1, 3, 3);
    assert_eq!(judged(&rule, &three, &[(1, 0.0), (2, 0.0), (3, 0.0)]), go);
    assert_eq!(judged(&rule, &three, &[(3, 0.0)]), stop);
    assert_eq!(judged(&rule, &three, &[(2, 0.0), (4, 0.0)]), go);
    for seed in 0..40 {
        let quality = shuffled(25, seed);
        let score = |trial: usize, epoch: u64| quality[trial] as f64 + epoch as f64;
        let rule = median(0, 2, 1);
        let sweep = Sweep { rule, slots: 5, every: 1, failing: 0, score: &score };
        let trials = sweep.run(waiting(25, 6), seed);
        let best = quality.iter().position(|q| *q == 24).unwrap();
        assert_eq!(trials[best].phase, Phase::Finished);
        assert!(trials.iter().any(|t| t.phase == Phase::Pruned));
    }
}

#[derive(serde::Deserialize)]
struct Case {
    #[serde(default)]
    min_epochs: u64,
    #[serde(default)]
    reduction: u64,
    #[serde(default)]
    warm_up_epochs: u64,
    #[serde(default)]
    min_trials: usize,
    #[serde(default)]
    every_epochs: u64,
    epochs: u64,
    trials: usize,
    log: Vec<(i64, i64, f64, u8)>,
}

fn cases(name: &str) -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pruning/decisions.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut all: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(all[name].take()).unwrap()
}

/// Repeats what is in the log and compares each decision that `same` says is defined alike.
fn replay(
    case: &Case,
    rule: &PruningConfig,
    visible: impl Fn(&Seen) -> bool,
    same: impl Fn(&[Seen], usize) -> bool,
) -> usize {
    let mut trials = waiting(case.trials, case.epochs);
    let mut compared = 0;
    for (trial, epoch, score, goes_on) in &case.log {
        if *epoch < 0 {
            // Asked before anything is at its end: what a sweep does last is another rule.
            if same(&trials, 0) {
                let expected = usize::try_from(*trial).ok();
                let open = seen(Phase::Waiting, case.epochs, &[]);
                let all = [&trials[..], &[open]].concat();
                assert_eq!(rule.promotion(&all), expected);
                compared += 1;
            }
            if let Ok(at) = usize::try_from(*trial) {
                let epoch = trials[at].scores.last().unwrap().0;
                (trials[at].phase, trials[at].promoted_at) = (Phase::Running, Some(epoch));
            }
            continue;
        }
        let at = usize::try_from(*trial).unwrap();
        let epoch = u64::try_from(*epoch).unwrap();
        trials[at].scores.push((epoch, *score));
        trials[at].phase = Phase::Running;
        if same(&trials, at) && !case.log.iter().any(|entry| entry.1 < 0) {
            let hidden = |(other, t): (usize, &Seen)| match other == at || visible(t) {
                true => t.clone(),
                false => seen(Phase::Waiting, case.epochs, &[]),
            };
            let shown: Vec<Seen> = trials.iter().enumerate().map(hidden).collect();
            let expected = if *goes_on == 1 { Verdict::Continue } else { Verdict::Pause };
            assert_eq!(rule.verdict(&shown, at), expected, "trial {at} epoch {epoch}");
            compared += 1;
        }
        trials[at].phase = match goes_on {
            0 if epoch < case.epochs => Phase::Pruned,
            _ if epoch == case.epochs => Phase::Finished,
            _ => Phase::Running,
        };
    }
    compared
}

#[test]
fn asha_decides_as_optuna_does() {
    for case in cases("halving") {
        let rule = asha(case.min_epochs, case.reduction);
        // With fewer on a rung than `reduction` optuna lets the best go on.
        let enough = |trials: &[Seen], at: usize| {
            let epoch = trials[at].scores.last().unwrap().0;
            epoch < case.epochs && reached(trials, epoch).len() as u64 >= case.reduction
        };
        let compared = replay(&case, &rule, |_| true, enough);
        assert!(compared > 50, "{compared}");
    }
}

#[test]
fn asha_promotes_as_syne_tune_does() {
    let mut compared = 0;
    for case in cases("promotion") {
        let rule = asha(case.min_epochs, case.reduction);
        let multiples = |trials: &[Seen], _: usize| {
            let rungs = std::iter::successors(Some(1), |rung| Some(rung * case.reduction));
            let mut rungs = rungs.take_while(|rung| *rung < case.epochs);
            rungs.all(|rung| (reached(trials, rung).len() as u64).is_multiple_of(case.reduction))
        };
        compared += replay(&case, &rule, |_| true, multiples);
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn the_median_rule_decides_as_ray_tune_does() {
    for case in cases("median") {
        let rule = median(case.warm_up_epochs, case.min_trials, case.every_epochs);
        // At the end of a training there is nothing to decide.
        let before = |trials: &[Seen], at: usize| trials[at].scores.last().unwrap().0 < case.epochs;
        assert!(replay(&case, &rule, |_| true, before) > 40);
    }
}

#[test]
fn the_median_rule_asks_when_optuna_does() {
    for case in cases("constant") {
        let rule = median(case.warm_up_epochs, case.min_trials, case.every_epochs);
        let finished = |trial: &Seen| trial.phase == Phase::Finished;
        let before = |trials: &[Seen], at: usize| trials[at].scores.last().unwrap().0 < case.epochs;
        assert!(replay(&case, &rule, finished, before) > 25);
    }
}
