//! From values to places on the paper.

/// One axis: values from `min` to `max` lie from `start` to `end`, in points.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub min: f64,
    pub max: f64,
    pub start: f64,
    pub end: f64,
    pub log: bool,
}

impl Scale {
    /// Where `value` lies; beyond the axis, at its end. A logarithmic axis has everything that is not
    /// positive at its lower end.
    pub fn place(&self, value: f64) -> f64 {
        let share = match self.log {
            true if value <= 0.0 => 0.0,
            // Differences of logarithms: a quotient of extremes is no number.
            true => (value.ln() - self.min.ln()) / (self.max.ln() - self.min.ln()),
            false => (value - self.min) / (self.max - self.min),
        };
        self.start + (self.end - self.start) * share.clamp(0.0, 1.0)
    }

    pub fn holds(&self, value: f64) -> bool {
        value >= self.min && value <= self.max
    }
}

/// The ends of an axis for `values`: `stated`, else from the smallest to the largest, with `room` (a
/// share of it) beyond. Never empty, and on a logarithmic axis positive.
pub fn range(
    values: impl Iterator<Item = f64> + Clone,
    stated: Option<(f64, f64)>,
    log: bool,
    room: f64,
) -> (f64, f64) {
    let fits = |value: &f64| value.is_finite() && (!log || *value > 0.0);
    let (mut min, mut max) = match stated {
        Some(stated) => stated,
        None => {
            let values = values.filter(fits);
            let min = values.clone().fold(f64::INFINITY, f64::min);
            (min, values.fold(f64::NEG_INFINITY, f64::max))
        }
    };
    if !(fits(&min) && fits(&max)) || min > max {
        (min, max) = if log { (0.1, 1.0) } else { (0.0, 1.0) };
    }
    if log {
        if stated.is_some() && min < max {
            return (min, max);
        }
        let decades = max.log10() - min.log10();
        let wide = 10f64.powf(if decades < 1e-9 { 0.5 } else { decades * room });
        return ((min / wide).max(1e-300), (max * wide).min(1e300));
    }
    if max - min <= 1e-12 * max.abs().max(min.abs()) {
        let half = if max == 0.0 { 0.5 } else { max.abs() / 2.0 };
        return (min - half, max + half);
    }
    if stated.is_some() {
        return (min, max);
    }
    let room = (max - min) * room;
    // An axis that would begin near 0 begins there.
    let low = if min >= 0.0 && min <= 0.3 * max { 0.0 } else { min - room };
    (low, max + room)
}

/// As many of the points as the eye can tell apart: of those on the same half point of x, one after
/// the other, the first, the lowest, the highest and the last.
pub fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let column = |point: &(f64, f64)| (point.0 * 2.0).floor();
    let mut out = Vec::new();
    for run in points.chunk_by(|a, b| column(a) == column(b)) {
        if run.len() <= 4 {
            out.extend_from_slice(run);
            continue;
        }
        let by = |less: fn(f64, f64) -> bool| {
            (1..run.len()).fold(0, |best, n| if less(run[n].1, run[best].1) { n } else { best })
        };
        let mut kept = [0, by(|a, b| a < b), by(|a, b| a > b), run.len() - 1];
        kept.sort_unstable();
        out.extend(kept.iter().map(|n| run[*n]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let scale = Scale { min: 0.0, max: 10.0, start: 100.0, end: 0.0, log: false };
        assert_eq!([0.0, 5.0, 10.0, 11.0, -1.0].map(|v| scale.place(v)), [100., 50., 0., 0., 100.]);
        let scale = Scale { min: 0.01, max: 1.0, start: 0.0, end: 100.0, log: true };
        assert!((scale.place(0.1) - 50.0).abs() < 1e-9);
        assert_eq!([0.0, -1.0, f64::INFINITY].map(|v| scale.place(v)), [0.0, 0.0, 100.0]);
    }

    #[test]
    fn ranges() {
        let of = |values: &[f64], log| range(values.iter().copied(), None, log, 0.05);
        assert_eq!(of(&[0.0, 1.0], false), (0.0, 1.05));
        assert_eq!(of(&[0.2, 1.0, f64::NAN, f64::INFINITY], false).0, 0.0);
        assert_eq!(of(&[0.1, 0.1], false), (0.05, 0.15000000000000002));
        assert_eq!(of(&[0.0], false), (-0.5, 0.5));
        assert_eq!(of(&[], false), (0.0, 1.05));
        assert_eq!(of(&[8.0, 10.0], false), (7.9, 10.1));
        let (min, max) = of(&[0.0, 0.01, 1.0], true);
        assert!(min > 0.005 && min < 0.01 && max > 1.0 && max < 2.0, "{min} {max}");
        for values in [&[-1.0][..], &[1e-300, 1e300], &[1e-300], &[1e300]] {
            let (min, max) = of(values, true);
            assert!(min >= 1e-300 && max <= 1e300 && max > min, "{min} {max} of {values:?}");
        }
        let stated = range([5.0].into_iter(), Some((0.0, 1.0)), false, 0.05);
        assert_eq!(stated, (0.0, 1.0));
    }

    #[test]
    fn thinning_keeps_what_shows() {
        let many: Vec<_> = (0..100_000).map(|n| (n as f64 / 1000.0, (n % 7) as f64)).collect();
        let thinned = thin(&many);
        assert!(thinned.len() <= 4 * 201, "{}", thinned.len());
        assert_eq!((thinned[0], thinned[thinned.len() - 1]), (many[0], many[99_999]));
        assert!(thinned.chunks(4).all(|c| c.iter().any(|p| p.1 == 6.0)), "a peak is gone");
        assert_eq!(thin(&many[..3]), &many[..3]);
    }
}
