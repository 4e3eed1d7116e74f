//! Rungs: the epochs at which trials are compared, `min_epochs * reduction^k`, k = 0, 1, ...
//!
//! A trial reaches a rung with its first report at or past it, so an evaluation every few epochs
//! is no harm. Its last epoch is no rung at which it could stop: there it is finished. A score that
//! is not finite is the worst one and never goes on.

use super::Seen;
use crate::sweep::Phase;
use std::cmp::Ordering;

/// The rungs of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Rungs {
    pub min_epochs: u64,
    pub reduction: u64,
}

/// A trial on a rung.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub trial: usize,
    /// Not finite: `NEG_INFINITY`.
    pub score: f64,
    /// It stands here, or failed on its way from here: it did not get to the next rung.
    pub here: bool,
}

impl Rungs {
    /// The epochs of all rungs up to `epochs`, ascending.
    pub fn up_to(&self, epochs: u64) -> impl Iterator<Item = u64> {
        let Rungs { min_epochs, reduction } = *self;
        let next = move |rung: &u64| rung.checked_mul(reduction.max(2));
        std::iter::successors(Some(min_epochs.max(1)), next).take_while(move |r| *r <= epochs)
    }

    /// The rungs of all trials, ascending.
    pub fn of(&self, trials: &[Seen]) -> Vec<u64> {
        let longest = trials.iter().map(|trial| trial.epochs).max().unwrap_or(0);
        self.up_to(longest).collect()
    }

    /// The highest rung that a trial has reached and could stop at.
    pub fn highest(&self, trial: &Seen) -> Option<u64> {
        let reported = trial.scores.last()?.0;
        self.up_to(reported.min(trial.epochs.saturating_sub(1))).last()
    }

    /// The rung at which the newest report of `trial` stops it, unless it earned more: none where
    /// it was reached before, or left by a promotion (a continued trial repeats epochs), or where
    /// the training ends.
    pub fn asked(&self, trial: &Seen) -> Option<u64> {
        let (epoch, _) = *trial.scores.last()?;
        if epoch >= trial.epochs {
            return None;
        }
        let before = trial.scores.len().checked_sub(2).map_or(0, |at| trial.scores[at].0);
        let rung = self.highest(trial)?;
        let left = trial.promoted_at.is_some_and(|promoted| promoted >= rung);
        (rung > before && !left).then_some(rung)
    }

    /// Everyone who reached `rung`, best first. Of equal ones those come first that went on
    /// already, then the earlier in the list. `judged` is not counted as gone on.
    pub fn ranking(&self, trials: &[Seen], rung: u64, judged: Option<usize>) -> Vec<Place> {
        let place = |(at, trial): (usize, &Seen)| {
            let score = self.score_at(trial, rung)?;
            Some(Place { trial: at, score, here: self.highest(trial) == Some(rung) })
        };
        let mut places: Vec<Place> = trials.iter().enumerate().filter_map(place).collect();
        let stays = |place: &Place| {
            place.here
                && (trials[place.trial].phase == Phase::Pruned || judged == Some(place.trial))
        };
        places.sort_by(|a, b| {
            let by_score: Ordering = b.score.total_cmp(&a.score);
            by_score.then(stays(a).cmp(&stays(b))).then(a.trial.cmp(&b.trial))
        });
        places
    }

    /// The first `count` of a ranking. A place that a failed trial had goes to the next one.
    pub fn top<'a>(
        &self,
        trials: &'a [Seen],
        ranking: &'a [Place],
        count: usize,
    ) -> impl Iterator<Item = &'a Place> {
        let stands = |place: &&Place| {
            let failed = place.here && trials[place.trial].phase == Phase::Failed;
            place.score.is_finite() && !failed
        };
        ranking.iter().filter(stands).take(count)
    }

    /// Where nothing is left to run and nobody has finished, since all that went on failed: the best
    /// that is left on the highest rung.
    pub fn last_resort(&self, trials: &[Seen]) -> Option<usize> {
        let finished = trials.iter().any(|trial| trial.phase == Phase::Finished);
        if finished || !trials.iter().all(Seen::is_at_rest) {
            return None;
        }
        let paused = |place: &Place| place.here && trials[place.trial].phase == Phase::Pruned;
        self.of(trials).into_iter().rev().find_map(|rung| {
            let ranking = self.ranking(trials, rung, None);
            let left = ranking.into_iter().find(|place| paused(place) && place.score.is_finite());
            left.map(|place| place.trial)
        })
    }

    fn score_at(&self, trial: &Seen, rung: u64) -> Option<f64> {
        let finite = |score: f64| if score.is_finite() { score } else { f64::NEG_INFINITY };
        if let Some((_, score)) = trial.scores.iter().find(|(epoch, _)| *epoch >= rung) {
            return Some(finite(*score));
        }
        // One that diverged is the worst of the rung that it was on its way to.
        let (epoch, score) = *trial.scores.last()?;
        let next = self.up_to(trial.epochs).find(|next| *next > epoch);
        let diverged = trial.phase == Phase::Failed && !score.is_finite();
        (diverged && next == Some(rung)).then_some(f64::NEG_INFINITY)
    }
}
