//! From D dimensions to the plane: principal components (Hotelling 1933) or t-SNE (van der Maaten &
//! Hinton 2008; Barnes-Hut approximation, van der Maaten 2013, arXiv:1301.3342).

use super::Place;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// Axes of largest variance: scikit-learn's `PCA(n_components=2)`.
#[derive(Debug)]
pub struct Pca {
    /// [1, D], float64.
    pub mean: Tensor,
    /// Unit rows [2, D], float64; a row of zeros where there is no second axis.
    pub axes: Tensor,
}

impl Pca {
    /// Fits the axes to rows [N, D]. The largest element of an axis (the first of equals) is
    /// positive, so that the same rows always look the same way round.
    ///
    /// # Errors
    /// Rows that libtorch can't decompose, such as those that are not finite.
    pub fn fit(rows: &Tensor) -> Result<Self> {
        let rows = rows.to_kind(Kind::Double);
        let mean = rows.mean_dim([0i64].as_slice(), true, Kind::Double);
        let failed = |e| Error::failed(format!("cannot find principal components: {e}"));
        let (_, _, v) = Tensor::f_linalg_svd(&(&rows - &mean), false, "").map_err(failed)?;
        let found = v.size()[0].min(2);
        let axes = Tensor::zeros([2, rows.size()[1]], (Kind::Double, tch::Device::Cpu));
        for axis in 0..found {
            let direction = v.get(axis);
            let largest = direction.abs().argmax(0, false).int64_value(&[]);
            let sign = if direction.double_value(&[largest]) < 0.0 { -1.0 } else { 1.0 };
            axes.get(axis).copy_(&(direction * sign));
        }
        Ok(Pca { mean, axes })
    }

    /// Coordinates along the axes of rows [N, D], from the mean.
    pub fn project(&self, rows: &Tensor) -> Tensor {
        self.turn(&(rows.to_kind(Kind::Double) - &self.mean))
    }

    /// The same from the origin: directions stay directions.
    pub fn turn(&self, rows: &Tensor) -> Tensor {
        rows.to_kind(Kind::Double).matmul(&self.axes.tr())
    }
}

/// Rows [N, 2] as places.
pub fn places(rows: &Tensor) -> Result<Vec<Place>> {
    let flat = Vec::<f64>::try_from(rows.to_kind(Kind::Double).contiguous().view(-1));
    let flat = flat.map_err(|e| Error::failed(e.to_string()))?;
    Ok(flat.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// Iterations of the optimisation, the field's usual number.
const ITERATIONS: usize = 1000;

/// t-SNE of unit rows [N, D] from the start `from`, in float64: no random number is drawn.
///
/// # Errors
/// Fewer than four rows, a perplexity that is too large for them.
pub fn tsne(rows: &Tensor, from: &[Place], perplexity: f64) -> Result<Vec<Place>> {
    let count = rows.size()[0] as usize;
    if count < 4 {
        return Err(Error::input(format!("t-SNE of {count} images: it needs 4 or more"))
            .help("raise record.embeddings_samples, or use --projection pca"));
    }
    let most = (count - 1) as f64 / 3.0;
    if !(1.0..=most).contains(&perplexity) {
        return Err(Error::input(format!(
            "--perplexity {perplexity} of {count} images: it must be from 1 to {most:.1}, a third of \
             the others"
        ))
        .help("the perplexity is about the number of neighbours that an image counts"));
    }
    let dim = rows.size()[1] as usize;
    let flat = Vec::<f64>::try_from(rows.to_kind(Kind::Double).contiguous().view(-1));
    let flat = flat.map_err(|e| Error::failed(e.to_string()))?;
    let samples: Vec<&[f64]> = flat.chunks_exact(dim).collect();
    let distance = |a: &&[f64], b: &&[f64]| {
        a.iter().zip(b.iter()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let start: Vec<f64> = small(from).into_iter().flatten().collect();
    let mut tsne = bhtsne::tSNE::<f64, &[f64], 2>::new(&samples);
    tsne.perplexity(perplexity).epochs(ITERATIONS).initial_embedding(start);
    tsne.barnes_hut(0.5, distance);
    let found = tsne.embedding();
    Ok(found.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// With a standard deviation of 1e-4, as t-SNE starts.
fn small(places: &[Place]) -> Vec<Place> {
    let count = places.len().max(1) as f64;
    let mean = [0, 1].map(|axis| places.iter().map(|p| p[axis]).sum::<f64>() / count);
    let variance = places.iter().map(|p| (p[0] - mean[0]).powi(2)).sum::<f64>() / count;
    let scale = 1e-4 / variance.sqrt().max(1e-12);
    places.iter().map(|p| [0, 1].map(|axis| (p[axis] - mean[axis]) * scale)).collect()
}

/// Turns and mirrors `places` about their mean so that they come nearest to `onto` (orthogonal
/// Procrustes problem, Schönemann 1966): t-SNE's axes mean nothing, and pictures of one epoch after
/// the other should not spin.
pub fn align(places: &[Place], onto: &[Place]) -> Vec<Place> {
    let centred = |places: &[Place]| -> Vec<Place> {
        let count = places.len().max(1) as f64;
        let mean = [0, 1].map(|axis| places.iter().map(|p| p[axis]).sum::<f64>() / count);
        places.iter().map(|p| [p[0] - mean[0], p[1] - mean[1]]).collect()
    };
    let (own, other) = (centred(places), centred(onto));
    let product = |a: usize, b: usize| -> f64 {
        own.iter().zip(&other).map(|(own, other)| own[a] * other[b]).sum()
    };
    let [[xx, xy], [yx, yy]] = [[product(0, 0), product(0, 1)], [product(1, 0), product(1, 1)]];
    // The best rotation, and the best rotation after a mirror; the larger trace wins.
    let (turn, mirror) = ((xx + yy).hypot(xy - yx), (xx - yy).hypot(xy + yx));
    let flip = if mirror > turn { -1.0 } else { 1.0 };
    let angle = (xy - flip * yx).atan2(xx + flip * yy);
    let (sin, cos) = angle.sin_cos();
    own.iter()
        .map(|p| {
            let (x, y) = (p[0], flip * p[1]);
            [x * cos - y * sin, x * sin + y * cos]
        })
        .collect()
}
