//! The drawn data set as a data source: made on first use, then read as a folder.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::image_folder::{Fractions, ImageFolder, Split};
use super::synthetic::{Recipe, generate_once};
use super::{Progress, Splits};
use crate::Result;
use crate::checkpoint::durable::hex;
use crate::config::DatasetPath;

crate::config_struct! {
    /// Faces of people who do not exist, drawn on first use: no download, no one's private face.
    ///
    /// The data set has the layout of VGGFace2, with a `pairs.txt` over identities that are never
    /// trained on. The same keys give the same files.
    pub struct SyntheticFaces {
        /// The folder to write to and read from; empty: `synthetic_faces-<hash of the keys>` under
        /// `paths.datasets`. A relative path is looked up under `paths.datasets` first.
        pub root: DatasetPath = DatasetPath::default();
        /// Identities to train on.
        pub identities: usize = 200, between(2, 1_000_000);
        /// Images of each.
        pub images_per_identity: usize = 20, between(1, 9999);
        /// Identities that are never trained on.
        pub unseen_identities: usize = 50, at_most(1_000_000);
        /// Images of each.
        pub unseen_images_per_identity: usize = 10, between(1, 9999);
        /// Width and height of the images, in pixels.
        pub size: usize = 112, between(16, 2048);
        /// Lines in `pairs.txt`, half of them genuine.
        pub pairs: usize = 1000;
        /// Seed of the drawing; it is not the seed of the run, so that runs share the data.
        pub seed: u64 = 0;
        /// Share of the training identities' images that is kept for the validation loss.
        pub validation: f64 = 0.1, below(0.0, 1.0);
    }
}

impl SyntheticFaces {
    /// The folder, whether it exists or not.
    pub fn place(&self, datasets: &Path) -> PathBuf {
        if !self.root.raw.as_os_str().is_empty() {
            return self.root.resolve(datasets);
        }
        let recipe = serde_json::to_vec(&self.recipe()).expect("plain numbers");
        let hash = hex(&Sha256::digest(recipe)[..6]);
        datasets.join(format!("synthetic_faces-{hash}"))
    }

    /// Draws the data set if it is not there, and divides it.
    ///
    /// # Errors
    /// Keys that can't be met together, a folder that holds something else, no space.
    pub fn open(&self, datasets: &Path, seed: u64, progress: &Progress<'_>) -> Result<Splits> {
        let (recipe, root) = (self.recipe(), self.place(datasets));
        let drawn = generate_once(&recipe, &root, progress)?;
        let folder = ImageFolder {
            root: DatasetPath {
                raw: std::path::absolute(&root).unwrap_or(root),
                base: PathBuf::new(),
            },
            split: Split::Folders,
            fractions: Fractions {
                train: 1.0 - self.validation,
                validation: self.validation,
                test: 0.0,
            },
            ..ImageFolder::default()
        };
        let mut splits = folder.open(datasets, seed)?;
        if drawn {
            splits.notes.push(format!(
                "drew {} images of {} identities into {}",
                recipe.images(),
                recipe.identities + recipe.unseen_identities,
                folder.root.raw.display()
            ));
        }
        Ok(splits)
    }

    /// What determines the files.
    pub fn recipe(&self) -> Recipe {
        let Self {
            root: _,
            identities,
            images_per_identity,
            unseen_identities,
            unseen_images_per_identity,
            size,
            pairs,
            seed,
            validation: _,
        } = self;
        Recipe {
            identities: *identities,
            images_per_identity: *images_per_identity,
            unseen_identities: *unseen_identities,
            unseen_images_per_identity: *unseen_images_per_identity,
            size: *size as u32,
            pairs: *pairs,
            seed: *seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn small() -> SyntheticFaces {
        SyntheticFaces {
            identities: 3,
            images_per_identity: 5,
            unseen_identities: 4,
            unseen_images_per_identity: 3,
            size: 32,
            pairs: 0,
            validation: 0.2,
            ..SyntheticFaces::default()
        }
    }

    #[test]
    fn it_is_drawn_once_by_several_at_a_time_and_then_read() {
        let datasets = tempfile::tempdir().unwrap();
        let drawn = AtomicUsize::new(0);
        let open = || {
            let splits = small().open(datasets.path(), 0, &|_, _| true).unwrap();
            let drew = splits.notes.iter().any(|note| note.starts_with("drew 27 images"));
            drawn.fetch_add(usize::from(drew), Ordering::Relaxed);
            splits
        };
        let splits = std::thread::scope(|scope| {
            let others: Vec<_> = (0..3).map(|_| scope.spawn(open)).collect();
            others.into_iter().map(|other| other.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(drawn.load(Ordering::Relaxed), 1);
        for part in &splits {
            assert_eq!(part.train.labels.len(), 3);
            assert_eq!((part.train.len(), part.validation.as_ref().unwrap().len()), (12, 3));
            assert_eq!(part.unseen.as_ref().unwrap().len(), 12);
            assert_eq!(part.train, splits[0].train);
        }
    }

    #[test]
    fn the_folder_follows_what_is_drawn() {
        let datasets = Path::new("datasets");
        let place = |faces: SyntheticFaces| faces.place(datasets);
        assert_eq!(place(small()), place(SyntheticFaces { validation: 0.5, ..small() }));
        assert_ne!(place(small()), place(SyntheticFaces { seed: 1, ..small() }));
        let root = DatasetPath { raw: "mine".into(), base: "".into() };
        assert_eq!(place(SyntheticFaces { root, ..small() }), datasets.join("mine"));
    }
}
