//! Similarity of two embeddings, exactly and within bounds.
//!
//! The exact one is summed in float64 in one order and rounded to float32, so it does not depend on
//! blocks or threads and equal embeddings have equal similarity. Blocks of a float32 matrix product
//! are faster and nearly as good: this module states how far they can be off, and whoever ranks
//! asks for the exact value wherever that could matter.
//!
//! Bounds: u = 2^-24. A dot product of d products in any order, fused or not, is off by at most
//! gamma_d |a| |b| with gamma_d = d u / (1 - d u) (Higham 2002, section 3.1).

use super::matrix::Matrix;
use super::topk::Metric;
use crate::{Error, Result};
use rayon::prelude::*;
use std::sync::Arc;

const U: f64 = 1.0 / (1 << 24) as f64;
/// Lanes of a sum: the order of the additions is part of the result.
const LANES: usize = 16;

/// Queries and gallery under a metric. A similarity is larger for what is nearer: the cosine, or
/// the squared Euclidean distance below zero.
pub struct Space<'a> {
    metric: Metric,
    pub queries: Matrix<'a>,
    pub gallery: Matrix<'a>,
    query_scale: Arc<[f64]>,
    gallery_scale: Arc<[f64]>,
    /// Euclidean: subtracted from all rows before the product, so that what the product cancels is
    /// no larger than it has to be. Distances don't change by it.
    centre: Vec<f32>,
}

/// Checked rows.
#[derive(Clone)]
pub struct Side<'a> {
    pub rows: Matrix<'a>,
    /// Cosine: 1 / norm of each row.
    scale: Arc<[f64]>,
}

impl<'a> Side<'a> {
    /// # Errors
    /// An embedding without a direction (cosine), not finite or too large, by its row.
    pub fn new(rows: Matrix<'a>, metric: Metric, which: &str) -> Result<Self> {
        Ok(Side { rows, scale: scales(rows, metric, which)?.into() })
    }

    /// The row at unit length for the cosine, as it is for Euclidean.
    pub fn unit(&self, row: usize) -> Vec<f32> {
        let values = self.rows.row(row);
        match self.scale.get(row) {
            Some(scale) => values.iter().map(|x| (f64::from(*x) * scale) as f32).collect(),
            None => values.to_vec(),
        }
    }
}

/// A packed block of rows.
#[derive(Default)]
pub struct Packed {
    pub values: Vec<f32>,
    /// The same with a column for each dimension, after [`Packed::turn`].
    pub columns: Vec<f32>,
    /// Half the squared norms; zeros for the cosine.
    pub half: Vec<f32>,
    /// Norms in float64; of the gallery only the largest is asked for.
    norms: Vec<f64>,
}

impl Packed {
    /// Lays out `columns`, which a matrix product reads faster from where there are many rows.
    pub fn turn(&mut self, dim: usize) {
        const TILE: usize = 16;
        let rows = self.half.len();
        self.columns.resize(rows * dim, 0.0);
        let (from, tile) = (&self.values, TILE * rows);
        self.columns.par_chunks_mut(tile.max(1)).enumerate().for_each(|(number, columns)| {
            let first = number * TILE;
            for row in (0..rows).step_by(TILE) {
                for (d, column) in columns.chunks_mut(rows).enumerate() {
                    for (at, value) in column[row..rows.min(row + TILE)].iter_mut().enumerate() {
                        *value = from[(row + at) * dim + first + d];
                    }
                }
            }
        });
    }

    fn largest(&self) -> f64 {
        self.norms.iter().copied().fold(0.0, f64::max)
    }
}

/// How a product's value `s` of one query row relates to the similarity:
/// `|similarity - (factor * s - offset)| <= factor * slack`.
#[derive(Clone, Copy)]
pub struct Bounds {
    factor: f64,
    offset: f64,
    slack: f64,
}

impl Bounds {
    /// Products below it belong to similarities below `similarity`.
    pub fn least(&self, similarity: f32) -> f32 {
        (((f64::from(similarity) + self.offset) / self.factor - self.slack) as f32).next_down()
    }

    /// Products above it belong to similarities above `similarity`.
    pub fn most(&self, similarity: f32) -> f32 {
        (((f64::from(similarity) + self.offset) / self.factor + self.slack) as f32).next_up()
    }

    /// What has a product below it is less similar than what has the product `s`.
    pub fn below(&self, s: f32) -> f32 {
        ((f64::from(s) - 2.0 * self.slack) as f32).next_down()
    }
}

impl<'a> Space<'a> {
    /// # Errors
    /// An empty gallery, different dimensions, an embedding without a direction (cosine) or with
    /// values that are not finite or too large.
    pub fn new(queries: Matrix<'a>, gallery: Matrix<'a>, metric: Metric) -> Result<Self> {
        let mut space =
            Self::with_gallery(queries, Side::new(gallery, metric, "gallery")?, metric)?;
        if metric == Metric::Euclidean {
            space.centre = mean(gallery);
        }
        Ok(space)
    }

    /// For similarities of single rows, of a gallery that was checked before.
    ///
    /// # Errors
    /// Those of [`Space::new`].
    pub fn with_gallery(queries: Matrix<'a>, gallery: Side<'a>, metric: Metric) -> Result<Self> {
        let Side { rows: gallery, scale: gallery_scale } = gallery;
        if gallery.rows() == 0 {
            return Err(Error::input("the gallery is empty"));
        }
        if queries.dim() != gallery.dim() {
            let message = format!(
                "query embeddings have {} dimensions and gallery embeddings {}",
                queries.dim(),
                gallery.dim()
            );
            return Err(Error::input(message).help("embed both with the same model and flip test"));
        }
        let Side { scale: query_scale, .. } = Side::new(queries, metric, "query")?;
        Ok(Space { metric, queries, gallery, query_scale, gallery_scale, centre: Vec::new() })
    }

    /// A query for an index of [`Side::unit`] rows.
    pub fn query_unit(&self, query: usize) -> Vec<f32> {
        Side { rows: self.queries, scale: self.query_scale.clone() }.unit(query)
    }

    /// The similarity of two rows, the same whatever else is asked for; no zero is negative.
    pub fn exact(&self, query: usize, gallery: usize) -> f32 {
        let (a, b) = (self.queries.row(query), self.gallery.row(gallery));
        match self.metric {
            Metric::Cosine => {
                (dot(a, b) * (self.query_scale[query] * self.gallery_scale[gallery])) as f32 + 0.0
            }
            Metric::Euclidean => 0.0 - squared_distance(a, b) as f32,
        }
    }

    pub fn pack_queries(&self, first: usize, end: usize, packed: &mut Packed) {
        let scale = self.query_scale.get(first..end).unwrap_or_default();
        self.pack(self.queries.slice(first, end), scale, packed);
    }

    pub fn pack_gallery(&self, first: usize, end: usize, packed: &mut Packed) {
        let scale = self.gallery_scale.get(first..end).unwrap_or_default();
        self.pack(self.gallery.slice(first, end), scale, packed);
    }

    /// Rows of unit length, or centred.
    fn pack(&self, rows: Matrix<'_>, scale: &[f64], packed: &mut Packed) {
        let dim = rows.dim();
        packed.values.resize(rows.values().len(), 0.0);
        packed.norms.clear();
        packed.half.clear();
        match self.metric {
            Metric::Cosine => {
                let to = packed.values.par_chunks_mut(dim);
                to.zip(rows.values().par_chunks(dim)).zip(scale).for_each(|((to, from), scale)| {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = (f64::from(*from) * scale) as f32;
                    }
                });
                packed.norms.resize(rows.rows(), 1.0);
                packed.half.resize(rows.rows(), 0.0);
            }
            Metric::Euclidean => {
                let to = packed.values.par_chunks_mut(dim);
                let squares: Vec<f64> = to
                    .zip(rows.values().par_chunks(dim))
                    .map(|(to, from)| {
                        for ((to, from), centre) in to.iter_mut().zip(from).zip(&self.centre) {
                            *to = from - centre;
                        }
                        dot(to, to)
                    })
                    .collect();
                packed.half.extend(squares.iter().map(|square| (square / 2.0) as f32));
                packed.norms.extend(squares.iter().map(|square| square.sqrt()));
            }
        }
    }

    /// Of row `query` of a packed query block against a packed gallery block, whose products are
    /// `a . b - half(b)`.
    pub fn bounds(&self, queries: &Packed, query: usize, gallery: &Packed) -> Bounds {
        let d = self.gallery.dim() as f64;
        let tiny = f64::from(f32::MIN_POSITIVE);
        match self.metric {
            // The product; both rows rounded to float32; the result rounded.
            Metric::Cosine => {
                Bounds { factor: 1.0, offset: 0.0, slack: 1.01 * U * (d + 8.0) + d * tiny }
            }
            // With `half` as a further product; `half` rounded; the centred rows rounded, which
            // moves a distance by at most u(|a| + |b|); the result rounded.
            Metric::Euclidean => {
                let (a, b) = (queries.norms[query], gallery.largest());
                let product = (d + 4.0) * (a * b + b * b / 2.0);
                let slack = 1.01 * U * (product + 3.0 * (a + b) * (a + b)) + d * tiny;
                Bounds { factor: 2.0, offset: a * a, slack }
            }
        }
    }
}

/// 1 / norm of each row for the cosine, nothing for Euclidean; checks the rows.
fn scales(rows: Matrix<'_>, metric: Metric, which: &str) -> Result<Vec<f64>> {
    let squares: Vec<f64> = rows.values().par_chunks(rows.dim()).map(|row| dot(row, row)).collect();
    let wrong = |square: &f64| match metric {
        Metric::Cosine => !square.is_finite() || *square == 0.0,
        // Sums of four such squares must be float32.
        Metric::Euclidean => square.is_nan() || *square > 1e37,
    };
    if let Some(row) = squares.iter().position(wrong) {
        let square = squares[row];
        let what = match square {
            0.0 => "is zero and has no direction",
            square if square.is_finite() => "is too large for squared distances in float32",
            _ => "is not finite",
        };
        return Err(Error::input(format!("{which} embedding {row} {what}"))
            .help("look at the image and the model's weights"));
    }
    Ok(match metric {
        Metric::Cosine => squares.iter().map(|square| 1.0 / square.sqrt()).collect(),
        Metric::Euclidean => Vec::new(),
    })
}

fn mean(rows: Matrix<'_>) -> Vec<f32> {
    let mut sum = vec![0.0; rows.dim()];
    for row in rows.values().chunks(rows.dim()) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    sum.iter().map(|sum| (sum / rows.rows() as f64) as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    lanes(a, b, |a, b| a * b)
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    lanes(a, b, |a, b| (a - b) * (a - b))
}

/// Sum of `term` over the elements in float64, in one fixed order.
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for lane in 0..LANES {
            sums[lane] += term(f64::from(a[lane]), f64::from(b[lane]));
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *sum += term(f64::from(*a), f64::from(*b));
    }
    sums.iter().sum()
}
