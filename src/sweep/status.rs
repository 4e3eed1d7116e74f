//! What a person is told about a sweep.

use super::file::SweepFile;
use super::journal::Outcome;
use super::runner::claim::Claim;
use super::runner::view::time_left;
use super::runner::{Summary, child};
use super::{Ledger, Phase, TrialState, leaderboard, slurm};
use crate::Result;
use std::fmt::Write;

/// Trials of the leaderboard, and of each list, unless all are asked for.
const TOP: usize = 10;
/// Width of the tables, characters.
const WIDTH: usize = 100;

/// `run sweep status`: counts, the best trials, those that run, those that failed and why.
pub fn status(ledger: Ledger, all: bool) -> Result<String> {
    let Ledger { manifest, state, folder, .. } = &ledger;
    let file = SweepFile::parse(&manifest.file, &manifest.text)?;
    let most = if all { usize::MAX } else { TOP };
    let mut text = format!("{}: {}\n", manifest.name, counts(&ledger));
    // Writing to a String can't fail.
    if let Some(left) = time_left(&ledger, 1) {
        let _ = writeln!(text, "about {left} of training left, with one trial at a time");
    }
    let board = leaderboard::rank(manifest, state, &file.objective);
    let table = leaderboard::text_table(&board, most, WIDTH);
    if !table.is_empty() {
        let _ = write!(text, "\n{table}");
        text.push_str(if table.ends_with('\n') { "" } else { "\n" });
    }
    let here = sysinfo::System::host_name().unwrap_or_default();
    let mut list = |title: &str, phase: Phase, line: &dyn Fn(usize, &TrialState) -> String| {
        let of = state.trials.iter().enumerate().filter(|(_, trial)| trial.phase == phase);
        let of: Vec<(usize, &TrialState)> = of.collect();
        if of.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{title}");
        for (place, trial) in of.iter().take(most) {
            let _ = writeln!(text, "  {}: {}", manifest.trials[*place].name, line(*place, trial));
        }
        if of.len() > most {
            let _ = writeln!(text, "  and {} more: run sweep status -v", of.len() - most);
        }
    };
    list("running", Phase::Running, &|place, trial| {
        let runner = trial.runner.clone().unwrap_or_default();
        let at = match &runner.job {
            Some(job) => format!("{job} on {}", runner.host),
            None => format!("process {} on {}", runner.pid, runner.host),
        };
        // A lock on another machine may not be seen here.
        let lost = runner.host == here && !Claim::is_taken(&ledger.run_dir(place));
        let lost =
            if lost { "; its runner is gone, `run sweep resume` goes on with it" } else { "" };
        format!("epoch {}, {at}{lost}", trial.epoch())
    });
    list("interrupted", Phase::Interrupted, &|_, trial| {
        let note = trial.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        format!("after epoch {}{note}", trial.epoch())
    });
    list("failed", Phase::Failed, &|place, trial| {
        let attempts: usize = trial.failures.values().sum();
        let note = trial.note.clone().unwrap_or_else(|| word(trial).to_string());
        let output = ledger.run_dir(place).join(child::OUTPUT);
        format!("{note} (attempts: {attempts}); see {}", output.display())
    });
    let lines = slurm::report(&slurm::Cluster::default(), manifest, state);
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{}", lines.join("\n"));
    }
    let _ = writeln!(text, "\nfolder {}", folder.display());
    Ok(text)
}

/// The last words of `run sweep`.
pub fn ended(ledger: &Ledger, summary: &Summary) -> Result<String> {
    let Ledger { manifest, state, folder, .. } = ledger;
    let file = SweepFile::parse(&manifest.file, &manifest.text)?;
    let mut text = format!("{}: {}\n", manifest.name, summary.words());
    let board = leaderboard::rank(manifest, state, &file.objective);
    text.push_str(&leaderboard::text_table(&board, TOP, WIDTH));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut row = |title: &str, name: &str| {
        let path = folder.join(name);
        if path.exists() {
            let _ = writeln!(text, "  {title:<12} {}", path.display());
        }
    };
    row("best", "best.toml");
    row("table", "sweep.csv");
    let _ = writeln!(text, "  {:<12} run report {}", "page", folder.display());
    Ok(text)
}

fn counts(ledger: &Ledger) -> String {
    let dropped = ledger.manifest.trials.iter().filter(|trial| trial.dropped).count();
    let phases = [
        (Phase::Finished, "finished"),
        (Phase::Running, "running"),
        (Phase::Pruned, "pruned"),
        (Phase::Interrupted, "interrupted"),
        (Phase::Failed, "failed"),
        (Phase::Waiting, "waiting"),
    ];
    let shown = phases.iter().filter_map(|(phase, word)| {
        let count = ledger.count(*phase);
        (count > 0 || *phase == Phase::Finished).then(|| format!("{count} {word}"))
    });
    let words = shown.collect::<Vec<_>>().join(", ");
    let gone = match dropped {
        0 => String::new(),
        n => format!("; {n} more, no longer asked for"),
    };
    let trials = match ledger.asked() {
        1 => "1 trial".to_owned(),
        n => format!("{n} trials"),
    };
    format!("{trials}: {words}{gone}")
}

/// A trial's state in a word.
pub fn word(trial: &TrialState) -> &'static str {
    match (trial.phase, trial.last) {
        (Phase::Failed, outcome) => outcome.unwrap_or(Outcome::Failed).word(),
        (Phase::Waiting, _) => "waiting",
        (Phase::Running, _) => "running",
        (Phase::Interrupted, _) => "interrupted",
        (Phase::Pruned, _) => "pruned",
        (Phase::Finished, _) => "finished",
    }
}
