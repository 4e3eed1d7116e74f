//! Checks of single values: each says its rule in words, for messages and for `run parts`.

use std::fmt::Display;
use std::path::PathBuf;

use super::DatasetPath;

/// A rule for one value. `rule` completes the sentence "must be ...".
pub struct Check<T> {
    pub rule: String,
    test: Box<dyn Fn(&T) -> bool>,
}

impl<T> Check<T> {
    /// `Err` says what the value must be.
    pub fn test(&self, value: &T) -> Result<(), String> {
        if (self.test)(value) { Ok(()) } else { Err(self.rule.clone()) }
    }
}

/// Any other rule: `that("a multiple of 32", |size| size % 32 == 0)`.
pub fn that<T>(rule: impl Into<String>, test: impl Fn(&T) -> bool + 'static) -> Check<T> {
    Check { rule: rule.into(), test: Box::new(test) }
}

/// `x > 0`
pub fn positive<T: PartialOrd + Default + 'static>() -> Check<T> {
    that("greater than 0", |value| *value > T::default())
}

/// `x >= 0`
pub fn non_negative<T: PartialOrd + Default + 'static>() -> Check<T> {
    that("0 or greater", |value| *value >= T::default())
}

/// `low <= x <= high`
pub fn between<T: PartialOrd + Display + 'static>(low: T, high: T) -> Check<T> {
    that(format!("between {low} and {high}"), move |value| *value >= low && *value <= high)
}

/// `x >= low`
pub fn at_least<T: PartialOrd + Display + 'static>(low: T) -> Check<T> {
    that(format!("at least {low}"), move |value| *value >= low)
}

/// `x <= high`
pub fn at_most<T: PartialOrd + Display + 'static>(high: T) -> Check<T> {
    that(format!("at most {high}"), move |value| *value <= high)
}

/// `low <= x < high`
pub fn below<T: PartialOrd + Display + 'static>(low: T, high: T) -> Check<T> {
    that(format!("at least {low} and below {high}"), move |value| *value >= low && *value < high)
}

/// One of the given values; prefer `config_choice!` where the program acts on each.
pub fn one_of<T, U>(allowed: &'static [U]) -> Check<T>
where
    T: PartialEq<U>,
    U: Display,
{
    let list: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    that(format!("one of {}", list.join(", ")), move |value| allowed.iter().any(|a| value == a))
}

/// A length of time in words, or nothing.
pub fn duration_or_empty() -> Check<String> {
    let rule = "a length of time such as 45s, 90m, 2h 30m or 1d, or empty";
    that(rule, |text: &String| text.is_empty() || seconds(text).is_some())
}

/// A length of time in words.
pub fn duration() -> Check<String> {
    that("a length of time such as 45s, 90m, 2h 30m or 1d", |text: &String| seconds(text).is_some())
}

/// `2h 30m` in seconds; None where it is no positive length of time.
pub fn seconds(text: &str) -> Option<f64> {
    let span: jiff::SignedDuration = text.trim().parse::<jiff::Span>().ok().and_then(|span| {
        // A day has 24 hours here.
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()
    })?;
    Some(span.as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

/// The rule holds for every element.
pub fn each<T: 'static>(check: Check<T>) -> Check<Vec<T>> {
    let rule = format!("a list whose every element is {}", check.rule);
    that(rule, move |values: &Vec<T>| values.iter().all(|value| check.test(value).is_ok()))
}

/// What has no useful default must be stated.
pub fn required<T: CanBeEmpty + 'static>() -> Check<T> {
    that("given", |value: &T| !value.is_empty())
}

/// Types whose empty value means "not stated".
pub trait CanBeEmpty {
    fn is_empty(&self) -> bool;
}

impl CanBeEmpty for String {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl CanBeEmpty for PathBuf {
    fn is_empty(&self) -> bool {
        self.as_os_str().is_empty()
    }
}

impl CanBeEmpty for DatasetPath {
    fn is_empty(&self) -> bool {
        self.raw.as_os_str().is_empty()
    }
}

impl<T> CanBeEmpty for Vec<T> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(positive::<f64>().test(&0.0).is_err());
        assert!(positive::<f64>().test(&f64::NAN).is_err());
        assert!(non_negative::<f64>().test(&0.0).is_ok());
        assert!(between(0.0, 1.0).test(&1.0).is_ok());
        assert!(below(0.0, 1.0).test(&1.0).is_err());
        assert_eq!(at_least(1usize).test(&0), Err("at least 1".into()));
        assert!(at_most(3u64).test(&4).is_err());
        assert!(one_of::<usize, usize>(&[18, 50]).test(&50).is_ok());
        assert!(one_of::<String, &str>(&["a", "b"]).test(&"c".to_string()).is_err());
        assert!(each(positive::<usize>()).test(&vec![1, 0]).is_err());
        for (text, length) in [
            ("45s", Some(45.0)),
            ("90m", Some(5400.0)),
            ("2h 30m", Some(9000.0)),
            ("1d12h", Some(129_600.0)),
            ("1 minute", Some(60.0)),
            ("0s", None),
            ("-5m", None),
            ("5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), length, "{text:?}");
            let accepted = duration_or_empty().test(&text.to_string()).is_ok();
            assert_eq!(accepted, length.is_some() || text.is_empty(), "{text:?}");
        }
        assert!(required::<String>().test(&String::new()).is_err());
    }
}
