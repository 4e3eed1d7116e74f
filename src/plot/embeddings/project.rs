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
        let (_, _, v) = (&rows - &mean).f_svd(true, true).map_err(failed)?;
        let found = v.size()[1].min(2);
        let axes = Tensor::zeros([2, rows.size()[1]], (Kind::Double, tch::Device::Cpu));
        for axis in 0..found {
            let direction = v.select(1, axis);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        rows: Vec<Vec<f64>>,
        mean: Vec<f64>,
        axes: Vec<Vec<f64>>,
        projected: Vec<Vec<f64>>,
    }

    fn tensor(rows: &[Vec<f64>]) -> Tensor {
        Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1])
    }

    /// tools/parity/pca.py. The variances along the axes differ by far more than rounding.
    #[test]
    fn principal_components_are_scikit_learns() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/embeddings/pca.json");
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(cases.len(), 3);
        for Case { name, rows, mean, axes, projected } in cases {
            let rows = tensor(&rows);
            let pca = Pca::fit(&rows).unwrap();
            let same = |what: &str, ours: &Tensor, expected: &Tensor| {
                assert_eq!(ours.size(), expected.size(), "{name} {what}");
                let largest = (ours - expected).abs().max().double_value(&[]);
                let scale = expected.abs().max().double_value(&[]);
                assert!(largest <= 1e-9 * scale, "{name} {what}: {largest:e}");
            };
            same("mean", &pca.mean.view(-1), &Tensor::from_slice(&mean));
            same("axes", &pca.axes, &tensor(&axes));
            same("projected", &pca.project(&rows), &tensor(&projected));
            let through_origin = pca.turn(&rows) - pca.turn(&pca.mean);
            same("turned", &through_origin, &tensor(&projected));
        }
    }

    #[test]
    fn one_image_or_dimension_has_one_axis_or_none() {
        let one = Pca::fit(&Tensor::from_slice(&[1.0f32, 2.0, 3.0]).view([1, 3])).unwrap();
        let places = places(&one.project(&Tensor::from_slice(&[1.0f32, 2.0, 3.0]).view([1, 3])));
        assert_eq!(places.unwrap(), [[0.0, 0.0]]);
        let narrow = Pca::fit(&Tensor::from_slice(&[1.0f32, 2.0, 6.0]).view([3, 1])).unwrap();
        let found = narrow.project(&Tensor::from_slice(&[6.0f32]).view([1, 1]));
        assert_eq!(super::places(&found).unwrap(), [[3.0, 0.0]]);
    }

    /// Three clusters far apart in ten dimensions.
    fn clusters() -> (Tensor, Vec<Place>) {
        let value = |n: usize, d: usize| {
            let noise = ((n * 37 + d * 101) % 23) as f64 / 230.0;
            noise + if d == n % 3 { 5.0 } else { 0.0 }
        };
        let rows: Vec<f64> = (0..36).flat_map(|n| (0..10).map(move |d| value(n, d))).collect();
        let rows = Tensor::from_slice(&rows).view([36, 10]);
        let start = places(&Pca::fit(&rows).unwrap().project(&rows)).unwrap();
        (rows, start)
    }

    #[test]
    fn neighbours_stay_neighbours_in_t_sne() {
        let (rows, start) = clusters();
        let found = tsne(&rows, &start, 8.0).unwrap();
        let distance = |a: Place, b: Place| (a[0] - b[0]).hypot(a[1] - b[1]);
        for (n, place) in found.iter().enumerate() {
            let mut others: Vec<usize> = (0..36).filter(|other| *other != n).collect();
            let key = |other: &usize| distance(*place, found[*other]);
            others.sort_by(|a, b| key(a).total_cmp(&key(b)));
            assert!(others[..8].iter().all(|other| other % 3 == n % 3), "{n}: {others:?}");
        }
    }

    #[test]
    fn t_sne_says_what_it_cannot_do() {
        let (rows, start) = clusters();
        let error = tsne(&rows, &start, 12.0).unwrap_err().to_string();
        assert!(error.contains("from 1 to 11.7"), "{error}");
        let error = tsne(&rows, &start, f64::NAN).unwrap_err().to_string();
        assert!(error.contains("--perplexity NaN"), "{error}");
        let error = tsne(&rows.narrow(0, 0, 3), &start[..3], 1.0).unwrap_err().to_string();
        assert!(error.contains("t-SNE of 3 images"), "{error}");
    }

    #[test]
    fn what_was_turned_and_mirrored_is_brought_back() {
        let shape: Vec<Place> = vec![[2.0, 0.0], [-1.0, 1.0], [-1.0, -2.0], [0.0, 1.0]];
        for mirror in [1.0, -1.0] {
            for angle in [0.0f64, 0.7, 3.0, -2.0] {
                let (sin, cos) = angle.sin_cos();
                let turned: Vec<Place> = shape
                    .iter()
                    .map(|p| [p[0], p[1] * mirror])
                    .map(|p| [p[0] * cos - p[1] * sin + 5.0, p[0] * sin + p[1] * cos - 3.0])
                    .collect();
                for (ours, expected) in align(&turned, &shape).iter().zip(&shape) {
                    let off = (ours[0] - expected[0]).hypot(ours[1] - expected[1]);
                    assert!(off < 1e-12, "{mirror} {angle}: {ours:?} for {expected:?}");
                }
            }
        }
    }
}
