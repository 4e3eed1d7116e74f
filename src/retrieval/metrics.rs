//! Metrics of a ranking: Recall@k, precision@1, mAP, mAP@R, R-precision, CMC.
//!
//! Of one query let R be the number of its relevant gallery images and r_1 < r_2 < ... their ranks
//! from 1 in the whole gallery, equal similarities in the gallery's order, the query's own file left
//! out of both. Then
//! - Recall@k is 1 where r_1 <= k: the share of queries with a match among the first k (Jegou et al.
//!   2011, DOI 10.1109/TPAMI.2010.57, and metric learning since Song et al. 2016, arXiv 1511.06452),
//!   not the share of the relevant images that are found;
//! - precision@1 is 1 where r_1 = 1;
//! - average precision is the mean over all relevant images of m / r_m (Manning et al. 2008,
//!   Introduction to Information Retrieval, section 8.4), mAP its mean over queries;
//! - mAP@R is the sum of m / r_m over those with r_m <= R, divided by R, and R-precision their number
//!   divided by R (Musgrave et al. 2020, arXiv 2003.08505, section 2.2.1);
//! - CMC at rank k is the rate of identification within k: 1 where r_1 <= k (Phillips et al. 2000,
//!   DOI 10.1109/34.879790). On one ranking of the whole gallery it equals Recall@k.
//!
//! Each metric is the mean over the queries that have a relevant image; the others are left out and
//! counted, as pytorch-metric-learning does.

use super::blocks::{Blocks, Progress, for_each_block};
use super::matrix::Matrix;
use super::ranks::Ranked;
use super::space::Space;
use super::topk::{Collected, Hits, Metric, Nearest, check_own, columns};
use crate::evaluate::Metric as Number;
use crate::{Error, Result};
use std::collections::HashMap;

/// Which gallery images are relevant to a query.
#[derive(Clone, Copy, Debug)]
pub enum Relevance<'a> {
    /// Those of the query's identity.
    Identities { queries: &'a [u32], gallery: &'a [u32] },
    /// Those listed for each query.
    Lists(&'a [Vec<u32>]),
}

/// What is asked of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrievalOptions {
    pub metric: Metric,
    /// Hits that are kept per query; 0: none.
    pub top_k: usize,
    /// The k of Recall@k and CMC.
    pub ks: Vec<usize>,
    /// Ranks of the CMC curve.
    pub cmc_ranks: usize,
    pub blocks: Blocks,
}

impl Default for RetrievalOptions {
    fn default() -> Self {
        RetrievalOptions {
            metric: Metric::Cosine,
            top_k: 10,
            ks: vec![1, 5, 10],
            cmc_ranks: 50,
            blocks: Blocks::default(),
        }
    }
}

/// Metrics of one gallery, fractions.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrievalResult {
    /// Queries with a relevant image, over which the means are.
    pub queries: usize,
    /// Queries without one.
    pub left_out: usize,
    pub gallery: usize,
    /// k and Recall@k.
    pub recall: Vec<(usize, f64)>,
    pub precision_at_1: f64,
    pub map: f64,
    pub map_at_r: f64,
    pub r_precision: f64,
    /// At rank 1, 2, ...
    pub cmc: Vec<f64>,
    /// What was left out.
    pub notes: Vec<String>,
}

impl RetrievalResult {
    /// `recall@1` ... `precision@1`, `map`, `map@r`, `r_precision`, `cmc@1` ...
    pub fn metrics(&self) -> Vec<Number> {
        let number = |name: String, value| Number::new(name, value, None);
        let recall = self.recall.iter().map(|(k, value)| number(format!("recall@{k}"), *value));
        let single = [
            ("precision@1", self.precision_at_1),
            ("map", self.map),
            ("map@r", self.map_at_r),
            ("r_precision", self.r_precision),
        ];
        let single = single.into_iter().map(|(name, value)| number(name.into(), value));
        let cmc = self.recall.iter().filter_map(|(k, _)| {
            let rate = self.cmc.get(k.checked_sub(1)?)?;
            Some(number(format!("cmc@{k}"), *rate))
        });
        recall.chain(single).chain(cmc).collect()
    }
}

/// Ranks the gallery for every query; metrics and the first hits. Of the rankings no more than a
/// wave's ranks of relevant images are held.
///
/// # Errors
/// Those of [`super::top_k`]; no query with a relevant image.
///
/// # Panics
/// Where `own` or `relevance` don't fit the matrices.
pub fn evaluate(
    queries: Matrix<'_>,
    gallery: Matrix<'_>,
    relevance: Relevance<'_>,
    own: Option<&[Option<u32>]>,
    options: &RetrievalOptions,
    progress: Progress<'_>,
) -> Result<(RetrievalResult, Hits)> {
    let space = Space::new(queries, gallery, options.metric)?;
    check_own(own, queries, gallery);
    let relevant = Relevant::new(relevance, queries.rows(), gallery.rows());
    let mut sums = Sums::new(options);
    let k = columns(options.top_k, gallery, own);
    let mut hits = Collected::new(options.metric, k, queries.rows());
    let own = |query: usize| own.and_then(|own| own[query]);
    for_each_block(
        &space,
        options.blocks,
        progress,
        |query| {
            let relevant = relevant.of(query, own(query));
            (Nearest::new(k), Ranked::new(&space, query, relevant))
        },
        |row, (nearest, ranked)| {
            nearest.take(&space, &row, own(row.query));
            ranked.take(&space, &row, own(row.query));
        },
        |_, (nearest, ranked)| {
            hits.push(nearest);
            sums.add(&ranked.ranks());
        },
    )?;
    Ok((sums.result(gallery.rows(), options)?, hits.hits))
}

/// Relevant gallery rows by query.
enum Relevant<'a> {
    Identities { queries: &'a [u32], rows: HashMap<u32, Vec<u32>> },
    Lists(&'a [Vec<u32>]),
}

impl<'a> Relevant<'a> {
    fn new(relevance: Relevance<'a>, rows_of_queries: usize, rows_of_gallery: usize) -> Self {
        match relevance {
            Relevance::Identities { queries, gallery } => {
                assert_eq!(queries.len(), rows_of_queries, "an identity for each query");
                assert_eq!(gallery.len(), rows_of_gallery, "an identity for each gallery image");
                let mut rows: HashMap<u32, Vec<u32>> = HashMap::new();
                for (row, identity) in (0..).zip(gallery) {
                    rows.entry(*identity).or_default().push(row);
                }
                Relevant::Identities { queries, rows }
            }
            Relevance::Lists(lists) => {
                assert_eq!(lists.len(), rows_of_queries, "a list for each query");
                let inside = |row: &u32| (*row as usize) < rows_of_gallery;
                assert!(lists.iter().flatten().all(inside), "relevant rows are of the gallery");
                Relevant::Lists(lists)
            }
        }
    }

    /// Ascending, each once.
    fn of(&self, query: usize, own: Option<u32>) -> Vec<u32> {
        let mut relevant = match self {
            Relevant::Identities { queries, rows } => {
                rows.get(&queries[query]).cloned().unwrap_or_default()
            }
            Relevant::Lists(lists) => {
                let mut list = lists[query].clone();
                list.sort_unstable();
                list.dedup();
                list
            }
        };
        relevant.retain(|row| Some(*row) != own);
        relevant
    }
}

/// Metrics summed over queries.
struct Sums {
    queries: usize,
    left_out: usize,
    ks: Vec<usize>,
    /// Queries whose first match has the rank (from 0).
    first: Vec<usize>,
    average_precision: f64,
    at_r: f64,
    r_precision: f64,
}

impl Sums {
    fn new(options: &RetrievalOptions) -> Self {
        let ks = options.ks.clone();
        let ranks = ks.iter().copied().chain([options.cmc_ranks, 1]).max().unwrap_or(1);
        Sums {
            queries: 0,
            left_out: 0,
            ks,
            first: vec![0; ranks],
            average_precision: 0.0,
            at_r: 0.0,
            r_precision: 0.0,
        }
    }

    fn add(&mut self, ranks: &[u32]) {
        let Some(first) = ranks.first() else {
            self.left_out += 1;
            return;
        };
        self.queries += 1;
        if let Some(count) = self.first.get_mut(*first as usize) {
            *count += 1;
        }
        let r = ranks.len() as f64;
        let (mut all, mut at_r, mut within) = (0.0, 0.0, 0);
        for (found, rank) in (1..).zip(ranks) {
            let precision = f64::from(found) / (f64::from(*rank) + 1.0);
            all += precision;
            if (*rank as usize) < ranks.len() {
                at_r += precision;
                within += 1;
            }
        }
        self.average_precision += all / r;
        self.at_r += at_r / r;
        self.r_precision += f64::from(within) / r;
    }

    fn result(self, gallery: usize, options: &RetrievalOptions) -> Result<RetrievalResult> {
        let Sums { queries, left_out, ks, first, average_precision, at_r, r_precision } = self;
        if queries == 0 {
            let message = format!("none of {left_out} queries has a relevant image in the gallery");
            return Err(Error::input(message)
                .help("query and gallery need identities in common, beside the query itself"));
        }
        let mean = |sum: f64| sum / queries as f64;
        let within = |k: usize| mean(first.iter().take(k).sum::<usize>() as f64);
        let mut notes = Vec::new();
        if left_out > 0 {
            let all = queries + left_out;
            notes.push(format!(
                "{left_out} of {all} queries have no relevant image in the gallery and are left out"
            ));
        }
        Ok(RetrievalResult {
            queries,
            left_out,
            gallery,
            recall: ks.iter().map(|k| (*k, within(*k))).collect(),
            precision_at_1: within(1),
            map: mean(average_precision),
            map_at_r: mean(at_r),
            r_precision: mean(r_precision),
            cmc: (1..=options.cmc_ranks).map(within).collect(),
            notes,
        })
    }
}

/// Recall@k from images to texts and from texts to images.
#[derive(Clone, Debug, PartialEq)]
pub struct BothDirections {
    pub image_to_text: RetrievalResult,
    pub text_to_image: RetrievalResult,
    /// The first `top_k` texts of each image.
    pub texts_of_image: Hits,
    /// The first `top_k` images of each text.
    pub images_of_text: Hits,
}

impl BothDirections {
    /// `image_to_text/recall@1` ... `text_to_image/recall@1` ...
    pub fn metrics(&self) -> Vec<Number> {
        let both = [("image_to_text", &self.image_to_text), ("text_to_image", &self.text_to_image)];
        let number = |direction: &str, k: usize, value: f64| {
            Number::new(format!("{direction}/recall@{k}"), value, None)
        };
        both.into_iter()
            .flat_map(|(direction, result)| {
                result.recall.iter().map(move |(k, value)| number(direction, *k, *value))
            })
            .collect()
    }
}

/// Retrieval by cosine in both directions: text j belongs to image `image_of_text[j]`, an image may
/// have several, and any of them is a match. `top_k` hits of each are kept, at most all.
///
/// # Errors
/// # Panics
/// Those of [`evaluate`], without an own row.
pub fn both_directions(
    images: Matrix<'_>,
    texts: Matrix<'_>,
    image_of_text: &[u32],
    ks: &[usize],
    top_k: usize,
    progress: Progress<'_>,
) -> Result<BothDirections> {
    let identities: Vec<u32> = (0..images.rows() as u32).collect();
    let options = RetrievalOptions { top_k, ks: ks.to_vec(), ..RetrievalOptions::default() };
    let search = |queries, gallery, relevance| {
        evaluate(queries, gallery, relevance, None, &options, progress)
    };
    let to_text = Relevance::Identities { queries: &identities, gallery: image_of_text };
    let to_image = Relevance::Identities { queries: image_of_text, gallery: &identities };
    let (image_to_text, texts_of_image) = search(images, texts, to_text)?;
    let (text_to_image, images_of_text) = search(texts, images, to_image)?;
    Ok(BothDirections { image_to_text, text_to_image, texts_of_image, images_of_text })
}
