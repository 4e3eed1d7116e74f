//! Pieces of what is sent: lines of JSON, parts of a path, the list of metrics.

use super::folder::Segment;
use super::proto::{Item, Kind};
use super::segment::SegmentReader;
use crate::Result;
use serde_json::{Value, json};

pub(super) fn name(item: &Item) -> &str {
    item.nested.first().unwrap_or(&item.key)
}

/// One line of JSON from values that are JSON already.
pub(super) fn line(values: &[(&str, &str)]) -> String {
    let pair = |(name, json): &(&str, &str)| format!("{}:{json}", Value::from(*name));
    format!("{{{}}}", values.iter().map(pair).collect::<Vec<_>>().join(","))
}

/// A part of a path.
pub(super) fn escape(part: &str) -> String {
    let mut url = reqwest::Url::parse("http://x").expect("a valid address");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().push(part);
    }
    url.path().trim_start_matches('/').to_owned()
}

/// The program and the defined metrics of a segment, as the server takes them.
pub(super) fn preamble(segment: &Segment) -> Result<(String, Vec<Value>)> {
    let mut reader = SegmentReader::open(&segment.file())?;
    let mut program = String::new();
    let mut names: Vec<String> = Vec::new();
    let mut metrics: Vec<Value> = Vec::new();
    while let Some(record) = reader.read()? {
        match record.kind {
            Some(Kind::Environment(environment)) => program = environment.program,
            Some(Kind::Metric(metric)) => {
                let (key, text) = match metric.name.is_empty() {
                    true => ("2", metric.glob.clone()),
                    false => ("1", metric.name.clone()),
                };
                let mut entry = json!({ key: text });
                // Counted from 1 in the order of the list.
                let over = names.iter().position(|name| *name == metric.step_metric);
                if let Some(index) = over.filter(|_| !metric.step_metric.is_empty()) {
                    entry["5"] = json!(index + 1);
                    entry["6"] = json!([1]);
                } else {
                    entry["6"] = json!([3]);
                }
                entry["7"] = json!([]);
                names.push(text);
                metrics.push(entry);
            }
            // The preamble ends with the first line.
            Some(Kind::History(_)) => break,
            _ => {}
        }
    }
    Ok((program, metrics))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_paths_are_escaped() {
        assert_eq!(line(&[("a\"b", "NaN"), ("ü/x", "1.0")]), "{\"a\\\"b\":NaN,\"ü/x\":1.0}");
        assert_eq!(escape("a b/ü"), "a%20b%2F%C3%BC");
    }
}
