//! The page around its data: one file, nothing loaded from anywhere, nothing executed but its own
//! script.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/style.css");
/// In this order they are one script.
const SCRIPTS: [&str; 9] = [
    include_str!("assets/dom.js"),
    include_str!("assets/scale.js"),
    include_str!("assets/chart.js"),
    include_str!("assets/table.js"),
    include_str!("assets/summary.js"),
    include_str!("assets/curves.js"),
    include_str!("assets/scores.js"),
    include_str!("assets/embeddings.js"),
    include_str!("assets/sweep.js"),
];
const MAIN: &str = include_str!("assets/main.js");

/// The whole page. `title` and every text in `data` may hold anything.
pub fn page(title: &str, data: &Value) -> String {
    let script = format!("(() => {{\n\"use strict\";\n{}\n{MAIN}}})();\n", SCRIPTS.join("\n"));
    // Only what has these hashes runs, whatever a name might smuggle in; nothing may be fetched.
    let policy = format!(
        "default-src 'none'; img-src data:; script-src '{}'; style-src '{}'; base-uri 'none'; \
         form-action 'none'",
        hash(&script),
        hash(STYLE)
    );
    let data = script_safe(&data.to_string());
    let title = escape(title);
    let parts = [
        ("policy", policy.as_str()),
        ("title", &title),
        ("style", STYLE),
        ("data", &data),
        ("script", &script),
    ];
    fill(PAGE, &parts)
}

/// Puts each value in the place of its `{{name}}`, once through the template: a value that looks
/// like a place stays as it is.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the template closes its places");
        out.push_str(before);
        let (_, value) = parts.iter().find(|(part, _)| *part == name).expect("a known place");
        out.push_str(value);
        rest = after;
    }
    out + rest
}

/// As a Content-Security-Policy names a script or style.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Text between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// JSON that can't end the element around it nor open a comment; these characters occur in JSON
/// only inside of strings.
fn script_safe(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "</script><script>alert(1)</script><!-- \u{2028}\" ' & {{script}} {{title}}";
        let page = page(hostile, &json!({ "name": hostile }));
        assert_eq!(page.matches("</script>").count(), 2);
        assert_eq!(page.matches("<script").count(), 2);
        assert!(page.contains("<title>&lt;/script&gt;&lt;script&gt;alert(1)"), "{}", &page[..900]);
        let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["name"], hostile);
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page("x", &json!({}));
        for forbidden in ["src=\"http", "href=\"http", "@import", "url(", "fetch(", "XMLHttp"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}
