//! How many identities have how many images.

use serde::Serialize;

/// Rows of a histogram, at most.
const ROWS: usize = 12;

/// Smallest, middle and largest of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub least: u64,
    /// Of an even count the mean of the two in the middle.
    pub median: f64,
    pub most: u64,
}

impl Spread {
    /// None of no numbers.
    pub fn of(numbers: impl IntoIterator<Item = u64>) -> Option<Spread> {
        let mut sorted: Vec<u64> = numbers.into_iter().collect();
        sorted.sort_unstable();
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[half] as f64,
            _ => (sorted[half - 1] as f64 + sorted[half] as f64) / 2.0,
        };
        Some(Spread { least, median, most })
    }
}

/// The identities that have `from` to `to` images, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    pub from: usize,
    pub to: usize,
    pub identities: usize,
}

/// Bins from the smallest count to the largest, all of one width.
pub fn histogram(counts: &[usize]) -> Vec<Bin> {
    bins(counts, width(counts.iter().copied(), ROWS))
}

/// A width, 1, 2 or 5 times a power of ten, with which the counts have at most `most_bins`.
pub fn width(counts: impl Iterator<Item = usize> + Clone, most_bins: usize) -> usize {
    let least = counts.clone().min().unwrap_or(0);
    let most = counts.max().unwrap_or(0);
    let mut widths = (0..).flat_map(|power| [1, 2, 5].map(|n| n * 10usize.pow(power)));
    let fits = |width: &usize| most / width - least / width < most_bins;
    widths.find(fits).expect("a width holds everything")
}

/// Bins of `width` from the smallest count to the largest.
pub fn bins(counts: &[usize], width: usize) -> Vec<Bin> {
    let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) else {
        return Vec::new();
    };
    let mut bins: Vec<Bin> = (least / width..=most / width)
        .map(|n| Bin { from: n * width, to: (n + 1) * width - 1, identities: 0 })
        .collect();
    for count in counts {
        bins[count / width - least / width].identities += 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_numbers() {
        assert_eq!(Spread::of([]), None);
        let spread = |least, median, most| Some(Spread { least, median, most });
        assert_eq!(Spread::of([3]), spread(3, 3.0, 3));
        assert_eq!(Spread::of([9, 1, 4, 2]), spread(1, 3.0, 9));
    }

    #[test]
    fn bins_hold_every_identity_once() {
        assert_eq!(histogram(&[]), []);
        let bin = |from, to, identities| Bin { from, to, identities };
        assert_eq!(histogram(&[3, 5, 3]), [bin(3, 3, 2), bin(4, 4, 0), bin(5, 5, 1)]);
        let wide = histogram(&[5, 6, 30, 17, 17]);
        let counts: Vec<usize> = wide.iter().map(|bin| bin.identities).collect();
        assert_eq!((wide[0], counts.as_slice()), (bin(5, 9, 2), &[2, 0, 2, 0, 0, 1][..]));
        let huge: Vec<usize> = (0..1000).map(|n| 1 + n * n).collect();
        let bins = histogram(&huge);
        assert!(bins.len() <= ROWS && bins.len() > ROWS / 3, "{}", bins.len());
        assert_eq!(bins.iter().map(|bin| bin.identities).sum::<usize>(), 1000);
        assert!(bins.windows(2).all(|two| two[0].to + 1 == two[1].from));
    }
}
