//! Starting a trial: said in the journal first, then done.

use super::{Active, Engine};
use crate::Result;
use crate::sweep::file::SweepFile;
use crate::sweep::journal::{Outcome, Record};
use crate::sweep::runner::child::{Child, Launch};
use crate::sweep::runner::claim::Claim;
use crate::sweep::runner::trial;
use crate::sweep::{Manifest, Phase, Sets, State, search, wandb};

impl Engine {
    /// Writes that the trial starts, unless the journal says otherwise by now.
    pub(super) fn announce(&mut self, place: usize, promoted: bool) -> Result<bool> {
        let (file, resolver, runner) = (&self.file, &self.resolver, &self.runner);
        let started = self.ledger.change(|state, manifest| {
            let (trial, now) = (&manifest.trials[place], &state.trials[place]);
            let fit = match now.phase {
                Phase::Waiting | Phase::Interrupted | Phase::Failed => !promoted,
                Phase::Pruned => promoted,
                Phase::Running | Phase::Finished => false,
            };
            if !fit {
                return Ok((false, Vec::new()));
            }
            let id = || trial.id.clone();
            let mut records = Vec::new();
            if trial.proposed.is_some() && now.proposed.is_none() {
                let set = search::propose(file, resolver, trial, &ended(state, manifest, file))?;
                records.push(Record::Proposed { trial: id(), set });
            }
            if promoted {
                records.push(Record::Promoted { trial: id(), to_the_end: false });
            }
            records.push(Record::Started { trial: id(), runner: runner.clone() });
            Ok((true, records))
        })?;
        self.stale = true;
        Ok(started)
    }

    pub(super) fn start(&mut self, place: usize, slot: usize, claim: Claim) -> Result<()> {
        let run_dir = self.ledger.run_dir(place);
        let trial = self.ledger.trial(place);
        let (name, id) = (trial.name.clone(), trial.id.clone());
        let prepare = || -> Result<Child> {
            let mut experiment = self.resolver.trial(self.ledger.set(place))?;
            if experiment.name.is_empty() {
                experiment.name.clone_from(&self.ledger.manifest.name);
            }
            wandb::settings(&self.ledger.manifest, trial, &mut experiment);
            let title = format!("Trial {name} ({id}) of sweep {}.", self.ledger.manifest.name);
            let launch = Launch {
                program: &self.program,
                run_dir: &run_dir,
                experiment: &trial::write(&run_dir, &experiment, &title)?,
                slot: &self.slots[slot],
                continued: trial::has_checkpoint(&run_dir),
                own_threads: experiment.train.threads != 0,
                own_workers: experiment.loader.workers != 0,
                title: format!("session {}, {}", self.ledger.state.trials[place].sessions, now()),
            };
            Child::start(&launch, claim, &self.file.run, place, self.teller.clone())
        };
        match prepare() {
            Ok(child) => {
                let active = Active { child, slot, stopping: false, note: None };
                self.active.insert(place, active);
                self.view.started(place, &name, self.epochs[place]);
                Ok(())
            }
            Err(error) => {
                // Not the trial's fault perhaps, but the others can go on.
                let note = Some(error.to_string());
                self.view.failed(&name, Outcome::Failed, note.as_deref(), "");
                self.end(place, Outcome::Failed, None, note, 0.0)
            }
        }
    }
}

/// Settings and scores of the trials, for what is proposed next.
fn ended(state: &State, manifest: &Manifest, file: &SweepFile) -> Vec<(Sets, Option<f64>)> {
    let trials = state.trials.iter().zip(&manifest.trials);
    trials
        .filter(|(trial, of)| of.proposed.is_none() || trial.proposed.is_some())
        .map(|(trial, of)| {
            let set = trial.proposed.as_ref().unwrap_or(&of.set).clone();
            (set, file.objective.of(&trial.observations).map(|value| file.objective.score(value)))
        })
        .collect()
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
