//! Verification pairs in the form of LFW's `pairs.txt` (Huang et al. 2007).

use std::collections::HashSet;
use std::fmt::Write;

use rand::RngExt;

use super::writer::{Recipe, name};
use crate::random::{Stream, rng};
use crate::{Error, Result};

pub const FOLDS: usize = 10;

/// Checks that the unseen identities have as many different pairs as the recipe asks for.
pub fn check(recipe: &Recipe) -> Result<()> {
    let (people, images) = (recipe.unseen_identities, recipe.unseen_images_per_identity);
    if !recipe.pairs.is_multiple_of(2 * FOLDS) {
        let message = format!(
            "data.pairs = {} of the drawn faces is not a multiple of {}",
            recipe.pairs,
            2 * FOLDS
        );
        return Err(Error::input(message).help("ten folds hold as many matched as mismatched"));
    }
    let matched = people * images * images.saturating_sub(1) / 2;
    let mismatched = people * people.saturating_sub(1) / 2 * images * images;
    let most = 2 * matched.min(mismatched);
    if recipe.pairs > most {
        let message = format!(
            "data.pairs = {} of the drawn faces: {people} unseen identities of {images} images have only {most}",
            recipe.pairs
        );
        return Err(Error::input(message)
            .help("ask for fewer pairs, or for more unseen identities or images of them"));
    }
    Ok(())
}

/// The text of `pairs.txt`: `folds<TAB>pairs of a kind per fold`, then per fold the matched
/// lines `name i j` and the mismatched lines `name i name j`. No pair occurs twice.
pub fn text(recipe: &Recipe) -> String {
    let per_fold = recipe.pairs / (2 * FOLDS);
    let random = &mut rng(recipe.seed, Stream::Pairs, 0, 0);
    let (people, images) = (recipe.unseen_identities, recipe.unseen_images_per_identity);
    let mut text = format!("{FOLDS}\t{per_fold}\n");
    let mut seen = HashSet::new();
    for _ in 0..FOLDS {
        for matched in [true, false] {
            let mut left = per_fold;
            while left > 0 {
                let a = (random.random_range(0..people), random.random_range(1..=images));
                let person = if matched { a.0 } else { random.random_range(0..people) };
                let b = (person, random.random_range(1..=images));
                if a == b || (a.0 == b.0) != matched || !seen.insert((a.min(b), a.max(b))) {
                    continue;
                }
                left -= 1;
                let first = name(recipe.identities + a.0);
                let _ = if matched {
                    writeln!(text, "{first}\t{}\t{}", a.1, b.1)
                } else {
                    writeln!(text, "{first}\t{}\t{}\t{}", a.1, name(recipe.identities + b.0), b.1)
                };
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            identities: 5,
            images_per_identity: 1,
            unseen_identities: 6,
            unseen_images_per_identity: 4,
            size: 16,
            pairs: 60,
            seed: 2,
        }
    }

    #[test]
    fn the_form_is_that_of_lfw_and_no_pair_repeats() {
        let text = text(&recipe());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines[0], ["10", "3"]);
        assert_eq!(lines.len(), 1 + 60);
        let mut seen = HashSet::new();
        for (index, line) in lines[1..].iter().enumerate() {
            let matched = index % 6 < 3;
            assert_eq!(line.len(), if matched { 3 } else { 4 });
            let (a, b) = if matched {
                ((line[0], line[1]), (line[0], line[2]))
            } else {
                assert_ne!(line[0], line[2]);
                ((line[0], line[1]), (line[2], line[3]))
            };
            for (name, image) in [a, b] {
                let number: usize = name[1..].parse().unwrap();
                assert!((6..=11).contains(&number), "{name} is no unseen identity");
                assert!((1..=4).contains(&image.parse::<usize>().unwrap()));
            }
            assert_ne!(a, b);
            assert!(seen.insert((a.min(b), a.max(b))), "{line:?} repeats");
        }
    }

    #[test]
    fn all_pairs_there_are_can_be_asked_for_and_no_more() {
        // Five identities of four images have 30 matched pairs, six have 36.
        let fitting = Recipe { unseen_identities: 5, pairs: 60, ..recipe() };
        assert!(check(&fitting).is_ok());
        assert_eq!(text(&fitting).lines().count(), 61);
        assert!(check(&Recipe { pairs: 80, ..recipe() }).is_err());
        assert!(check(&Recipe { pairs: 30, ..recipe() }).is_err());
        assert!(check(&Recipe { unseen_identities: 1, pairs: 20, ..recipe() }).is_err());
        assert!(check(&Recipe { unseen_identities: 0, pairs: 0, ..recipe() }).is_ok());
    }
}
