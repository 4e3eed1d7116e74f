//! Approximate search for galleries of millions: a hierarchical navigable small world graph
//! (Malkov and Yashunin 2020, arXiv 1603.09320), by the crate usearch.
//!
//! The graph decides which gallery rows are looked at; their scores and order are those of the exact
//! search. How many of the true hits are among them is measured:
//! [`ApproximateIndex::recall_against_exact`].

use super::blocks::{Progress, pool, stopped};
use super::matrix::Matrix;
use super::space::{Side, Space};
use super::topk::{
    Candidate, Collected, Hits, Metric, Nearest, check_own, columns, overlap, top_k,
};
use crate::torch::threads;
use crate::{Error, Result};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

/// Of the graph: quality against time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSettings {
    /// Edges of a node on each level (M); the lowest has twice as many.
    pub connectivity: usize,
    /// Candidates while a row is added (efConstruction).
    pub expansion_add: usize,
    /// Candidates while it is searched (ef), at least the hits asked for.
    pub expansion_search: usize,
}

impl Default for IndexSettings {
    fn default() -> Self {
        IndexSettings { connectivity: 16, expansion_add: 128, expansion_search: 128 }
    }
}

/// An index of a gallery. It holds a copy of the embeddings beside the graph.
///
/// On one thread the same gallery gives the same index and so the same hits. On several, rows are
/// added in the order in which threads come to them, and a hit may be missed in one run and found in
/// the next.
pub struct ApproximateIndex<'a> {
    index: Index,
    gallery: Side<'a>,
    metric: Metric,
    /// Those that the index has room for.
    threads: usize,
}

/// How much of the exact search an approximate one finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IndexRecall {
    /// Queries that were searched both ways.
    pub queries: usize,
    pub k: usize,
    /// The share of the exact hits that the index finds.
    pub overlap: f64,
}

impl<'a> ApproximateIndex<'a> {
    /// Adds all rows; `progress` is told how many are in.
    ///
    /// # Errors
    /// An empty gallery, an embedding that is not finite or, for the cosine, zero; no memory.
    pub fn build(
        gallery: Matrix<'a>,
        metric: Metric,
        settings: &IndexSettings,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let gallery = Side::new(gallery, metric, "gallery")?;
        let rows = gallery.rows.rows();
        if rows == 0 {
            return Err(Error::input("the gallery is empty"));
        }
        let options = IndexOptions {
            dimensions: gallery.rows.dim(),
            // Of unit vectors.
            metric: match metric {
                Metric::Cosine => MetricKind::IP,
                Metric::Euclidean => MetricKind::L2sq,
            },
            quantization: ScalarKind::F32,
            connectivity: settings.connectivity,
            expansion_add: settings.expansion_add,
            expansion_search: settings.expansion_search,
            multi: false,
        };
        let index = Index::new(&options).map_err(failed)?;
        let threads = threads::get();
        index.reserve_capacity_and_threads(rows, threads).map_err(failed)?;
        let done = AtomicUsize::new(0);
        let add = |row: usize| -> Result<()> {
            index.add(row as u64, &gallery.unit(row)).map_err(failed)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            match (done.is_multiple_of(1000) || done == rows) && !progress(done, rows) {
                true => Err(stopped()),
                false => Ok(()),
            }
        };
        // A single thread takes them in order, which rayon doesn't promise.
        match threads {
            1 => (0..rows).try_for_each(add)?,
            _ => pool(threads)?.install(|| (0..rows).into_par_iter().try_for_each(add))?,
        }
        Ok(ApproximateIndex { index, gallery, metric, threads })
    }

    /// As [`top_k`], of the rows that the graph leads to. A query may have fewer than `k` hits.
    ///
    /// # Errors
    /// # Panics
    /// As [`top_k`].
    pub fn search(
        &self,
        queries: Matrix<'_>,
        k: usize,
        own: Option<&[Option<u32>]>,
        progress: Progress<'_>,
    ) -> Result<Hits> {
        if k == 0 {
            return Err(
                Error::input("a search for 0 hits finds none").help("set `top_k` to 1 or more")
            );
        }
        let space = Space::with_gallery(queries, self.gallery.clone(), self.metric)?;
        check_own(own, queries, self.gallery.rows);
        let k = columns(k, self.gallery.rows, own);
        let done = AtomicUsize::new(0);
        let find = |query: usize| -> Result<Nearest> {
            let own = own.and_then(|own| own[query]);
            // One more, since one may be the query itself.
            let wanted = (k + 1).min(self.gallery.rows.rows());
            let found = self.index.search(&space.query_unit(query), wanted).map_err(failed)?;
            let mut nearest = Nearest::new(k);
            for key in found.keys {
                let index = key as u32;
                if Some(index) != own && k > 0 {
                    let similarity = space.exact(query, index as usize);
                    nearest.insert(Candidate { similarity, index });
                }
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let due = done.is_multiple_of(100) || done == queries.rows();
            match due && !progress(done, queries.rows()) {
                true => Err(stopped()),
                false => Ok(nearest),
            }
        };
        let found: Vec<Nearest> = pool(self.threads)?
            .install(|| (0..queries.rows()).into_par_iter().map(find).collect::<Result<_>>())?;
        let mut hits = Collected::new(self.metric, k, queries.rows());
        found.into_iter().for_each(|nearest| hits.push(nearest));
        Ok(hits.hits)
    }

    /// Searches for `sample` of the queries, evenly spread, with the index and exactly.
    ///
    /// # Errors
    /// # Panics
    /// As [`top_k`].
    pub fn recall_against_exact(
        &self,
        queries: Matrix<'_>,
        sample: usize,
        k: usize,
        own: Option<&[Option<u32>]>,
        progress: Progress<'_>,
    ) -> Result<IndexRecall> {
        let rows = queries.rows();
        let sample = sample.min(rows);
        let taken: Vec<usize> = (0..sample).map(|i| i * rows / sample).collect();
        let values: Vec<f32> = taken.iter().flat_map(|row| queries.row(*row)).copied().collect();
        let own: Option<Vec<Option<u32>>> =
            own.map(|own| taken.iter().map(|row| own[*row]).collect());
        let queries = Matrix::new(&values, queries.dim())?;
        let found = self.search(queries, k, own.as_deref(), &|_, _| true)?;
        let exact = top_k(queries, self.gallery.rows, k, self.metric, own.as_deref(), progress)?;
        Ok(IndexRecall { queries: sample, k: exact.k, overlap: overlap(&found, &exact) })
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(format!("the approximate index failed: {error}"))
        .help("search exactly, or lower `connectivity` if memory is short")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, rng};
    use rand::RngExt;

    fn embeddings(rows: usize, dim: usize, epoch: u64) -> Vec<f32> {
        let mut draw = rng(5, Stream::Embeddings, epoch, 0);
        (0..rows * dim).map(|_| draw.random_range(-1.0..1.0)).collect()
    }

    fn silent(_: usize, _: usize) -> bool {
        true
    }

    #[test]
    fn most_hits_are_found_with_the_scores_of_the_exact_search() {
        let (gallery, queries) = (embeddings(1500, 16, 0), embeddings(40, 16, 1));
        let (gallery, queries) =
            (Matrix::new(&gallery, 16).unwrap(), Matrix::new(&queries, 16).unwrap());
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let settings = IndexSettings::default();
            let index = ApproximateIndex::build(gallery, metric, &settings, &silent).unwrap();
            let recall = index.recall_against_exact(queries, 30, 10, None, &silent).unwrap();
            assert_eq!((recall.queries, recall.k), (30, 10));
            assert!(recall.overlap > 0.9, "{metric}: {recall:?}");
            let found = index.search(queries, 10, None, &silent).unwrap();
            let exact = top_k(queries, gallery, 10, metric, None, &silent).unwrap();
            let first = |hits: &Hits| hits.of(0).next().unwrap();
            assert_eq!(first(&found), first(&exact), "{metric}");
        }
    }

    #[test]
    fn a_query_of_the_gallery_does_not_find_itself() {
        let gallery = embeddings(300, 8, 2);
        let gallery = Matrix::new(&gallery, 8).unwrap();
        let own: Vec<Option<u32>> = (0..300).map(Some).collect();
        let settings = IndexSettings::default();
        let index = ApproximateIndex::build(gallery, Metric::Cosine, &settings, &silent).unwrap();
        let hits = index.search(gallery, 3, Some(&own), &silent).unwrap();
        assert!((0..300).all(|query| hits.of(query).all(|(index, _)| index != query as u32)));
        let all = index.search(gallery, 1000, None, &silent).unwrap();
        assert_eq!(all.k, 300);
        assert_eq!(all.of(7).next().unwrap().0, 7);
    }

    #[test]
    fn mistakes_are_told() {
        let settings = IndexSettings::default();
        let build = |values: &[f32]| {
            let gallery = Matrix::new(values, 2).unwrap();
            ApproximateIndex::build(gallery, Metric::Cosine, &settings, &silent).map(|_| ())
        };
        assert!(build(&[]).unwrap_err().to_string().contains("the gallery is empty"));
        assert!(build(&[1.0, 0.0, 0.0, 0.0]).unwrap_err().to_string().contains("embedding 1"));
    }
}
