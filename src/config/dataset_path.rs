//! Where a data set lies: looked up under `paths.datasets`, then beside the file that states it.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// A data root as written, and the folder that it is relative to besides `paths.datasets`.
#[derive(Clone, Debug, Default)]
pub struct DatasetPath {
    pub raw: PathBuf,
    pub base: PathBuf,
}

impl DatasetPath {
    /// `base` becomes the first of `datasets` and `folder` that has `raw`, so that the path stays
    /// the same when the resolved configuration is read from elsewhere.
    pub fn found(raw: PathBuf, folder: &Path, datasets: &Path) -> Self {
        let base = if datasets.join(&raw).exists() { datasets } else { folder };
        DatasetPath { raw, base: base.to_path_buf() }
    }

    /// The places to look, in order.
    pub fn tried(&self, datasets: &Path) -> Vec<PathBuf> {
        let mut places = vec![datasets.join(&self.raw)];
        let beside = self.base.join(&self.raw);
        if beside != places[0] {
            places.push(beside);
        }
        places
    }

    /// The first place that exists, else the one under `datasets`.
    pub fn resolve(&self, datasets: &Path) -> PathBuf {
        let mut places = self.tried(datasets);
        let found = places.iter().position(|place| place.exists()).unwrap_or(0);
        places.swap_remove(found)
    }

    /// As the resolved configuration states it: absolute where it was found.
    fn written(&self) -> PathBuf {
        let here = self.base.join(&self.raw);
        let known = !self.raw.as_os_str().is_empty() && here.exists();
        if known { here } else { self.raw.clone() }
    }
}

impl PartialEq for DatasetPath {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Serialize for DatasetPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_first_then_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (datasets, beside) = (folder.path().join("datasets"), folder.path().join("beside"));
        std::fs::create_dir_all(beside.join("faces")).unwrap();
        let path = DatasetPath::found("faces".into(), &beside, &datasets);
        assert_eq!(path.resolve(&datasets), beside.join("faces"));
        assert_eq!(path.tried(&datasets), [datasets.join("faces"), beside.join("faces")]);

        std::fs::create_dir_all(datasets.join("faces")).unwrap();
        let path = DatasetPath::found("faces".into(), &beside, &datasets);
        assert_eq!(path.resolve(&datasets), datasets.join("faces"));
        let missing = DatasetPath::found("none".into(), &beside, &datasets);
        assert_eq!(missing.resolve(&datasets), datasets.join("none"));
    }
}
