//! The sums of a profile in words.

use super::layer::{Sum, Sums};
use std::fmt::Write;
use std::time::Duration;

/// Shares of the recorded steps by stage in the order of the step, then those of the loader's threads by
/// theirs. None where no step was recorded.
pub fn table(sums: &Sums) -> Option<String> {
    let Sum { count, time } = *sums.get(&(String::new(), "step".to_string()))?;
    let stages = of(sums, "step", &["wait", "copy", "forward", "backward", "numbers", "optimizer"]);
    let inside: Duration = stages.iter().map(|(_, sum)| sum.time).sum();
    let mut text = format!(
        "profile of {count} steps of {:.2} ms, by part:",
        1e3 * time.as_secs_f64() / count as f64
    );
    // Writing to a String can't fail.
    let mut line = |name: &str, part: Duration| {
        let milliseconds = 1e3 * part.as_secs_f64() / count as f64;
        let _ = write!(text, "\n  {name:<12}{:>6.2} %{milliseconds:>10.3} ms", percent(part, time));
    };
    stages.iter().for_each(|(name, sum)| line(name, sum.time));
    line("the rest", time.saturating_sub(inside));
    let loading = of(sums, "batch", &["read", "decode", "augment", "collate"]);
    if let Some(batches) = sums.get(&(String::new(), "batch".to_string())) {
        let shares = loading
            .iter()
            .map(|(name, sum)| format!("{name} {:.0} %", percent(sum.time, batches.time)));
        let shares = shares.collect::<Vec<_>>().join(", ");
        let each = 1e3 * batches.time.as_secs_f64() / batches.count as f64;
        let _ = write!(text, "\n  loader's threads, {each:.1} ms a batch: {shares}");
    }
    Some(text)
}

/// What is in `parent`: first the named ones that are there, in this order, then the others by name.
fn of<'a>(sums: &'a Sums, parent: &str, order: &[&str]) -> Vec<(&'a str, Sum)> {
    let mut found: Vec<(&str, Sum)> = sums
        .iter()
        .filter(|((within, _), _)| within == parent)
        .map(|((_, name), sum)| (name.as_str(), *sum))
        .collect();
    let place = |name: &str| order.iter().position(|other| *other == name).unwrap_or(order.len());
    found.sort_by_key(|(name, _)| (place(name), *name));
    found
}

fn percent(part: Duration, whole: Duration) -> f64 {
    100.0 * part.as_secs_f64() / whole.as_secs_f64().max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_steps_and_in_their_order() {
        let mut sums = Sums::new();
        assert_eq!(table(&sums), None);
        let mut add = |parent: &str, name: &str, count, milliseconds| {
            let sum = Sum { count, time: Duration::from_millis(milliseconds) };
            sums.insert((parent.to_string(), name.to_string()), sum);
        };
        add("", "step", 4, 400);
        add("step", "optimizer", 4, 40);
        add("step", "forward", 4, 100);
        add("step", "CsvSink", 4, 2);
        add("step", "wait", 4, 200);
        add("forward", "inner", 4, 90);
        add("", "batch", 8, 800);
        add("batch", "decode", 800, 600);
        let text = table(&sums).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "profile of 4 steps of 100.00 ms, by part:",
                "  wait         50.00 %    50.000 ms",
                "  forward      25.00 %    25.000 ms",
                "  optimizer    10.00 %    10.000 ms",
                "  CsvSink       0.50 %     0.500 ms",
                "  the rest     14.50 %    14.500 ms",
                "  loader's threads, 100.0 ms a batch: decode 75 %",
            ]
        );
    }
}
