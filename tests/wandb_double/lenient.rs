//! JSON in which NaN and infinities may stand bare, as in lines of history.

use serde_json::Value;

/// The value of `text`, where bare `NaN`, `Infinity` and `-Infinity` have become the strings of
/// the same name.
pub fn parse(text: &str) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut strict = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match next {
            '\\' if quoted => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8);
            }
            '"' => quoted = !quoted,
            _ if quoted => {}
            _ => {
                let word = ["NaN", "Infinity", "-Infinity"].iter().find(|w| rest.starts_with(**w));
                if let Some(word) = word {
                    strict.push_str(&format!("\"{word}\""));
                    rest = &rest[word.len()..];
                    continue;
                }
            }
        }
        strict.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    serde_json::from_str(&strict).map_err(|error| error.to_string())
}
