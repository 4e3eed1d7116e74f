//! What an answer says: the accuracy, or what is the matter.

use serde_json::Value;

/// The number at the dotted `field`; a number in a string counts. `Err` says why there is none.
pub(super) fn accuracy(body: &[u8], field: &str) -> Result<f64, String> {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Err("the answer is no JSON".into());
    };
    let missing = || match said(&answer) {
        Some(said) => format!("no {field} in the answer: {said}"),
        None => format!("no {field} in the answer"),
    };
    let value = find(&answer, field).ok_or_else(missing)?;
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(format!("{field} is {value}, which is no number")),
    }
}

/// A key as it is, else the way through objects and lists that its dots show.
fn find<'a>(answer: &'a Value, field: &str) -> Option<&'a Value> {
    let step = |value: &'a Value, key: &str| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    };
    answer.get(field).or_else(|| field.split('.').try_fold(answer, step))
}

/// What a server puts where it explains itself.
fn said(answer: &Value) -> Option<String> {
    let explains = ["error", "message", "detail", "reason"];
    let value = explains.iter().find_map(|key| answer.get(key).filter(|v| !v.is_null()))?;
    let inner = value.get("message").unwrap_or(value);
    Some(inner.as_str().map_or_else(|| inner.to_string(), str::to_owned))
}

/// The same of an answer of any form; empty where there is nothing.
pub(super) fn words(body: &[u8]) -> String {
    let said = serde_json::from_slice(body).ok().and_then(|answer: Value| said(&answer));
    said.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// What is odd about an accuracy.
pub(super) fn unusual(accuracy: f64) -> Option<String> {
    let odd = !(0.0..=1.0).contains(&accuracy);
    odd.then(|| format!("the accuracy {accuracy} is not between 0 and 1"))
}

/// The status of a row with an accuracy.
pub(super) fn note(accuracy: f64) -> String {
    unusual(accuracy).unwrap_or_else(|| "ok".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accuracy_is_found_where_the_field_says() {
        let of = |body: &str, field: &str| accuracy(body.as_bytes(), field);
        assert_eq!(of(r#"{"accuracy": 0.123456789012345}"#, "accuracy"), Ok(0.123456789012345));
        assert_eq!(of(r#"{"accuracy": " 0.5 "}"#, "accuracy"), Ok(0.5));
        assert_eq!(of(r#"{"accuracy": 1}"#, "accuracy"), Ok(1.0));
        assert_eq!(of(r#"{"r": [{"acc": 0.25}]}"#, "r.0.acc"), Ok(0.25));
        assert_eq!(of(r#"{"r.acc": 0.75, "r": {"acc": 0.25}}"#, "r.acc"), Ok(0.75));
        // What a server means by it is its affair.
        assert_eq!(of(r#"{"accuracy": 87.5}"#, "accuracy"), Ok(87.5));
        assert_eq!(note(87.5), "the accuracy 87.5 is not between 0 and 1");
        assert_eq!((note(0.0), note(1.0)), ("ok".into(), "ok".into()));
        assert_ne!(note(-0.5), "ok");
    }

    #[test]
    fn an_answer_without_one_says_why() {
        for (body, why) in [
            ("", "the answer is no JSON"),
            ("<html>", "the answer is no JSON"),
            (r#"{"accuracy": NaN}"#, "the answer is no JSON"),
            (r#"{"accuracy": "NaN"}"#, r#"accuracy is "NaN", which is no number"#),
            (r#"{"accuracy": "1e999"}"#, r#"accuracy is "1e999", which is no number"#),
            (r#"{"accuracy": null}"#, "accuracy is null, which is no number"),
            (r#"{"accuracy": [0.5]}"#, "accuracy is [0.5], which is no number"),
            (r#"{"result": {"accuracy": 1}}"#, "no accuracy in the answer"),
            (r#"{"error": {"message": "closed"}}"#, "no accuracy in the answer: closed"),
            ("[0.5]", "no accuracy in the answer"),
            ("0.5", "no accuracy in the answer"),
        ] {
            assert_eq!(accuracy(body.as_bytes(), "accuracy"), Err(why.into()), "{body}");
        }
        assert_eq!(words(br#"{"detail": ["a"]}"#), r#"["a"]"#);
        assert_eq!(words(b" wrong token\n"), "wrong token");
    }
}
