//! A sweep's folder, opened: its manifest, its journal, and what the journal comes to.

use super::journal::{Journal, News, Record};
use super::manifest::{Manifest, Sets, Trial};
use super::state::{Phase, State};
use crate::Result;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Ledger {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub state: State,
    pub journal: Journal,
    /// Lines of the journal that could not be read, to be said once.
    warnings: Vec<String>,
    /// How often the sweep was extended meanwhile.
    pub generation: usize,
}

impl Ledger {
    /// Opens the sweep of a folder.
    ///
    /// # Errors
    /// No sweep, a damaged manifest, a journal that can't be read.
    pub fn open(folder: &Path) -> Result<Ledger> {
        let manifest = Manifest::read(folder)?;
        let mut ledger = Ledger {
            folder: folder.to_owned(),
            state: State::new(&manifest),
            journal: Journal::of(folder),
            manifest,
            warnings: Vec::new(),
            generation: 0,
        };
        ledger.refresh()?;
        ledger.generation = 0;
        Ok(ledger)
    }

    /// Takes in what others wrote.
    pub fn refresh(&mut self) -> Result<()> {
        let News { entries, warnings } = self.journal.news()?;
        entries.iter().for_each(|entry| self.state.apply(entry));
        self.warnings.extend(warnings);
        if self.state.extended { self.reload() } else { Ok(()) }
    }

    /// Reads the sweep again: it has other trials now.
    fn reload(&mut self) -> Result<()> {
        self.manifest = Manifest::read(&self.folder)?;
        self.state = State::new(&self.manifest);
        self.journal = Journal::of(&self.folder);
        self.journal.news()?.entries.iter().for_each(|entry| self.state.apply(entry));
        self.state.extended = false;
        self.generation += 1;
        Ok(())
    }

    /// Takes in what others wrote, then writes what `decide` makes of it, as one step that nobody
    /// else comes between.
    pub fn change<T>(
        &mut self,
        decide: impl FnOnce(&State, &Manifest) -> Result<(T, Vec<Record>)>,
    ) -> Result<T> {
        let Ledger { manifest, state, journal, warnings, .. } = self;
        let mut result = None;
        let written = journal.exchange(|news| {
            news.entries.iter().for_each(|entry| state.apply(entry));
            warnings.extend(news.warnings);
            let (value, records) = decide(state, manifest)?;
            result = Some(value);
            Ok(records)
        })?;
        written.iter().for_each(|entry| self.state.apply(entry));
        Ok(result.expect("decide has run"))
    }

    /// Writes records that depend on nothing.
    pub fn write(&mut self, records: Vec<Record>) -> Result<()> {
        self.change(|_, _| Ok(((), records)))
    }

    /// Trials that the sweep file asks for.
    pub fn asked(&self) -> usize {
        self.manifest.trials.iter().filter(|trial| !trial.dropped).count()
    }

    /// How many of them are in a phase.
    pub fn count(&self, phase: Phase) -> usize {
        let trials = self.manifest.trials.iter().zip(&self.state.trials);
        trials.filter(|(of, trial)| !of.dropped && trial.phase == phase).count()
    }

    /// What is wrong with the journal, once.
    pub fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub fn trial(&self, place: usize) -> &Trial {
        &self.manifest.trials[place]
    }

    /// All settings of a trial, those proposed at its start among them.
    pub fn set(&self, place: usize) -> &Sets {
        self.state.trials[place].proposed.as_ref().unwrap_or(&self.manifest.trials[place].set)
    }

    pub fn run_dir(&self, place: usize) -> PathBuf {
        Manifest::run_dir(&self.folder, &self.manifest.trials[place])
    }
}
