//! Exact search for the k nearest.

use super::blocks::{Blocks, Progress, Row, for_each_block};
use super::matrix::Matrix;
use super::space::Space;
use crate::{Error, Result};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

crate::config_choice! {
    /// What makes two embeddings similar.
    pub enum Metric {
        /// The cosine of the angle between them.
        Cosine = "cosine",
        /// The Euclidean distance, of embeddings as they are. Scores are squared distances.
        Euclidean = "euclidean",
    }
}

/// The nearest gallery embeddings of every query, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Hits {
    /// Columns: at most the gallery's size, less one where every query is itself in the gallery.
    pub k: usize,
    /// One row of `k` gallery indices per query; [`Hits::NONE`] where there is no further one.
    pub indices: Vec<u32>,
    /// Cosines, or squared Euclidean distances; NaN beside [`Hits::NONE`].
    pub scores: Vec<f32>,
}

impl Hits {
    /// The index that stands for no hit: a query whose own row is left out of a gallery of `k`.
    pub const NONE: u32 = u32::MAX;

    pub fn queries(&self) -> usize {
        self.indices.len().checked_div(self.k).unwrap_or(0)
    }

    /// Index and score of the hits of one query, best first.
    pub fn of(&self, query: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let row = query * self.k..(query + 1) * self.k;
        let hits = self.indices[row.clone()].iter().copied().zip(self.scores[row].iter().copied());
        hits.take_while(|(index, _)| *index != Self::NONE)
    }
}

/// The `k` most similar gallery rows of each query by exhaustive search.
///
/// Similarities are those of the embeddings in float64, rounded to float32; the lower index comes
/// first where they are equal. The result depends neither on threads nor on blocks. `own`: the
/// gallery row that is the query itself, which never counts as its match. A `k` beyond the gallery
/// is the whole gallery.
///
/// # Errors
/// An empty gallery, `k` of 0, different dimensions, an embedding that is not finite or, for the
/// cosine, zero.
///
/// # Panics
/// Where `own` is not one entry per query, or is no row of the gallery.
pub fn top_k(
    queries: Matrix<'_>,
    gallery: Matrix<'_>,
    k: usize,
    metric: Metric,
    own: Option<&[Option<u32>]>,
    progress: Progress<'_>,
) -> Result<Hits> {
    top_k_in_blocks(queries, gallery, k, metric, own, progress, Blocks::default())
}

/// [`top_k`] with blocks of another size: memory against speed.
///
/// # Errors
/// # Panics
/// As [`top_k`].
pub fn top_k_in_blocks(
    queries: Matrix<'_>,
    gallery: Matrix<'_>,
    k: usize,
    metric: Metric,
    own: Option<&[Option<u32>]>,
    progress: Progress<'_>,
    blocks: Blocks,
) -> Result<Hits> {
    if k == 0 {
        return Err(Error::input("a search for 0 hits finds none").help("set `top_k` to 1 or more"));
    }
    let space = Space::new(queries, gallery, metric)?;
    check_own(own, queries, gallery);
    let mut hits = Collected::new(metric, columns(k, gallery, own), queries.rows());
    let k = hits.hits.k;
    for_each_block(
        &space,
        blocks,
        progress,
        |_| Nearest::new(k),
        |row, nearest| nearest.take(&space, &row, own.and_then(|own| own[row.query])),
        |_, nearest| hits.push(nearest),
    )?;
    Ok(hits.hits)
}

/// Hits that a query can have.
pub(super) fn columns(k: usize, gallery: Matrix<'_>, own: Option<&[Option<u32>]>) -> usize {
    let itself = own.is_some_and(|own| !own.is_empty() && own.iter().all(Option::is_some));
    k.min(gallery.rows() - usize::from(itself))
}

pub(super) fn check_own(own: Option<&[Option<u32>]>, queries: Matrix<'_>, gallery: Matrix<'_>) {
    let Some(own) = own else { return };
    assert_eq!(own.len(), queries.rows(), "one own row per query");
    let last = own.iter().flatten().max().copied().unwrap_or(0);
    assert!((last as usize) < gallery.rows(), "row {last} of {} is a query's own", gallery.rows());
}

/// Rows of hits as they are finished.
pub(super) struct Collected {
    pub hits: Hits,
    metric: Metric,
}

impl Collected {
    pub fn new(metric: Metric, k: usize, queries: usize) -> Self {
        let room = k * queries;
        let hits = Hits { k, indices: Vec::with_capacity(room), scores: Vec::with_capacity(room) };
        Collected { hits, metric }
    }

    pub fn push(&mut self, nearest: Nearest) {
        let Hits { k, indices, scores } = &mut self.hits;
        let row = nearest.heap.into_sorted_vec();
        let missing = *k - row.len();
        indices.extend(row.iter().map(|candidate| candidate.index));
        scores.extend(row.iter().map(|candidate| match self.metric {
            Metric::Cosine => candidate.similarity,
            Metric::Euclidean => 0.0 - candidate.similarity,
        }));
        indices.extend(std::iter::repeat_n(Hits::NONE, missing));
        scores.extend(std::iter::repeat_n(f32::NAN, missing));
    }
}

/// A gallery row and its exact similarity. The better one is the lesser.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub similarity: f32,
    pub index: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// The nearest so far of one query; the worst is on top of the heap.
pub(super) struct Nearest {
    k: usize,
    heap: BinaryHeap<Candidate>,
}

/// Products that are looked at together: most lie below the bar as a whole.
const CHUNK: usize = 64;

impl Nearest {
    pub fn new(k: usize) -> Self {
        Nearest { k, heap: BinaryHeap::new() }
    }

    /// Products that can't be among the nearest are passed over by a bar that is sure; for the
    /// others the exact similarity decides.
    pub fn take(&mut self, space: &Space<'_>, row: &Row<'_>, own: Option<u32>) {
        if self.k == 0 {
            return;
        }
        let mut bar = self.bar(row);
        for (chunk, products) in row.products.chunks(CHUNK).enumerate() {
            if !products.iter().fold(false, |any, product| any | (*product >= bar)) {
                continue;
            }
            for (place, product) in products.iter().enumerate() {
                let index = (row.first + chunk * CHUNK + place) as u32;
                if *product < bar || Some(index) == own {
                    continue;
                }
                let similarity = space.exact(row.query, index as usize);
                self.insert(Candidate { similarity, index });
                if self.heap.len() == self.k
                    && let Some(worst) = self.heap.peek()
                {
                    bar = bar.max(row.bounds.least(worst.similarity));
                }
            }
        }
    }

    /// A product that those of this block which belong to the nearest reach.
    fn bar(&self, row: &Row<'_>) -> f32 {
        let worst = self.heap.peek().map(|worst| row.bounds.least(worst.similarity));
        let missing = self.k - self.heap.len();
        if missing == 0 {
            return worst.unwrap_or(f32::NEG_INFINITY);
        }
        // One more than is missing, since one may be the query itself.
        if row.products.len() <= missing {
            return f32::NEG_INFINITY;
        }
        let mut order = row.products.to_vec();
        let (_, last, _) = order.select_nth_unstable_by(missing, |a, b| b.total_cmp(a));
        let enough = row.bounds.below(*last);
        worst.map_or(enough, |worst| enough.min(worst))
    }

    pub fn insert(&mut self, candidate: Candidate) {
        if self.heap.len() < self.k {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }
}

/// The share of `exact`'s hits that `found` has too, the mean over the queries (recall@k of an
/// approximate search).
///
/// # Panics
/// Where the numbers of queries differ.
pub fn overlap(found: &Hits, exact: &Hits) -> f64 {
    assert_eq!(found.queries(), exact.queries(), "hits of the same queries");
    let (mut shared, mut all) = (0, 0);
    for query in 0..exact.queries() {
        let found: std::collections::HashSet<u32> = found.of(query).map(|(i, _)| i).collect();
        for (index, _) in exact.of(query) {
            shared += usize::from(found.contains(&index));
            all += 1;
        }
    }
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}
