//! What became of each trial: the journal, folded.

use super::journal::{Entry, Outcome, Record, Runner};
use super::manifest::{Manifest, Sets};
use std::collections::HashMap;

/// Where a trial stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Never started, or to be tried again.
    #[default]
    Waiting,
    /// A runner said that it started it; whether that runner lives is another question.
    Running,
    /// Stopped with a checkpoint, to go on.
    Interrupted,
    /// Stopped with a checkpoint because others do better.
    Pruned,
    Finished,
    /// Ended badly; `last` says how.
    Failed,
}

/// The objective after an epoch, as it was logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    pub epoch: u64,
    pub value: f64,
}

/// One trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialState {
    pub phase: Phase,
    /// Settings that were proposed when it started.
    pub proposed: Option<Sets>,
    /// One per epoch, in order; of an epoch that was repeated, the newest.
    pub observations: Vec<Observation>,
    pub runner: Option<Runner>,
    /// Time of the last start, RFC 3339.
    pub started: Option<String>,
    /// Sessions of it so far.
    pub sessions: usize,
    /// Failed attempts, by outcome, since it last got on by an epoch or was to be tried again.
    pub failures: HashMap<Outcome, usize>,
    /// How the last session ended.
    pub last: Option<Outcome>,
    pub code: Option<i32>,
    pub note: Option<String>,
    /// Of all sessions that ended.
    pub seconds: f64,
    /// Goes on to its end, whatever the pruning says.
    pub to_the_end: bool,
    /// Epoch after which it was last pruned or promoted; a promotion is not asked twice.
    pub promoted_at: Option<u64>,
    /// Time of the last end.
    pub ended: Option<String>,
}

impl TrialState {
    /// Epochs that were reported.
    pub fn epoch(&self) -> u64 {
        self.observations.last().map_or(0, |seen| seen.epoch)
    }

    pub fn value(&self) -> Option<f64> {
        self.observations.last().map(|seen| seen.value)
    }
}

/// All trials, by their place in the manifest.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub trials: Vec<TrialState>,
    /// Submissions to a cluster, in order: the journal's records.
    pub submissions: Vec<Entry>,
    /// The manifest has other trials since.
    pub(super) extended: bool,
    places: HashMap<String, usize>,
}

impl State {
    pub fn new(manifest: &Manifest) -> State {
        let places = manifest.trials.iter().enumerate().map(|(at, t)| (t.id.clone(), at));
        State {
            trials: vec![TrialState::default(); manifest.trials.len()],
            submissions: Vec::new(),
            extended: false,
            places: places.collect(),
        }
    }

    /// The place of a trial; none where it belongs to an earlier form of the sweep.
    pub fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    pub fn count(&self, phase: Phase) -> usize {
        self.trials.iter().filter(|trial| trial.phase == phase).count()
    }

    pub fn apply(&mut self, entry: &Entry) {
        let trial = match &entry.record {
            Record::Submitted { .. } => return self.submissions.push(entry.clone()),
            Record::Extended { .. } => return self.extended = true,
            Record::Proposed { trial, .. }
            | Record::Started { trial, .. }
            | Record::Reported { trial, .. }
            | Record::Observed { trial, .. }
            | Record::Promoted { trial, .. }
            | Record::Ended { trial, .. }
            | Record::Retry { trial } => trial,
        };
        let Some(at) = self.place(trial) else { return };
        let trial = &mut self.trials[at];
        match &entry.record {
            Record::Proposed { set, .. } => trial.proposed = Some(set.clone()),
            Record::Started { runner, .. } => {
                trial.phase = Phase::Running;
                trial.runner = Some(runner.clone());
                trial.started = Some(entry.time.clone());
                trial.sessions += 1;
            }
            Record::Reported { epoch, value, .. } => {
                // One that gets on has its attempts back.
                if trial.epoch() < *epoch {
                    trial.failures.clear();
                }
                // A continued trial may repeat epochs after its checkpoint.
                trial.observations.retain(|seen| seen.epoch < *epoch);
                trial.observations.push(Observation { epoch: *epoch, value: *value });
            }
            Record::Observed { values, .. } => {
                let seen =
                    |(epoch, value): &(u64, f64)| Observation { epoch: *epoch, value: *value };
                trial.observations = values.iter().map(seen).collect();
            }
            Record::Promoted { to_the_end, .. } => {
                trial.promoted_at = Some(trial.epoch());
                trial.to_the_end |= to_the_end;
                if trial.phase == Phase::Pruned {
                    trial.phase = Phase::Interrupted;
                }
            }
            Record::Ended { outcome, code, seconds, note, .. } => {
                trial.phase = match outcome {
                    Outcome::Finished => Phase::Finished,
                    Outcome::Interrupted => Phase::Interrupted,
                    Outcome::Pruned => Phase::Pruned,
                    _ => Phase::Failed,
                };
                if trial.phase == Phase::Failed {
                    *trial.failures.entry(*outcome).or_default() += 1;
                }
                trial.last = Some(*outcome);
                trial.code = *code;
                trial.note.clone_from(note);
                trial.seconds += seconds;
                trial.ended = Some(entry.time.clone());
            }
            Record::Retry { .. } => {
                trial.failures.clear();
                if trial.phase == Phase::Failed {
                    trial.phase = Phase::Waiting;
                }
            }
            Record::Submitted { .. } | Record::Extended { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Trial;

    fn state() -> State {
        let trial = |id: &str| Trial { id: id.into(), name: id.into(), ..Trial::default() };
        State::new(&Manifest { trials: vec![trial("a"), trial("b")], ..Manifest::default() })
    }

    fn told(state: &mut State, record: Record) {
        state.apply(&Entry { time: "2026-01-01T00:00:00Z".into(), record });
    }

    fn ended(outcome: Outcome) -> Record {
        let (code, note) = (None, None);
        Record::Ended { trial: "a".into(), outcome, code, seconds: 2.0, note }
    }

    #[test]
    fn a_life() {
        let mut state = state();
        let a = || "a".to_string();
        told(&mut state, Record::Started { trial: a(), runner: Runner::default() });
        for (epoch, value) in [(1, 0.5), (2, 0.4), (2, 0.3)] {
            told(&mut state, Record::Reported { trial: a(), epoch, value });
        }
        assert_eq!(
            (state.trials[0].phase, state.trials[0].observations.len()),
            (Phase::Running, 2)
        );
        assert_eq!(state.trials[0].value(), Some(0.3));
        told(&mut state, ended(Outcome::Pruned));
        assert_eq!(state.trials[0].phase, Phase::Pruned);
        told(&mut state, Record::Promoted { trial: a(), to_the_end: false });
        assert_eq!(state.trials[0].phase, Phase::Interrupted);
        told(&mut state, ended(Outcome::Killed));
        assert_eq!(state.trials[0].failures[&Outcome::Killed], 1);
        told(&mut state, Record::Retry { trial: a() });
        assert_eq!((state.trials[0].phase, state.trials[0].failures.len()), (Phase::Waiting, 0));
        told(&mut state, ended(Outcome::Finished));
        assert_eq!((state.count(Phase::Finished), state.count(Phase::Waiting)), (1, 1));
        assert_eq!(state.trials[0].seconds, 6.0);
        told(&mut state, Record::Retry { trial: "gone".into() });
    }
}
