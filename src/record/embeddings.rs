//! `embeddings/` of a run: what the network made of a fixed sample of images, epoch by epoch.

use crate::checkpoint::{Named, durable, read_with_texts, write_with_texts};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

const FOLDER: &str = "embeddings";
const CLASSES: &str = "classes.json";

/// One file: the sample after so many epochs.
#[derive(Debug)]
pub struct Embeddings {
    /// Epochs completed; 0 before training.
    pub epoch: u64,
    /// `train` or `validation`.
    pub split: String,
    pub experiment: String,
    /// As the network gives them, float32 [N, D] on the CPU.
    pub points: Tensor,
    /// Class of each, int64 `[N]`.
    pub labels: Tensor,
    /// Class weights of the loss, float32 [C, D]; None of a loss without.
    pub centres: Option<Tensor>,
}

/// `RUN/embeddings/epoch-NNNN.safetensors`.
pub fn file(run: &Path, epoch: u64) -> PathBuf {
    run.join(FOLDER).join(format!("epoch-{epoch:04}.safetensors"))
}

impl Embeddings {
    /// Writes the file of its epoch, whole or not at all.
    pub fn write(&self, run: &Path) -> Result<()> {
        let Embeddings { epoch, split, experiment, points, labels, centres } = self;
        let mut tensors = Named::from([
            ("embeddings".to_owned(), points.shallow_clone()),
            ("labels".to_owned(), labels.shallow_clone()),
        ]);
        if let Some(centres) = centres {
            tensors.insert("centres".to_owned(), centres.shallow_clone());
        }
        let texts = BTreeMap::from([
            ("epoch".to_owned(), epoch.to_string()),
            ("split".to_owned(), split.clone()),
            ("experiment".to_owned(), experiment.clone()),
        ]);
        write_with_texts(&file(run, *epoch), &tensors, &texts)
    }

    /// # Errors
    /// `Input`, naming the file, where it is missing, damaged or not of this form.
    pub fn read(path: &Path) -> Result<Self> {
        let (mut tensors, mut texts) = read_with_texts(path)?;
        let wrong = |what: &str| {
            Error::input(format!("{} does not hold recorded embeddings: {what}", path.display()))
                .help("delete it; `run plot embeddings` draws the other epochs")
        };
        let mut text = |key: &str| texts.remove(key).ok_or_else(|| wrong(&format!("no {key}")));
        let epoch = text("epoch")?;
        let epoch = epoch.parse().map_err(|_| wrong(&format!("epoch is `{epoch}`")))?;
        let (split, experiment) = (text("split")?, text("experiment")?);
        let mut tensor = |key: &str| tensors.remove(key);
        let points = tensor("embeddings").ok_or_else(|| wrong("no tensor `embeddings`"))?;
        let labels = tensor("labels").ok_or_else(|| wrong("no tensor `labels`"))?;
        let centres = tensor("centres");
        let float = |x: &Tensor| x.kind() == Kind::Float && x.dim() == 2 && x.size()[1] > 0;
        if !float(&points) || labels.kind() != Kind::Int64 || labels.size() != points.size()[..1] {
            let sizes = (points.size(), labels.size());
            return Err(wrong(&format!("embeddings {:?}, labels {:?}", sizes.0, sizes.1)));
        }
        if let Some(centres) = &centres
            && (!float(centres) || centres.size()[1] != points.size()[1])
        {
            let sizes = (points.size(), centres.size());
            return Err(wrong(&format!("embeddings {:?}, centres {:?}", sizes.0, sizes.1)));
        }
        if points.size()[0] > 0 && labels.min().int64_value(&[]) < 0 {
            return Err(wrong("a label below 0"));
        }
        Ok(Embeddings { epoch, split, experiment, points, labels, centres })
    }

    /// Length of an embedding.
    pub fn dim(&self) -> i64 {
        self.points.size()[1]
    }
}

/// The recorded epochs of a run with their files, in order; none where there is no folder.
///
/// # Errors
/// A folder that can't be read.
pub fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let folder = run.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", &folder, e).into_input()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read", &folder, e).into_input())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.strip_prefix("epoch-").and_then(|rest| rest.strip_suffix(".safetensors"));
        if let Some(epoch) = number.and_then(|number| number.parse().ok()) {
            found.push((epoch, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Deletes what was recorded after `epoch` completed epochs (None: everything), and what a kill left
/// half written.
pub fn cut(run: &Path, epoch: Option<u64>) -> Result<()> {
    durable::clean(&run.join(FOLDER))?;
    for (number, path) in list(run)? {
        if epoch.is_none_or(|last| number > last) {
            fs::remove_file(&path).map_err(|e| Error::io("delete", &path, e))?;
        }
    }
    Ok(())
}

/// Writes the names of the classes, in the order of their labels.
pub fn write_classes(run: &Path, names: &[String]) -> Result<()> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
    let text = serde_json::to_string_pretty(names).map_err(|e| Error::failed(e.to_string()))?;
    durable::write_file(&folder.join(CLASSES), |out| out.write_all(text.as_bytes()))
}

/// # Errors
/// `Input` where the file is missing or damaged.
pub fn read_classes(run: &Path) -> Result<Vec<String>> {
    let path = run.join(FOLDER).join(CLASSES);
    let text = fs::read(&path).map_err(|e| Error::io("read", &path, e).into_input())?;
    serde_json::from_slice(&text).map_err(|e| {
        Error::input(format!("{} is not a list of class names: {e}", path.display()))
            .help("continue the run, which writes it anew")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(epoch: u64) -> Embeddings {
        Embeddings {
            epoch,
            split: "validation".into(),
            experiment: "x \"quoted\"".into(),
            points: Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]),
            labels: Tensor::from_slice(&[1i64, 0]),
            centres: Some(Tensor::from_slice(&[0.5f32, 0.25, -1.0, 0.0]).view([2, 2])),
        }
    }

    #[test]
    fn what_is_written_is_read_and_cut() {
        let run = tempfile::tempdir().unwrap();
        assert!(list(run.path()).unwrap().is_empty());
        for epoch in [0, 2, 10_000] {
            sample(epoch).write(run.path()).unwrap();
        }
        let files = list(run.path()).unwrap();
        assert_eq!(files.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 2, 10_000]);
        let back = Embeddings::read(&files[1].1).unwrap();
        let expected = sample(2);
        assert_eq!(
            (back.epoch, &back.split, &back.experiment),
            (2, &expected.split, &expected.experiment)
        );
        assert!(back.points.equal(&expected.points) && back.labels.equal(&expected.labels));
        assert!(back.centres.unwrap().equal(&expected.centres.unwrap()));
        let bytes = fs::read(&files[1].1).unwrap();
        sample(2).write(run.path()).unwrap();
        assert_eq!(bytes, fs::read(&files[1].1).unwrap());

        fs::write(run.path().join("embeddings/.tmp-epoch-0003.safetensors-1"), "half").unwrap();
        cut(run.path(), Some(2)).unwrap();
        assert_eq!(list(run.path()).unwrap().len(), 2);
        assert_eq!(fs::read_dir(run.path().join("embeddings")).unwrap().count(), 2);
        cut(run.path(), None).unwrap();
        assert!(list(run.path()).unwrap().is_empty());
    }

    #[test]
    fn what_is_damaged_is_named() {
        let run = tempfile::tempdir().unwrap();
        sample(1).write(run.path()).unwrap();
        let path = file(run.path(), 1);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let error = Embeddings::read(&path).unwrap_err();
        assert!(error.to_string().contains("epoch-0001.safetensors"), "{error}");
        assert_eq!(error.exit_code(), 2);

        let short = Embeddings { labels: Tensor::from_slice(&[1i64]), ..sample(1) };
        short.write(run.path()).unwrap();
        let error = Embeddings::read(&path).unwrap_err().to_string();
        assert!(error.contains("embeddings [2, 2], labels [1]"), "{error}");
        crate::checkpoint::write_weights(&path, &Named::new()).unwrap();
        let error = Embeddings::read(&path).unwrap_err().to_string();
        assert!(error.contains("no epoch"), "{error}");
    }

    #[test]
    fn class_names_come_back() {
        let run = tempfile::tempdir().unwrap();
        assert!(read_classes(run.path()).unwrap_err().to_string().contains("classes.json"));
        let names = ["ann", "größe \"x\""].map(String::from);
        write_classes(run.path(), &names).unwrap();
        assert_eq!(read_classes(run.path()).unwrap(), names);
    }
}
