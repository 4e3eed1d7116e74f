//! Retrieval between images and captions, in both directions.

use super::set::{Detail, Outcome};
use crate::config::DatasetPath;
use crate::data::image_text::{Caption, Pairs, read};
use crate::data::{Image, Splits};
use crate::retrieval::{BothDirections, Matrix, Progress, both_directions};
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

crate::config_choice! {
    /// A part of image-text data to search in.
    pub enum TextSplit {
        /// Images set aside for the test.
        Test = "test",
        /// The validation images.
        Validation = "validation",
    }
}

crate::config_struct! {
    /// Captions found for images and images for captions: Recall@1, 5 and 10 in both directions
    /// (Radford et al. 2021, arXiv:2103.00020, section 3.1.4). Needs a model with a text tower.
    pub struct ImageTextRetrieval {
        /// A file of pairs, as `data.kind = "image_text"` reads them. Empty: the `split`.
        pub file: DatasetPath = DatasetPath::default();
        /// Folder that the paths in the file are relative to; empty: the file's own.
        pub images: DatasetPath = DatasetPath::default();
        /// Without `file`: the part of the data.
        pub split: TextSplit = TextSplit::Test;
        /// Captions of each image and images of each caption that are written to `retrieval/`, best
        /// first.
        pub top_k: usize = 10, between(1, 1000);
    }
}

/// Images and captions, prepared.
#[derive(Clone, Debug, Default)]
pub struct ImageTextSet {
    /// Each image once.
    pub images: Vec<Image>,
    pub captions: Vec<String>,
    /// Of each caption, the index of its image.
    pub image_of_caption: Vec<u32>,
    /// Hits that are kept of each.
    pub top_k: usize,
    pub notes: Vec<String>,
}

/// The ranks at which recall is told.
const KS: [usize; 3] = [1, 5, 10];

impl ImageTextRetrieval {
    /// Whether it is a part of the data's split.
    pub fn needs_data(&self) -> bool {
        self.file.raw.as_os_str().is_empty()
    }

    /// The set. `datasets` is `paths.datasets`.
    ///
    /// # Errors
    /// A split that the data has not, data without captions, and those of
    /// [`crate::data::image_text::read`].
    pub fn build(&self, datasets: &Path, splits: Option<&Splits>) -> Result<ImageTextSet> {
        let Self { file, images, split, top_k } = self;
        let whole = |set: ImageTextSet| ImageTextSet { top_k: *top_k, ..set };
        if !self.needs_data() {
            let place = file.resolve(datasets);
            let root = match images.raw.as_os_str().is_empty() {
                true => place.parent().unwrap_or(Path::new("")).to_path_buf(),
                false => images.resolve(datasets),
            };
            let Pairs { captions, notes } = read(&place, "", "")?.one_name_each(&root);
            let at = |Caption { image, text }: Caption| (Image::from(root.join(image)), text);
            let set = ImageTextSet { notes, ..ImageTextSet::new(captions.into_iter().map(at)) };
            return whole(set).present(&place);
        }
        let part = splits.and_then(|splits| match split {
            TextSplit::Test => splits.test.as_ref(),
            TextSplit::Validation => splits.validation.as_ref(),
        });
        let part = part.filter(|part| !part.is_empty()).ok_or_else(|| {
            Error::input(format!("the data's split has no {split} images"))
                .help("raise data.fractions, or name `file`")
        })?;
        if part.captions.is_empty() {
            return Err(Error::input("the data has no captions")
                .help("data.kind = \"image_text\" has, or name `file`"));
        }
        let paths = part.items.iter().map(|item| item.image.clone());
        Ok(whole(ImageTextSet::new(paths.zip(part.captions.iter().cloned()))))
    }
}

impl ImageTextSet {
    /// Of (image, caption) pairs; ten hits of each are kept.
    pub fn new(pairs: impl Iterator<Item = (Image, String)>) -> ImageTextSet {
        let mut set = ImageTextSet { top_k: 10, ..ImageTextSet::default() };
        let mut known: HashMap<Image, u32> = HashMap::new();
        for (picture, caption) in pairs {
            let next = set.images.len() as u32;
            let image = *known.entry(picture.clone()).or_insert(next);
            if image == next {
                set.images.push(picture);
            }
            set.captions.push(caption);
            set.image_of_caption.push(image);
        }
        set
    }

    /// Itself, where all its images are there.
    fn present(self, file: &Path) -> Result<ImageTextSet> {
        let missing: Vec<String> = (self.images.iter())
            .filter(|image| !image.name().is_file())
            .map(Image::display)
            .collect();
        if missing.is_empty() {
            return Ok(self);
        }
        let (count, shown) = (missing.len(), missing[..missing.len().min(10)].join("\n  "));
        let more = if count > 10 { "\n  ..." } else { "" };
        let file = file.display();
        Err(Error::input(format!("{count} images of {file} are not there:\n  {shown}{more}"))
            .help("`images` is the folder that the paths are relative to"))
    }

    /// `300 images and 350 captions`
    pub fn size(&self) -> String {
        format!("{} images and {} captions", self.images.len(), self.captions.len())
    }

    /// Recall in both directions.
    ///
    /// # Shapes
    /// `images`: a row of `dim` values per image; `captions`: one per caption.
    ///
    /// # Errors
    /// An embedding that has no direction, or is not finite; `Stopped` where `progress` says so.
    pub fn score(
        &self,
        images: &[f32],
        captions: &[f32],
        dim: usize,
        progress: Progress<'_>,
    ) -> Result<Outcome> {
        let finite = images.iter().chain(captions).all(|value| value.is_finite());
        if !finite {
            let message = "an embedding of the network diverged: it is not finite".to_string();
            return Err(Error::diverged(message));
        }
        let (images, captions) = (Matrix::new(images, dim)?, Matrix::new(captions, dim)?);
        let both =
            both_directions(images, captions, &self.image_of_caption, &KS, self.top_k, progress)?;
        let metrics = both.metrics();
        let BothDirections { texts_of_image, images_of_text, .. } = both;
        Ok(Outcome { metrics, detail: Detail::BothRankings { texts_of_image, images_of_text } })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rankings;
    use super::*;

    #[test]
    fn a_caption_finds_its_image_and_an_image_any_of_its_captions() {
        let pairs = [("a.png", "one"), ("a.png", "uno"), ("b.png", "two")];
        let set = ImageTextSet::new(pairs.into_iter().map(|(p, t)| (p.into(), t.to_string())));
        assert_eq!(set.size(), "2 images and 3 captions");
        assert_eq!(set.image_of_caption, [0, 0, 1]);
        // The second caption of a is nearer to b.
        let images = [1.0, 0.0, 0.0, 1.0];
        let captions = [2.0, 0.0, 0.6, 0.8, 0.0, 3.0];
        let outcome = set.score(&images, &captions, 2, &|_, _| true).unwrap();
        let of = |name: &str| outcome.metrics.iter().find(|m| m.name == name).unwrap().value;
        assert_eq!(of("image_to_text/recall@1"), 1.0);
        assert!((of("text_to_image/recall@1") - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(of("text_to_image/recall@5"), 1.0);
        let Detail::BothRankings { texts_of_image, images_of_text } = &outcome.detail else {
            panic!("no rankings")
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x/latest.json");
        rankings::write_both(&file, &set, texts_of_image, images_of_text).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(json["image_to_text"]["b.png"], serde_json::json!(["two", "uno", "one"]));
        assert_eq!(json["text_to_image"]["uno"], serde_json::json!(["b.png", "a.png"]));
        let error = set.score(&[f32::NAN; 4], &captions, 2, &|_, _| true).unwrap_err();
        assert!(error.to_string().contains("not finite"));
    }

    #[test]
    fn files_are_read_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.csv"), "path,caption\na.png,x\nb.png,y\n").unwrap();
        let at = |file: &str| DatasetPath { raw: file.into(), base: folder.path().into() };
        let (file, images) = (at("p.csv"), DatasetPath::default());
        let set = ImageTextRetrieval { file, images, split: TextSplit::Test, top_k: 10 };
        let error = set.build(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("2 images of"), "{error}");
        for name in ["a.png", "b.png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(set.build(folder.path(), None).unwrap().captions, ["x", "y"]);
        let file = DatasetPath::default();
        let set = ImageTextRetrieval { file, ..set };
        let error = set.build(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("no test images"), "{error}");
    }
}
