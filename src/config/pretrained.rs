//! Weights to start from: "none", a file beside the one that states it, or a name of the registry.

use super::field::{Field, Reader, clean};
use super::shape::Shape;
use crate::weights::registry;
use figment::value::Value;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

const NONE: &str = "none";

/// A file of weights, relative to the file that states it, a name of the registry such as
/// "torchvision/resnet50", or "none". A file of that name comes before the registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pretrained(Option<PathBuf>);

impl Pretrained {
    /// The file, or the name in the registry as it was stated; None for "none".
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

impl Serialize for Pretrained {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path().unwrap_or(Path::new(NONE)).serialize(serializer)
    }
}

impl Field for Pretrained {
    fn shape() -> Shape {
        Shape::Leaf("path")
    }

    fn read(value: Option<&Value>, default: Option<Self>, at: &Reader<'_>) -> Option<Self> {
        let text = match value {
            Some(_) => String::read(value, None, at)?,
            None => return at.or_missing(default),
        };
        if text.is_empty() {
            let help = "state a file of weights, a name of `run weights`, or \"none\"".to_string();
            at.report(format!("`{}` is empty", at.key()), Some(help));
            return None;
        }
        let file = clean(&at.folder().join(&text));
        Some(Pretrained(match text.as_str() {
            NONE => None,
            name if registry::find(name).is_some() && !file.exists() => Some(text.into()),
            _ => Some(file),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Experiment, load_str};
    use super::*;

    fn pretrained(file: &str, stated: &str, sets: &[&str]) -> crate::Result<Pretrained> {
        let text = format!("data.kind = \"synthetic_faces\"\n[backbone]\n{stated}\n");
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let experiment = load_str::<Experiment>(file, &text, &sets)?.experiment;
        // What the resolved configuration states means the same elsewhere.
        let again = load_str::<Experiment>("/else/where.toml", &experiment.to_toml(), &[])?;
        assert_eq!(again.experiment.backbone, experiment.backbone);
        Ok(Pretrained(experiment.backbone.common().0.map(Path::to_path_buf)))
    }

    #[test]
    fn a_file_comes_before_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("torchvision/resnet50");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        let experiment = folder.path().join("x.toml").display().to_string();
        let found = pretrained(&experiment, "pretrained = \"torchvision/resnet50\"", &[]);
        assert_eq!(found.unwrap().path(), Some(file.as_path()));
    }

    #[test]
    fn a_file_is_relative_to_the_one_that_states_it() {
        let of = |stated: &str, sets: &[&str]| pretrained("/a/x.toml", stated, sets).unwrap();
        assert_eq!(of("", &[]).path(), None);
        let stated = "pretrained = \"./w/x.safetensors\"";
        assert_eq!(of(stated, &[]).path(), Some(Path::new("/a/w/x.safetensors")));
        assert_eq!(of(stated, &["backbone.pretrained=none"]).path(), None);
        let here = std::env::current_dir().unwrap().join("y.safetensors");
        assert_eq!(of(stated, &["pretrained=y.safetensors"]).path(), Some(here.as_path()));
        // A name of the registry stays as it is; an unknown one is a file.
        let named = of("pretrained = \"torchvision/resnet50\"", &[]);
        assert_eq!(named.path(), Some(Path::new("torchvision/resnet50")));
        let unknown = of("pretrained = \"torchvision/resnet51\"", &[]);
        assert_eq!(unknown.path(), Some(Path::new("/a/torchvision/resnet51")));
        let empty = pretrained("/a/x.toml", "pretrained = \"\"", &[]).unwrap_err().to_string();
        assert!(empty.contains("`backbone.pretrained` is empty"), "{empty}");
    }
}
