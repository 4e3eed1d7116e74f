//! Does a checkpoint fit the model and the data it is about to go on with?

use super::state::Labels;
use super::tensors::Named;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Tensor name -> shape.
pub type Shapes = BTreeMap<String, Vec<i64>>;

pub fn shapes(tensors: &Named) -> Shapes {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.size())).collect()
}

/// How many names an error shows of each sort.
const SHOWN: usize = 3;

fn listed(title: &str, names: &[String]) -> Option<String> {
    let first = names[..names.len().min(SHOWN)].join(", ");
    let rest = if names.len() > SHOWN { ", ..." } else { "" };
    (!names.is_empty()).then(|| format!("{} {title} ({first}{rest})", names.len()))
}

/// Checks names and shapes of the tensors in the checkpoint `source` against the model's.
///
/// # Errors
/// `Error::Input` with the number and the first names of missing, unexpected and mis-shaped
/// tensors.
pub fn same_tensors(source: &Path, expected: &Shapes, loaded: &Shapes) -> Result<()> {
    let only_in = |a: &Shapes, b: &Shapes| -> Vec<String> {
        a.keys().filter(|name| !b.contains_key(*name)).cloned().collect()
    };
    let misshaped: Vec<String> = expected
        .iter()
        .filter_map(|(name, shape)| loaded.get(name).map(|other| (name, shape, other)))
        .filter(|(_, shape, other)| shape != other)
        .map(|(name, shape, other)| format!("{name} is {other:?}, the model's {shape:?}"))
        .collect();
    let differences: Vec<String> = [
        listed("missing", &only_in(expected, loaded)),
        listed("unexpected", &only_in(loaded, expected)),
        listed("of another shape", &misshaped),
    ]
    .into_iter()
    .flatten()
    .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::input(format!(
        "checkpoint {} is of another architecture; of the model's {} tensors: {}",
        source.display(),
        expected.len(),
        differences.join("; ")
    ))
    .help("continue with the experiment that wrote it: backbone, head and loss must be the same"))
}

/// Checks the identities of the checkpoint `source` against the data's.
///
/// # Errors
/// `Error::Input` naming those that only one of them has, else the first difference.
pub fn same_labels(source: &Path, expected: &Labels, loaded: &Labels) -> Result<()> {
    if expected.fingerprint == loaded.fingerprint && expected.names == loaded.names {
        return Ok(());
    }
    let (ours, theirs) = (&expected.names, &loaded.names);
    let only_in = |a: &[String], b: &[String]| -> Vec<String> {
        let known: BTreeSet<&String> = b.iter().collect();
        a.iter().filter(|name| !known.contains(name)).map(|name| format!("{name:?}")).collect()
    };
    let differences: Vec<String> = [
        listed("that the data lacks", &only_in(theirs, ours)),
        listed("that it does not know", &only_in(ours, theirs)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let first = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let difference = match first {
        _ if !differences.is_empty() => differences.join(", "),
        Some(label) => {
            format!("its number {label} is {:?}, the data's {:?}", theirs[label], ours[label])
        }
        None => format!(
            "their fingerprint is {}, the data's {}",
            loaded.fingerprint, expected.fingerprint
        ),
    };
    Err(Error::input(format!(
        "checkpoint {} was trained on other identities: {difference}",
        source.display()
    ))
    .help("continue on the data set and split that it was trained on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[(&str, &[i64])]) -> Shapes {
        names.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect()
    }

    #[test]
    fn another_architecture_is_described() {
        let model = of(&[("a", &[2]), ("b", &[3, 4]), ("c", &[]), ("d", &[]), ("e", &[])]);
        assert!(same_tensors(Path::new("x"), &model, &model.clone()).is_ok());
        let mut other = of(&[("b", &[3, 5])]);
        other.insert("z".into(), vec![1]);
        let text = same_tensors(Path::new("ck/latest"), &model, &other).unwrap_err().to_string();
        for part in [
            "ck/latest",
            "5 tensors",
            "4 missing (a, c, d, ...)",
            "1 unexpected (z)",
            "1 of another shape (b is [3, 5], the model's [3, 4])",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn another_label_map_is_named() {
        let labels = |names: &[&str]| Labels {
            names: names.iter().map(|n| n.to_string()).collect(),
            fingerprint: names.concat(),
        };
        let ours = labels(&["ann", "bob"]);
        assert!(same_labels(Path::new("x"), &ours, &ours.clone()).is_ok());
        for (theirs, says) in [
            (
                labels(&["ann", "eve"]),
                r#"x was trained on other identities: 1 that the data lacks ("eve"), 1 that it does not know ("bob")"#,
            ),
            (labels(&["ann"]), r#"identities: 1 that it does not know ("bob")"#),
            (labels(&["bob", "ann"]), r#"its number 0 is "bob", the data's "ann""#),
        ] {
            let error = same_labels(Path::new("x"), &ours, &theirs).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
