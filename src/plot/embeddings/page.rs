//! The interactive page: everything in one file, nothing from the network.

use super::picture::{bounds, names};
use super::{Track, data, palette};

const PAGE: &str = include_str!("page.html");

/// The page of these runs, side by side.
pub fn page(tracks: &[Track]) -> String {
    let runs: Vec<serde_json::Value> = tracks
        .iter()
        .zip(names(tracks))
        .map(|(track, name)| {
            let (middle, half) = bounds(track);
            let mut run = data(track);
            run["name"] = serde_json::json!(name);
            run["middle"] = serde_json::json!(middle);
            run["half"] = serde_json::json!(half);
            run
        })
        .collect();
    let hex = |(r, g, b): (u8, u8, u8)| format!("#{r:02x}{g:02x}{b:02x}");
    let markers: Vec<Vec<(f64, f64)>> = (0..palette::DIFFERENT)
        .step_by(palette::COLOURS.len())
        .map(|class| palette::marker(class, (0.0, 0.0), 1.0))
        .collect();
    let all = serde_json::json!({
        "colours": palette::COLOURS.map(hex),
        "dark_colours": palette::ON_DARK.map(hex),
        "markers": markers,
        "runs": runs,
    });
    // In a script element no name can end the element.
    let all = all.to_string().replace('<', "\\u003c");
    PAGE.replacen("\"DATA\"", &all, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_text() {
        let classes = vec!["</script><b>".to_owned()];
        let frame =
            super::super::Frame { labels: vec![0], points: vec![[0.0; 2]], ..Default::default() };
        let track = Track {
            experiment: "x".into(),
            run: "r".into(),
            loss: "arcface".into(),
            split: "train".into(),
            dim: 2,
            classes,
            origin: [0.0; 2],
            projection: "none",
            frames: vec![frame],
        };
        let page = page(&[track]);
        assert!(!page.contains("</script><b>") && page.contains("\\u003c/script>\\u003cb>"));
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        for outside in ["http:", "https:", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
