//! Weights to start from: "none", or a file beside the one that states it.

use super::field::{Field, Reader, clean};
use super::shape::Shape;
use figment::value::Value;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

const NONE: &str = "none";

/// A file of weights, relative to the file that states it, or "none".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pretrained(Option<PathBuf>);

impl Pretrained {
    /// The file; None for "none".
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
            let help = "state a .safetensors file, or \"none\"".to_string();
            at.report(format!("`{}` is empty", at.key()), Some(help));
            return None;
        }
        Some(Pretrained((text != NONE).then(|| clean(&at.folder().join(text)))))
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
    fn a_file_is_relative_to_the_one_that_states_it() {
        let of = |stated: &str, sets: &[&str]| pretrained("/a/x.toml", stated, sets).unwrap();
        assert_eq!(of("", &[]).path(), None);
        let stated = "pretrained = \"./w/x.safetensors\"";
        assert_eq!(of(stated, &[]).path(), Some(Path::new("/a/w/x.safetensors")));
        assert_eq!(of(stated, &["backbone.pretrained=none"]).path(), None);
        let here = std::env::current_dir().unwrap().join("y.safetensors");
        assert_eq!(of(stated, &["pretrained=y.safetensors"]).path(), Some(here.as_path()));
        let empty = pretrained("/a/x.toml", "pretrained = \"\"", &[]).unwrap_err().to_string();
        assert!(empty.contains("`backbone.pretrained` is empty"), "{empty}");
    }
}
