//! Which saved checkpoints are kept, and under which names: a function of the history alone.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// A name in `checkpoints/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The newest.
    Latest,
    /// The one before it: what a damaged `latest` falls back to.
    Previous,
    /// The least monitored loss.
    MinLoss,
    /// The best value of this metric, such as `lfw/accuracy`.
    Best(String),
    /// The end of this epoch.
    Epoch(u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Latest => f.write_str("latest"),
            Name::Previous => f.write_str("previous"),
            Name::MinLoss => f.write_str("min-loss"),
            Name::Best(metric) => write!(f, "{BEST}{}", encode(metric)),
            Name::Epoch(epoch) => write!(f, "epoch-{epoch:04}"),
        }
    }
}

impl Name {
    /// The inverse of `Display`; also the spellings of `--checkpoint`: `min_loss`, `10`, a metric as it
    /// is called.
    pub fn parse(text: &str) -> Option<Name> {
        if let Some(metric) = text.strip_prefix(BEST).filter(|metric| !metric.is_empty()) {
            return decode(metric).map(Name::Best);
        }
        match text {
            "latest" => Some(Name::Latest),
            "previous" => Some(Name::Previous),
            "min-loss" | "min_loss" => Some(Name::MinLoss),
            _ => text.strip_prefix("epoch-").unwrap_or(text).parse().ok().map(Name::Epoch),
        }
    }
}

/// First letters of the names of the best by a metric.
const BEST: &str = "best-";

/// Stands before each metric in the name of a saved folder.
const METRIC: char = '+';

/// Bytes that the metrics may take in the name of a saved folder. The name of a file has 255 on every
/// usual file system, and the position with a temporary name's additions takes up to 90 of them.
const ROOM: usize = 160;

/// Letters, digits and `. _ @ = -` as they are, every other byte as `%2F`: safe as a part of a
/// file's name everywhere.
fn encode(metric: &str) -> String {
    let mut text = String::new();
    for byte in metric.bytes() {
        if byte.is_ascii_alphanumeric() || b"._@=-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

/// The inverse of [`encode`]; other characters and a `%` without two digits stand for themselves.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
            Some(digits) if first == b'%' => {
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether checkpoints can be named after all of these metrics at once.
pub fn metrics_fit(metrics: &[String]) -> bool {
    metrics.iter().map(|metric| encode(metric).len() + 1).sum::<usize>() <= ROOM
}

/// A saved folder, told by its own name: `e0003-b00000-s00000120-min+lfw%2Faccuracy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// Epochs completed, batches of the next one done, optimizer steps done.
    pub epoch: u64,
    pub batch: u64,
    pub step: u64,
    /// How many times this position was saved before.
    pub again: u32,
    /// The least loss when it was written.
    pub min_loss: bool,
    /// It closes an epoch that a limit cut short.
    pub cut: bool,
    /// The metrics of which it was the best when it was written.
    pub best: Vec<String>,
}

impl fmt::Display for Save {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Save { epoch, batch, step, again, min_loss, cut, best } = self;
        write!(f, "e{epoch:04}-b{batch:05}-s{step:08}")?;
        if *again > 0 {
            write!(f, "-r{again}")?;
        }
        f.write_str(if *min_loss { "-min" } else { "" })?;
        f.write_str(if *cut { "-cut" } else { "" })?;
        best.iter().try_for_each(|metric| write!(f, "{METRIC}{}", encode(metric)))
    }
}

impl Save {
    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Option<Save> {
        let mut parts = text.split(METRIC);
        let text = parts.next()?;
        let best = parts
            .map(|part| decode(part).filter(|metric| !metric.is_empty()))
            .collect::<Option<Vec<String>>>()?;
        let (text, cut) = match text.strip_suffix("-cut") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (rest, min_loss) = match text.strip_suffix("-min") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut words = rest.split('-');
        let mut number =
            |letter: char| words.next()?.strip_prefix(letter).and_then(|n| n.parse::<u64>().ok());
        let (epoch, batch, step) = (number('e')?, number('b')?, number('s')?);
        let again = match words.next() {
            Some(word) => word.strip_prefix('r')?.parse().ok()?,
            None => 0,
        };
        words.next().is_none().then_some(Save { epoch, batch, step, again, min_loss, cut, best })
    }

    /// Where in the training it was taken.
    pub(crate) fn position(&self) -> (u64, u64, u64) {
        (self.epoch, self.batch, self.step)
    }
}

/// What is kept beside `latest`, the one before it, `min-loss` and the best by metric.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// Keep the end of every Nth epoch; 0: none.
    pub every_epochs: u64,
    /// Keep the ends of the last K epochs; 0: none.
    pub last_epochs: usize,
}

/// The names to give, each with an index into `history`, which is in the order of writing.
/// What gets no name is deleted.
pub fn keep(history: &[Save], policy: &Policy) -> Vec<(Name, usize)> {
    // A position saved again replaces the first.
    let standing: Vec<(usize, &Save)> = (history.iter().enumerate())
        .filter(|(i, save)| history[i + 1..].iter().all(|l| l.position() != save.position()))
        .collect();
    let mut backwards = standing.iter().rev();
    let newest = backwards.next().map(|&(i, _)| (Name::Latest, i));
    let before = backwards.next().map(|&(i, _)| (Name::Previous, i));
    let min_loss = standing.iter().rfind(|(_, save)| save.min_loss);
    let min_loss = min_loss.map(|&(i, _)| (Name::MinLoss, i));
    let best: BTreeMap<&String, usize> = (standing.iter())
        .flat_map(|&(i, save)| save.best.iter().map(move |metric| (metric, i)))
        .collect();
    let best = best.into_iter().map(|(metric, i)| (Name::Best(metric.clone()), i));

    let ends: Vec<(u64, usize)> = (standing.iter())
        .filter(|(_, save)| save.batch == 0 && save.epoch > 0)
        .map(|&(index, save)| (save.epoch, index))
        .collect();
    let last = ends.len().saturating_sub(policy.last_epochs);
    let epochs = ends.iter().enumerate().filter(|&(position, &(epoch, _))| {
        position >= last || (policy.every_epochs > 0 && epoch % policy.every_epochs == 0)
    });
    let epochs = epochs.map(|(_, &(epoch, index))| (Name::Epoch(epoch), index));

    newest.into_iter().chain(before).chain(min_loss).chain(best).chain(epochs).collect()
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
