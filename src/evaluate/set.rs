//! A prepared evaluation set: its images, and what their embeddings are scored by.

use super::image_text::ImageTextSet;
use super::pairs::PairSet;
use super::retrieval::RetrievalSet;
use super::verification::{Metric, score};
use super::{Flip, merge_flip, squared_distances};
use crate::data::Image;
use crate::inference::Embeddings;
use crate::retrieval::{Hits, Progress};
use crate::{Error, Result};
use std::collections::HashMap;

/// What `[evaluate.sets.NAME]` became.
#[derive(Clone, Debug)]
pub enum EvaluationSet {
    /// Verification: is this the same person?
    Pairs(PairSet),
    /// Retrieval: which images are nearest?
    Retrieval(RetrievalSet),
    /// Which captions belong to an image, and which image to a caption?
    ImageText(ImageTextSet),
}

/// The scores of one set.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub metrics: Vec<Metric>,
    pub detail: Detail,
}

/// What lies behind the numbers.
#[derive(Clone, Debug)]
pub enum Detail {
    /// Squared L2, one per [`PairSet::compared`].
    Distances(Vec<f64>),
    /// The hits of each query of the set.
    Ranking(Hits),
    /// The hits between images and captions.
    BothRankings { texts_of_image: Hits, images_of_text: Hits },
}

/// Embeds captions: a row of the model's dimension each, not normalised.
pub type Texts<'a> = &'a dyn Fn(&[String]) -> Result<Vec<f32>>;

/// For models without a text tower.
///
/// # Errors
/// Always.
pub fn no_texts(_: &[String]) -> Result<Vec<f32>> {
    Err(Error::input("this model embeds no captions")
        .help("train one with a text tower: text.kind = \"clip_text\""))
}

impl EvaluationSet {
    /// The images whose embeddings [`EvaluationSet::score`] wants, in this order, each once.
    pub fn images(&self) -> &[Image] {
        match self {
            EvaluationSet::Pairs(pairs) => &pairs.images,
            EvaluationSet::Retrieval(set) => &set.images,
            EvaluationSet::ImageText(set) => &set.images,
        }
    }

    /// What the user should be told about how the set came about.
    pub fn notes(&self) -> &[String] {
        match self {
            EvaluationSet::Pairs(pairs) => &pairs.notes,
            EvaluationSet::Retrieval(set) => &set.notes,
            EvaluationSet::ImageText(set) => &set.notes,
        }
    }

    /// `3000 pairs`
    pub fn size(&self) -> String {
        match self {
            EvaluationSet::Pairs(pairs) => match pairs.tuning.len() {
                0 => format!("{} pairs", pairs.pairs.len()),
                tuning => format!("{} pairs, {tuning} that tune the threshold", pairs.pairs.len()),
            },
            EvaluationSet::Retrieval(set) => set.size(),
            EvaluationSet::ImageText(set) => set.size(),
        }
    }

    /// Whether it can be scored at all, whatever the embeddings.
    ///
    /// # Errors
    /// What makes the scores undefined, such as pairs of one class only.
    pub fn check(&self) -> Result<()> {
        match self {
            EvaluationSet::Pairs(pairs) => {
                score(&vec![1.0; pairs.compared().count()], pairs).map(drop)
            }
            EvaluationSet::Retrieval(set) => set.check(),
            EvaluationSet::ImageText(_) => Ok(()),
        }
    }

    /// What its scores will lack or what deserves doubt in them, whatever the embeddings.
    pub fn doubts(&self) -> Vec<String> {
        match self {
            EvaluationSet::Pairs(pairs) => {
                let result = score(&vec![1.0; pairs.compared().count()], pairs);
                result.map_or_else(|_| Vec::new(), |r| r.notes[pairs.notes.len()..].to_vec())
            }
            EvaluationSet::Retrieval(_) | EvaluationSet::ImageText(_) => Vec::new(),
        }
    }

    /// # Shapes
    /// `embeddings`: a row per image.
    ///
    /// # Errors
    /// An embedding that can't be normalised, naming its image; a set that can't be scored; `Stopped`
    /// where `progress` of a search says so.
    pub fn score(
        &self,
        embeddings: &Embeddings,
        flip: Flip,
        texts: Texts<'_>,
        progress: Progress<'_>,
    ) -> Result<Outcome> {
        let Embeddings { dim, image, mirrored, broken: _ } = embeddings;
        let merged = merge_flip(image, mirrored, *dim, flip);
        let dim = if flip == Flip::Concat { 2 * dim } else { *dim };
        match self {
            EvaluationSet::Pairs(pairs) => {
                let distances = squared_distances(&merged, dim, pairs)?;
                let metrics = score(&distances, pairs)?.metrics();
                Ok(Outcome { metrics, detail: Detail::Distances(distances) })
            }
            EvaluationSet::Retrieval(set) => set.score(&merged, dim, progress),
            EvaluationSet::ImageText(set) => {
                let plain = texts(&set.captions)?;
                // A caption has no mirror image: both halves are the caption's.
                let captions = merge_flip(&plain, &plain, embeddings.dim, flip);
                set.score(&merged, &captions, dim, progress)
            }
        }
    }
}

/// The images of all sets, each once however many sets it is in, and where each set's are among them.
pub fn images_of(sets: &[(String, EvaluationSet)]) -> (Vec<Image>, Vec<Vec<usize>>) {
    let mut index: HashMap<&Image, usize> = HashMap::new();
    let mut images: Vec<Image> = Vec::new();
    let mut rows = Vec::with_capacity(sets.len());
    for (_, set) in sets {
        let mut of_set = Vec::with_capacity(set.images().len());
        for image in set.images() {
            let row = *index.entry(image).or_insert_with(|| {
                images.push(image.clone());
                images.len() - 1
            });
            of_set.push(row);
        }
        rows.push(of_set);
    }
    (images, rows)
}

/// Scores every set on embeddings that `embed` makes of all their images ([`images_of`]). Returns the outcomes in the order of the sets.
///
/// # Errors
/// Those of `embed`, and of [`EvaluationSet::score`] with the set's name.
pub fn score_all(
    sets: &[(String, EvaluationSet)],
    flip: Flip,
    embed: impl FnOnce(&[Image]) -> Result<Embeddings>,
    texts: Texts<'_>,
    progress: Progress<'_>,
) -> Result<Vec<Outcome>> {
    let (images, rows) = images_of(sets);
    let embeddings = embed(&images)?;
    let score = |((name, set), rows): (&(String, EvaluationSet), &Vec<usize>)| {
        let whole = rows.len() == images.len() && rows.iter().copied().eq(0..rows.len());
        let outcome = match whole {
            true => set.score(&embeddings, flip, texts, progress),
            false => set.score(&embeddings.select(rows), flip, texts, progress),
        };
        outcome.map_err(|error| of_set(name, error))
    };
    sets.iter().zip(&rows).map(score).collect()
}

/// An error about a set with the set's key.
fn of_set(name: &str, error: Error) -> Error {
    let said = |message: String| format!("evaluate.sets.{name}: {message}");
    match error {
        Error::Input { message, help } => Error::Input { message: said(message), help },
        Error::Failed { message, help } => Error::Failed { message: said(message), help },
        Error::Diverged { message, help } => Error::Diverged { message: said(message), help },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pairs::PairSetBuilder;
    use super::*;

    /// Embeds `N-....jpg` as the unit vector at N degrees, its mirror image at -N degrees.
    fn degrees(images: &[Image]) -> Embeddings {
        let angle = |image: &Image| {
            let name = image.display();
            name.split('-').next().unwrap().parse::<f32>().unwrap().to_radians()
        };
        let of = |sign: f32| -> Vec<f32> {
            images.iter().map(angle).flat_map(|a| [(sign * a).cos(), (sign * a).sin()]).collect()
        };
        Embeddings { dim: 2, image: of(1.0), mirrored: of(-1.0), broken: Vec::new() }
    }

    fn pairs(pairs: &[(&str, &str, bool)]) -> EvaluationSet {
        let mut builder = PairSetBuilder::default();
        pairs.iter().for_each(|(a, b, same)| builder.push(*a, *b, *same, 0));
        EvaluationSet::Pairs(builder.finish(1, Vec::new()))
    }

    fn metric(outcome: &Outcome, name: &str) -> f64 {
        outcome.metrics.iter().find(|metric| metric.name == name).unwrap().value
    }

    #[test]
    fn the_mirror_image_counts_where_asked() {
        let set = pairs(&[("0-a", "20-a", true), ("0-a", "80-b", false)]);
        let score =
            |flip| set.score(&degrees(set.images()), flip, &no_texts, &|_, _| true).unwrap();
        let plain = score(Flip::None);
        assert_eq!(metric(&plain, "accuracy"), 1.0);
        assert!((0.1..0.14).contains(&metric(&plain, "threshold")));
        // e(20) + e(-20) and e(80) + e(-80) both point to 0 degrees: only rounding separates.
        assert_eq!(metric(&score(Flip::Sum), "accuracy"), 0.5);
        // Halves at distances 2 - 2 cos 20 each: the same as without flip.
        assert!((0.1..0.14).contains(&metric(&score(Flip::Concat), "threshold")));
    }

    #[test]
    fn an_image_in_several_sets_is_embedded_once() {
        let sets = [
            ("x".to_string(), pairs(&[("0-a", "20-a", true), ("0-a", "80-b", false)])),
            ("y".to_string(), pairs(&[("80-b", "70-b", true), ("20-a", "80-b", false)])),
        ];
        let embed = |images: &[Image]| {
            assert_eq!(images.len(), 4);
            Ok(degrees(images))
        };
        let together = score_all(&sets, Flip::None, embed, &no_texts, &|_, _| true);
        for ((_, set), outcome) in sets.iter().zip(together.unwrap()) {
            let alone =
                set.score(&degrees(set.images()), Flip::None, &no_texts, &|_, _| true).unwrap();
            assert_eq!(outcome.metrics, alone.metrics);
            match (outcome.detail, alone.detail) {
                (Detail::Distances(together), Detail::Distances(alone)) => {
                    assert_eq!(together, alone);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn one_class_is_refused_by_name() {
        let set = pairs(&[("0-a", "1-a", true)]);
        assert!(set.check().unwrap_err().to_string().contains("0 impostor pairs"));
        let sets = [("few".to_string(), set)];
        let error =
            score_all(&sets, Flip::None, |images| Ok(degrees(images)), &no_texts, &|_, _| true)
                .unwrap_err();
        assert!(error.to_string().starts_with("evaluate.sets.few: "), "{error}");
    }
}
