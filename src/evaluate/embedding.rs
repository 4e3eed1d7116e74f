//! From embeddings to distances: flip test, normalisation, squared L2.
//!
//! Letters: N images, D values per embedding. All matrices are row-major.

use super::pairs::PairSet;
use crate::{Error, Result};

crate::config_choice! {
    /// The flip test: whether the mirror image of each face has a say.
    pub enum Flip {
        /// The image alone.
        None = "none",
        /// Embeddings of image and mirror image are summed before normalising (InsightFace).
        Sum = "sum",
        /// Raw embeddings of both are concatenated, then normalised as one vector (SphereFace).
        Concat = "concat",
    }
}

/// Embeddings after the flip test: `N x D`, or `N x 2D` for [`Flip::Concat`].
///
/// # Shapes
/// `image`, `mirrored`: `N x D`; `mirrored` is not read for [`Flip::None`].
///
/// # Panics
/// Where the flip test needs `mirrored` and its length differs.
pub fn merge_flip(image: &[f32], mirrored: &[f32], dim: usize, flip: Flip) -> Vec<f32> {
    if flip == Flip::None {
        return image.to_vec();
    }
    assert_eq!(image.len(), mirrored.len(), "embeddings of images and of their mirror images");
    match flip {
        Flip::Concat => {
            image.chunks(dim).zip(mirrored.chunks(dim)).flat_map(|(a, b)| [a, b].concat()).collect()
        }
        _ => image.iter().zip(mirrored).map(|(a, b)| a + b).collect(),
    }
}

/// Squared L2 distance of the normalised embeddings of each pair, in `0..=4`, in float64: one per
/// [`PairSet::compared`].
///
/// # Shapes
/// `embeddings`: `N x D`, one row per [`PairSet::images`].
///
/// # Errors
/// An embedding that can't be normalised (NaN, infinity, all zeros), naming its image.
pub fn squared_distances(embeddings: &[f32], dim: usize, set: &PairSet) -> Result<Vec<f64>> {
    let unit = normalised(embeddings, dim, set)?;
    let row = |i: usize| &unit[i * dim..(i + 1) * dim];
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    Ok(set.compared().map(|pair| distance(row(pair.first), row(pair.second))).collect())
}

fn normalised(embeddings: &[f32], dim: usize, set: &PairSet) -> Result<Vec<f64>> {
    let images = &set.images;
    if dim == 0 || embeddings.len() != images.len() * dim {
        return Err(Error::failed(format!(
            "{} values are not {} embeddings of {dim}",
            embeddings.len(),
            images.len()
        )));
    }
    let mut unit = Vec::with_capacity(embeddings.len());
    for (embedding, image) in embeddings.chunks(dim).zip(images) {
        let norm = embedding.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            let image = image.display();
            let help = "no distance can be computed from it: lower optimizer.lr, or evaluate an \
                        earlier checkpoint";
            return Err(match norm == 0.0 {
                true => Error::failed(format!(
                    "the network collapsed: the embedding of {image} is all zeros"
                )),
                false => Error::diverged(format!(
                    "the network diverged: the embedding of {image} is not finite"
                )),
            }
            .help(help));
        }
        unit.extend(embedding.iter().map(|&x| f64::from(x) / norm));
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::pairs::Pair;

    fn two_images() -> PairSet {
        PairSet {
            images: vec!["a.jpg".into(), "b.jpg".into()],
            pairs: vec![Pair { first: 0, second: 1, same: true, fold: 0 }],
            folds: 1,
            ..PairSet::default()
        }
    }

    #[test]
    fn flip_tests_merge_rows() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]);
        assert_eq!(merge_flip(&a, &[], 2, Flip::None), a);
        assert_eq!(merge_flip(&a, &b, 2, Flip::Sum), [11.0, 22.0, 33.0, 44.0]);
        let concat = [1.0, 2.0, 10.0, 20.0, 3.0, 4.0, 30.0, 40.0];
        assert_eq!(merge_flip(&a, &b, 2, Flip::Concat), concat);
    }

    #[test]
    fn distances_ignore_the_length_of_embeddings() {
        let set = two_images();
        assert_eq!(squared_distances(&[5.0, 0.0, 0.0, 0.1], 2, &set).unwrap(), [2.0]);
        assert_eq!(squared_distances(&[5.0, 0.0, -3.0, 0.0], 2, &set).unwrap(), [4.0]);
        // Norms beyond float32 are still norms.
        assert_eq!(squared_distances(&[3e38, 0.0, 3e38, 0.0], 2, &set).unwrap(), [0.0]);
    }

    #[test]
    fn an_unusable_embedding_names_its_image() {
        for bad in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            let embeddings = [1.0, 0.0, bad[0], bad[1]];
            let error = squared_distances(&embeddings, 2, &two_images()).unwrap_err();
            assert!(error.to_string().contains("b.jpg"), "{error}");
        }
        let error = squared_distances(&[1.0, 0.0, 1.0], 2, &two_images()).unwrap_err();
        assert!(error.to_string().contains("3 values are not 2 embeddings of 2"), "{error}");
    }
}
