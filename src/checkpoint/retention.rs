//! Which saved checkpoints are kept, and under which names: a function of the history alone.

use std::fmt;

/// A name in `checkpoints/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The newest.
    Latest,
    /// The one before it: what a damaged `latest` falls back to.
    Previous,
    /// The least monitored loss.
    MinLoss,
    /// The end of this epoch.
    Epoch(u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Latest => f.write_str("latest"),
            Name::Previous => f.write_str("previous"),
            Name::MinLoss => f.write_str("min-loss"),
            Name::Epoch(epoch) => write!(f, "epoch-{epoch:04}"),
        }
    }
}

impl Name {
    /// The inverse of `Display`; also the spellings of `--checkpoint`: `min_loss`, `10`.
    pub fn parse(text: &str) -> Option<Name> {
        match text {
            "latest" => Some(Name::Latest),
            "previous" => Some(Name::Previous),
            "min-loss" | "min_loss" => Some(Name::MinLoss),
            _ => text.strip_prefix("epoch-").unwrap_or(text).parse().ok().map(Name::Epoch),
        }
    }
}

/// A saved folder, told by its own name: `e0003-b00000-s00000120-min`.
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
}

impl fmt::Display for Save {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Save { epoch, batch, step, again, min_loss } = self;
        write!(f, "e{epoch:04}-b{batch:05}-s{step:08}")?;
        if *again > 0 {
            write!(f, "-r{again}")?;
        }
        f.write_str(if *min_loss { "-min" } else { "" })
    }
}

impl Save {
    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Option<Save> {
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
        words.next().is_none().then_some(Save { epoch, batch, step, again, min_loss })
    }

    /// Where in the training it was taken.
    pub(crate) fn position(&self) -> (u64, u64, u64) {
        (self.epoch, self.batch, self.step)
    }
}

/// What is kept beside `latest`, the one before it, and `min-loss`.
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

    let ends: Vec<(u64, usize)> = (standing.iter())
        .filter(|(_, save)| save.batch == 0 && save.epoch > 0)
        .map(|&(index, save)| (save.epoch, index))
        .collect();
    let last = ends.len().saturating_sub(policy.last_epochs);
    let epochs = ends.iter().enumerate().filter(|&(position, &(epoch, _))| {
        position >= last || (policy.every_epochs > 0 && epoch % policy.every_epochs == 0)
    });
    let epochs = epochs.map(|(_, &(epoch, index))| (Name::Epoch(epoch), index));

    newest.into_iter().chain(before).chain(min_loss).chain(epochs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(epoch: u64, batch: u64, min_loss: bool) -> Save {
        Save { epoch, batch, step: epoch * 10 + batch, again: 0, min_loss }
    }

    fn names(history: &[Save], policy: &Policy) -> Vec<String> {
        let kept = keep(history, policy);
        kept.iter()
            .map(|(name, i)| format!("{name}={}.{}", history[*i].epoch, history[*i].batch))
            .collect()
    }

    #[test]
    fn nothing_from_nothing() {
        assert_eq!(keep(&[], &Policy { every_epochs: 1, last_epochs: 3 }), []);
    }

    #[test]
    fn latest_and_min_loss_may_share_one() {
        let policy = Policy::default();
        assert_eq!(names(&[save(1, 0, true)], &policy), ["latest=1.0", "min-loss=1.0"]);
        let history = [save(1, 0, true), save(2, 0, true), save(3, 0, false)];
        assert_eq!(names(&history, &policy), ["latest=3.0", "previous=2.0", "min-loss=2.0"]);
    }

    #[test]
    fn every_nth_and_the_last_k_ends_of_epochs() {
        let history: Vec<Save> =
            (1..=7).flat_map(|e| [save(e - 1, 5, false), save(e, 0, e == 1)]).collect();
        assert_eq!(
            names(&history, &Policy { every_epochs: 3, last_epochs: 2 }),
            [
                "latest=7.0",
                "previous=6.5",
                "min-loss=1.0",
                "epoch-0003=3.0",
                "epoch-0006=6.0",
                "epoch-0007=7.0"
            ]
        );
    }

    #[test]
    fn the_state_before_training_is_no_epoch() {
        assert_eq!(
            names(&[save(0, 0, false)], &Policy { every_epochs: 1, last_epochs: 1 }),
            ["latest=0.0"]
        );
    }

    #[test]
    fn a_position_saved_again_replaces_the_first() {
        let again = Save { again: 1, ..save(2, 0, true) };
        let history = [save(1, 0, false), save(2, 0, true), again];
        let kept = keep(&history, &Policy { every_epochs: 2, last_epochs: 0 });
        let expected =
            [(Name::Latest, 2), (Name::Previous, 0), (Name::MinLoss, 2), (Name::Epoch(2), 2)];
        assert_eq!(kept, expected);
    }

    #[test]
    fn names_round_trip() {
        for name in [Name::Latest, Name::Previous, Name::MinLoss, Name::Epoch(12345)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(Name::parse("min_loss"), Some(Name::MinLoss));
        assert_eq!(Name::parse("10"), Some(Name::Epoch(10)));
        assert_eq!(Name::parse("epoch-x"), None);
        let again = Save { again: 2, ..save(1, 2, true) };
        for save in [save(3, 0, true), save(12345, 123456, false), again] {
            assert_eq!(Save::parse(&save.to_string()), Some(save));
        }
        for text in ["", "e1-b2", "e1-b2-s3-4", "e1-b2-s3-minimum", "x1-b2-s3"] {
            assert_eq!(Save::parse(text), None, "{text}");
        }
    }
}
