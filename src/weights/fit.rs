//! Does what a file holds fit a network? Every name and every shape is compared; nothing stays random
//! unsaid.

use super::family;
use super::names::{is_ignored, is_left_out, prefix};
use super::pickle::{Dtype, dtype_of};
use super::{Info, Weights};
use crate::checkpoint::{Named, Shapes};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// How many names a message shows of each sort.
const SHOWN: usize = 3;

/// Tensors under the network's names, of the network's shapes.
#[derive(Debug)]
pub struct Fitted {
    pub tensors: Named,
    /// What was left out and should be said aloud.
    pub notices: Vec<String>,
}

/// Which tensor of a file becomes which of the network.
#[derive(Debug)]
pub struct Plan {
    /// The network's name -> the file's.
    pub names: BTreeMap<String, String>,
    /// In front of the file's names: `module.`
    pub prefix: String,
    pub notices: Vec<String>,
}

/// Shape and type.
pub type Forms = BTreeMap<String, (Vec<i64>, Dtype)>;

impl Weights {
    /// Shape and type of every tensor.
    pub fn forms(&self) -> Forms {
        let form = |info: &Info| (info.name.clone(), (info.shape.clone(), info.dtype));
        self.tensors.iter().map(form).collect()
    }
}

/// Brings the tensors `found` in the file `source` to the names of a network. Their types stay; a copy
/// into the network converts float16, bfloat16 and float64.
///
/// # Errors
/// Those of [`plan`], and values that are not finite.
pub fn fit(expected: &Shapes, mut found: Named, source: &Path) -> Result<Fitted> {
    let forms = found
        .iter()
        .map(|(name, tensor)| (name.clone(), (tensor.size(), dtype_of(tensor.kind()))))
        .collect();
    let Plan { names, prefix: _, notices } = plan(expected, &forms, source)?;
    let take = |(ours, theirs)| Some((ours, found.remove(&theirs)?));
    let tensors: Named = names.into_iter().filter_map(take).collect();
    // As the network has them: float64 may hold what float32 can't.
    let finite =
        |tensor: &Tensor| tensor.to_kind(Kind::Float).isfinite().all().int64_value(&[]) == 1;
    let wrong: Vec<String> =
        tensors.iter().filter(|(_, t)| !finite(t)).map(|(name, _)| name.clone()).collect();
    if let Some(wrong) = listed("with values that are not finite in float32", &wrong) {
        return Err(Error::input(format!("{}: {wrong}", source.display())).help(
            "these weights are of a training that diverged, or the file is damaged: take others",
        ));
    }
    Ok(Fitted { tensors, notices })
}

/// Compares names and shapes of a network with those `found` in the file `source`. Prefixes of wrappers
/// are taken off where the names then fit; counters are ignored; a classifier and other parts that the
/// network does not have are left out aloud.
///
/// # Errors
/// `Error::Input` with the number and the first names of missing, unexpected, mis-shaped and integer
/// tensors, and what the file looks like instead.
pub fn plan(expected: &Shapes, found: &Forms, source: &Path) -> Result<Plan> {
    let prefix = prefix(expected, found.keys().map(String::as_str));
    let mut names = BTreeMap::new();
    let (mut unexpected, mut outside, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let (mut misshaped, mut integers) = (Vec::new(), Vec::new());
    for (name, (shape, dtype)) in found {
        let Some(bare) = name.strip_prefix(&prefix) else {
            outside.push(format!("{name} {shape:?}"));
            continue;
        };
        match expected.get(bare) {
            Some(wanted) if wanted != shape => {
                misshaped.push(format!("{bare} is {shape:?}, the network's {wanted:?}"));
            }
            Some(_) if !is_float(*dtype) => integers.push(format!("{bare} is {}", dtype.name)),
            Some(_) => {}
            None if is_ignored(bare) => continue,
            None if is_left_out(bare, expected) => left_out.push(format!("{bare} {shape:?}")),
            None => unexpected.push(bare.to_owned()),
        }
        names.insert(bare.to_owned(), name.clone());
    }
    let missing: Vec<String> =
        expected.keys().filter(|name| !names.contains_key(*name)).cloned().collect();
    let differences: Vec<String> = [
        listed("missing", &missing),
        listed("unexpected", &unexpected),
        listed("of another shape", &misshaped),
        listed("not of floating point", &integers),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !differences.is_empty() {
        let message = format!(
            "{} does not fit the network of {} tensors: {}",
            source.display(),
            expected.len(),
            differences.join("; ")
        );
        return Err(Error::input(message).help(remedy(expected, found, &prefix)));
    }
    names.retain(|name, _| expected.contains_key(name));
    let notice = |what: Vec<String>, why: String| {
        let shown = first(&what);
        (!what.is_empty()).then(|| format!("{}: left out {shown}, {why}", source.display()))
    };
    let notices = [
        notice(left_out, "a part that the backbone does not have".into()),
        notice(outside, format!("beside the weights of the backbone, which are under `{prefix}`")),
    ];
    Ok(Plan { names, prefix, notices: notices.into_iter().flatten().collect() })
}

fn is_float(dtype: Dtype) -> bool {
    let floats = [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double];
    dtype.kind.is_some_and(|kind| floats.contains(&kind))
}

/// `a, b, c and 4 more`
fn first(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn listed(title: &str, names: &[String]) -> Option<String> {
    let rest = if names.len() > SHOWN { ", ..." } else { "" };
    let shown = names[..names.len().min(SHOWN)].join(", ");
    (!names.is_empty()).then(|| format!("{} {title} ({shown}{rest})", names.len()))
}

/// What the file looks like, and what to do.
fn remedy(expected: &Shapes, found: &Forms, prefix: &str) -> String {
    const SCRATCH: &str = "or train from scratch: --set backbone.pretrained=none";
    let bare = |(name, (shape, _)): (&String, &(Vec<i64>, Dtype))| {
        Some((name.strip_prefix(prefix)?.to_owned(), shape.clone()))
    };
    let theirs = family::recognise(&found.iter().filter_map(bare).collect());
    let ours = family::recognise(expected);
    match theirs {
        Some(theirs) if Some(theirs) != ours => {
            format!("these look like weights of {theirs}: state those of this network, {SCRATCH}")
        }
        Some(theirs) => format!(
            "these look like weights of {theirs} too: compare the keys of the backbone with those that \
             they were trained with, {SCRATCH}"
        ),
        None => format!(
            "state weights of this network (`run weights show FILE` lists a file), {SCRATCH}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn zeros(names: &[(&str, &[i64], Kind)]) -> Named {
        let tensor = |shape: &[i64], kind| Tensor::zeros(shape, (kind, Device::Cpu));
        names.iter().map(|(name, shape, kind)| (name.to_string(), tensor(shape, *kind))).collect()
    }

    fn network() -> Shapes {
        [("conv.weight", vec![2, 3]), ("bn.weight", vec![2]), ("bn.running_var", vec![2])]
            .map(|(name, shape)| (name.to_string(), shape))
            .into()
    }

    fn whole(prefix: &str) -> Named {
        let names =
            [("conv.weight", &[2i64, 3][..]), ("bn.weight", &[2]), ("bn.running_var", &[2])];
        let names = names.map(|(name, shape)| (format!("{prefix}{name}"), shape));
        names.map(|(name, shape)| (name, Tensor::zeros(shape, (Kind::Half, Device::Cpu)))).into()
    }

    #[test]
    fn values_that_float32_cannot_hold_are_named() {
        let mut found = zeros(&[
            ("conv.weight", &[2, 3], Kind::Double),
            ("bn.weight", &[2], Kind::Float),
            ("bn.running_var", &[2], Kind::Float),
        ]);
        assert!(fit(&network(), zeros_of(&found), Path::new("x.pth")).is_ok());
        found
            .insert("conv.weight".into(), Tensor::full([2, 3], 1e300, (Kind::Double, Device::Cpu)));
        let error = fit(&network(), found, Path::new("x.pth")).unwrap_err().to_string();
        let told = "x.pth: 1 with values that are not finite in float32 (conv.weight)";
        assert!(error.contains(told), "{error}");
    }

    fn zeros_of(tensors: &Named) -> Named {
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.zeros_like())).collect()
    }

    #[test]
    fn names_lose_their_prefix_and_types_stay() {
        for prefix in ["", "module.", "module.backbone."] {
            let mut found = whole(prefix);
            found.extend(zeros(&[(&format!("{prefix}bn.num_batches_tracked"), &[], Kind::Int64)]));
            let Fitted { tensors, notices } = fit(&network(), found, Path::new("x.pth")).unwrap();
            assert_eq!(tensors.keys().collect::<Vec<_>>(), network().keys().collect::<Vec<_>>());
            assert!(tensors.values().all(|tensor| tensor.kind() == Kind::Half));
            assert_eq!(notices, Vec::<String>::new(), "{prefix}");
        }
    }

    #[test]
    fn parts_that_the_network_lacks_are_left_out_aloud() {
        let mut found = whole("module.");
        found.extend(zeros(&[
            ("module.fc.weight", &[10, 2], Kind::Float),
            ("module.fc.bias", &[10], Kind::Float),
            ("criterion.centre", &[4], Kind::Float),
        ]));
        let Fitted { tensors, notices } = fit(&network(), found, Path::new("x.pth")).unwrap();
        assert_eq!(tensors.len(), 3);
        let [classifier, outside] = &notices[..] else { panic!("{notices:?}") };
        assert!(
            classifier.contains("x.pth: left out fc.bias [10], fc.weight [10, 2], "),
            "{classifier}"
        );
        assert!(outside.contains("criterion.centre [4], beside") && outside.contains("`module.`"));
    }

    #[test]
    fn what_does_not_fit_is_listed() {
        let mut found = whole("");
        found.remove("bn.weight");
        found.insert("conv.weight".into(), Tensor::zeros([2, 4], (Kind::Float, Device::Cpu)));
        found.extend(zeros(&[
            ("bn.running_var", &[2], Kind::Int8),
            ("extra.bias", &[1], Kind::Float),
        ]));
        let error = fit(&network(), found, Path::new("x.pth")).unwrap_err();
        for part in [
            "x.pth does not fit the network of 3 tensors: ",
            "1 missing (bn.weight)",
            "1 unexpected (extra.bias)",
            "1 of another shape (conv.weight is [2, 4], the network's [2, 3])",
            "1 not of floating point (bn.running_var is int8)",
        ] {
            assert!(error.to_string().contains(part), "{part:?} in {error}");
        }
        assert_eq!(error.exit_code(), 2);
        let many: Named = zeros(&[]);
        let error = fit(&network(), many, Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("3 missing (bn.running_var, bn.weight, conv.weight)"));
    }
}
