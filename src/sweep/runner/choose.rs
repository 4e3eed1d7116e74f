//! Which trial comes next: a pure function of what the journal says.

use crate::sweep::pruning::{PruningConfig, Seen};
use crate::sweep::{Manifest, Objective, Phase, Retry, State, TrialState};
use jiff::Timestamp;
use std::time::Duration;

/// What a free slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Starts this trial, or goes on with it.
    Start { place: usize, promoted: bool },
    /// A failed trial may be tried again after this.
    Wait(Duration),
    /// There is nothing to start.
    Nothing,
}

/// What the choice depends on besides the journal.
pub struct Choice<'a> {
    pub manifest: &'a Manifest,
    pub retry: &'a Retry,
    pub pruning: &'a PruningConfig,
    pub objective: &'a Objective,
    /// Epochs of each trial's whole training.
    pub epochs: &'a [u64],
    /// These alone, and those that are promoted; none: all.
    pub only: Option<&'a [usize]>,
    /// Not these: they run here, someone else has them, or they were stopped from outside.
    pub skip: &'a dyn Fn(usize) -> bool,
    pub now: Timestamp,
}

impl Choice<'_> {
    /// Interrupted trials go on first, then failed ones whose wait is over, then promoted ones,
    /// then new ones in the order of the manifest.
    pub fn next(&self, state: &State) -> Next {
        let wanted = |place: usize| self.only.is_none_or(|only| only.contains(&place));
        let free = |place: usize| !self.manifest.trials[place].dropped && !(self.skip)(place);
        let all = || (0..state.trials.len()).filter(|place| wanted(*place) && free(*place));
        let of = |phase: Phase| all().find(|place| state.trials[*place].phase == phase);
        if let Some(place) = of(Phase::Interrupted) {
            return Next::Start { place, promoted: false };
        }
        let waits = all().filter_map(|place| Some((self.wait(&state.trials[place])?, place)));
        let soonest = waits.min();
        if let Some((Duration::ZERO, place)) = soonest {
            return Next::Start { place, promoted: false };
        }
        let promotion = self.pruning.promotion(&self.seen(state)).filter(|place| free(*place));
        if let Some(place) = promotion {
            return Next::Start { place, promoted: true };
        }
        if let Some(place) = of(Phase::Waiting) {
            return Next::Start { place, promoted: false };
        }
        soonest.map_or(Next::Nothing, |(wait, _)| Next::Wait(wait))
    }

    /// How long until a failed trial may be tried again; none where it may not.
    fn wait(&self, trial: &TrialState) -> Option<Duration> {
        if trial.phase != Phase::Failed || self.retry.is_given_up(trial) {
            return None;
        }
        let failures: usize = trial.failures.values().sum();
        let ended: Option<Timestamp> = trial.ended.as_deref().and_then(|time| time.parse().ok());
        // A clock that was set back since makes nobody wait.
        let passed = ended.and_then(|ended| self.now.duration_since(ended).try_into().ok());
        Some(
            passed
                .map_or(Duration::ZERO, |passed| self.retry.pause(failures).saturating_sub(passed)),
        )
    }

    /// The trials as pruning sees them.
    pub fn seen(&self, state: &State) -> Vec<Seen> {
        let trials = state.trials.iter().zip(self.epochs).zip(&self.manifest.trials);
        trials
            .map(|((trial, epochs), of)| Seen {
                // One that nobody will start keeps nobody waiting.
                phase: match trial.phase {
                    Phase::Waiting if of.dropped => Phase::Failed,
                    Phase::Failed if !self.retry.is_given_up(trial) => Phase::Interrupted,
                    phase => phase,
                },
                scores: trial
                    .observations
                    .iter()
                    .map(|seen| (seen.epoch, self.objective.score(seen.value)))
                    .collect(),
                promoted_at: trial.promoted_at,
                epochs: *epochs,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Trial;
    use crate::sweep::journal::{Entry, Outcome, Record, Runner};

    struct Setting {
        manifest: Manifest,
        state: State,
        epochs: Vec<u64>,
    }

    fn setting(count: usize) -> Setting {
        let trial = |n: usize| Trial { id: n.to_string(), name: n.to_string(), ..Trial::default() };
        let manifest = Manifest { trials: (0..count).map(trial).collect(), ..Manifest::default() };
        Setting { state: State::new(&manifest), epochs: vec![4; count], manifest }
    }

    impl Setting {
        fn ended(&mut self, place: usize, outcome: Outcome) {
            let trial = place.to_string();
            let started = Record::Started { trial: trial.clone(), runner: Runner::default() };
            let (code, note) = (None, None);
            let ended = Record::Ended { trial, outcome, code, seconds: 1.0, note };
            for record in [started, ended] {
                self.state.apply(&Entry { time: "2026-01-01T00:00:00Z".into(), record });
            }
        }

        fn next(&self, only: Option<&[usize]>, seconds: i64, skip: &dyn Fn(usize) -> bool) -> Next {
            let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            Choice {
                manifest: &self.manifest,
                retry: &Retry { failed: 2, wait: 10.0, ..Retry::default() },
                pruning: &PruningConfig::default(),
                objective: &Objective::default(),
                epochs: &self.epochs,
                only,
                skip,
                now: start + jiff::SignedDuration::from_secs(seconds),
            }
            .next(&self.state)
        }
    }

    #[test]
    fn in_order_interrupted_first_and_failed_after_their_wait() {
        let mut at = setting(4);
        let none = |_: usize| false;
        let start = |place| Next::Start { place, promoted: false };
        assert_eq!(at.next(None, 0, &none), start(0));
        assert_eq!(at.next(None, 0, &|place| place < 2), start(2));
        assert_eq!(at.next(Some(&[3]), 0, &none), start(3));
        at.ended(2, Outcome::Interrupted);
        assert_eq!(at.next(None, 0, &none), start(2));
        at.ended(2, Outcome::Finished);
        at.ended(0, Outcome::Failed);
        assert_eq!(at.next(None, 5, &none), start(1));
        assert_eq!(at.next(None, 10, &none), start(0));
        assert_eq!(at.next(Some(&[0]), 4, &none), Next::Wait(Duration::from_secs(6)));
        at.ended(0, Outcome::Failed);
        assert_eq!(at.next(Some(&[0]), 5, &none), Next::Wait(Duration::from_secs(15)));
        at.ended(0, Outcome::Failed);
        assert_eq!(at.next(Some(&[0]), 500, &none), Next::Nothing);
        at.manifest.trials[1].dropped = true;
        assert_eq!(at.next(None, 500, &none), start(3));
        at.ended(3, Outcome::Input);
        assert_eq!(at.next(None, 500, &none), Next::Nothing);
    }
}
