//! Whole numbers that a record states as float32, which holds each of them below 2^24 only.

use super::index::Entry;
use std::ops::RangeInclusive;

/// The first whole number that a larger one may have been rounded to.
pub const ROUNDED: f32 = (1 << 24) as f32;

/// The whole numbers whose nearest float32 is `stated`, itself a whole number.
pub fn meant(stated: f32) -> RangeInclusive<u64> {
    if stated < ROUNDED {
        return stated as u64..=stated as u64;
    }
    let middle = |a: f32, b: f32| (f64::from(a) + f64::from(b)) / 2.0;
    let least = middle(stated.next_down(), stated).ceil();
    least as u64..=middle(stated, stated.next_up()).floor() as u64
}

/// Which of the keys in `ends` is one past the last image, where records without an image follow the
/// images. `entries` are sorted by key; None if the records contradict that.
///
/// # Errors
/// Those of `has_image`.
pub fn end_of_images<E>(
    ends: RangeInclusive<u64>,
    entries: &[Entry],
    has_image: impl Fn(Entry) -> Result<bool, E>,
) -> Result<Option<u64>, E> {
    let first = entries.partition_point(|entry| entry.key < *ends.start());
    let last = entries.partition_point(|entry| entry.key <= *ends.end());
    let (mut end, mut next) = (None, *ends.start());
    for entry in &entries[first..last] {
        match (has_image(*entry)?, end) {
            (true, None) => next = entry.key + 1,
            (true, Some(_)) => return Ok(None),
            (false, None) => end = Some(entry.key),
            (false, Some(_)) => {}
        }
    }
    Ok(end.or_else(|| ends.contains(&next).then_some(next)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn every_number_is_among_those_that_its_float_may_mean() {
        let odd = (1u64 << 24) - 2..(1 << 24) + 40;
        let larger = (1u64 << 27) - 20..(1 << 27) + 40;
        for number in [1, 2, 4_000_000].into_iter().chain(odd).chain(larger) {
            let meant = meant(number as f32);
            assert!(meant.contains(&number), "{number}: {meant:?}");
            assert_eq!(meant.start() == meant.end(), number < 1 << 24, "{number}");
            for one in meant.clone() {
                // Two floats are equally near to a number in the middle.
                let near =
                    one as f32 == number as f32 || one == *meant.start() || one == *meant.end();
                assert!(near, "{number}: {one}");
            }
        }
    }

    /// Records `first..` of which those in `images` are images.
    fn end(stated: f32, first: u64, images: &[bool]) -> Option<u64> {
        let entries: Vec<Entry> =
            (first..).zip(images).map(|(key, _)| Entry { key, offset: key }).collect();
        let has_image = |entry: Entry| Ok::<_, Infallible>(images[(entry.key - first) as usize]);
        end_of_images(meant(stated), &entries, has_image).unwrap()
    }

    #[test]
    fn the_records_say_what_a_rounded_end_was() {
        // Images up to 2^24 + 4; an end of 2^24 + 5 is stored as 2^24 + 4.
        let number: u64 = (1 << 24) + 5;
        assert_eq!(number as f32 as u64, number - 1);
        let images =
            |count: usize, others: usize| [vec![true; count], vec![false; others]].concat();
        assert_eq!(end(number as f32, number - 5, &images(5, 9)), Some(number));
        // The same without identities behind.
        assert_eq!(end(number as f32, number - 5, &images(5, 0)), Some(number));
        // An end of 2^24 + 3 is stored as 2^24 + 4 too.
        assert_eq!(end(number as f32, number - 5, &images(3, 9)), Some(number - 2));
        // Small numbers are what they are.
        assert_eq!(end(5.0, 1, &images(4, 2)), Some(5));
    }

    #[test]
    fn records_that_contradict_it_are_told() {
        let number: u64 = (1 << 24) + 5;
        let mixed = [true, true, true, false, true, false];
        assert_eq!(end(number as f32, number - 5, &mixed), None);
        // Images beyond every number that may have been meant.
        assert_eq!(end(number as f32, number - 5, &[true; 12]), None);
    }
}
