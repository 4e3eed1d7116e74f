//! What is posted, and how images are named in it.

use super::Submit;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

impl Submit {
    /// Can something be posted by it?
    ///
    /// # Errors
    /// No name of the group, one key for two things.
    pub fn complete(&self) -> Result<()> {
        if self.group_name.is_empty() {
            return Err(Error::input("submit.group_name is not given")
                .help("--set submit.group_name=NAME, or group_name in [submit]"));
        }
        if self.group_field == self.images_field {
            let message = format!(
                "submit.group_field and submit.images_field are both {:?}",
                self.group_field
            );
            return Err(Error::input(message).help("each needs a key of its own"));
        }
        Ok(())
    }
}

/// `{"groupname": ..., "images": {query: [gallery...]}}`, in the order of `results`.
///
/// # Errors
/// See [`Submit::complete`]; two queries of one name.
pub fn body(config: &Submit, results: &[(String, Vec<String>)]) -> Result<Vec<u8>> {
    config.complete()?;
    let mut images = Map::new();
    for (query, gallery) in results {
        if images.insert(query.clone(), json!(gallery)).is_some() {
            return Err(Error::input(format!("two query images are named {query:?}")));
        }
    }
    let mut body = Map::new();
    body.insert(config.group_field.clone(), json!(config.group_name));
    body.insert(config.images_field.clone(), Value::Object(images));
    Ok(serde_json::to_vec(&body).expect("text keys only"))
}

/// What images are called in a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// One for each path, no two the same.
    pub names: Vec<String>,
    /// The folder that names are relative to, where file names alone are not unique.
    pub below: Option<PathBuf>,
    /// A file name that two images have, then.
    pub twice: Option<String>,
}

/// File names; where two are the same, paths below the folder that all images are in.
///
/// # Errors
/// A name that is not UTF-8; the same path twice.
pub fn names(paths: &[PathBuf]) -> Result<Named> {
    let text = |path: &Path| -> Result<String> {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::input(format!("{} has a name that is not UTF-8", path.display()))
                .help("rename it: a submission is JSON")
        })
    };
    let short: Vec<String> = paths
        .iter()
        .map(|path| text(Path::new(path.file_name().unwrap_or_default())))
        .collect::<Result<_>>()?;
    let Some(twice) = repeated(&short).cloned() else {
        return Ok(Named { names: short, below: None, twice: None });
    };
    let root = common_folder(paths);
    let relative = |path: &PathBuf| text(path.strip_prefix(&root).unwrap_or(path));
    let names: Vec<String> = paths.iter().map(relative).collect::<Result<_>>()?;
    match repeated(&names) {
        Some(name) => Err(Error::input(format!("the image {name} is there twice"))),
        None => Ok(Named { names, below: Some(root), twice: Some(twice) }),
    }
}

fn repeated(names: &[String]) -> Option<&String> {
    let mut seen = HashSet::with_capacity(names.len());
    names.iter().find(|name| !seen.insert(name.as_str()))
}

fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let mut folders = paths.iter().map(|path| path.parent().unwrap_or(Path::new("")));
    let first = folders.next().unwrap_or(Path::new("")).to_path_buf();
    folders.fold(first, |root, folder| {
        let same = root.components().zip(folder.components()).take_while(|(a, b)| a == b);
        same.map(|(part, _)| part).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Submit {
        Submit { group_name: "us".into(), ..Submit::default() }
    }

    #[test]
    fn a_body_keeps_the_order_and_the_stated_keys() {
        let results = [
            ("b.jpg".to_string(), vec!["2.jpg".to_string(), "1.jpg".to_string()]),
            ("a.jpg".to_string(), vec![]),
        ];
        let text = |config: &Submit| String::from_utf8(body(config, &results).unwrap()).unwrap();
        let images = r#"{"b.jpg":["2.jpg","1.jpg"],"a.jpg":[]}"#;
        assert_eq!(text(&config()), format!(r#"{{"groupname":"us","images":{images}}}"#));
        let other = Submit { group_field: "team".into(), images_field: "res".into(), ..config() };
        assert_eq!(text(&other), format!(r#"{{"team":"us","res":{images}}}"#));
        let twice = [results[0].clone(), results[0].clone()];
        assert!(body(&config(), &twice).unwrap_err().to_string().contains("b.jpg"));
        assert!(body(&Submit::default(), &[]).unwrap_err().to_string().contains("group_name"));
        let same = Submit { group_field: "images".into(), ..config() };
        assert_eq!(body(&same, &[]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["x/a.jpg", "x/b.jpg"]).unwrap().names, ["a.jpg", "b.jpg"]);
        let long = of(&["/d/x/a.jpg", "/d/x/y/a.jpg", "/d/z/b.jpg"]).unwrap();
        assert_eq!(long.names, ["x/a.jpg", "x/y/a.jpg", "z/b.jpg"]);
        assert_eq!((long.below, long.twice), (Some("/d".into()), Some("a.jpg".into())));
        assert!(of(&["x/a.jpg", "x/a.jpg"]).unwrap_err().to_string().contains("twice"));
        assert_eq!(of(&[]).unwrap().names.len(), 0);
    }
}
