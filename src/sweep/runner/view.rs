//! What a person sees of a running sweep: a bar for each trial, the best so far, the time left.
//!
//! Where standard error is no terminal, a line for each thing that happens.

use crate::record::Verbosity;
use crate::record::feed::Feed;
use crate::sweep::journal::Outcome;
use crate::sweep::{Ledger, Objective, Phase, leaderboard};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::{BTreeSet, HashMap};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Lines of the leaderboard below the bars.
const TOP: usize = 5;
/// Lines of a failed trial's output that are shown.
const LAST_LINES: usize = 12;
/// Between two drawings of the leaderboard.
const REDRAW: Duration = Duration::from_millis(500);

pub struct View {
    verbosity: Verbosity,
    screen: MultiProgress,
    terminal: bool,
    total: ProgressBar,
    board: ProgressBar,
    bars: HashMap<usize, (ProgressBar, u64, String)>,
    /// Said once.
    once: BTreeSet<String>,
    jobs: usize,
    drawn: Option<Instant>,
}

impl View {
    pub fn new(verbosity: Verbosity, ledger: &Ledger, jobs: usize) -> View {
        let terminal = std::io::stderr().is_terminal() && verbosity != Verbosity::Quiet;
        let target = match terminal {
            true => ProgressDrawTarget::stderr_with_hz(8),
            false => ProgressDrawTarget::hidden(),
        };
        let screen = MultiProgress::with_draw_target(target);
        let total = screen.add(ProgressBar::new(ledger.asked() as u64));
        total.set_style(style("{prefix} {bar:24} {pos}/{len} trials {msg}"));
        total.set_prefix(ledger.manifest.name.clone());
        let board = screen.add(ProgressBar::new(0));
        board.set_style(style("{msg}"));
        View {
            verbosity,
            screen,
            terminal,
            total,
            board,
            bars: HashMap::new(),
            once: BTreeSet::new(),
            jobs,
            drawn: None,
        }
    }

    /// The sweep has other trials.
    pub fn extended(&mut self, ledger: &Ledger) {
        self.total.set_length(ledger.asked() as u64);
        self.say(Verbosity::Normal, "the sweep was extended: going on with its new trials");
    }

    /// A line above the bars.
    fn say(&self, from: Verbosity, text: &str) {
        if self.verbosity < from {
            return;
        }
        match self.terminal {
            // A terminal that went away is no reason to stop a sweep.
            true => drop(self.screen.println(text)),
            // Nor is a pipe that nobody reads any more.
            false => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    pub fn warn(&self, text: &str) {
        self.say(Verbosity::Quiet, &format!("warning: {text}"));
    }

    /// Says something that stays true, the first time.
    pub fn once(&mut self, text: &str) {
        if self.once.insert(text.to_owned()) {
            self.say(Verbosity::Normal, text);
        }
    }

    pub fn started(&mut self, place: usize, name: &str, epochs: u64) {
        if !self.terminal {
            self.say(Verbosity::Normal, &format!("started {name}"));
        }
        let bar = self.screen.insert_before(&self.board, ProgressBar::new(1));
        bar.set_style(style("  {bar:16} {percent:>3}% {msg}"));
        bar.set_message(name.to_owned());
        self.bars.insert(place, (bar, epochs, name.to_owned()));
    }

    pub fn feed(&mut self, place: usize, feed: &Feed) {
        let Some((bar, epochs, name)) = self.bars.get_mut(&place) else { return };
        match feed {
            Feed::Epoch { epoch, epochs: of, batches, first_batch } => {
                *epochs = *of;
                bar.set_length(of * batches);
                bar.set_position((epoch - 1) * batches + first_batch);
            }
            Feed::Step { step, loss, .. } => {
                bar.set_position(*step);
                let epoch = (*step * *epochs).div_ceil(bar.length().unwrap_or(1).max(1));
                bar.set_message(format!("epoch {epoch}/{epochs} loss {loss:.4}  {name}"));
            }
            Feed::EpochEnded { .. } | Feed::Evaluated { .. } | Feed::Ended { .. } => {}
        }
    }

    fn remove(&mut self, name: &str) {
        let place = self.bars.iter().find(|(_, (_, _, of))| of == name).map(|(place, _)| *place);
        if let Some((bar, ..)) = place.and_then(|place| self.bars.remove(&place)) {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
    }

    /// A trial that came to an end which is no failure.
    pub fn ended(
        &mut self,
        name: &str,
        outcome: Outcome,
        value: Option<f64>,
        objective: &Objective,
        note: Option<&str>,
    ) {
        self.remove(name);
        let value = value.map(|value| format!(": {} {value:.4}", objective.metric));
        let note = note.filter(|_| outcome != Outcome::Finished);
        let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
        let text = format!("{} {name}{}{note}", outcome.word(), value.unwrap_or_default());
        self.say(Verbosity::Normal, &text);
    }

    /// A trial that failed, with the end of what it printed.
    pub fn failed(&mut self, name: &str, outcome: Outcome, note: Option<&str>, said: &str) {
        self.remove(name);
        let note = note.map(|note| format!(": {note}")).unwrap_or_default();
        let mut text = format!("{} {name}{note}", outcome.word());
        let lines: Vec<&str> =
            said.lines().filter(|line| !line.trim().is_empty() && !is_frame(line)).collect();
        for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
            text.push_str("\n    ");
            text.push_str(line);
        }
        self.say(Verbosity::Quiet, &text);
    }

    /// The counts, the time left and the leaderboard.
    pub fn update(&mut self, ledger: &Ledger, objective: &Objective) {
        if !self.terminal || self.drawn.is_some_and(|last| last.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let state = &ledger.state;
        let ended = [Phase::Finished, Phase::Pruned, Phase::Failed];
        let ended: usize = ended.iter().map(|phase| ledger.count(*phase)).sum();
        self.total.set_position(ended as u64);
        let mut words = Vec::new();
        for (phase, word) in [(Phase::Failed, "failed"), (Phase::Pruned, "pruned")] {
            let count = ledger.count(phase);
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        words.extend(time_left(ledger, self.jobs).map(|left| format!("{left} left")));
        self.total.set_message(words.join(", "));
        let board = leaderboard::rank(&ledger.manifest, state, objective);
        self.board.set_message(leaderboard::text_table(&board, TOP, 100));
    }

    /// Takes the bars off the screen.
    pub fn close(&mut self) {
        for (bar, ..) in self.bars.values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
        self.board.finish_and_clear();
    }
}

/// A line of a stack: `   3: name`, or where that is.
fn is_frame(line: &str) -> bool {
    let text = line.trim_start();
    let number = text.split_once(": ").is_some_and(|(n, _)| n.parse::<usize>().is_ok());
    line.starts_with(' ') && (number || text.starts_with("at "))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is constant")
}

/// By the time that finished trials took; none before the first, and none where nothing is left.
pub fn time_left(ledger: &Ledger, jobs: usize) -> Option<String> {
    let state = &ledger.state;
    let finished = state.trials.iter().filter(|trial| trial.phase == Phase::Finished);
    let (count, seconds) = finished.fold((0, 0.0), |(n, s), trial| (n + 1, s + trial.seconds));
    if count == 0 {
        return None;
    }
    let open = [Phase::Waiting, Phase::Running, Phase::Interrupted];
    let open: usize = open.iter().map(|phase| ledger.count(*phase)).sum();
    if open == 0 {
        return None;
    }
    let left = open as f64 * seconds / f64::from(count) / jobs as f64;
    Some(crate::record::duration(left))
}

impl Outcome {
    /// As it is shown, and as sweep.csv has it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Finished => "finished",
            Outcome::Interrupted => "interrupted",
            Outcome::Pruned => "pruned",
            Outcome::Input => "input",
            Outcome::Failed => "failed",
            Outcome::Diverged => "diverged",
            Outcome::OutOfMemory => "out of memory",
            Outcome::Killed => "killed",
            Outcome::Timeout => "timeout",
        }
    }
}
