//! The report as lines for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Among, Bin, Part, Report, Spread};
use crate::plot::number;

/// Duplicates and broken images that are named; the JSON has all.
const NAMED: usize = 10;
/// Characters of the longest bar.
const BAR: usize = 40;

/// The report, under a first line that says what was inspected.
pub fn text(what: &str, report: &Report) -> String {
    let mut out = format!("{what}\n");
    // Writing to a String can't fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<12}{value}");
    };
    for part in &report.parts {
        line(part.name, of_part(part));
    }
    line("images", format!("{}, {}", report.images, size(report.bytes as f64)));
    line("formats", counted(&report.formats));
    line("colours", counted(&report.colours));
    let sizes: Vec<_> = report.sizes.iter().map(|(size, n)| format!("{size} ({n})")).collect();
    match report.distinct_sizes > sizes.len() {
        true => {
            line("sizes", format!("{} different: {}, ...", report.distinct_sizes, sizes.join(", ")))
        }
        false => line("sizes", sizes.join(", ")),
    }
    if report.distinct_sizes > 1
        && let (Some(widths), Some(heights)) = (&report.widths, &report.heights)
    {
        line("width", spread(widths));
        line("height", spread(heights));
    }
    if let Some(Spread { least, median, most }) = &report.file_bytes {
        let [least, median, most] = [*least as f64, *median, *most as f64].map(size);
        line("file", format!("{least} / {median} / {most}"));
    }
    if report.turned > 0 {
        line("EXIF", format!("{} images are turned or mirrored as it says", report.turned));
    }
    let how = match report.decoded {
        true => "every image was decoded",
        false => "by the headers; --decode decodes every image",
    };
    line("broken", format!("{} ({how})", report.broken.len()));
    for broken in report.broken.iter().take(NAMED) {
        line("", format!("{}: {}", broken.image, broken.reason));
    }
    more(report.broken.len(), &mut line);
    duplicates(report, &mut line);
    for part in report.parts.iter().filter(|part| !part.histogram.is_empty()) {
        let _ = write!(out, "  images per identity, {}\n{}", part.name, bars(&part.histogram));
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    for note in &report.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

fn of_part(part: &Part) -> String {
    let Part { images, captions, identities, trained_on, images_per_identity, .. } = part;
    let trained = match *trained_on {
        _ if part.name == "train" => String::new(),
        0 => ", none of them trained on".into(),
        n if n == *identities => ", all of them trained on".into(),
        n => format!(", {n} of them trained on"),
    };
    match images_per_identity {
        Some(per) => {
            let per = spread(per);
            format!("{images} images of {identities} identities{trained}; {per} each")
        }
        None if *captions > 0 => format!("{images} images with {captions} captions"),
        None => format!("{images} images"),
    }
}

fn spread(of: &Spread) -> String {
    format!("{} / {} / {}", of.least, number(of.median), of.most)
}

/// `JPEG 12, PNG 3`, the most frequent first.
fn counted(counts: &BTreeMap<&'static str, usize>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let each: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    if each.is_empty() { "none".into() } else { each.join(", ") }
}

fn more(all: usize, line: &mut dyn FnMut(&str, String)) {
    if all > NAMED {
        line("", format!("... and {} more (--json names all)", all - NAMED));
    }
}

fn duplicates(report: &Report, line: &mut dyn FnMut(&str, String)) {
    let count = |among| report.duplicates.iter().filter(|group| group.among == among).count();
    let told = [
        (Among::Parts, "across parts"),
        (Among::Identities, "across identities"),
        (Among::Identity, "within an identity"),
    ];
    let told = told.map(|(among, says)| format!("{} {says}", count(among)));
    match report.duplicates.len() {
        0 => line("duplicates", "none".into()),
        n => {
            line("duplicates", format!("{n} images are there more than once: {}", told.join(", ")))
        }
    }
    for group in report.duplicates.iter().take(NAMED) {
        let images: Vec<String> =
            group.images.iter().map(|(part, _, image)| format!("{image} ({part})")).collect();
        line("", images.join(" = "));
    }
    more(report.duplicates.len(), line);
}

/// A line for each bin.
fn bars(bins: &[Bin]) -> String {
    let most = bins.iter().map(|bin| bin.identities).max().unwrap_or(0).max(1);
    let range = |bin: &Bin| match bin.from == bin.to {
        true => bin.from.to_string(),
        false => format!("{}-{}", bin.from, bin.to),
    };
    let wide = bins.iter().map(|bin| range(bin).len()).max().unwrap_or(0);
    let mut out = String::new();
    for bin in bins {
        // Something that is there has a mark.
        let bar = (bin.identities * BAR).div_ceil(most);
        let _ = writeln!(out, "    {:>wide$}  {} {}", range(bin), "#".repeat(bar), bin.identities);
    }
    out
}

/// `13.2 KiB`
fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let decimals = usize::from(unit > 0);
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_sizes() {
        let bin = |from, to, identities| Bin { from, to, identities };
        let drawn = bars(&[bin(8, 9, 1), bin(10, 11, 0), bin(12, 13, 80)]);
        assert_eq!(
            drawn,
            format!("      8-9  # 1\n    10-11   0\n    12-13  {} 80\n", "#".repeat(40))
        );
        assert_eq!([0.0, 1023.0, 1536.0, 3.5e9].map(size), ["0 B", "1023 B", "1.5 KiB", "3.3 GiB"]);
    }
}
