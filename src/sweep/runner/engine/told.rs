//! What the trials tell, and what becomes of it: in the journal, on the screen.

use super::Engine;
use crate::Result;
use crate::record::feed::Feed;
use crate::sweep::journal::{Outcome, Record};
use crate::sweep::pruning::Verdict;
use crate::sweep::runner::child::Told;
use crate::sweep::runner::claim::Claim;
use crate::sweep::runner::outcome::{Stopping, classify};
use crate::sweep::runner::trial;
use crate::sweep::{Observation, Phase};
use rustix::process::Signal;

/// Lines of a crash note that are shown.
const CRASH_LINES: usize = 8;

impl Engine {
    pub(super) fn heard(&mut self, place: usize, told: Told) -> Result<()> {
        match told {
            Told::Slow(seconds) => {
                let name = &self.ledger.trial(place).name;
                self.view.warn(&format!("{name}: no step for {seconds:.0} s"));
                Ok(())
            }
            Told::Feed(feed) => {
                self.view.feed(place, &feed);
                if let (Feed::Ended { note, .. }, Some(active)) =
                    (&feed, self.active.get_mut(&place))
                {
                    active.note.clone_from(note);
                }
                match self.file.objective.heard(&feed) {
                    Some(seen) => self.report(place, seen),
                    None => Ok(()),
                }
            }
            Told::Lost => {
                // Its process holds the claim while it lives, so nobody starts it a second time.
                self.active.remove(&place);
                let note = "its watcher panicked: this is a bug in arcrun".to_owned();
                self.end(place, Outcome::Failed, None, Some(note.clone()), 0.0)?;
                self.show_end(place, Outcome::Failed, Some(&note), "");
                Ok(())
            }
            Told::Ended { status, stopping, said, seconds, claim } => {
                let (code, (outcome, why)) = match status {
                    Ok(status) => (status.code(), classify(status, stopping, &said)),
                    Err(e) => (None, (Outcome::Failed, Some(format!("it can't be watched: {e}")))),
                };
                let own = self.active.remove(&place).and_then(|active| active.note);
                let note = match (why, own) {
                    (Some(why), Some(own)) if outcome != Outcome::Pruned => {
                        Some(format!("{why}: {own}"))
                    }
                    (why, own) => why.or(own),
                };
                if outcome == Outcome::Interrupted && stopping == Stopping::No {
                    self.left.insert(place);
                }
                self.end(place, outcome, code, note.clone(), seconds)?;
                drop(claim);
                self.show_end(place, outcome, note.as_deref(), &said);
                Ok(())
            }
        }
    }

    pub(super) fn show_end(
        &mut self,
        place: usize,
        outcome: Outcome,
        note: Option<&str>,
        said: &str,
    ) {
        let name = self.ledger.trial(place).name.clone();
        match outcome {
            Outcome::Finished | Outcome::Pruned | Outcome::Interrupted => {
                let value = self.file.objective.of(&self.ledger.state.trials[place].observations);
                self.view.ended(&name, outcome, value, &self.file.objective, note);
                if outcome == Outcome::Finished && value.is_none() {
                    self.no_value(place);
                }
            }
            _ => {
                let crash = self.ledger.run_dir(place).join("crash.txt");
                let crash = std::fs::read_to_string(crash).unwrap_or_default();
                // Its first lines say where it stood and why; frames of the stack follow.
                let head: Vec<&str> = crash.lines().take(CRASH_LINES).collect();
                let said = format!("{said}\n{}", head.join("\n"));
                self.view.failed(&name, outcome, note, &said);
            }
        }
    }

    /// The objective is not among what a trial logged.
    pub(super) fn no_value(&mut self, place: usize) {
        let names = crate::sweep::Objective::choices(&self.ledger.run_dir(place));
        let metric = &self.file.objective.metric;
        if names.iter().any(|name| metric.ends_with(name.as_str())) {
            let text = format!("warning: the trials left the objective {metric:?} empty");
            return self.view.once(&text);
        }
        self.view.once(&format!(
            "warning: the trials don't log the objective {metric:?}; they log {}",
            names.join(", ")
        ));
    }

    /// Writes a trial's newest value and asks the pruning.
    pub(super) fn report(&mut self, place: usize, seen: Observation) -> Result<()> {
        let trial = self.ledger.trial(place).id.clone();
        let Observation { epoch, value } = seen;
        self.ledger.write(vec![Record::Reported { trial, epoch, value }])?;
        self.stale = true;
        let whole = self.epochs[place];
        if epoch >= whole || self.ledger.state.trials[place].to_the_end {
            return Ok(());
        }
        let verdict =
            self.choice(|choice| choice.pruning.verdict(&choice.seen(&self.ledger.state), place));
        if let (Verdict::Pause, Some(active)) = (verdict, self.active.get_mut(&place))
            && !active.stopping
        {
            active.stopping = true;
            active.child.stop(Stopping::Pruned, Signal::INT);
        }
        Ok(())
    }

    /// Writes how a trial ended, with what its files have and its lines had not.
    pub(super) fn end(
        &mut self,
        place: usize,
        outcome: Outcome,
        code: Option<i32>,
        note: Option<String>,
        seconds: f64,
    ) -> Result<()> {
        let recorded = self.file.objective.recorded(&self.ledger.run_dir(place));
        let recorded = recorded.unwrap_or_default();
        let id = self.ledger.trial(place).id.clone();
        self.ledger.change(|state, _| {
            let known = &state.trials[place].observations;
            let same = |a: &Observation, b: &Observation| {
                a.epoch == b.epoch && a.value.to_bits() == b.value.to_bits()
            };
            let first = recorded.iter().position(|new| !known.iter().any(|old| same(old, new)));
            let new = first.map_or(&[][..], |first| &recorded[first..]);
            let reports = new.iter().map(|seen| Record::Reported {
                trial: id.clone(),
                epoch: seen.epoch,
                value: seen.value,
            });
            let mut records: Vec<Record> = reports.collect();
            records.push(Record::Ended { trial: id.clone(), outcome, code, seconds, note });
            Ok(((), records))
        })?;
        self.stale = true;
        Ok(())
    }

    /// The values of trials that rest, read again from what they recorded: a line of the journal may
    /// be lost, or the objective be another than before.
    pub(super) fn reconcile(&mut self) -> Result<()> {
        for place in 0..self.ledger.state.trials.len() {
            let trial = &self.ledger.state.trials[place];
            if trial.sessions == 0 || trial.phase == Phase::Running {
                continue;
            }
            let run_dir = self.ledger.run_dir(place);
            // Without its folder the journal is all there is.
            if !run_dir.join("epochs.csv").exists() {
                continue;
            }
            let recorded = self.file.objective.recorded(&run_dir).unwrap_or_default();
            let bits = |seen: &[Observation]| -> Vec<(u64, u64)> {
                seen.iter().map(|seen| (seen.epoch, seen.value.to_bits())).collect()
            };
            if bits(&recorded) != bits(&trial.observations) {
                let trial = self.ledger.trial(place).id.clone();
                let values = recorded.iter().map(|seen| (seen.epoch, seen.value)).collect();
                self.ledger.write(vec![Record::Observed { trial, values }])?;
                self.stale = true;
            }
        }
        Ok(())
    }

    /// Trials whose journal says that they run, and that nobody holds: their runner died.
    pub(super) fn recover(&mut self) -> Result<()> {
        for place in 0..self.ledger.state.trials.len() {
            let running = self.ledger.state.trials[place].phase == Phase::Running;
            if !running || self.active.contains_key(&place) {
                continue;
            }
            let run_dir = self.ledger.run_dir(place);
            // Something in the way of its lock is seen when it is to be started.
            let Ok(Some(claim)) = Claim::take(&run_dir) else { continue };
            // What ended before the claim was free is in the journal by now.
            self.ledger.refresh()?;
            let trial = &self.ledger.state.trials[place];
            if trial.phase == Phase::Running {
                let before = trial.seconds;
                let (outcome, note, seconds) = trial::lost(&run_dir);
                let name = self.ledger.trial(place).name.clone();
                self.end(place, outcome, None, note.clone(), (seconds - before).max(0.0))?;
                self.view.ended(&name, outcome, None, &self.file.objective, note.as_deref());
            }
            drop(claim);
        }
        Ok(())
    }
}
