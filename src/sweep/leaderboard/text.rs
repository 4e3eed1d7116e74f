//! The leaderboard on a terminal.

use super::{Group, Leaderboard, Row};
use std::fmt::Write;

/// Narrowest column of names.
const LEAST_NAME: usize = 8;

/// The first `top` groups as lines of at most `width` characters, aligned: rank, name of the first
/// trial (and how many seeds more), mean ± standard deviation (seeds), epoch, status.
pub fn text_table(board: &Leaderboard, top: usize, width: usize) -> String {
    let head = ["rank", "trial", &board.objective.metric, "epoch", "status"].map(str::to_owned);
    let mut rows = vec![head];
    let mut from = 0;
    for (at, group) in board.groups.iter().enumerate().take(top) {
        let trials = &board.rows[from..from + group.trials.len()];
        from += group.trials.len();
        rows.push(line(at + 1, group, trials));
    }
    let widest = |column: usize, rows: &[[String; 5]]| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let rest: usize = [0, 2, 3, 4].iter().map(|column| widest(*column, &rows)).sum();
    let room = width.saturating_sub(rest + 2 * 4).max(LEAST_NAME);
    for row in &mut rows {
        row[1] = shorter(&row[1], room);
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let wide = widest(column, &rows);
            // Numbers end together, words begin together.
            let _ = match column {
                0 | 3 => write!(line, "{cell:>wide$}  "),
                _ => write!(line, "{cell:<wide$}  "),
            };
        }
        text.push_str(shorter(line.trim_end(), width).trim_end());
        text.push('\n');
    }
    text
}

fn line(rank: usize, group: &Group, trials: &[Row]) -> [String; 5] {
    let mut name = trials.first().map_or_else(String::new, |row| row.name.clone());
    if trials.len() > 1 {
        let _ = write!(name, " +{}", trials.len() - 1);
    }
    let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let rank = group.mean.map_or_else(|| "-".into(), |_| rank.to_string());
    let value = match (group.mean, trials) {
        // What diverged says so.
        (None, [one]) => one.value.map_or_else(|| "-".into(), shown),
        (None, _) => "-".into(),
        (Some(_), [_]) => group.mean.map_or_else(String::new, shown),
        (Some(_), _) => format!("{} ({})", mean_and_spread(group), group.count),
    };
    let epochs = trials.iter().map(|row| row.epoch);
    let epoch = match (epochs.clone().min(), epochs.max()) {
        (Some(least), Some(most)) if least < most => format!("{least}-{most}"),
        (_, most) => most.unwrap_or(0).to_string(),
    };
    [rank, name, value, epoch, statuses(trials)]
}

/// The word, or how many have each.
fn statuses(trials: &[Row]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for row in trials {
        match counts.iter_mut().find(|(status, _)| *status == row.status) {
            Some((_, count)) => *count += 1,
            None => counts.push((&row.status, 1)),
        }
    }
    match counts.as_slice() {
        [(status, _)] => (*status).to_owned(),
        several => {
            let each = several.iter().map(|(status, count)| format!("{count} {status}"));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Mean and standard deviation, as many decimals for both.
pub fn mean_and_spread(group: &Group) -> String {
    match (group.mean, group.std) {
        (None, _) => "no value".into(),
        (Some(mean), None) => shown(mean),
        (Some(mean), Some(std)) if plain(mean) => format!("{mean:.4} ± {std:.4}"),
        (Some(mean), Some(std)) => format!("{} ± {}", shown(mean), shown(std)),
    }
}

/// Four decimals, or four digits where these say nothing.
pub fn shown(value: f64) -> String {
    match plain(value) {
        true => format!("{value:.4}"),
        false => format!("{value:.3e}"),
    }
}

fn plain(value: f64) -> bool {
    !value.is_finite() || value == 0.0 || (1e-3..1e5).contains(&value.abs())
}

fn shorter(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
