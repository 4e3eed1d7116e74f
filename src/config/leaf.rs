//! How the plain types are read: booleans, numbers, strings, paths, lists, maps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Num, Value};

use super::dataset_path::DatasetPath;
use super::field::{Field, Reader, clean};
use super::shape::Shape;
use super::text::expand;

impl Field for bool {
    fn shape() -> Shape {
        Shape::Leaf("boolean")
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        match value {
            Some(Value::Bool(_, value)) => Some(*value),
            Some(other) => at.wrong_type("true or false", other),
            None => at.or_missing(default),
        }
    }
}

impl Field for f64 {
    fn shape() -> Shape {
        Shape::Leaf("number")
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let Some(value) = value else { return at.or_missing(default) };
        let number = match value {
            Value::Num(_, Num::F64(number)) => Some(*number),
            Value::Num(_, number) => number.to_i128().map(|integer| integer as f64),
            _ => return at.wrong_type("a number", value),
        };
        // Networks compute in float32, which knows no larger ones.
        match number.filter(|number| number.abs() <= f64::from(f32::MAX)) {
            None => at.wrong_type("a finite number of float32's range (up to 3.4e38)", value),
            number => number,
        }
    }
}

/// Integers: a literal with a decimal point is refused, so that `epochs = 1.5` is never rounded.
macro_rules! integer_field {
    ($($type:ty, $name:literal, $expected:literal;)*) => {$(
        impl Field for $type {
            fn shape() -> Shape {
                Shape::Leaf($name)
            }

            fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
                let Some(value) = value else { return at.or_missing(default) };
                let integer = match value {
                    Value::Num(_, Num::F64(_) | Num::F32(_)) => None,
                    Value::Num(_, number) => number.to_i128(),
                    _ => None,
                };
                match integer.and_then(|integer| <$type>::try_from(integer).ok()) {
                    None => at.wrong_type($expected, value),
                    integer => integer,
                }
            }
        }
    )*};
}

integer_field! {
    usize, "integer >= 0", "an integer of 0 or greater";
    u64, "integer >= 0", "an integer of 0 or greater";
    i64, "integer", "an integer";
}

impl Field for String {
    fn shape() -> Shape {
        Shape::Leaf("string")
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let text = match value {
            Some(Value::String(_, text)) => text,
            Some(other) => return at.wrong_type("a string", other),
            None => return at.or_missing(default),
        };
        match expand(text, at.context.environment) {
            Ok(text) => Some(text),
            Err(variable) => {
                let message = format!("`{}`: the variable {variable} is not defined", at.key);
                let help =
                    format!("set {variable} in the environment; `$${{` writes a plain `${{`");
                at.report(message, Some(help));
                None
            }
        }
    }
}

impl Field for PathBuf {
    fn shape() -> Shape {
        Shape::Leaf("path")
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let path = match value {
            Some(_) => PathBuf::from(String::read(value, None, at)?),
            None => at.or_missing(default)?,
        };
        // An empty path means "none"; joining would turn it into the folder itself.
        Some(if path.as_os_str().is_empty() { path } else { clean(&at.folder().join(path)) })
    }
}

impl Field for DatasetPath {
    fn shape() -> Shape {
        Shape::Leaf("path")
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let raw = match value {
            Some(_) => PathBuf::from(String::read(value, None, at)?),
            None => at.or_missing(default)?.raw,
        };
        Some(DatasetPath::found(raw, at.folder(), &at.context.datasets))
    }
}

impl<T: Field> Field for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let values = match value {
            Some(Value::Array(_, values)) => values,
            Some(other) => return at.wrong_type("a list", other),
            None => return at.or_missing(default),
        };
        // All elements are read before the first failure ends it, to report every mistake.
        let elements: Vec<Option<T>> = (values.iter().enumerate())
            .map(|(index, value)| T::read(Some(value), None, &at.element(index)))
            .collect();
        elements.into_iter().collect()
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let mut map = default.unwrap_or_default();
        let stated = match value {
            Some(Value::Dict(_, dict)) => dict,
            Some(other) => return at.wrong_type("a table", other),
            None => return Some(map),
        };
        let entries: Vec<Option<(String, T)>> = (stated.iter())
            .map(|(name, value)| {
                let read = T::read(Some(value), map.remove(name), &at.child(name))?;
                Some((name.clone(), read))
            })
            .collect();
        map.extend(entries.into_iter().collect::<Option<Vec<_>>>()?);
        Some(map)
    }
}
