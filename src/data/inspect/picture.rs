//! The histogram of images per identity, as a chart.

use super::histogram::{bins, width};
use super::{Bin, Part};
use crate::plot::{LineChart, Series, Style};

/// Bars, at most.
const BARS: usize = 60;

/// Identities over the number of their images, for each part that has identities; none where no part
/// has. All bars have one width; the last line has gaps that show one below.
pub fn images_per_identity(title: String, parts: &[Part]) -> Option<LineChart> {
    let with: Vec<&Part> = parts.iter().filter(|part| !part.counts.is_empty()).collect();
    let width = width(with.iter().flat_map(|part| part.counts.iter().copied()), BARS);
    let style = |n: usize| match n {
        0 => Style::Filled,
        1 => Style::Line,
        _ => Style::Dashed,
    };
    let series = with.iter().enumerate().map(|(n, part)| {
        let name = format!("{} ({} identities)", part.name, part.identities);
        Series::line(name, outline(&bins(&part.counts, width))).style(style(n))
    });
    let series: Vec<Series> = series.collect();
    let points = || series.iter().flat_map(|series| &series.points);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let right = points().map(|point| point.0).fold(0.0, f64::max);
    let subtitle = match series.as_slice() {
        [] => return None,
        [only] => vec![only.name.clone()],
        _ => Vec::new(),
    };
    Some(LineChart {
        title,
        subtitle,
        x_label: "images of an identity".into(),
        y_label: "identities".into(),
        whole_x: true,
        x_range: Some((0.0, right)),
        y_range: Some((0.0, highest * 1.05)),
        series,
        ..LineChart::default()
    })
}

/// A bar for each bin, from half an image below it to half an image above.
fn outline(bins: &[Bin]) -> Vec<(f64, f64)> {
    let left = |bin: &Bin| (bin.from as f64 - 0.5).max(0.0);
    let right = |bin: &Bin| bin.to as f64 + 0.5;
    let mut points = Vec::new();
    points.extend(bins.first().map(|bin| (left(bin), 0.0)));
    for bin in bins {
        let height = bin.identities as f64;
        points.extend([(left(bin), height), (right(bin), height)]);
    }
    points.extend(bins.last().map(|bin| (right(bin), 0.0)));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_on_their_counts() {
        let bins = [Bin { from: 2, to: 3, identities: 4 }, Bin { from: 4, to: 5, identities: 1 }];
        let outline = outline(&bins);
        assert_eq!(outline[..3], [(1.5, 0.0), (1.5, 4.0), (3.5, 4.0)]);
        assert_eq!(outline[3..], [(3.5, 1.0), (5.5, 1.0), (5.5, 0.0)]);
        assert!(images_per_identity("t".into(), &[]).is_none());
    }
}
